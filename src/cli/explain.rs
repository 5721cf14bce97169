//! `ustack explain`: the conversations of a capture in words.

use std::fs;
use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;

use explain::{Explainer, Report, Severity, Totals, text};
use indicatif::{ProgressBar, ProgressStyle};
use replay::capture::{CaptureError, Reader};

use super::args::ExplainArgs;
use super::error::{Error, ExitStatus, reason};

/// Conversations that a list shows; the rest is counted.
const LISTED: usize = 20;
/// Packets between two looks at the progress bar.
const STRIDE: u64 = 1024;

/// Tells what the arguments choose. Exit codes: 0 nothing unusual, 1 something is, 2 nothing there
/// that could be told.
pub(crate) fn main(args: &ExplainArgs) -> Result<ExitCode, Error> {
    let mut reader = Reader::open(&args.file).map_err(|error| unreadable(&error))?;
    let mut teller = Teller::new(args);
    let bar = progress(args);
    let result = follow(&mut reader, &mut teller, &bar);
    bar.finish_and_clear();
    match result {
        // `ustack explain FILE | head` is no failure.
        Err(Stop::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => {}
        Err(Stop::Print(error)) => return Err(unprintable(&error)),
        Err(Stop::Read(error)) if teller.explainer.totals().packets == 0 => {
            return Err(unreadable(&error));
        }
        Err(Stop::Read(error)) => eprint(&breaks_off(&error)),
        Ok(()) => {}
    }
    teller.finish()
}

/// Why no more packets are read.
enum Stop {
    Read(CaptureError),
    Print(io::Error),
}

fn follow(reader: &mut Reader, teller: &mut Teller<'_>, bar: &ProgressBar) -> Result<(), Stop> {
    let mut count = 0_u64;
    while let Some(packet) = reader.next_packet().map_err(Stop::Read)? {
        teller.explainer.on_packet(&packet);
        count += 1;
        if count.is_multiple_of(STRIDE) {
            bar.set_position(reader.position());
        }
        bar.suspend_if(|| teller.tell_ready()).map_err(Stop::Print)?;
    }
    Ok(())
}

/// Prints above the bar.
trait SuspendIf {
    fn suspend_if<T>(&self, print: impl FnOnce() -> T) -> T;
}

impl SuspendIf for ProgressBar {
    fn suspend_if<T>(&self, print: impl FnOnce() -> T) -> T {
        if self.is_hidden() {
            print()
        } else {
            self.suspend(print)
        }
    }
}
