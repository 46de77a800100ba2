//! A compare file: which servers, under which loads, how often, and what is to be reached.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::BenchFault;
use super::fault::unknown;
use super::figure::Figure;
use super::goal::Goal;
use super::scenario::Scenario;
use super::target::TargetFile;

/// What is compared.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompareFile {
    /// What it is for.
    #[serde(default)]
    pub about: String,
    /// How often every run is made.
    #[serde(default = "five")]
    pub rounds: usize,
    /// How long each counts, where its scenario does not say.
    #[serde(default = "two")]
    pub seconds: f64,
    /// The target that ratios refer to; the first, if nothing is said. It runs twice, so that the second shows the noise.
    pub reference: Option<String>,
    /// The servers.
    #[serde(rename = "target")]
    pub targets: Vec<TargetEntry>,
    /// The loads.
    #[serde(rename = "scenario")]
    pub scenarios: Vec<Scenario>,
    /// What is to be reached.
    #[serde(rename = "goal", default)]
    pub goals: Vec<Goal>,
}

/// One server: a file, and what differs here.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetEntry {
    /// Its name in this comparison; that of its file, if nothing is said.
    pub name: Option<String>,
    /// Its file, beside this one. Without it, it is this project's server.
    pub file: Option<PathBuf>,
    /// Further words on its command line.
    #[serde(default)]
    pub arguments: String,
    /// Whether it is run only in scenarios that name it.
    #[serde(default)]
    pub only_if_named: bool,
}

fn five() -> usize {
    5
}

fn two() -> f64 {
    2.0
}

impl CompareFile {
    /// Reads a compare file and the target files that it names.
    pub fn read(file: &Path) -> Result<(Self, Vec<TargetFile>), BenchFault> {
        let text = std::fs::read_to_string(file).map_err(BenchFault::file(file))?;
        Self::parse(&text, file)
    }

    /// The same, of its text.
    pub fn parse(text: &str, file: &Path) -> Result<(Self, Vec<TargetFile>), BenchFault> {
        let wrong = |message: String| BenchFault::Text { file: file.to_owned(), message };
        let mut compared: Self = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let here = file.parent().unwrap_or(Path::new("."));
        let targets = compared.targets.iter().map(|entry| entry.read(here)).collect::<Result<Vec<_>, _>>()?;
        compared.scenarios = compared.scenarios.iter().flat_map(Scenario::expand).collect();
        compared.check(&targets).map_err(|fault| wrong(fault.to_string()))?;
        Ok((compared, targets))
    }

    /// The name of the target that ratios refer to.
    pub fn reference<'a>(&'a self, targets: &'a [TargetFile]) -> &'a str {
        let first = || targets.first().map_or("", |target| &target.name);
        self.reference.as_deref().unwrap_or_else(first)
    }

    /// Leaves only these scenarios, by their names or the beginnings of them.
    pub fn keep_scenarios(&mut self, wanted: &[String]) -> Result<(), BenchFault> {
        for name in wanted {
            if !self.scenarios.iter().any(|scenario| scenario.name.starts_with(name.as_str())) {
                return Err(unknown("scenario", name, self.scenarios.iter().map(|scenario| scenario.name.as_str())));
            }
        }
        self.scenarios.retain(|scenario| wanted.is_empty() || wanted.iter().any(|name| scenario.name.starts_with(name.as_str())));
        Ok(())
    }

    /// Leaves out what does not fit into so many bytes of socket buffers, and says what and why.
    pub fn keep_what_fits(&mut self, available: Option<u64>) -> Vec<String> {
        let left_out = self.scenarios.iter().filter_map(|scenario| scenario.too_big(available)).collect();
        self.scenarios.retain(|scenario| scenario.too_big(available).is_none());
        left_out
    }

    fn check(&self, targets: &[TargetFile]) -> Result<(), BenchFault> {
        let names = || targets.iter().map(|target| target.name.as_str());
        let scenarios = || self.scenarios.iter().map(|scenario| scenario.name.as_str());
        let target = |name: &str| if names().any(|known| known == name) { Ok(()) } else { Err(unknown("target", name, names())) };
        let scenario =
            |name: &str| if scenarios().any(|known| known == name) { Ok(()) } else { Err(unknown("scenario", name, scenarios())) };
        if self.rounds == 0 {
            return Err(BenchFault::Sense("rounds = 0: nothing would be run".to_owned()));
        }
        self.reference.iter().try_for_each(|name| target(name))?;
        for one in &self.scenarios {
            if one.name.is_empty() {
                return Err(BenchFault::Sense("a scenario without a name".to_owned()));
            }
            one.targets.iter().chain(one.arguments.keys()).try_for_each(|name| target(name))?;
        }
        for goal in &self.goals {
            goal.scenarios().try_for_each(scenario)?;
            goal.targets().try_for_each(target)?;
            Figure::named(&goal.figure).ok_or_else(|| unknown("figure", &goal.figure, super::FIGURES.iter().map(|figure| figure.key)))?;
            goal.check()?;
        }
        let mut seen = Vec::new();
        for name in names() {
            if seen.contains(&name) {
                return Err(BenchFault::Sense(format!("two targets are called {name:?}; give one of them a `name`")));
            }
            seen.push(name);
        }
        Ok(())
    }
}

impl TargetEntry {
    fn read(&self, here: &Path) -> Result<TargetFile, BenchFault> {
        let mut target = match &self.file {
            Some(file) => TargetFile::read(&here.join(file))?,
            None => TargetFile::itself(""),
        };
        if let Some(name) = &self.name {
            target.name.clone_from(name);
        }
        target.start = format!("{} {}", target.start, self.arguments).trim().to_owned();
        Ok(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<CompareFile, String> {
        CompareFile::parse(text, Path::new("some.toml")).map(|(file, _)| file).map_err(|fault| fault.to_string())
    }

    #[test]
    fn names_that_are_not_there_are_told_with_those_that_are() {
        let base = "[[target]]\nname = 'a'\n[[target]]\nname = 'b'\n[[scenario]]\nname = 'ws'\n";
        parse(base).expect("a good file");
        for (text, words) in [
            (
                "[[goal]]\nwhat = 'x'\nfigure = 'cpu'\nscenario = 'sw'\ntarget = 'a'\nat_most = 1.0",
                "there is no scenario \"sw\"; there are ws",
            ),
            (
                "[[goal]]\nwhat = 'x'\nfigure = 'gpu'\nscenario = 'ws'\ntarget = 'a'\nat_most = 1.0",
                "there is no figure \"gpu\"; there are cpu,",
            ),
            (
                "[[goal]]\nwhat = 'x'\nfigure = 'cpu'\nscenario = 'ws'\ntarget = 'c'\nat_most = 1.0",
                "there is no target \"c\"; there are a, b",
            ),
            ("[[goal]]\nwhat = 'x'\nfigure = 'cpu'\nscenario = 'ws'\ntarget = 'a'\nat_most = 1\nat_least = 1", "one of them"),
            ("[[target]]\nname = 'a'", "two targets are called \"a\""),
            ("[[scenario]]\nname = 'y'\ntargets = ['z']", "there is no target \"z\""),
            ("[[scenario]]\nname = 'y'\nsubscriber = 3", "unknown field `subscriber`"),
        ] {
            let told = parse(&format!("{base}{text}")).expect_err("it is wrong");
            assert!(told.contains(words) && told.starts_with("some.toml: "), "{text}: {told}");
        }
    }
}
