//! The table of requirements: `requirements.toml` beside this crate.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use serde::Deserialize;

/// How much a requirement matters.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Priority {
    /// Any serious stack.
    P0,
    /// A trusted stack.
    P1,
    /// Optional.
    P2,
}

/// One testable requirement.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Requirement {
    pub(crate) ids: Vec<String>,
    pub(crate) priority: Priority,
    /// What it asks, in our words.
    pub(crate) text: String,
    /// RFC numbers and sections.
    pub(crate) source: String,
    /// What a test of it does.
    pub(crate) test: String,
    /// What we do instead, and why.
    pub(crate) deviation: Option<String>,
    /// Why there is no such thing here (P2 only).
    pub(crate) not_built: Option<String>,
}

/// Requirements that belong together.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Section {
    pub(crate) title: String,
    #[serde(rename = "requirement")]
    pub(crate) requirements: Vec<Requirement>,
}

/// All of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Requirements {
    #[serde(rename = "section")]
    pub(crate) sections: Vec<Section>,
}

impl Requirements {
    /// Reads the table; says what is wrong with it.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let table: Self =
            toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        table.check()?;
        Ok(table)
    }

    fn check(&self) -> Result<(), String> {
        let mut seen = HashSet::new();
        for requirement in self.iter() {
            for id in &requirement.ids {
                if !seen.insert(id) {
                    return Err(format!("{id} stands in the table twice"));
                }
            }
            if requirement.not_built.is_some() && requirement.priority != Priority::P2 {
                return Err(format!("{}: only P2 may be left out", requirement.ids[0]));
            }
        }
        Ok(())
    }

    /// Every requirement, in the table's order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Requirement> {
        self.sections
            .iter()
            .flat_map(|section| &section.requirements)
    }

    /// Every id with the row it stands in.
    pub(crate) fn by_id(&self) -> BTreeMap<&str, &Requirement> {
        self.iter()
            .flat_map(|row| row.ids.iter().map(move |id| (id.as_str(), row)))
            .collect()
    }
}
