//! `ustack explain`: the conversations of a capture in words.

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use explain::{Explainer, Report, Totals, text};
use indicatif::{ProgressBar, ProgressStyle};
use replay::capture::{CaptureError, Reader};
use serde::Serialize;

use super::args::ExplainArgs;
use super::args::reading::Flow;
use super::error::{Error, ExitStatus, reason};

/// Conversations that a list shows; the rest is counted.
const LISTED: usize = 20;
/// Packets between two looks at the progress bar.
const STRIDE: u64 = 1024;

/// Tells what the arguments choose. Exit codes: 0 nothing unusual, 1 something is, 2 nothing there
/// that could be told.
pub(crate) fn main(args: &ExplainArgs) -> Result<ExitCode, Error> {
    let mut reader = Reader::open(&args.file).map_err(|error| unreadable(&error))?;
    let bar = progress(args);
    let mut teller = Teller {
        args,
        bar: &bar,
        explainer: Explainer::default(),
        told: Told::default(),
    };
    let result = teller.follow(&mut reader);
    bar.finish_and_clear();
    match result {
        // `ustack explain FILE | head` is no failure.
        Err(Stop::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            return Ok(teller.told.exit_code());
        }
        Err(Stop::Print(error)) => return Err(unprintable(&error)),
        Err(Stop::Read(error)) => return Err(unreadable(&error)),
        Ok(()) => {}
    }
    if teller.told.chosen == 0 {
        return Err(nothing_to_tell(args, &teller));
    }
    Ok(teller.told.exit_code())
}

impl ExplainArgs {
    fn chooses(&self, report: &Report) -> bool {
        let ends = [report.client, report.server];
        let is_flow = |flow: Flow| flow.is_between(ends);
        self.conversation
            .is_none_or(|chosen| chosen == report.number)
            && self.port.is_none_or(|port| report.is_of_port(port))
            && self.host.is_none_or(|host| report.is_of_host(host))
            && self.flow.is_none_or(is_flow)
    }
}

/// What was said so far.
#[derive(Default)]
struct Told {
    chosen: usize,
    unusual: usize,
    /// What the first conversations are, for those that chose none of them.
    list: Vec<String>,
}

impl Told {
    fn exit_code(&self) -> ExitCode {
        ExitCode::from(u8::from(self.unusual > 0))
    }
}

/// Why no more packets are read.
enum Stop {
    Read(CaptureError),
    Print(io::Error),
}

struct Teller<'a> {
    args: &'a ExplainArgs,
    bar: &'a ProgressBar,
    explainer: Explainer,
    told: Told,
}

impl Teller<'_> {
    fn follow(&mut self, reader: &mut Reader) -> Result<(), Stop> {
        let mut breaks_off = None;
        loop {
            match reader.next_packet() {
                Ok(Some(packet)) => self.explainer.on_packet(&packet),
                Ok(None) => break,
                Err(error @ CaptureError::Format { .. }) if self.explainer.totals().packets > 0 => {
                    breaks_off = Some(error);
                    break;
                }
                Err(error) => return Err(Stop::Read(error)),
            }
            if self.explainer.totals().packets.is_multiple_of(STRIDE) {
                self.bar.set_position(reader.position());
            }
            self.tell().map_err(Stop::Print)?;
        }
        self.explainer.finish();
        self.tell().map_err(Stop::Print)?;
        self.conclude(breaks_off.as_ref()).map_err(Stop::Print)
    }

    /// Prints the reports that are ready.
    fn tell(&mut self) -> io::Result<()> {
        while let Some(report) = self.explainer.poll_report() {
            if self.told.list.len() < LISTED {
                self.told
                    .list
                    .push(format!("{}  {}", report.number, text::about(&report)));
            }
            if !self.args.chooses(&report) {
                continue;
            }
            self.told.chosen += 1;
            self.told.unusual += usize::from(!report.findings.is_empty());
            let lines = if self.args.json {
                json(&report)?
            } else {
                text::describe(&report)
            };
            self.bar.suspend(|| print(&lines))?;
        }
        Ok(())
    }

    /// What is to be said of the whole file.
    fn conclude(&self, breaks_off: Option<&CaptureError>) -> io::Result<()> {
        if self.told.chosen == 0 {
            return Ok(());
        }
        let totals = self.explainer.totals();
        if self.args.json {
            let totals = Last {
                totals,
                breaks_off: breaks_off.map(ToString::to_string),
            };
            return print(&json(&totals)?);
        }
        let mut lines = Vec::new();
        if self.told.chosen > 1 {
            let Told {
                chosen, unusual, ..
            } = self.told;
            let usual = chosen - unusual;
            lines.push(format!(
                "{chosen} conversations: {usual} with nothing unusual, {unusual} with something"
            ));
        }
        lines.extend(describe_rest(totals));
        if let Some(CaptureError::Format { after, reason, .. }) = breaks_off {
            lines.push(format!(
                "the file is damaged after packet {after}, what comes before is told: {reason}"
            ));
        }
        if lines.is_empty() {
            return Ok(());
        }
        print(&(lines.join("\n") + "\n"))
    }
}

