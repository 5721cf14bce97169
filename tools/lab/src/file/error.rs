//! What is wrong with an experiment's file, and where.

use std::fmt;

use toml::de::{DeTable, DeValue};

/// Why a file is not an experiment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// The line, where one is to blame.
    pub line: Option<usize>,
    /// The key, as `--set` writes it, where one is to blame.
    pub key: Option<String>,
    /// What is wrong with it, and what would be right.
    pub message: String,
}

impl std::error::Error for FileError {}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// Something wrong with the value at a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) key: String,
    pub(crate) message: String,
}

impl Problem {
    pub(crate) fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            message: message.into(),
        }
    }

    /// The same, with the line in `text` where the key is, or the table that it should be in.
    pub(crate) fn locate(self, text: &str) -> FileError {
        FileError {
            line: locate(text, &self.key),
            key: Some(self.key),
            message: self.message,
        }
    }
}

impl FileError {
    pub(crate) fn plain(message: impl Into<String>) -> Self {
        Self {
            line: None,
            key: None,
            message: message.into(),
        }
    }

    /// A syntax error, or a value of the wrong kind.
    pub(crate) fn from_toml(text: &str, error: &toml::de::Error) -> Self {
        let line = error.span().map(|span| line_of(text, span.start));
        // The key is what stands before the `=` of that line.
        let key = line
            .and_then(|line| text.lines().nth(line - 1))
            .and_then(|line| line.split_once('='))
            .map(|(key, _)| key.trim().to_owned());
        let is_unknown = error.message().starts_with("unknown field");
        Self {
            line,
            key: key.filter(|_| !is_unknown),
            message: error.message().to_owned(),
        }
    }
}

fn line_of(text: &str, at: usize) -> usize {
    let before = text.get(..at).unwrap_or(text);
    before.matches('\n').count() + 1
}

/// The line of the deepest part of `key` that the text has.
fn locate(text: &str, key: &str) -> Option<usize> {
    let root = DeTable::parse(text).ok()?;
    let words: Vec<_> = key.split('.').collect();
    find_in_table(root.get_ref(), &words).map(|at| line_of(text, at))
}

fn find_in_table(table: &DeTable<'_>, words: &[&str]) -> Option<usize> {
    let [first, rest @ ..] = words else {
        return None;
    };
    let (name, value) = table.iter().find(|(name, _)| name.get_ref() == first)?;
    find(value.get_ref(), rest).or(Some(name.span().start))
}

fn find(value: &DeValue<'_>, words: &[&str]) -> Option<usize> {
    match value {
        DeValue::Table(table) => find_in_table(table, words),
        DeValue::Array(list) => {
            let [first, rest @ ..] = words else {
                return None;
            };
            let mut entries = list.iter().enumerate();
            let (_, entry) = entries.find(|(index, entry)| {
                *first == index.to_string() || name_of(entry.get_ref()) == Some(first)
            })?;
            find(entry.get_ref(), rest).or(Some(entry.span().start))
        }
        _ => None,
    }
}

fn name_of<'a>(value: &'a DeValue<'_>) -> Option<&'a str> {
    let DeValue::Table(table) = value else {
        return None;
    };
    let (_, name) = table.iter().find(|(name, _)| name.get_ref() == "name")?;
    match name.get_ref() {
        DeValue::String(name) => Some(name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_lines() {
        let text = "[experiment]\nname = \"a\"\n\n[[link]]\nname = \"x\"\nrate = \"1mbit\"\n\n[[link]]\nname = \"y\"\nloss = \"1%\"\n";
        assert_eq!(locate(text, "experiment.name"), Some(2));
        assert_eq!(locate(text, "link.x.rate"), Some(6));
        assert_eq!(locate(text, "link.1.loss"), Some(10));
        assert_eq!(locate(text, "link.y.queue"), Some(8));
        assert_eq!(locate(text, "flow"), None);
    }
}
