//! `cargo xtask conformance SUITE`: the suites of others that take too long, or need too much, to run with every change.

mod autobahn;
mod process;
mod slowhttptest;
mod testssl;

/// A suite, and what of it is to run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Autobahn's fuzzing client.
    Autobahn(autobahn::Plan),
    /// testssl.sh against the default listener.
    Testssl,
    /// A thousand slow connections, and what others notice.
    Slowhttptest(slowhttptest::Plan),
}

/// Reads the arguments.
pub(crate) fn plan(arguments: &[String]) -> Result<Plan, String> {
    match arguments.split_first() {
        Some((suite, rest)) if suite == "autobahn" => autobahn::plan(rest).map(Plan::Autobahn),
        Some((suite, [])) if suite == "testssl" => Ok(Plan::Testssl),
        Some((suite, rest)) if suite == "slowhttptest" => slowhttptest::plan(rest).map(Plan::Slowhttptest),
        Some((other, _)) => Err(format!("there is no suite {other:?}; there is {SUITES}")),
        None => Err(format!("say which suite: {SUITES}")),
    }
}

/// Runs the suite and tells whether all that it found was acceptable.
pub(crate) fn run(plan: &Plan) -> Result<bool, String> {
    match plan {
        Plan::Autobahn(plan) => autobahn::run(plan),
        Plan::Testssl => testssl::run(),
        Plan::Slowhttptest(plan) => slowhttptest::run(plan),
    }
}

const SUITES: &str = "autobahn, slowhttptest, testssl";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_which_suites_there_are() {
        let read = |text: &str| plan(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        assert!(matches!(read("autobahn"), Ok(Plan::Autobahn(_))));
        assert_eq!(read("testssl"), Ok(Plan::Testssl));
        assert!(matches!(read("slowhttptest --mode body"), Ok(Plan::Slowhttptest(_))));
        for wrong in ["", "h2spec"] {
            let fault = read(wrong).expect_err("no suite");
            assert!(fault.contains(SUITES), "{fault}");
        }
    }
}
