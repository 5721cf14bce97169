//! Findings that have an explanation: faults of smoltcp, and what a rule of the wire cannot know.
//!
//! Each is recognised by the rule that is broken, by the end that breaks it, and by what else must
//! be so. What an application sees is forgiven only where smoltcp is at both ends. Every entry has a
//! case and a capture in `tests/known`.

use referee::Rule;

use super::{Case, Finding, Outcome, Settings, Stack};
use crate::script::End;

/// Something that is known.
#[derive(Debug)]
pub struct Known {
    /// What it is called; a case in `tests/known` has this name.
    pub name: &'static str,
    /// Who does so.
    pub stack: Stack,
    /// The rule that is broken; `None`: what applications see, where both ends are smoltcp.
    pub rule: Option<Rule>,
    /// What happens, and why.
    pub reason: &'static str,
    /// Where it says that this is wrong, or right after all.
    pub source: &'static str,
    /// What else must be so.
    only: fn(&Case, &Settings) -> bool,
}

/// All of it.
pub const ALL: &[Known] = &[
    Known {
        name: "echoes-an-older-timestamp",
        stack: Stack::Smoltcp,
        rule: Some(Rule::EchoBack),
        reason: "smoltcp echoes the timestamp of whatever segment came last, be it old, overtaken or outside the window: the peer's round trips come out too long",
        source: "RFC 7323 §4.3",
        only: |_, settings| settings.timestamps,
    },
    Known {
        name: "repeats-on-every-third-duplicate",
        stack: Stack::Smoltcp,
        rule: Some(Rule::RetransmittedEarly),
        reason: "smoltcp does not remember that it is in recovery: whenever a duplicate count is interrupted (by a window update, by data) and reaches three again, it repeats the same segment",
        source: "RFC 6582 §3.2 step 1",
        only: |_, _| true,
    },
    Known {
        name: "forgets-an-early-fin",
        stack: Stack::Smoltcp,
        rule: Some(Rule::AckDelayed),
        reason: "smoltcp keeps the text of a segment that came early and not its FIN, which it neither processes nor acknowledges once the hole is filled: the peer has to send it again",
        source: "RFC 9293 §3.10.7.4 SHLD-31",
        only: |_, _| true,
    },
    Known {
        name: "keeps-alive-in-place-of-its-fin",
        stack: Stack::Smoltcp,
        rule: Some(Rule::AfterFin),
        reason: "the garbage byte of smoltcp's keep-alives has the number before the next one, which is the FIN's once that was sent",
        source: "RFC 9293 §3.6, §3.8.4",
        only: |case, _| case.script.resets(),
    },
    Known {
        name: "repeats-what-was-acknowledged",
        stack: Stack::Smoltcp,
        rule: Some(Rule::AcknowledgedAgain),
        reason: "after a timeout smoltcp goes back to the oldest byte and sends everything again, though ACKs that come meanwhile are beyond it",
        source: "RFC 9293 §3.4",
        only: |_, _| true,
    },
    Known {
        name: "stands-still-alone",
        stack: Stack::Smoltcp,
        rule: None,
        reason: "smoltcp with smoltcp at the other end: a lost window update or FIN is never repeated, and both wait for ever",
        source: "RFC 9293 §3.8.6.1",
        only: |case, _| case.stacks == [Stack::Smoltcp; 2],
    },
    Known {
        name: "full-backlog",
        stack: Stack::Ustack,
        rule: Some(Rule::AckDelayed),
        reason: "a listener whose queue of connections is full ignores the last ACK of a handshake, and what comes with it, until there is room; the peer repeats it (Linux does the same)",
        source: "RFC 9293 §3.10.7.4; Linux tcp_check_req",
        only: |case, settings| usize::from(settings.backlog) < case.script.flows.len(),
    },
    Known {
        name: "rst-in-time-wait",
        stack: Stack::Ustack,
        rule: Some(Rule::AfterReset),
        reason: "a RST does not end TIME-WAIT, whose answers to old segments the referee takes for those of a connection that was reset",
        source: "RFC 1337 §3, fix F1",
        only: |_, settings| settings.rfc1337,
    },
    Known {
        name: "rescue-of-the-last-hole",
        stack: Stack::Ustack,
        rule: Some(Rule::RetransmittedEarly),
        reason: "without RACK, a recovery repeats the last hole once more when nothing else may be sent, even if that hole was the one just repaired",
        source: "RFC 6675 §4, NextSeg rule (4)",
        only: |_, settings| !settings.rack,
    },
];

impl Known {
    fn matches(&self, case: &Case, finding: &Finding) -> bool {
        if finding.rule != self.rule {
            return false;
        }
        // What applications see is nobody's doing in particular.
        let end = match finding.by {
            Some(end) => end,
            None if self.rule.is_none() => End::A,
            None => return false,
        };
        case.stacks[end as usize] == self.stack && (self.only)(case, &case.settings[end as usize])
    }
}

/// Findings that are known, and those that nothing explains.
pub fn sort(case: &Case, outcome: &Outcome) -> (Vec<(&'static Known, Finding)>, Vec<Finding>) {
    let (mut known, mut unexplained) = (Vec::new(), Vec::new());
    for finding in &outcome.findings {
        match ALL.iter().find(|known| known.matches(case, finding)) {
            Some(fault) => known.push((fault, finding.clone())),
            None => unexplained.push(finding.clone()),
        }
    }
    (known, unexplained)
}
