//! Where the stack first did otherwise than the recorded end, in words.

use std::fmt;
use std::time::Duration;

use crate::dialogue::Dialogue;

/// Lines of the dialogue that an error shows.
const SHOWN: usize = 12;

/// The first divergence that matters: the application or the other end is served otherwise. How
/// bytes are cut into segments, when they are acknowledged and how often they are repeated is the
/// stack's own affair.
#[derive(Clone, Debug)]
pub struct Divergence {
    /// The packet of the recording at which it shows.
    pub packet: usize,
    /// When, in the time of the replay.
    pub at: Duration,
    /// What the recorded end did.
    pub recorded: String,
    /// What the stack did instead.
    pub ours: String,
    /// The section of an RFC that speaks of it.
    pub source: &'static str,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            packet,
            at,
            recorded,
            ours,
            source,
        } = self;
        let at = at.as_secs_f64();
        write!(
            f,
            "at packet {packet} ({at:.3} s) the recorded end {recorded}, the stack {ours} ({source})"
        )
    }
}

/// Why a replay came to no good end.
#[derive(Clone, Debug)]
pub enum Error {
    /// The recording cannot be replayed: why.
    Unusable(String),
    /// The stack did otherwise.
    Diverged(Box<(Divergence, Dialogue)>),
}

impl Error {
    pub(crate) fn new(fault: Fault, dialogue: &Dialogue) -> Self {
        match fault {
            Fault::Unusable(reason) => Self::Unusable(reason),
            Fault::Diverged(divergence) => Self::Diverged(Box::new((divergence, dialogue.clone()))),
        }
    }
}

/// [`Error`] before what was said is added.
#[derive(Debug)]
pub(crate) enum Fault {
    Unusable(String),
    Diverged(Divergence),
}

impl From<Divergence> for Fault {
    fn from(divergence: Divergence) -> Self {
        Self::Diverged(divergence)
    }
}

impl From<String> for Fault {
    fn from(reason: String) -> Self {
        Self::Unusable(reason)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unusable(reason) => f.write_str(reason),
            Self::Diverged(diverged) => {
                let (divergence, dialogue) = diverged.as_ref();
                let tail = dialogue.tail(SHOWN);
                write!(f, "{divergence}; what was said last:\n{tail}")
            }
        }
    }
}

impl std::error::Error for Error {}
