//! Nanoseconds per unit of each row. The subjects of a row take strict turns, so that what a noisy
//! machine does to one it does to the others; medians over all turns are told, and the median of
//! the ratio of neighbours.

use std::io;
use std::time::{Duration, Instant};

use core_bench::catalogue::{Prepared, ROWS, Row, Setup};

const HELP: &str = "\
Times the rows, their subjects in strict turns.

    cargo bench -p core-bench -- time [OPTIONS] [ROW]...

    ROW          rows whose name begins so; without any, all but those with a million connections
    --rounds N   turns of each subject [11]
    --millis N   how long a turn takes, about [20]
";

/// What the command line asks for.
struct Options {
    rounds: usize,
    turn: Duration,
    rows: Vec<String>,
}

pub(crate) fn main(arguments: Vec<String>) -> io::Result<bool> {
    if arguments.iter().any(|argument| argument == "--help") {
        print!("{HELP}");
        return Ok(true);
    }
    let options = options(arguments).map_err(io::Error::other)?;
    println!(
        "{:22} {:8} {:>12} {:>14} {:>12} {:>12}",
        "median of", "", "ns per unit", "units per s", "of smoltcp", "10 to 90 %"
    );
    for row in ROWS {
        let is_named = options.rows.iter().any(|name| row.name.starts_with(name));
        if is_named || options.rows.is_empty() && !row.name.ends_with("-1m") {
            time(row, &options);
        }
    }
    Ok(true)
}

fn options(arguments: Vec<String>) -> Result<Options, String> {
    let mut options = Options {
        rounds: 11,
        turn: Duration::from_millis(20),
        rows: Vec::new(),
    };
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|value| value.parse::<u32>().ok());
        match argument.as_str() {
            "--rounds" => options.rounds = number().ok_or(HELP)?.max(1) as usize,
            "--millis" => options.turn = Duration::from_millis(number().ok_or(HELP)?.into()),
            name if ROWS.iter().any(|row| row.name.starts_with(name)) => {
                options.rows.push(argument);
            }
            _ => return Err(format!("no option and no row: {argument}\n\n{HELP}")),
        }
    }
    Ok(options)
}

/// A subject with its turns so far, in nanoseconds per unit.
struct Contestant {
    name: &'static str,
    setup: Setup,
    prepared: Option<Prepared>,
    units: u64,
    turns: Vec<f64>,
}

impl Contestant {
    fn new(row: &Row, name: &'static str, setup: Setup, turn: Duration) -> Self {
        let mut contestant = Self {
            name,
            setup,
            prepared: (!row.is_fresh).then(|| row.prepare(setup)),
            units: row.units,
            turns: Vec::new(),
        };
        if !row.is_fresh {
            let tries = (0..3).map(|_| contestant.turn(row));
            let nanos = tries.fold(f64::INFINITY, f64::min);
            contestant.units = (turn.as_nanos() as f64 / nanos) as u64;
        }
        contestant
    }

    fn turn(&mut self, row: &Row) -> f64 {
        let mut fresh;
        let prepared = if let Some(prepared) = &mut self.prepared {
            prepared
        } else {
            fresh = row.prepare(self.setup);
            &mut fresh
        };
        let start = Instant::now();
        prepared.run_units(self.units);
        start.elapsed().as_nanos() as f64 / self.units as f64
    }
}

fn time(row: &Row, options: &Options) {
    let mut contestants: Vec<_> = row
        .subjects
        .iter()
        .map(|(name, setup)| Contestant::new(row, name, *setup, options.turn))
        .collect();
    for _ in 0..options.rounds {
        for contestant in &mut contestants {
            let nanos = contestant.turn(row);
            contestant.turns.push(nanos);
        }
    }
    let peer = contestants
        .iter()
        .find(|contestant| contestant.name == "smoltcp")
        .map(|peer| peer.turns.clone());
    for contestant in contestants {
        let ratios: Vec<f64> = peer
            .iter()
            .flat_map(|peer| contestant.turns.iter().zip(peer))
            .map(|(ours, theirs)| ours / theirs)
            .collect();
        let ratio = if ratios.is_empty() {
            String::new()
        } else {
            format!("{:.2}", quantile(&ratios, 0.5))
        };
        let median = quantile(&contestant.turns, 0.5);
        println!(
            "{:22} {:8} {median:>12.1} {:>14.0} {ratio:>12} {:>5.0} – {:.0}",
            row.name,
            contestant.name,
            1e9 / median,
            quantile(&contestant.turns, 0.1),
            quantile(&contestant.turns, 0.9),
        );
    }
}

fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * part).round() as usize]
}
