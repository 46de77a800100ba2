//! The documented configurations of proxies are the ones that the suites run.

use std::fs;
use std::path::Path;

#[test]
fn the_documentation_shows_the_configurations_that_are_tested() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/proxies.md")).expect("the page");
    for (file, language) in [("nginx.conf", "nginx"), ("nginx-cache.conf", "nginx"), ("haproxy.cfg", "haproxy"), ("tinyproxy.conf", "conf")]
    {
        let tested = fs::read_to_string(root.join("conformance/proxies").join(file)).expect("a configuration");
        assert!(page.contains(&format!("\n```{language}\n{tested}```\n")), "docs/proxies.md does not show {file} as it is");
    }
}
