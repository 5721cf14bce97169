//! Where a capture is written to: one file, or one after the other.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// When a capture goes on in another file. What was begun is always finished: files get larger and
/// last longer than this by some packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Once a file has so many bytes.
    pub bytes: Option<u64>,
    /// Once a file's first packet is so old.
    pub age: Option<Duration>,
}

/// Makes the files of a capture.
pub trait Files: Send {
    /// The next file; the last one is complete.
    fn next(&mut self) -> io::Result<Box<dyn Write + Send>>;
}

/// `name_00001.pcapng`, `name_00002.pcapng` and so on, of which the oldest are removed.
#[derive(Debug)]
pub struct NumberedFiles {
    path: PathBuf,
    keep: usize,
    number: u32,
    made: VecDeque<PathBuf>,
}

impl NumberedFiles {
    /// Files beside `path`, of which the last `keep` stay.
    pub fn new(path: impl Into<PathBuf>, keep: usize) -> Self {
        Self {
            path: path.into(),
            keep: keep.max(1),
            number: 0,
            made: VecDeque::new(),
        }
    }

    /// The path of one of them.
    fn path_of(path: &Path, number: u32) -> PathBuf {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let name = match path.extension() {
            Some(extension) => format!("{stem}_{number:05}.{}", extension.to_string_lossy()),
            None => format!("{stem}_{number:05}"),
        };
        path.with_file_name(name)
    }
}

impl Files for NumberedFiles {
    fn next(&mut self) -> io::Result<Box<dyn Write + Send>> {
        self.number += 1;
        let path = Self::path_of(&self.path, self.number);
        let file = File::create(&path)?;
        self.made.push_back(path);
        while self.made.len() > self.keep
            && let Some(oldest) = self.made.pop_front()
        {
            if let Err(error) = std::fs::remove_file(&oldest) {
                tracing::warn!(file = %oldest.display(), %error, "an old capture stays");
            }
        }
        Ok(Box::new(file))
    }
}

/// One file.
pub(super) struct One(Option<Box<dyn Write + Send>>);

impl One {
    pub(super) fn new(file: impl Write + Send + 'static) -> Self {
        Self(Some(Box::new(file)))
    }
}

impl Files for One {
    fn next(&mut self) -> io::Result<Box<dyn Write + Send>> {
        let taken = || io::Error::other("there is one file only, and no rotation");
        self.0.take().ok_or_else(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_before_the_extension() {
        let name = |path: &str| NumberedFiles::path_of(Path::new(path), 7);
        assert_eq!(name("/x/all.pcapng"), Path::new("/x/all_00007.pcapng"));
        assert_eq!(name("all"), Path::new("all_00007"));
    }

    #[test]
    fn the_oldest_file_goes() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = NumberedFiles::new(folder.path().join("a.pcapng"), 2);
        for _ in 0..4 {
            files.next().unwrap();
        }
        let mut left: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["a_00003.pcapng", "a_00004.pcapng"]);
    }
}
