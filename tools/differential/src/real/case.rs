//! A script and its surroundings.

use std::fmt;
use std::io;
use std::time::Duration;

use referee::Violation;

use super::run::{Outcome, run};
use super::setting::Setting;
use super::wire_rules::judge;
use crate::{Faults, Script, Shape, check_flow};

/// Scripts of a second or so.
const SHAPE: Shape = Shape {
    flows: 8,
    bytes: 300_000,
    wait: Duration::from_millis(300),
    simultaneous: true,
};

/// Something to play.
#[derive(Clone, Debug)]
pub struct Case {
    /// What the applications do.
    pub script: Script,
    /// Where they do it.
    pub setting: Setting,
}

impl Case {
    /// The case of a seed.
    pub fn draw(seed: u64) -> Self {
        Self {
            script: Script::generate(seed, &SHAPE),
            setting: Setting::draw(seed),
        }
    }

    /// Plays it. Takes root, or a user namespace.
    pub fn run(&self) -> io::Result<Outcome> {
        run(&self.script, &self.setting)
    }

    /// What is to be said of what came of it.
    pub fn check(&self, outcome: &Outcome) -> Verdict {
        let mut wrong = Vec::new();
        for (index, (flow, reports)) in self.script.flows.iter().zip(&outcome.reports).enumerate() {
            let faults = Faults {
                loses: self.setting.loses(),
                reuses_ports: self.script.reuses_ports(index),
                keepalive: self.script.resets(),
                crowded: false,
            };
            let found = check_flow(flow, reports, faults);
            wrong.extend(
                found
                    .iter()
                    .map(|what| format!("connection {index}: {what}")),
            );
        }
        wrong.extend(outcome.leftovers.iter().cloned());
        let violations = judge(&self.setting, outcome);
        wrong.extend(violations.broken.iter().map(Violation::to_string));
        Verdict {
            wrong,
            explained: violations.explained,
            excused: violations.excused,
        }
    }
}

/// What is to be said of a run.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Everything that is wrong, in words.
    pub wrong: Vec<String>,
    /// Why what looked wrong is not.
    pub explained: Vec<&'static str>,
    /// Rules about time that were left out since the run was late itself.
    pub excused: usize,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.setting, self.script)
    }
}
