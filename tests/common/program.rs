//! The `ustack` program as the tests start it.

use std::ops::Deref;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::process::{Background, Finished};

/// The longest that a start may take.
const START: Duration = Duration::from_secs(20);

/// What the program prints once its services answer.
const READY: &str = "curl ";

/// A running `ustack`, killed when dropped.
pub(crate) struct Ustack {
    process: Background,
}

impl Ustack {
    /// The program, not started yet, without a log filter or settings from outside.
    pub(crate) fn command(arguments: &[&str]) -> Command {
        let mut command = Command::new(Self::path());
        command.args(arguments).stdin(std::process::Stdio::null());
        // Where the flight recorder writes to.
        command.env("XDG_STATE_HOME", env!("CARGO_TARGET_TMPDIR"));
        for variable in ["RUST_LOG", "SUDO_UID", "SUDO_GID", "SUDO_USER"] {
            command.env_remove(variable);
        }
        // Where control sockets are made: not where a user's own programs make theirs.
        command.env("XDG_RUNTIME_DIR", env!("CARGO_TARGET_TMPDIR"));
        command
    }

    /// Where the program lies.
    pub(crate) fn path() -> &'static Path {
        Path::new(env!("CARGO_BIN_EXE_ustack"))
    }

    /// Starts the program and returns once its services answer.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::started(&mut Self::command(arguments))
    }

    /// As [`Ustack::start`], of a command that somebody has completed.
    pub(crate) fn started(command: &mut Command) -> Self {
        let process = Background::start(command);
        process.wait_stdout(READY, START);
        Self { process }
    }

    /// Waits until it ends by itself, or for a signal that was sent.
    pub(crate) fn finish(self, limit: Duration) -> Finished {
        self.process.wait(limit)
    }

    /// Asks it to end (SIGTERM) and waits for that.
    pub(crate) fn terminate(self) -> Finished {
        self.process.signal(Signal::TERM);
        self.process.wait(Duration::from_secs(15))
    }
}

impl Deref for Ustack {
    type Target = Background;

    fn deref(&self) -> &Background {
        &self.process
    }
}