/// The last line of JSON.
#[derive(Serialize)]
struct Last<'a> {
    totals: &'a Totals,
    /// Why the file could not be read to its end.
    breaks_off: Option<String>,
}

/// What is in no conversation.
fn describe_rest(totals: &Totals) -> Vec<String> {
    let mut lines = Vec::new();
    for (number, reason) in &totals.unreadable_first {
        lines.push(format!("packet {number} is left out: {reason}"));
    }
    let named = totals.unreadable_first.len() as u64;
    if totals.unreadable > named {
        lines.push(format!(
            "… {} packets are left out in all",
            totals.unreadable
        ));
    }
    if totals.others > 0 {
        lines.push(format!(
            "{} packets are UDP, ICMP, fragments and other protocols, and not told",
            totals.others
        ));
    }
    if totals.dropped > 0 {
        lines.push(format!(
            "{} conversations were told before their end, to make room for others: what followed of them stands \
             as a conversation of its own",
            totals.dropped
        ));
    }
    lines
}

fn json(value: &impl Serialize) -> io::Result<String> {
    let mut line = serde_json::to_string(value)?;
    line.push('\n');
    Ok(line)
}

/// A bar on a terminal, for files that take their time.
fn progress(args: &ExplainArgs) -> ProgressBar {
    let length = fs::metadata(&args.file).map_or(0, |file| file.len());
    if length == 0 || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {eta} to go");
    let bar = ProgressBar::new(length);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn print(text: &str) -> io::Result<()> {
    io::stdout().lock().write_all(text.as_bytes())
}

fn refused(message: String) -> Error {
    Error::new(ExitStatus::Usage, message)
}

fn unprintable(error: &io::Error) -> Error {
    let message = format!("cannot print the result: {}", reason(error));
    Error::new(ExitStatus::Other, message)
}

fn unreadable(error: &CaptureError) -> Error {
    match error {
        CaptureError::Io { path, source } => refused(format!(
            "cannot read {}: {}",
            path.display(),
            reason(source)
        )),
        other => refused(other.to_string()),
    }
}

fn nothing_to_tell(args: &ExplainArgs, teller: &Teller<'_>) -> Error {
    let file = args.file.display();
    let totals = teller.explainer.totals();
    if totals.packets == 0 {
        return refused(format!("{file} holds no IP packet"));
    }
    if totals.conversations == 0 {
        let message = format!("{file} holds no conversation over TCP");
        return refused(message).hint(describe_rest(totals).join("\n"));
    }
    let mut lines = teller.told.list.clone();
    if totals.conversations > lines.len() {
        lines.push(format!("… {} in all", totals.conversations));
    }
    let message = format!("{file} holds no conversation like this, but these:");
    refused(message).hint(lines.join("\n"))
}
