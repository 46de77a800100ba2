//! Stories of the configuration: what is laid over what, and how each fault is told.

use super::load::SourceFile;
use super::overrides::Tables;
use super::schema::{Schema, variable};
use super::*;

/// Loads a file's text, variables and `--set` flags.
fn load(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Loaded, ConfigFault> {
    let sources = Sources {
        file: Some(SourceFile { name: "bongsu.toml".to_owned(), text: file.to_owned() }),
        environment: environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        flags: flags.iter().map(|(key, value)| Flag { name: "--set".to_owned(), key: key.to_string(), value: value.to_string() }).collect(),
    };
    Config::load_with_origins(&sources)
}

fn loaded(file: &str) -> Config {
    load(file, &[], &[]).expect("a sound file").config
}

/// The faults that a file has, a line each.
fn faults(file: &str) -> String {
    load(file, &[], &[]).expect_err("a faulty file").to_string()
}

#[test]
fn the_default_file_is_the_built_in_defaults() {
    assert_eq!(loaded(Config::default_text()), Config::default());
    assert_eq!(Config::load(&Sources::default()).expect("the defaults are sound"), Config::default());
}

#[test]
fn the_default_file_writes_out_every_key_with_a_comment() {
    let loaded = load(Config::default_text(), &[], &[]).expect("sound");
    let written: Vec<&str> = loaded.settings.iter().map(|setting| setting.key.as_str()).collect();
    for key in Schema::new().keys() {
        assert!(written.contains(&key), "{key} is missing from default.toml");
    }
    let mut before = "";
    for line in Config::default_text().lines() {
        let is_key = line.contains(" = ") && !line.starts_with('#');
        assert!(!is_key || before.starts_with("# "), "{line:?} has no comment");
        before = line;
    }
}

#[test]
fn the_table_of_limits_is_true() {
    let text = include_str!("../../../../docs/limits.md");
    let rows: Vec<(&str, &str)> = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | ")).collect();
    let defaults = schema::to_table(&Config::default());
    for (key, rest) in &rows {
        let (section, inner) = key.split_once('.').expect("a key of a section");
        let value = defaults.get(section).and_then(|section| section.get(inner)).unwrap_or_else(|| panic!("there is no {key}"));
        let told = rest.split(" | ").next().unwrap_or_default();
        assert_eq!(told, value.to_string().trim_matches('"'), "{key}");
    }
    // The other one bounds what clients are asked, and not what they do.
    for key in Schema::new().keys().filter(|key| key.ends_with("_max") && *key != "shutdown.reconnect_max") {
        assert!(rows.iter().any(|(row, _)| *row == key), "{key} is missing from docs/limits.md");
    }
}

#[test]
fn the_example_of_channels_in_the_default_file_works() {
    let (_, example) = Config::default_text().split_once("#\n# [[channels]]").expect("the example is there");
    let example = format!("[[channels]]{example}").replace("\n# ", "\n");
    let channels = loaded(&example).channels;
    assert_eq!(channels.len(), 1);
    let as_table = schema::to_table(&channels[0]);
    assert_eq!(as_table.len(), Tables::Channels.keys().len(), "the example shows every key");
}

#[test]
fn the_example_of_queues_in_the_default_file_works() {
    let (_, example) = Config::default_text().split_once("#\n# [[queue]]").expect("the example is there");
    let (example, _) = example.split_once("\n\n").expect("something follows");
    let queues = loaded(&format!("[[queue]]{example}").replace("\n# ", "\n")).queue;
    assert_eq!(queues.len(), 1);
    assert_eq!(schema::to_table(&queues[0]).len(), Tables::Queue.keys().len(), "the example shows every key");
}

#[test]
fn each_layer_outweighs_the_one_before() {
    let file = "[history]\npublications_max = 1\nage_max = \"1m\"\nbytes_max = \"1 MiB\"\n";
    let environment = [("BONGSU_HISTORY_PUBLICATIONS_MAX", "2"), ("BONGSU_HISTORY__AGE_MAX", "2m"), ("PATH", "/bin")];
    let loaded = load(file, &environment, &[("history.publications_max", "3"), ("history.publications_max", "4")]).expect("sound");
    assert_eq!(loaded.config.history.publications_max, 4);
    assert_eq!(loaded.config.history.age_max, Period::minutes(2));
    assert_eq!(loaded.config.history.bytes_max, Size::mib(1));
    assert_eq!(loaded.config.history.channels_max, 100_000);
    let origins: Vec<String> = loaded.settings.iter().map(|setting| format!("{} {}", setting.key, setting.origin)).collect();
    assert_eq!(origins, ["history.bytes_max bongsu.toml:4", "history.age_max BONGSU_HISTORY__AGE_MAX", "history.publications_max --set"]);
}

#[test]
fn what_was_set_to_its_default_has_not_changed() {
    let loaded = load("workers = 0\n[http]\npage_bytes_max = \"1024 KiB\"\nbody_bytes_max = 4096\n", &[], &[]).expect("sound");
    let changed: Vec<String> = loaded.changed().iter().map(|one| format!("{} = {} {}", one.key, one.value, one.origin)).collect();
    assert_eq!(changed, ["http.body_bytes_max = \"4 KiB\" bongsu.toml:4"]);
}

#[test]
fn texts_become_what_their_keys_ask_for() {
    let environment = [
        ("BONGSU_WORKERS", "2"),
        ("BONGSU_LISTEN_HTTP", "off"),
        ("BONGSU_ECHO_ENABLED", "true"),
        ("BONGSU_HTTP_HOSTS", "chat.example, news.example"),
        ("BONGSU_HTTP_ORIGINS", "[\"https://chat.example\"]"),
        ("BONGSU_HTTP_BODY_BYTES_MAX", "2048"),
        ("BONGSU_LOG", "debug"),
        ("BONGSU_URL", "http://127.0.0.1:1"),
    ];
    let loaded = load("", &environment, &[("log.level", "\"debug\""), ("listen.http", "[::1]:0")]).expect("sound");
    let Config { workers, listen, http, echo, log, .. } = loaded.config;
    assert_eq!((workers, echo.enabled, log.level), (2, true, LogLevel::Debug));
    assert_eq!(listen.http, "[::1]:0".parse().expect("an address"));
    assert_eq!(http.hosts, ["chat.example", "news.example"]);
    assert_eq!(http.origins, ["https://chat.example"]);
    assert_eq!(http.body_bytes_max, Size::kib(2));
}

#[test]
fn an_unknown_key_is_told_with_its_line_and_the_nearest_known_one() {
    for (file, told) in [
        ("\n[http]\nhead_timout = \"1s\"", "bongsu.toml:3: unknown key http.head_timout; the nearest known one is http.head_timeout"),
        ("publications_max = 1", "bongsu.toml:1: unknown key publications_max; the nearest known one is history.publications_max"),
        ("http.wait = \"1s\"", "bongsu.toml:1: unknown key http.wait; the nearest known one is http.wait_max"),
        ("worker = 2", "bongsu.toml:1: unknown key worker; the nearest known one is workers"),
        ("[web_socket]\nping_interval = \"1s\"", "bongsu.toml:1: unknown key [web_socket]; the nearest known one is [websocket]"),
        ("[[chanels]]\npattern = \"a\"", "bongsu.toml:1: unknown key [chanels]; the nearest known one is [[channels]]"),
        (
            "[[channels]]\npattern = \"a\"\nbyte_max = 1",
            "bongsu.toml:3: unknown key channels.byte_max; the nearest known one is channels.bytes_max",
        ),
        ("[[queue]]\npattern = \"a\"\ntrys_max = 1", "bongsu.toml:3: unknown key queue.trys_max; the nearest known one is queue.tries_max"),
        ("[[que]]\npattern = \"a\"", "bongsu.toml:1: unknown key [que]; the nearest known one is [[queue]]"),
    ] {
        assert_eq!(faults(file), told, "{file}");
    }
}

#[test]
fn an_unknown_variable_or_flag_is_told_with_the_nearest_known_one() {
    let told = load("", &[("BONGSU_HISTORY_PUBLICATION_MAX", "1")], &[("http.wait_mx", "1s")]).expect_err("unknown").to_string();
    assert_eq!(
        told,
        "environment: unknown variable BONGSU_HISTORY_PUBLICATION_MAX; the nearest known one is BONGSU_HISTORY_PUBLICATIONS_MAX\n\
         --set: unknown key http.wait_mx; the nearest known one is http.wait_max"
    );
}

#[test]
fn a_wrong_value_is_told_with_what_is_allowed() {
    for (file, told) in [
        ("workers = \"two\"", "workers = \"two\" is not allowed; allowed: a whole number, 0 or more"),
        ("workers = -1", "workers = -1 is not allowed; allowed: a whole number, 0 or more"),
        ("workers = 1025", "workers = 1025 is not allowed; allowed: 0 to 1024"),
        ("workers = [1]", "workers = [1] is not allowed; allowed: a whole number, 0 or more"),
        ("queues.tries_max = -1", "queues.tries_max = -1 is not allowed; allowed: a whole number, 0 or more"),
        ("workers.x = 1", "workers = { x = 1 } is not allowed; allowed: a whole number, 0 or more"),
        ("data_dir = 1", "data_dir = 1 is not allowed; allowed: a text in quotes"),
        ("http = 1", "http = 1 is not allowed; allowed: keys under the heading [http]"),
        ("channels = 1", "channels = 1 is not allowed; allowed: tables under the heading [[channels]]"),
        ("http.heartbeat = \"1ms\"", "http.heartbeat = \"1ms\" is not allowed; allowed: 10ms to 1h"),
        (
            "http.wait_max = 30",
            "http.wait_max = 30 is not allowed; allowed: a length of time such as \"30s\" or \"1m30s\" (ms, s, m, h, d)",
        ),
        (
            "history.bytes_max = \"16 megs\"",
            "history.bytes_max = \"16 megs\" is not allowed; allowed: a size such as \"16 MiB\" (B, KiB, MiB, GiB, TiB, or in thousands \
             kB, MB, GB, TB)",
        ),
        (
            "listen.http = \"localhost\"",
            "listen.http = \"localhost\" is not allowed; allowed: an IP address and a port such as \"127.0.0.1:8080\" or \"[::1]:8080\" \
             (port 0 picks a free one), or \"off\"",
        ),
        ("echo.enabled = \"yes\"", "echo.enabled = \"yes\" is not allowed; allowed: true or false"),
        (
            "http.origins = [\"chat.example\"]",
            "http.origins = [\"chat.example\"] is not allowed; allowed: origins such as \"https://chat.example\", without a path",
        ),
        (
            "limits.exempt = [\"10.0.0.0/33\"]",
            "limits.exempt = [\"10.0.0.0/33\"] is not allowed; allowed: addresses and networks such as \"10.0.0.0/8\" or \"192.0.2.1\"",
        ),
        ("http.hosts = [1]", "http.hosts = [1] is not allowed; allowed: a text in quotes"),
        (
            "queues.dead_letter = \"*/*\"",
            "queues.dead_letter = \"*/*\" is not allowed; allowed: a queue's name such as \"dead\" or \"$dead/*\", or nothing: * stands for \
             the queue's name; write it once",
        ),
        ("log.level = \"loud\"", "log.level = \"loud\" is not allowed; allowed: one of `error`, `warn`, `info`, `debug`, `trace`"),
        ("[queue]\nmessages_max = 1", "queue = { messages_max = 1 } is not allowed; allowed: tables under the heading [[queue]]"),
        (
            "[[queues]]\npattern = \"a\"",
            "queues = [{ pattern = \"a\" }] is not allowed; allowed: keys under the heading [queues], which hold for all queues; those \
             of some stand under [[queue]]",
        ),
        ("[[queue]]", "queue = {} is not allowed; allowed: a table with a pattern such as pattern = \"orders/**\""),
        ("[[channels]]", "channels = {} is not allowed; allowed: a table with a pattern such as pattern = \"chat/**\""),
    ] {
        assert_eq!(faults(file), format!("bongsu.toml:1: {told}"), "{file}");
    }
    assert_eq!(
        faults("[[channels]]\npattern = \"\"\npublications_max = 0"),
        "bongsu.toml:2: channels.pattern = \"\" is not allowed; allowed: a pattern of channel names such as \"chat/**\": no channel can \
         match: the channel name is empty; give 1 to 255 bytes such as chat/lobby\n\
         bongsu.toml:3: channels.publications_max = 0 is not allowed; allowed: 1 to 100000000"
    );
    assert_eq!(
        faults("[[queue]]\npattern = \"a**\"\nmessages_max = 0\ntries_max = -1\ndead_letter = \"*/*\""),
        "bongsu.toml:2: queue.pattern = \"a**\" is not allowed; allowed: a pattern of queue names such as \"orders/**\": ** stands for \
         whole segments; write it alone between slashes, or * within a segment\n\
         bongsu.toml:3: queue.messages_max = 0 is not allowed; allowed: 1 to 100000000\n\
         bongsu.toml:4: queue.tries_max = -1 is not allowed; allowed: a whole number, 0 or more\n\
         bongsu.toml:5: queue.dead_letter = \"*/*\" is not allowed; allowed: a queue's name such as \"dead\" or \"$dead/*\", or nothing: * \
         stands for the queue's name; write it once"
    );
}

#[test]
fn keys_that_contradict_each_other_are_told() {
    for (file, told) in [
        (
            "[shutdown]\nreconnect_min = \"9s\"",
            "shutdown.reconnect_min = 9s must not be greater than shutdown.reconnect_max = 5s; change either",
        ),
        (
            "[history]\ntotal_bytes_max = \"1 MiB\"",
            "history.bytes_max = 16 MiB must not be greater than history.total_bytes_max = 1 MiB; change either",
        ),
        (
            "[queues]\ntotal_bytes_max = \"1 MiB\"",
            "queues.bytes_max = 16 MiB must not be greater than queues.total_bytes_max = 1 MiB; change either",
        ),
        (
            "[listen]\nhttp = \"off\"\ntcp = \"off\"\nudp = \"off\"\nstomp = \"off\"",
            "every listener is off, so nobody could connect; give listen.http an address such as 127.0.0.1:8080",
        ),
        (
            "[proxy]\ntcp = \"optional\"",
            "proxy.tcp asks for the PROXY protocol and proxy.trusted is empty, so nobody could speak it; list your proxies there",
        ),
    ] {
        assert_eq!(faults(file), told, "{file}");
    }
}

#[test]
fn all_faults_of_all_sources_are_told_at_once() {
    let told = load("worker = 1\n[http]\nheaders_max = 0\n", &[("BONGSU_WORKERS", "many")], &[("log.format", "xml")])
        .expect_err("four faults")
        .to_string();
    assert_eq!(
        told,
        "bongsu.toml:1: unknown key worker; the nearest known one is workers\n\
         bongsu.toml:3: http.headers_max = 0 is not allowed; allowed: 1 to 1000\n\
         BONGSU_WORKERS: workers = \"many\" is not allowed; allowed: a whole number, 0 or more\n\
         --set: log.format = \"xml\" is not allowed; allowed: `text` or `json`"
    );
}

#[test]
fn a_file_that_is_not_toml_is_told_with_its_line() {
    let told = faults("workers = 1\nhttp = [\n");
    assert!(told.starts_with("bongsu.toml:") && told.contains("not TOML"), "{told}");
    assert!(faults("workers = 1\nworkers = 2").starts_with("bongsu.toml:2: not TOML: duplicate key"));
}

#[test]
fn a_file_that_cannot_be_read_is_told() {
    let told = SourceFile::read(std::path::Path::new("no/such.toml")).expect_err("not there").to_string();
    assert!(told.starts_with("no/such.toml: cannot read the configuration:"), "{told}");
}

#[test]
fn no_two_keys_share_a_variable() {
    let schema = Schema::new();
    let mut variables: Vec<String> = schema.keys().map(|key| variable(key, "_")).collect();
    let count = variables.len();
    variables.sort();
    variables.dedup();
    assert_eq!(variables.len(), count);
    assert!(schema::NOT_CONFIGURATION.iter().all(|name| !variables.iter().any(|variable| variable == name)));
}

#[test]
fn a_reload_tells_what_changes_and_what_must_wait() {
    let running = loaded("workers = 2\n[http]\nwait_max = \"30s\"\n");
    let mut asked =
        loaded("workers = 3\ndata_dir = \"d\"\n[log]\nlevel = \"debug\"\n[[channels]]\npattern = \"a/**\"\npublications_max = 1\n");
    let told =
        |changes: Vec<Change>| changes.into_iter().map(|Change { key, from, to }| format!("{key}: {from} -> {to}")).collect::<Vec<_>>();
    assert_eq!(told(asked.keep_what_needs_a_restart(&running)), ["data_dir: \"\" -> \"d\"", "workers: 2 -> 3"]);
    let changes = told(running.changes(&asked));
    assert_eq!(changes.len(), 3, "{changes:?}");
    assert!(changes[0].starts_with("channels: [] -> [") && changes[0].contains("a/**"), "{changes:?}");
    assert_eq!(changes[1..], ["http.wait_max: \"30s\" -> \"1m\"", "log.level: \"info\" -> \"debug\""]);
    assert!(running.changes(&running).is_empty());
}
