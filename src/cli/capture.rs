//! `--capture` and what goes with it: what was asked for, and the devices that do it.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::Access;
use ustack::device::{
    Capture, CaptureCounters, CaptureDirection, CaptureFilter, CaptureOptions, Device, ImpairSpec,
    NumberedFiles, Rotation,
};

use super::args::Options;
use super::config_file::Origins;
use super::error::{Error, ExitStatus, reason};
use super::settings::{bytes_of, usage};

/// Below this not even headers are kept whole.
const MIN_SNAPLEN: u32 = 64;
/// The largest packet there is, with room to spare.
const MAX_SNAPLEN: u32 = 0x4_0000;
/// Files of a rotation, unless told otherwise.
const DEFAULT_FILES: u32 = 10;

/// What `--capture` and the options that go with it ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CaptureSettings {
    /// Where packets are recorded.
    pub(crate) path: PathBuf,
    /// Each with a comment.
    annotate: bool,
    snaplen: u32,
    filter: CaptureFilter,
    direction: Option<CaptureDirection>,
    rotation: Rotation,
    /// Files of a rotation that stay.
    files: u32,
}

impl CaptureSettings {
    /// `None`: nothing is to be captured.
    pub(crate) fn new(options: &Options, origins: &Origins) -> Result<Option<Self>, Error> {
        let Some(path) = options.capture.clone() else {
            return refuse_alone(options, origins).map(|()| None);
        };
        check_file(&path, "capture")?;
        let snaplen = options.snaplen.unwrap_or(MAX_SNAPLEN);
        if !(MIN_SNAPLEN..=MAX_SNAPLEN).contains(&snaplen) {
            return Err(usage(format!(
                "{} {snaplen} is impossible: {MIN_SNAPLEN} to {MAX_SNAPLEN} bytes of each packet",
                origins.name("snaplen")
            )));
        }
        let filter = options.capture_filter.as_deref().unwrap_or_default();
        let filter = filter.parse().map_err(|why| {
            usage(format!("{}: {why}", origins.name("capture-filter")))
                .hint("Example: --capture-filter \"tcp port 80 or host 10.77.0.1 udp\"")
        })?;
        let direction = options.capture_direction.as_deref();
        let direction = direction.map(str::parse).transpose().map_err(|why| {
            usage(format!("{}: {why}", origins.name("capture-direction")))
                .hint("Example: --capture-direction out")
        })?;
        let rotation = match &options.capture_rotate {
            Some(text) => parse_rotation(text).ok_or_else(|| {
                usage(format!(
                    "{} {text} is neither a size nor a time",
                    origins.name("capture-rotate")
                ))
                .hint("Examples: --capture-rotate 100M, --capture-rotate 10min, or 100M,10min")
            })?,
            None => Rotation::default(),
        };
        if options.capture_files == Some(0) {
            let name = origins.name("capture-files");
            return Err(usage(format!("{name} 0 would keep nothing")));
        }
        Ok(Some(Self {
            path,
            annotate: options.annotate.unwrap_or_default(),
            snaplen,
            filter,
            direction,
            rotation,
            files: options.capture_files.unwrap_or(DEFAULT_FILES),
        }))
    }

    /// Records all queues.
    pub(crate) fn record(
        &self,
        queues: Vec<Box<dyn Device>>,
        interface: String,
        impairment: &[Option<ImpairSpec>],
    ) -> Result<Recorded, Error> {
        let options = CaptureOptions {
            interface,
            snaplen: self.snaplen,
            annotate: self.annotate,
            comment: Some(about(impairment)),
            filter: self.filter.clone(),
            direction: self.direction,
            rotation: self.rotation,
            secrets: std::env::var_os("SSLKEYLOGFILE")
                .filter(|path| !path.is_empty())
                .map(PathBuf::from),
            ..CaptureOptions::default()
        };
        let mut queues = queues.into_iter();
        let Some(first) = queues.next() else {
            return Ok((Vec::new(), None));
        };
        let first = if self.rotation == Rotation::default() {
            File::create(&self.path).and_then(|file| Capture::new(first, file, options))
        } else {
            let files = NumberedFiles::new(&self.path, self.files as usize);
            Capture::with_files(first, files, options)
        };
        let first = first.map_err(|error| file_error(&self.path, "capture", &error))?;
        let counters = first.counters();
        let mut recorded: Vec<Box<dyn Device>> = Vec::new();
        for queue in queues {
            recorded.push(Box::new(first.beside(queue)));
        }
        recorded.insert(0, Box::new(first));
        Ok((recorded, Some(counters)))
    }
}

