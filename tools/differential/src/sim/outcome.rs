//! Running a case, and judging it.

use std::any::Any;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

use referee::Rule;

use crate::capture::Seen;
use crate::report::{EndReport, Faults, check_flow};
use crate::script::End;
use crate::sim::case::Case;
use crate::sim::peer::address;
use crate::sim::settings::Settings;
use crate::sim::world::{Ran, World};

/// What came of a case.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What is wrong; empty: nothing.
    pub findings: Vec<Finding>,
    /// What the ends of each connection saw.
    pub flows: Vec<[EndReport; 2]>,
    /// Virtual time.
    pub time: Duration,
    /// Packets sent.
    pub packets: u64,
    /// Packets that did not arrive.
    pub lost: u64,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// In words.
    pub what: String,
    /// The rule of the wire that was broken, if it was one.
    pub rule: Option<Rule>,
    /// The end that broke it, as far as that is known.
    pub by: Option<End>,
    /// The packet that broke it, in the order of the capture from 1 on.
    pub packet: Option<usize>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Finding {
    /// Something that no packet shows.
    fn of_run(what: String) -> Self {
        Self {
            what,
            rule: None,
            by: None,
            packet: None,
        }
    }
}

impl Case {
    /// Runs it.
    pub fn run(&self) -> Outcome {
        self.play(false).0
    }

    /// Runs it, and keeps what passed the ends of the link.
    pub fn record(&self) -> (Outcome, Vec<Seen>) {
        self.play(true)
    }

    fn play(&self, record: bool) -> (Outcome, Vec<Seen>) {
        let mut world = match World::new(self, record) {
            Ok(world) => world,
            Err(error) => {
                let what = format!("the hosts cannot be set up: {error}");
                let outcome = Outcome {
                    findings: vec![Finding::of_run(what)],
                    ..Outcome::default()
                };
                return (outcome, Vec::new());
            }
        };
        let ran = match panic::catch_unwind(AssertUnwindSafe(|| world.run())) {
            Ok(ran) => ran,
            Err(payload) => {
                let outcome = Outcome {
                    findings: vec![Finding::of_run(format!("panic: {}", words(&*payload)))],
                    ..Outcome::default()
                };
                return (outcome, world.finish().1);
            }
        };
        let mut findings: Vec<_> = ran.wrong.iter().cloned().map(Finding::of_run).collect();
        findings.extend(self.compare(&ran));
        findings.extend(ran.violations.iter().map(|violation| {
            let source = violation.flow.source.ip();
            Finding {
                what: violation.to_string(),
                rule: Some(violation.rule),
                by: End::BOTH
                    .into_iter()
                    .find(|&end| address(end, self.v6) == source),
                packet: Some(violation.packet),
            }
        }));
        let outcome = Outcome {
            findings,
            flows: ran.flows,
            time: ran.time,
            packets: ran.packets,
            lost: ran.lost,
        };
        (outcome, ran.seen)
    }

    /// What both ends of the connections saw.
    fn compare(&self, ran: &Ran) -> Vec<Finding> {
        let mut findings = Vec::new();
        let connections = self.script.flows.len();
        let is_small = |host: &Settings| usize::from(host.backlog) < connections;
        let flows = self.script.flows.iter().zip(&ran.flows);
        for (index, (flow, reports)) in flows.enumerate() {
            let faults = Faults {
                loses: self.loses(),
                reuses_ports: self.script.reuses_ports(index),
                keepalive: self.script.resets(),
                crowded: self.settings.iter().any(is_small),
            };
            let found = check_flow(flow, reports, faults).into_iter();
            findings
                .extend(found.map(|what| Finding::of_run(format!("connection {index}: {what}"))));
        }
        findings
    }
}

/// What a panic says.
fn words(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref().copied())
        .unwrap_or("without a word")
}
