//! What looks wrong in a conversation, and why: the likeliest cause first.

mod ending;
mod loss;
mod opening;
mod silence;
mod windows;
mod wire;

use serde::Serialize;

use crate::conversation::Conversation;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing.
    Minor,
    /// The conversation was slower than it had to be.
    Slow,
    /// The conversation failed, or did not get on.
    Broken,
}

/// Something unusual.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// A name that stays, such as `spurious-timeout`.
    pub name: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The cause, in one line.
    pub cause: String,
    /// What shows it, with packets and times.
    pub evidence: Vec<String>,
    /// The packets that the evidence names first.
    pub packets: Vec<usize>,
    /// Where it stands written.
    pub source: &'static str,
    /// What to do.
    pub advice: &'static str,
    /// What explains more comes first.
    #[serde(skip)]
    weight: u32,
}

/// All findings of a conversation. What explains others comes before them.
pub(crate) fn findings(one: &Conversation) -> Vec<Finding> {
    let mut findings = Vec::new();
    wire::find(one, &mut findings);
    opening::find(one, &mut findings);
    silence::find(one, &mut findings);
    ending::find(one, &mut findings);
    windows::find(one, &mut findings);
    loss::find(one, &mut findings);
    findings.sort_by_key(|finding| std::cmp::Reverse((finding.severity, finding.weight)));
    findings
}

/// Bytes that an end has on their way without an answer, and what became of them.
pub(crate) fn is_established(one: &Conversation) -> bool {
    one.established.is_some() || one.began == crate::conversation::Began::Middle
}
