//! Lets the contestants of a row run in turns, A, B, A, B, until enough rounds count.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::arena;
use crate::journal::{self, Entry, Journal, Outcome, Sample};
use crate::judge::{Round, kept};
use crate::subject::{Absent, Programs, Subject};
use crate::table::{Contestant, Row};

/// How a row is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Rounds that must count.
    pub pairs: usize,
    /// Rounds at most, thrown away ones included.
    pub max_rounds: usize,
    /// Seconds of a run.
    pub seconds: f64,
    /// Who is left out.
    pub without: Vec<Subject>,
    /// Which build of ustack is measured.
    pub build: String,
}

/// After so many rounds in which the reference failed each time, nothing will come.
const HOPELESS: usize = 2;

/// Whether all who must take part can; else how to get them.
pub fn check(row: &Row, plan: &Plan, programs: &Programs) -> io::Result<()> {
    absent(&present(row, plan), programs).map(drop)
}

/// Measures what the journal lacks of a row.
pub fn measure(
    row: &Row,
    plan: &Plan,
    programs: &Programs,
    journal: &mut Journal,
) -> io::Result<()> {
    let present = present(row, plan);
    if let Some((contestant, why)) = absent(&present, programs)? {
        eprintln!("{}: not measured: {why}", row.name);
        let outcome = Outcome::NotMeasured(why);
        return journal.push(sample(row, plan, programs, contestant, 1, outcome));
    }
    loop {
        let samples = journal::samples(journal.entries(), row.name, &plan.build, plan.seconds);
        let mut rounds = journal::rounds(&samples);
        rounds.retain(|round| is_whole(round, &present));
        let kept = kept(row, &rounds).len();
        if kept >= plan.pairs || rounds.len() >= plan.max_rounds {
            eprintln!("{}: {kept} of {} rounds count", row.name, rounds.len());
            return Ok(());
        }
        let reference = row.contestants[0].name;
        if rounds.len() >= HOPELESS && rounds.iter().all(|round| round[reference].is_err()) {
            eprintln!("{}: given up: {reference} fails each time", row.name);
            return Ok(());
        }
        // A round that was broken off is begun again.
        let number = rounds.len() as u32 + 1;
        for contestant in &present {
            let outcome = run(contestant, plan, programs);
            tell(row, number, contestant, &outcome);
            journal.push(sample(row, plan, programs, contestant, number, outcome))?;
        }
    }
}

/// Who is not left out.
fn present<'a>(row: &'a Row, plan: &Plan) -> Vec<&'a Contestant> {
    let all = row.contestants.iter();
    all.filter(|contestant| !plan.without.contains(&contestant.subject))
        .collect()
}

/// Whom this ustack cannot be, and why. A program that is missing is an error.
fn absent<'a>(
    present: &[&'a Contestant],
    programs: &Programs,
) -> io::Result<Option<(&'a Contestant, String)>> {
    for contestant in present {
        match contestant.subject.check(programs) {
            Ok(()) => {}
            Err(Absent::NotInUstack(why)) => return Ok(Some((contestant, why))),
            Err(Absent::NotBuilt(how)) => return Err(io::Error::other(how)),
        }
    }
    Ok(None)
}

fn is_whole(round: &Round, present: &[&Contestant]) -> bool {
    present
        .iter()
        .all(|contestant| round.contains_key(contestant.name))
}

fn run(contestant: &Contestant, plan: &Plan, programs: &Programs) -> Outcome {
    let command = contestant.subject.command(programs);
    let done = arena::with(contestant.subject.place(), &command, |arena| {
        contestant.work.run(arena, programs, plan.seconds)
    });
    match done {
        Ok(result) => match result.raw {
            None => Outcome::Figures(result.figures),
            Some(text) => Outcome::Text {
                figures: result.figures,
                text,
            },
        },
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

fn sample(
    row: &Row,
    plan: &Plan,
    programs: &Programs,
    contestant: &Contestant,
    round: u32,
    outcome: Outcome,
) -> Entry {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    Entry::Sample(Sample {
        row: row.name.to_owned(),
        round,
        contestant: contestant.name.to_owned(),
        build: plan.build.clone(),
        seconds: plan.seconds,
        at: now.map_or(0, |since| since.as_secs()),
        stack: contestant.subject.command(programs).join(" "),
        client: contestant.work.client(plan.seconds).join(" "),
        outcome,
    })
}

fn tell(row: &Row, number: u32, contestant: &Contestant, outcome: &Outcome) {
    let name = contestant.name;
    match outcome.figures() {
        Ok(figures) => {
            let value = figures.get(row.figure).copied().unwrap_or(f64::NAN);
            eprintln!(
                "{}, round {number}: {name:<24} {value:>12.3} {}",
                row.name, row.figure
            );
        }
        Err(why) => eprintln!("{}, round {number}: {name:<24} {why}", row.name),
    }
}
