//! `--recorder`: what was asked for.

use std::path::PathBuf;

use super::args::Options;
use super::config_file::Origins;
use super::error::Error;
use super::settings::{bytes_of, usage};

/// Of each shard.
const DEFAULT_SIZE: usize = 8 << 20;
/// Below this there is nothing to see; above, nobody would look through it.
const SIZES: (usize, usize) = (64 << 10, 1 << 30);

/// What `--recorder` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecorderSettings {
    /// `None`: wherever the user's state is kept.
    pub(crate) directory: Option<PathBuf>,
    /// Bytes of each shard's ring.
    pub(crate) size: usize,
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
