//! The configuration file: TOML whose keys are the names of the flags. A flag wins over the file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::args::Options;
use super::error::{Error, ExitStatus, reason};

/// Where each option came from, so that an error can point at it.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    file: PathBuf,
    /// Keys that the file decides, with their lines.
    lines: BTreeMap<&'static str, usize>,
}

impl Origins {
    /// How to name the option `key` (a flag's name without dashes) to the user.
    pub(crate) fn name(&self, key: &str) -> String {
        match self.lines.get(key) {
            Some(line) => format!("{}:{line}: {key}", self.file.display()),
            None => format!("--{key}"),
        }
    }
}

/// Completes the flags with what the file that `--config` names says.
pub(crate) fn merge(flags: Options) -> Result<(Options, Origins), Error> {
    let Some(path) = flags.config.clone() else {
        return Ok((flags, Origins::default()));
    };
    let text = fs::read_to_string(&path).map_err(|error| {
        Error::new(
            ExitStatus::File,
            format!(
                "cannot read the configuration file {}: {}",
                path.display(),
                reason(&error)
            ),
        )
    })?;
    let file = parse(&path, &text)?;
    let mut origins = Origins {
        file: path,
        lines: BTreeMap::new(),
    };
    let options = merge_options(flags, file, |key| {
        origins.lines.insert(key, line_of(&text, key));
    });
    Ok((options, origins))
}

/// Reads the text of a file; `path` is for messages.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Options, Error> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| {
            1 + text[..span.start.min(text.len())].matches('\n').count()
        });
        let message = error.message().replace("unknown field", "unknown key");
        Error::new(
            ExitStatus::Usage,
            format!("{}:{line}: {}", path.display(), message.trim_end()),
        )
        .hint("The keys are the names of the flags: ustack --help")
    })
}

/// The line, from 1, on which `key` is set.
fn line_of(text: &str, key: &str) -> usize {
    let sets = |line: &str| {
        let rest = line.trim_start().trim_start_matches(['"', '\'']);
        rest.strip_prefix(key).is_some_and(|rest| {
            rest.trim_start_matches(['"', '\'', ' ', '\t'])
                .starts_with('=')
        })
    };
    1 + text.lines().position(sets).unwrap_or(0)
}

