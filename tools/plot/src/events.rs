//! Reads an event log (docs/events.md) into traces.

use std::io::{self, BufRead};
use std::net::SocketAddr;

use crate::lines::{Line, Lines};
use crate::trace::Log;

/// The version of the schema that is read here.
const SCHEMA: u32 = 1;

/// The longest line that is looked at, in bytes; a longer one is no event.
const MAX_LINE: u64 = 1 << 20;

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file failed.
    #[error("cannot read it: {0}")]
    Io(#[from] io::Error),
    /// A line is not what the schema says.
    #[error("line {line} is no event: {why}")]
    Line {
        /// Which line, from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
    /// It begins with something else.
    #[error("it is no event log: its first line is not {{\"event\":\"start\",…}}")]
    NoLog,
    /// A pcapng file is damaged.
    #[error("block {block} of the capture cannot be read: {why}")]
    Block {
        /// Which block, from 1.
        block: u64,
        /// What is wrong with it.
        why: String,
    },
    /// A capture that nobody has annotated.
    #[error("its packets have no comments, so that it does not say what the stack thought")]
    NoComments,
    /// It was written by a later program.
    #[error("it has schema {0} of the event log, and this program knows {SCHEMA}")]
    Schema(u32),
}

/// Reads a log of connections that `wanted` chooses, by the stack's and the other end's address.
pub fn read(
    log: &mut impl BufRead,
    wanted: impl Fn(SocketAddr, SocketAddr) -> bool,
) -> Result<Log, ReadError> {
    let mut lines = Lines::default();
    let (mut line, mut is_cut_short) = (Vec::new(), false);
    for number in 1.. {
        line.clear();
        let len = io::Read::take(&mut *log, MAX_LINE).read_until(b'\n', &mut line)?;
        if len == 0 && number > 1 {
            break;
        }
        let is_cut = !line.ends_with(b"\n") && (len as u64) < MAX_LINE;
        match serde_json::from_slice::<Line>(&line) {
            Ok(event) if number == 1 => check_start(&event)?,
            Ok(event) => lines.on_line(&event, &wanted),
            Err(_) if number == 1 => return Err(ReadError::NoLog),
            Err(_) if is_cut => is_cut_short = true,
            Err(error) => {
                let why = error.to_string();
                return Err(ReadError::Line { line: number, why });
            }
        }
    }
    let mut log = lines.into_log();
    log.is_cut = is_cut_short;
    Ok(log)
}

fn check_start(line: &Line<'_>) -> Result<(), ReadError> {
    match (&*line.event, line.schema) {
        ("start", Some(SCHEMA)) => Ok(()),
        ("start", Some(other)) => Err(ReadError::Schema(other)),
        _ => Err(ReadError::NoLog),
    }
}
