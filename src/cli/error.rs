//! What the user is told when something fails.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

/// Exit codes, as `--help` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ExitStatus {
    /// Anything without a code of its own.
    Other = 1,
    /// A flag, a value or a line of the configuration file is wrong.
    Usage = 2,
    /// No TUN device, or no right to make or use it.
    Device = 3,
    /// The device's name, an address or a route is taken.
    Conflict = 4,
    /// A file or directory cannot be read or written.
    File = 5,
    /// The device vanished while the stack was running.
    DeviceGone = 6,
}

/// One failure: what happened and why, then what to do about it.
#[derive(Debug)]
pub(crate) struct Error {
    status: ExitStatus,
    message: String,
    hints: Vec<String>,
}

impl Error {
    /// A failure described in one sentence, without a full stop.
    pub(crate) fn new(status: ExitStatus, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            hints: Vec::new(),
        }
    }

    /// Adds a line about what to do, best with the command that does it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// What the process exits with.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.status as u8)
    }

    /// The message as the terminal shows it.
    pub(crate) fn render(&self) -> String {
        let mut text = format!("ustack: error: {}\n", self.message);
        for line in self.hints.iter().flat_map(|hint| hint.lines()) {
            let _ = writeln!(text, "  {line}");
        }
        text
    }

    /// Writes the message to stderr; nobody listening there is not a second failure.
    pub(crate) fn print(&self) {
        let _ = std::io::stderr().lock().write_all(self.render().as_bytes());
    }
}

/// What the system says, without the number.
pub(crate) fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
