//! `--events`: the log of what TCP does.

use std::fs::File;
use std::path::Path;
use std::time::SystemTime;

use ustack::device::ImpairSpec;
use ustack::observe::{EventLog, EventLogOptions};

use super::capture::{command_line, file_error};
use super::error::Error;

/// Begins the log of so many shards, which are about to start.
pub(crate) fn open(
    path: &Path,
    shards: usize,
    impairment: &[Option<ImpairSpec>; 2],
) -> Result<EventLog, Error> {
    let options = EventLogOptions {
        shards,
        epoch: SystemTime::now(),
        command: command_line(),
        impairment: impairment
            .clone()
            .map(|spec| spec.map(|spec| spec.to_string())),
        ..EventLogOptions::default()
    };
    File::create(path)
        .and_then(|file| EventLog::new(file, &options))
        .map_err(|error| file_error(path, "events", &error))
}
