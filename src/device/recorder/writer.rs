//! From rings to files: names, limits, and an annotated capture.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::RecorderOptions;
use super::ring::{self, KEPT};
use crate::device::capture::{CaptureOptions, CapturedHead, write_heads};

/// What files of recorders are called first.
const PREFIX: &str = "ustack-";
const SUFFIX: &str = ".pcapng";

/// Writes files.
#[derive(Debug)]
pub(super) struct Writer {
    options: RecorderOptions,
    /// Wall-clock time of the stack's zero, as far as the start of the recorder tells.
    epoch: SystemTime,
    /// Files written so far.
    count: u32,
}

impl Writer {
    pub(super) fn new(options: &RecorderOptions) -> Self {
        Self {
            options: options.clone(),
            epoch: SystemTime::now(),
            count: 0,
        }
    }

    /// Writes a file of copies of rings, and removes older ones beyond the limits.
    pub(super) fn write(
        &mut self,
        why: &str,
        now: SystemTime,
        copies: &[Vec<u8>],
    ) -> io::Result<PathBuf> {
        self.count += 1;
        let name = file_name(now, self.count, why);
        let (path, file) = create(&self.options.directories, &name)?;
        let options = CaptureOptions {
            interface: self.options.interface.clone(),
            snaplen: KEPT as u32,
            comment: Some(match &self.options.comment {
                Some(comment) => format!("flight recorder: {why}; {comment}"),
                None => format!("flight recorder: {why}"),
            }),
            annotate: true,
            ..CaptureOptions::default()
        };
        let epoch = self.epoch.duration_since(UNIX_EPOCH).unwrap_or_default();
        write_heads(file, &options, |write| {
            let mut result = Ok(());
            ring::each(copies, |at, head, part| {
                if result.is_ok() {
                    result = write(&CapturedHead {
                        time: epoch + (at - ustack_tcp::time::Instant::ZERO),
                        is_sent: head.is_sent,
                        data: head.data,
                        len: head.len as usize,
                        part: *part,
                    });
                }
            });
            result
        })?;
        if let Some(directory) = path.parent() {
            prune(directory, self.options.max_files, self.options.max_bytes);
        }
        Ok(path)
    }
}

/// `ustack-20261122T050607Z-4711-0001-connection-reset.pcapng`, 4711 the process
fn file_name(now: SystemTime, count: u32, why: &str) -> String {
    let reason = why.split(['(', ':']).next().unwrap_or_default().trim();
    let reason: String = reason
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(40)
        .collect();
    let since_1970 = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let time = utc(since_1970);
    let process = std::process::id();
    format!("{PREFIX}{time}-{process}-{count:04}-{reason}{SUFFIX}")
}

/// A time of the Gregorian calendar, in UTC: `20261122T050607Z`.
fn utc(since_1970: Duration) -> String {
    let seconds = since_1970.as_secs();
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (mut year, mut day) = (1970, days);
    let is_leap =
        |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let length = |year| if is_leap(year) { 366 } else { 365 };
    while day >= length(year) {
        day -= length(year);
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in months {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!(
        "{year:04}{month:02}{:02}T{hour:02}{minute:02}{second:02}Z",
        day + 1
    )
}

/// A new file in the first directory that takes one.
fn create(directories: &[PathBuf], name: &str) -> io::Result<(PathBuf, File)> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no directory is named");
    for directory in directories {
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .and_then(|()| {
                let path = directory.join(name);
                let file = File::create_new(&path)?;
                Ok((path, file))
            });
        match made {
            Ok(made) => return Ok(made),
            Err(error) => {
                let message = format!("{}: {error}", directory.display());
                last = io::Error::new(error.kind(), message);
            }
        }
    }
    Err(last)
}

/// Removes the oldest files of recorders until the limits hold. Names sort by time.
fn prune(directory: &Path, max_files: usize, max_bytes: u64) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    let mut files: Vec<_> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().into_string().ok()?;
            let is_ours = name.starts_with(PREFIX) && name.ends_with(SUFFIX);
            let len = entry.metadata().ok()?.len();
            is_ours.then(|| (entry.path(), len))
        })
        .collect();
    files.sort();
    let (mut count, mut bytes) = (files.len(), files.iter().map(|(_, len)| len).sum::<u64>());
    for (path, len) in &files[..files.len().saturating_sub(1)] {
        if count <= max_files && bytes <= max_bytes {
            break;
        }
        if let Err(error) = fs::remove_file(path) {
            tracing::warn!(file = %path.display(), %error, "an old recording stays");
        }
        count -= 1;
        bytes -= len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_of_the_calendar() {
        let utc = |seconds| utc(Duration::from_secs(seconds));
        assert_eq!(utc(0), "19700101T000000Z");
        assert_eq!(utc(951_782_400), "20000229T000000Z");
        assert_eq!(utc(1_795_323_600), "20261122T050000Z");
        assert_eq!(utc(1_798_761_599), "20261231T235959Z");
    }

    #[test]
    fn names_hold_the_reason_and_no_address() {
        let name = file_name(UNIX_EPOCH, 7, "connection reset (10.77.0.2:80 to [::1]:9)");
        assert!(name.starts_with("ustack-19700101T000000Z-"), "{name}");
        assert!(name.ends_with("-0007-connection-reset.pcapng"), "{name}");
    }

    #[test]
    fn the_oldest_files_go_by_number_and_by_size() {
        let folder = tempfile::tempdir().unwrap();
        let names = |folder: &Path| {
            let mut names: Vec<_> = fs::read_dir(folder)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        for day in 1..=5 {
            let name = format!("ustack-2026010{day}T000000Z-1-0001-test.pcapng");
            fs::write(folder.path().join(name), [0; 100]).unwrap();
        }
        fs::write(folder.path().join("mine.pcapng"), [0; 1000]).unwrap();
        prune(folder.path(), 4, 1000);
        assert_eq!(names(folder.path()).len(), 1 + 4);
        prune(folder.path(), 4, 250);
        let left = names(folder.path());
        assert_eq!(left.len(), 1 + 2);
        assert!(left[1].contains("20260104") && left[2].contains("20260105"));
        prune(folder.path(), 1, 1);
        assert_eq!(names(folder.path()).len(), 1 + 1, "the last one stays");
    }
}