/// Field by field, the flag or else the file; `from_file` hears of each the file decides.
fn merge_options(
    flags: Options,
    file: Options,
    mut from_file: impl FnMut(&'static str),
) -> Options {
    // `--tun-fd` is the command line's own choice of device, `--impair` that of both directions.
    let both = flags.impair.is_some();
    let single = flags.impair_in.is_some() || flags.impair_out.is_some();
    let file = Options {
        tun: file.tun.filter(|_| flags.tun_fd.is_none()),
        impair: file.impair.filter(|_| !single),
        impair_in: file.impair_in.filter(|_| !both),
        impair_out: file.impair_out.filter(|_| !both),
        ..file
    };
    macro_rules! merge {
        ($($key:literal => $field:ident: $absent:ident),* $(,)?) => {
            Options {
                $($field: if flags.$field.$absent() {
                    if !file.$field.$absent() {
                        from_file($key);
                    }
                    file.$field
                } else {
                    flags.$field
                },)*
                // Not keys of the file.
                tun_fd: flags.tun_fd,
                config: flags.config,
            }
        };
    }
    merge! {
        "tun" => tun: is_none,
        "control" => control: is_none,
        "metrics" => metrics: is_none,
        "mtu" => mtu: is_none,
        "addr" => addr: is_empty,
        "host-addr" => host_addr: is_empty,
        "device" => device: is_none,
        "queues" => queues: is_none,
        "busy-poll" => busy_poll: is_none,
        "memory" => memory: is_none,
        "cc" => cc: is_none,
        "http-root" => http_root: is_none,
        "forward" => forward: is_none,
        "forward-allow" => forward_allow: is_empty,
        "capture" => capture: is_none,
        "annotate" => annotate: is_none,
        "snaplen" => snaplen: is_none,
        "capture-filter" => capture_filter: is_none,
        "capture-direction" => capture_direction: is_none,
        "capture-rotate" => capture_rotate: is_none,
        "capture-files" => capture_files: is_none,
        "events" => events: is_none,
        "recorder" => recorder: is_none,
        "recorder-size" => recorder_size: is_none,
        "impair" => impair: is_none,
        "impair-in" => impair_in: is_none,
        "impair-out" => impair_out: is_none,
        "log" => log: is_none,
        "keep-root" => keep_root: is_none,
    }
}

#[cfg(test)]
mod tests {
    use super::super::args::{Cli, DeviceMode};
    use super::*;
    use clap::{CommandFactory as _, Parser as _};

    fn options(line: &str) -> Options {
        Cli::try_parse_from(line.split_whitespace())
            .unwrap()
            .options
    }

    fn merged(line: &str, file: &str) -> (Options, Vec<&'static str>) {
        let mut keys = Vec::new();
        let file = parse(Path::new("u.toml"), file).unwrap();
        let merged = merge_options(options(line), file, |key| keys.push(key));
        (merged, keys)
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_nothing() {
        let (merged, keys) = merged(
            "ustack --mtu 1400",
            "mtu = 9000\ndevice = \"plain\"\naddr = \"10.1.0.2\"\nforward = true\n",
        );
        assert_eq!(merged.mtu, Some(1400));
        assert_eq!(merged.device, Some(DeviceMode::Plain));
        assert_eq!(merged.addr, ["10.1.0.2"]);
        assert_eq!(merged.forward, Some(true));
        assert_eq!(keys, ["addr", "device", "forward"]);
    }

    #[test]
    fn impairment_of_both_directions_replaces_that_of_one() {
        let (merged, _) = merged("ustack --impair loss=1%", "impair-in = \"loss=9%\"\n");
        assert_eq!(merged.impair.as_deref(), Some("loss=1%"));
        assert_eq!(merged.impair_in, None);
    }

    #[test]
    fn unknown_keys_and_wrong_types_are_named_with_their_line() {
        let text = |file| parse(Path::new("u.toml"), file).unwrap_err().render();
        let unknown = text("mtu = 1500\n\nmtuu = 3\n");
        assert!(unknown.starts_with("ustack: error: u.toml:3: unknown key `mtuu`, expected"));
        let wrong = text("forward = true\nmtu = \"big\"\n");
        assert!(
            wrong.starts_with("ustack: error: u.toml:2: invalid type: string"),
            "{wrong}"
        );
        let broken = text("mtu = \n");
        assert!(broken.starts_with("ustack: error: u.toml:1: "), "{broken}");
    }

    #[test]
    fn an_origin_is_the_flag_or_the_line_of_the_file() {
        let origins = Origins {
            file: "u.toml".into(),
            lines: BTreeMap::from([("mtu", line_of("# mtu\ntun = \"a\"\n mtu = 9\n", "mtu"))]),
        };
        assert_eq!(origins.name("mtu"), "u.toml:3: mtu");
        assert_eq!(origins.name("tun"), "--tun");
    }

    #[test]
    fn every_flag_is_a_key() {
        for arg in Cli::command().get_arguments() {
            let Some(flag) = arg.get_long() else { continue };
            if ["help", "version", "config", "tun-fd"].contains(&flag) {
                continue;
            }
            let known = [
                format!("{flag} = \"x\""),
                format!("{flag} = 1500"),
                format!("{flag} = true"),
                format!("{flag} = \"auto\""),
                format!("{flag} = \"cubic\""),
            ];
            let accepted = known
                .iter()
                .any(|text| toml::from_str::<Options>(text).is_ok());
            assert!(accepted, "{flag} is no key of the file");
        }
    }
}
