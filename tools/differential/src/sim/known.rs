//! What smoltcp is known to do wrong.
//!
//! Each fault is recognised by the rule of the wire that it breaks, and by what else must be so;
//! cases in `tests/known` show it. Nothing that an application sees is forgiven here unless a
//! fault says so.

use referee::Rule;

use super::{Case, Finding, Outcome, Stack};
use crate::script::End;

/// One fault.
#[derive(Debug)]
pub struct Fault {
    /// What it is called; its case in `tests/known` has this name.
    pub name: &'static str,
    /// What smoltcp does.
    pub what: &'static str,
    /// Where it says that this is wrong.
    pub source: &'static str,
    /// Whether a finding is this fault.
    matches: fn(&Case, &Outcome, &Finding) -> bool,
}

/// All of them.
pub const FAULTS: &[Fault] = &[];

/// Findings that are known faults, and those that nothing explains.
pub fn sort(case: &Case, outcome: &Outcome) -> (Vec<(&'static Fault, Finding)>, Vec<Finding>) {
    let (mut known, mut unexplained) = (Vec::new(), Vec::new());
    for finding in &outcome.findings {
        let fault = FAULTS
            .iter()
            .find(|fault| (fault.matches)(case, outcome, finding));
        match fault {
            Some(fault) => known.push((fault, finding.clone())),
            None => unexplained.push(finding.clone()),
        }
    }
    (known, unexplained)
}

/// Whether smoltcp broke this rule.
#[expect(dead_code, reason = "nothing is known yet")]
fn broke(case: &Case, finding: &Finding, rule: Rule) -> bool {
    let by_smoltcp = |end: End| case.stacks[end as usize] == Stack::Smoltcp;
    finding.rule == Some(rule) && finding.by.is_some_and(by_smoltcp)
}
