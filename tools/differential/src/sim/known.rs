//! Faults of smoltcp that are known.
//!
//! Each is recognised by the rule that is broken, by the end that breaks it, which is one of smoltcp,
//! and by what else must be so. What an application sees is forgiven only where smoltcp is at both
//! ends. Every entry has a case and a capture in `tests/known`.

use referee::Rule;

use super::{Case, Finding, Outcome, Settings, Stack};

/// Something that smoltcp is known to do.
#[derive(Debug)]
pub struct Known {
    /// What it is called; a case in `tests/known` has this name.
    pub name: &'static str,
    /// The rule that is broken; `None`: what applications see, where both ends are smoltcp.
    pub rule: Option<Rule>,
    /// What happens, and why.
    pub reason: &'static str,
    /// Where it says that this is wrong.
    pub source: &'static str,
    /// What else must be so.
    only: fn(&Case, &Settings) -> bool,
}

/// All of it.
pub const ALL: &[Known] = &[
    Known {
        name: "echoes-an-older-timestamp",
        rule: Some(Rule::EchoBack),
        reason: "smoltcp echoes the timestamp of whatever segment came last, be it old, overtaken or outside the window: the peer's round trips come out too long",
        source: "RFC 7323 §4.3",
        only: |_, settings| settings.timestamps,
    },
    Known {
        name: "repeats-on-every-third-duplicate",
        rule: Some(Rule::RetransmittedEarly),
        reason: "smoltcp does not remember that it is in recovery: whenever a duplicate count is interrupted (by a window update, by data) and reaches three again, it repeats the same segment",
        source: "RFC 6582 §3.2 step 1",
        only: |_, _| true,
    },
    Known {
        name: "forgets-an-early-fin",
        rule: Some(Rule::AckDelayed),
        reason: "smoltcp keeps the text of a segment that came early and not its FIN, which it neither processes nor acknowledges once the hole is filled: the peer has to send it again",
        source: "RFC 9293 §3.10.7.4",
        only: |_, _| true,
    },
    Known {
        name: "repeats-what-was-acknowledged",
        rule: Some(Rule::AcknowledgedAgain),
        reason: "after a timeout smoltcp goes back to the oldest byte and sends everything again, though ACKs that come meanwhile are beyond it",
        source: "RFC 9293 §3.4",
        only: |_, _| true,
    },
    Known {
        name: "stands-still-alone",
        rule: None,
        reason: "smoltcp with smoltcp at the other end: a lost window update or FIN is never repeated, and both wait for ever",
        source: "RFC 9293 §3.8.6.1",
        only: |_, _| true,
    },
    Known {
        name: "answers-a-syn-twice",
        rule: Some(Rule::OtherIsn),
        reason: "a SYN that comes again, its answer being on the way, finds another listening socket, which answers it, too, with an ISN of its own: two sockets for one connection",
        source: "RFC 9293 §3.10.7.4, fourth",
        only: |_, _| true,
    },
    Known {
        name: "repeats-beyond-the-window",
        rule: Some(Rule::OutsideWindow),
        reason: "the repetition after three duplicate ACKs is as long as there is something to send, whatever the peer's window",
        source: "RFC 9293 §3.8.6",
        only: |_, _| true,
    },
];

impl Known {
    /// Whether this explains what was found. What ustack does is never explained.
    fn matches(&self, case: &Case, finding: &Finding) -> bool {
        let Some(rule) = self.rule else {
            let stuck = ["is not done", "wrote", "ended by", "could not write"];
            return finding.rule.is_none()
                && case.stacks == [Stack::Smoltcp; 2]
                && stuck.iter().any(|words| finding.what.contains(words));
        };
        let Some(end) = finding.by.filter(|_| finding.rule == Some(rule)) else {
            return false;
        };
        let end = end as usize;
        case.stacks[end] == Stack::Smoltcp && (self.only)(case, &case.settings[end])
    }

    /// Whether a run showed this, and nothing that is not known.
    pub fn is_shown(&self, case: &Case, outcome: &Outcome) -> bool {
        let (known, unexplained) = sort(case, outcome);
        unexplained.is_empty() && known.iter().any(|(known, _)| known.name == self.name)
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