/// The queues, recorded, and how that goes.
pub(crate) type Recorded = (Vec<Box<dyn Device>>, Option<Arc<CaptureCounters>>);

/// The command line, and the faults with their seeds: what a file says of how it came about.
pub(crate) fn about(impairment: &[Option<ImpairSpec>]) -> String {
    let mut about = command_line();
    for (name, spec) in ["in", "out"].iter().zip(impairment) {
        if let Some(spec) = spec {
            let _ = write!(about, "; impair {name}: {spec}");
        }
    }
    about
}

/// The arguments of this process, quoted where they need to be.
pub(crate) fn command_line() -> String {
    let quoted = |argument: OsString| {
        let argument = argument.to_string_lossy().into_owned();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:%+@[]".contains(c);
        if !argument.is_empty() && argument.chars().all(is_plain) {
            argument
        } else {
            format!("'{}'", argument.replace('\'', r"'\''"))
        }
    };
    let all: Vec<_> = std::env::args_os().map(quoted).collect();
    all.join(" ")
}

/// What only makes sense with `--capture` is refused without.
fn refuse_alone(options: &Options, origins: &Origins) -> Result<(), Error> {
    for (key, is_there) in [
        ("annotate", options.annotate == Some(true)),
        ("snaplen", options.snaplen.is_some()),
        ("capture-filter", options.capture_filter.is_some()),
        ("capture-direction", options.capture_direction.is_some()),
        ("capture-rotate", options.capture_rotate.is_some()),
        ("capture-files", options.capture_files.is_some()),
    ] {
        if is_there {
            let name = origins.name(key);
            let message = format!("{name} says how to capture, but nothing is captured");
            return Err(usage(message).hint("Add --capture FILE.pcapng, or leave it out"));
        }
    }
    Ok(())
}

/// A size, a time, or both with a comma between.
fn parse_rotation(text: &str) -> Option<Rotation> {
    let mut rotation = Rotation::default();
    for part in text.split(',') {
        if let Some(age) = time(part).filter(|age| !age.is_zero()) {
            rotation.age = rotation.age.is_none().then_some(Some(age))?;
        } else {
            let bytes = bytes_of(part).filter(|&bytes| bytes > 0)?;
            rotation.bytes = rotation.bytes.is_none().then_some(Some(bytes as u64))?;
        }
    }
    Some(rotation)
}

fn time(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "s" => 1,
        "min" => 60,
        "h" => 3600,
        _ => return None,
    };
    let count = digits.parse::<u64>().ok()?;
    Some(Duration::from_secs(count.checked_mul(unit)?))
}

/// Refuses a file that could not be written, before a device is made for it.
pub(crate) fn check_file(file: &Path, option: &str) -> Result<(), Error> {
    let parent = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let found = match std::fs::metadata(file) {
        Ok(meta) if meta.is_dir() => Err(rustix::io::Errno::ISDIR),
        Ok(_) => rustix::fs::access(file, Access::WRITE_OK),
        Err(_) => rustix::fs::access(parent, Access::WRITE_OK | Access::EXEC_OK),
    };
    found.map_err(|errno| file_error(file, option, &errno.into()))
}

/// A file that cannot be written.
pub(crate) fn file_error(file: &Path, option: &str, error: &std::io::Error) -> Error {
    let (file, why) = (file.display(), reason(error));
    Error::new(
        ExitStatus::File,
        format!("cannot write --{option} {file}: {why}"),
    )
    .hint("Name a file in a directory that the user ustack runs as can write to")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotation_by_size_time_or_both() {
        let of = |bytes: Option<u64>, secs: Option<u64>| {
            Some(Rotation {
                bytes,
                age: secs.map(Duration::from_secs),
            })
        };
        assert_eq!(parse_rotation("100M"), of(Some(100 << 20), None));
        assert_eq!(parse_rotation("10min"), of(None, Some(600)));
        assert_eq!(parse_rotation("1G,2h"), of(Some(1 << 30), Some(7200)));
        assert_eq!(parse_rotation("30s,64K"), of(Some(64 << 10), Some(30)));
        for text in ["", "0", "0s", "10", "M", "1M,2M", "1s,2s", "ten", "1M,"] {
            // A bare number is a size in bytes.
            assert_eq!(parse_rotation(text).is_some(), text == "10", "{text}");
        }
    }
}
