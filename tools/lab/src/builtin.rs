//! The experiments that come with the program.

use crate::file::{Experiment, FileError};

/// Names and texts, by name.
const ALL: &[(&str, &str)] = &[
    ("bbr-cubic", include_str!("../experiments/bbr-cubic.toml")),
    (
        "bufferbloat",
        include_str!("../experiments/bufferbloat.toml"),
    ),
    ("edge", include_str!("../experiments/edge.toml")),
    ("fairness", include_str!("../experiments/fairness.toml")),
    ("hol", include_str!("../experiments/hol.toml")),
    ("last-mile", include_str!("../experiments/last-mile.toml")),
    ("one-flow", include_str!("../experiments/one-flow.toml")),
    (
        "responsiveness",
        include_str!("../experiments/responsiveness.toml"),
    ),
    (
        "rtt-fairness",
        include_str!("../experiments/rtt-fairness.toml"),
    ),
    ("slow-start", include_str!("../experiments/slow-start.toml")),
    ("wireless", include_str!("../experiments/wireless.toml")),
];

/// Names of the built-in experiments.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|(name, _)| *name)
}

/// The file of a built-in experiment.
pub fn text(name: &str) -> Option<&'static str> {
    let found = ALL.iter().find(|(other, _)| *other == name);
    found.map(|(_, text)| *text)
}

impl Experiment {
    /// A built-in experiment.
    pub fn builtin(name: &str) -> Result<Self, FileError> {
        let Some(text) = text(name) else {
            let names: Vec<_> = names().collect();
            let names = names.join(", ");
            return Err(FileError::plain(format!(
                "no experiment is called `{name}`: there are {names}"
            )));
        };
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_directory_is_built_in_under_its_name() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/experiments");
        let mut files: Vec<_> = std::fs::read_dir(directory)
            .expect("the experiments")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        files.sort();
        let stems: Vec<_> = files
            .iter()
            .filter_map(|path| path.file_stem()?.to_str())
            .collect();
        assert_eq!(stems, names().collect::<Vec<_>>());
        for name in names() {
            let experiment =
                Experiment::builtin(name).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(experiment.name(), name);
            assert!(
                !experiment.title().is_empty() && !experiment.about().is_empty(),
                "{name}"
            );
        }
    }
}
