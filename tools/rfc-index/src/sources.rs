//! What the repository says of requirements: the labels of tests, and citations in code.

use std::fs;
use std::path::{Path, PathBuf};

/// A test that names requirements.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Label {
    /// `file.rs::name` of a test function, or the path of a script, from the workspace on.
    pub(crate) test: String,
    pub(crate) ids: Vec<String>,
}

impl Label {
    /// Whether it is a script: those run over both families and around the wrap.
    pub(crate) fn is_script(&self) -> bool {
        is_script(&self.test)
    }
}

/// What a walk over the workspace found.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    pub(crate) labels: Vec<Label>,
    /// Rust files with their text outside of tests.
    pub(crate) code: Vec<(String, String)>,
}

impl Sources {
    /// Reads every Rust file and script below `root`.
    pub(crate) fn read(root: &Path) -> Result<Self, String> {
        let mut files = Vec::new();
        for room in ["src", "tcp", "udp", "tools", "tests", "examples"] {
            find(&root.join(room), &mut files).map_err(|error| format!("{room}: {error}"))?;
        }
        files.sort();
        let mut sources = Self::default();
        for path in files {
            let text = fs::read_to_string(&path)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            let name = path
                .strip_prefix(root)
                .unwrap_or(&path)
                .to_string_lossy()
                .into_owned();
            sources.add(name, &text)?;
        }
        sources.labels.sort();
        Ok(sources)
    }

    fn add(&mut self, name: String, text: &str) -> Result<(), String> {
        if is_script(&name) {
            let ids = script_ids(text);
            if !ids.is_empty() {
                self.labels.push(Label { test: name, ids });
            }
            return Ok(());
        }
        self.labels.extend(rust_labels(&name, text)?);
        let is_test = name.contains("/tests/")
            || name.starts_with("tests/")
            || name.ends_with("tests.rs")
            || name.starts_with("tools/rfc-index/")
            || name.starts_with("tools/covers/");
        if !is_test {
            let code = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or(text);
            self.code.push((name, code.to_string()));
        }
        Ok(())
    }

    /// The files that cite `id` outside of tests.
    pub(crate) fn citing(&self, id: &str) -> Vec<&str> {
        self.code
            .iter()
            .filter(|(_, text)| cites(text, id))
            .map(|(name, _)| name.as_str())
            .collect()
    }
}

fn is_script(name: &str) -> bool {
    Path::new(name)
        .extension()
        .is_some_and(|extension| extension == "pkt")
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "target") {
                find(&path, files)?;
            }
        } else if path
            .extension()
            .is_some_and(|extension| extension == "rs" || extension == "pkt")
        {
            files.push(path);
        }
    }
    Ok(())
}

/// The ids of `# covers: MUST-12, SM-4` lines.
fn script_ids(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| {
            line.trim_start_matches(['#', '/', ' '])
                .strip_prefix("covers:")
        })
        .flat_map(|ids| ids.split(','))
        .map(|id| id.trim().to_string())
        .filter(|id| !id.is_empty())
        .collect()
}

/// Every `#[covers("…", …)]` with the function it stands on.
fn rust_labels(file: &str, text: &str) -> Result<Vec<Label>, String> {
    let mut labels = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("#[covers(") {
        let line = &rest[..at];
        rest = &rest[at + "#[covers(".len()..];
        let before = line.rsplit('\n').next().unwrap_or_default();
        if !before.trim().is_empty() {
            continue; // prose about the attribute
        }
        let end = rest
            .find(")]")
            .ok_or_else(|| format!("{file}: a #[covers( without an end"))?;
        let ids = rest[..end]
            .split('"')
            .skip(1)
            .step_by(2)
            .map(str::to_string)
            .collect();
        rest = &rest[end..];
        let name: String = rest
            .split_once("fn ")
            .map(|(_, rest)| {
                let is_name = |c: &char| c.is_alphanumeric() || *c == '_';
                rest.chars().take_while(is_name).collect()
            })
            .ok_or_else(|| format!("{file}: a #[covers] without a function"))?;
        let test = format!("{file}::{name}");
        labels.push(Label { test, ids });
    }
    Ok(labels)
}

/// Whether `id` stands in `text` as a whole word: SY-1 does not stand in SY-12.
fn cites(text: &str, id: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
    text.match_indices(id).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + id.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_found_with_their_functions() {
        let attribute = "#[covers";
        let text = format!(
            "#[test]\n    {attribute}(\"MUST-1\",\n        \"SM-4\")]\n    fn a_test() {{}}\n// {attribute}(\"X\")]\nfn other() {{}}"
        );
        let labels = rust_labels("tcp/src/x.rs", &text).unwrap();
        assert_eq!(labels.len(), 1);
        assert_eq!(labels[0].test, "tcp/src/x.rs::a_test");
        assert_eq!(labels[0].ids, ["MUST-1", "SM-4"]);
    }

    #[test]
    fn scripts_name_theirs_in_a_comment() {
        assert_eq!(
            script_ids("# A title.\n# covers: SM-15, MUST-13\n+0 < S\n"),
            ["SM-15", "MUST-13"]
        );
        assert_eq!(script_ids("// covers: RT-1"), ["RT-1"]);
    }

    #[test]
    fn an_id_is_a_whole_word() {
        assert!(cites("as SY-1 says", "SY-1"));
        assert!(cites("(SY-1)", "SY-1"));
        assert!(!cites("SY-12 SY-1-2 XSY-1", "SY-1"));
    }
}
