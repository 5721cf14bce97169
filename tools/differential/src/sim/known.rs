//! Findings that have an explanation: faults of smoltcp, and what a rule of the wire cannot know.
//!
//! Each is recognised by the rule that is broken, by the end that breaks it, and by what else must
//! be so. Nothing that an application sees is forgiven here. Every fault of smoltcp has a case and a
//! capture in `tests/known`.

use referee::Rule;

use super::{Case, Finding, Outcome, Settings, Stack};

/// Something that is known.
#[derive(Debug, PartialEq, Eq)]
pub struct Known {
    /// What it is called; a case in `tests/known` has this name.
    pub name: &'static str,
    /// Who does so.
    pub stack: Stack,
    /// The rule that is broken.
    pub rule: Rule,
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
        rule: Rule::EchoBack,
        reason: "smoltcp echoes the timestamp of whatever segment came last, be it old, overtaken or outside the window: the peer's round trips come out too long",
        source: "RFC 7323 §4.3",
        only: |_, settings| settings.timestamps,
    },
    Known {
        name: "repeats-on-every-third-duplicate",
        stack: Stack::Smoltcp,
        rule: Rule::RetransmittedEarly,
        reason: "smoltcp does not remember that it is in recovery: whenever a duplicate count is interrupted (by a window update, by data) and reaches three again, it repeats the same segment",
        source: "RFC 6582 §3.2 step 1",
        only: |_, _| true,
    },
    Known {
        name: "forgets-an-early-fin",
        stack: Stack::Smoltcp,
        rule: Rule::AckDelayed,
        reason: "smoltcp keeps the text of a segment that came early and not its FIN, which it neither processes nor acknowledges once the hole is filled: the peer has to send it again",
        source: "RFC 9293 §3.10.7.4 SHLD-31",
        only: |_, _| true,
    },
    Known {
        name: "full-backlog",
        stack: Stack::Ustack,
        rule: Rule::AckDelayed,
        reason: "a listener whose queue of connections is full ignores the last ACK of a handshake, and what comes with it, until there is room; the peer repeats it (Linux does the same)",
        source: "RFC 9293 §3.10.7.4; Linux tcp_check_req",
        only: |case, settings| usize::from(settings.backlog) < case.script.flows.len(),
    },
    Known {
        name: "rst-in-time-wait",
        stack: Stack::Ustack,
        rule: Rule::AfterReset,
        reason: "a RST does not end TIME-WAIT, whose answers to old segments the referee takes for those of a connection that was reset",
        source: "RFC 1337 §3, fix F1",
        only: |_, settings| settings.rfc1337,
    },
    Known {
        name: "rescue-of-the-last-hole",
        stack: Stack::Ustack,
        rule: Rule::RetransmittedEarly,
        reason: "without RACK, a recovery repeats the last hole once more when nothing else may be sent, even if that hole was the one just repaired",
        source: "RFC 6675 §4, NextSeg rule (4)",
        only: |_, settings| !settings.rack,
    },
];

impl Known {
    /// What it is called.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    fn matches(&self, case: &Case, finding: &Finding) -> bool {
        let Some(end) = finding.by.filter(|_| finding.rule == Some(self.rule)) else {
            return false;
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
