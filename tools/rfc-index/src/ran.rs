//! Which tests ran, and passed: the file that `USTACK_COVERS` names.

use std::collections::BTreeMap;
use std::path::Path;

/// Tests that passed, with the ids they named.
#[derive(Debug, Default)]
pub(crate) struct Ran(BTreeMap<String, Vec<String>>);

impl Ran {
    /// Reads the file; `root` is cut off paths that begin with it.
    pub(crate) fn read(path: &Path, root: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            format!(
                "{}: {error}; run the tests with USTACK_COVERS={} first",
                path.display(),
                path.display()
            )
        })?;
        Ok(Self::parse(&text, root))
    }

    fn parse(text: &str, root: &Path) -> Self {
        let root = format!("{}/", root.display());
        let line = |line: &str| {
            let mut fields = line.split('\t').map(str::to_string);
            let test = fields.next()?;
            let test = test.strip_prefix(&root).unwrap_or(&test).to_string();
            Some((test, fields.collect()))
        };
        Self(text.lines().filter_map(line).collect())
    }

    /// Whether `test` passed.
    pub(crate) fn has(&self, test: &str) -> bool {
        self.0.contains_key(test)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_count_from_the_workspace_on() {
        let text = "/w/tcp/tests/scripts/a/b.pkt\tSM-4\ntcp/src/x.rs::y\tMUST-1\tMUST-2\n";
        let ran = Ran::parse(text, Path::new("/w"));
        assert!(ran.has("tcp/tests/scripts/a/b.pkt") && ran.has("tcp/src/x.rs::y"));
        assert!(!ran.has("tcp/src/x.rs::z"));
        assert_eq!(ran.len(), 2);
    }
}
