//! `--recorder`: the flight recorder of this program, and what makes it write.

use std::path::PathBuf;

use nix::unistd::{User, geteuid};
use tokio::signal::unix::{SignalKind, signal};
use ustack::device::{Device, FlightRecorder, ImpairSpec, RecorderOptions};

use super::args::Options;
use super::capture::about;
use super::config_file::Origins;
use super::error::{Error, ExitStatus};
use super::settings::{bytes_of, usage};

/// Of each shard.
const DEFAULT_SIZE: usize = 8 << 20;
/// Below this there is nothing to see; above, nobody would look through it.
const SIZES: (usize, usize) = (64 << 10, 1 << 30);

/// What `--recorder` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecorderSettings {
    /// `None`: wherever the user's state is kept.
    directory: Option<PathBuf>,
    /// Bytes of each shard's ring.
    size: usize,
}

impl RecorderSettings {
    /// `None`: it is off.
    pub(crate) fn new(options: &Options, origins: &Origins) -> Result<Option<Self>, Error> {
        let directory = match &options.recorder {
            Some(off) if off.as_os_str() == "off" => return Ok(None),
            directory => directory.clone(),
        };
        let size = match &options.recorder_size {
            None => DEFAULT_SIZE,
            Some(text) => {
                let size = bytes_of(text).filter(|size| (SIZES.0..=SIZES.1).contains(size));
                size.ok_or_else(|| {
                    let name = origins.name("recorder-size");
                    usage(format!("{name} {text} is no size from 64K to 1G"))
                        .hint("Example: --recorder-size 8M; --recorder off needs none")
                })?
            }
        };
        Ok(Some(Self { directory, size }))
    }

    /// Records all queues.
    pub(crate) fn record(
        &self,
        queues: Vec<Box<dyn Device>>,
        interface: String,
        impairment: &[Option<ImpairSpec>],
    ) -> Result<(Vec<Box<dyn Device>>, FlightRecorder), Error> {
        let options = RecorderOptions {
            directories: match &self.directory {
                Some(directory) => vec![directory.clone()],
                None => state_directories(),
            },
            size: self.size,
            interface,
            comment: Some(about(impairment)),
            ..RecorderOptions::default()
        };
        let recorder = FlightRecorder::new(options).map_err(|error| {
            let message = format!("the flight recorder cannot start: {error}");
            Error::new(ExitStatus::Other, message).hint("--recorder off does without")
        })?;
        recorder.write_on_panic();
        let recorded = queues.into_iter();
        let recorded = recorded.map(|queue| Box::new(recorder.record(queue)) as _);
        Ok((recorded.collect(), recorder))
    }
}

/// Where a user's programs keep their state (XDG Base Directory), or else where anybody can write.
fn state_directories() -> Vec<PathBuf> {
    let named = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    // Under sudo, variables are those of root or of the caller, depending on its settings.
    let home = if named("SUDO_UID").is_some() {
        let user = User::from_uid(geteuid()).ok().flatten();
        user.map(|user| user.dir)
    } else {
        named("HOME").map(PathBuf::from)
    };
    let state = named("XDG_STATE_HOME").map(PathBuf::from);
    let state = state.or_else(|| home.map(|home| home.join(".local/state")));
    let shared = std::env::temp_dir().join(format!("ustack-{}", geteuid()));
    let own = state.map(|state| state.join("ustack"));
    own.into_iter().chain([shared]).collect()
}

/// Has a file written at each SIGUSR1.
pub(crate) fn write_on_signal(recorder: FlightRecorder) -> std::io::Result<()> {
    let mut asked = signal(SignalKind::user_defined1())?;
    tokio::spawn(async move {
        while asked.recv().await.is_some() {
            recorder.order("SIGUSR1");
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(
        recorder: Option<&str>,
        size: Option<&str>,
    ) -> Result<Option<RecorderSettings>, String> {
        let options = Options {
            recorder: recorder.map(PathBuf::from),
            recorder_size: size.map(str::to_owned),
            ..Options::default()
        };
        RecorderSettings::new(&options, &Origins::default()).map_err(|error| error.render())
    }

    #[test]
    fn it_is_on_unless_told_otherwise() {
        let on = settings(None, None).unwrap().unwrap();
        assert_eq!((on.directory, on.size), (None, 8 << 20));
        assert_eq!(settings(Some("off"), None), Ok(None));
        let there = settings(Some("/var/tmp/x"), Some("64K")).unwrap().unwrap();
        assert_eq!(there.directory, Some("/var/tmp/x".into()));
        assert_eq!(there.size, 64 << 10);
        for size in ["1K", "2G", "much"] {
            let error = settings(None, Some(size)).unwrap_err();
            assert!(error.contains("--recorder-size"), "{error}");
        }
    }
}
