//! Logging to stderr: `--log`, else `RUST_LOG`, else warnings.

use std::env;
use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

use super::config_file::Origins;
use super::error::{Error, ExitStatus};

const DEFAULT_FILTER: &str = "warn";

/// Starts logging.
pub(crate) fn start(filter: Option<&str>, origins: &Origins) -> Result<(), Error> {
    let (text, name) = match (filter, env::var("RUST_LOG")) {
        (Some(filter), _) => (filter.to_owned(), origins.name("log")),
        (None, Ok(filter)) => (filter, "RUST_LOG".to_owned()),
        (None, Err(_)) => (DEFAULT_FILTER.to_owned(), String::new()),
    };
    let filter = parse(&name, &text)?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
    // A second start in one process (a test) keeps the first subscriber.
    let _ = subscriber.try_init();
    Ok(())
}

fn parse(name: &str, text: &str) -> Result<EnvFilter, Error> {
    EnvFilter::try_new(text).map_err(|error| {
        Error::new(ExitStatus::Usage, format!("{name} '{text}': {error}"))
            .hint("Use a level (error, warn, info, debug, trace) or targets: ustack=debug,warn")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_targets_are_filters_and_rubbish_is_not() {
        assert!(parse("--log", "debug").is_ok());
        assert!(parse("--log", "ustack=trace,warn").is_ok());
        let error = parse("--log", "ustack=loud").unwrap_err().render();
        assert!(
            error.starts_with("ustack: error: --log 'ustack=loud': "),
            "{error}"
        );
    }
}
