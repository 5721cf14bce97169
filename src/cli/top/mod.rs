//! `ustack top`: the connections of a running host, live.
//!
//! [`source`] asks the host on a thread of its own, [`model`] is what is known and what the user
//! wants to see of it, [`view`] draws it, [`keys`] tells what a key means.

mod keys;
mod model;
mod source;
mod view;

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use super::args::TopArgs;
use super::error::{Error, ExitStatus, reason};
use super::ss;
use keys::Effect;
use model::Model;
use source::{Source, Update};

/// How long a key may wait to be seen, or an answer to be shown.
const GLANCE: Duration = Duration::from_millis(50);

/// Shows until the user has seen enough.
pub(crate) fn main(args: &TopArgs) -> Result<ExitCode, Error> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Error::new(ExitStatus::Usage, "top needs a terminal")
            .hint("For a list to read or to pipe: ustack ss"));
    }
    let interval = Duration::try_from_secs_f64(args.interval)
        .ok()
        .filter(|time| (Duration::from_millis(100)..=Duration::from_secs(3600)).contains(time));
    let Some(interval) = interval else {
        let message = format!("--interval {} is no time from 0.1 to 3600 s", args.interval);
        return Err(Error::new(ExitStatus::Usage, message));
    };
    let filter = ss::filter(&args.of)?;
    let mut client = ss::connect(&args.of)?;
    let about = client.about().map_err(|error| ss::unanswered(&error))?;
    let source = Source::start(client, filter, interval).map_err(|error| failed(&error))?;
    // Leaves the screen as it was on a panic, too.
    let mut terminal = ratatui::try_init().map_err(|error| failed(&error))?;
    let shown = show(&mut terminal, Model::new(about), &source);
    ratatui::restore();
    shown.map(|()| ExitCode::SUCCESS)
}

fn failed(error: &io::Error) -> Error {
    Error::new(ExitStatus::Other, format!("top ended: {}", reason(error)))
}

fn show(terminal: &mut DefaultTerminal, mut model: Model, source: &Source) -> Result<(), Error> {
    let mut is_stale = true;
    loop {
        if is_stale {
            let drawn = terminal.draw(|frame| view::draw(frame, &mut model));
            drawn.map_err(|error| failed(&error))?;
        }
        is_stale = event::poll(GLANCE).map_err(|error| failed(&error))?;
        if is_stale {
            match event::read().map_err(|error| failed(&error))? {
                Event::Key(key) if key.kind != KeyEventKind::Release => {
                    match keys::press(&mut model, key) {
                        Effect::None => {}
                        Effect::Quit => return Ok(()),
                        Effect::Reset(connection) => source.reset(*connection),
                    }
                }
                _ => {} // a new size is drawn
            }
        }
        while let Some(update) = source.next() {
            is_stale = true;
            match update {
                Update::Snapshot(snapshot) => model.take(*snapshot),
                Update::Said(text) => model.say(text),
                Update::Asked => return Ok(()),
                Update::Gone(error) => return Err(ss::unanswered(&error)),
            }
        }
    }
}
