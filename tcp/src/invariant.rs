//! How this crate checks itself: every part says what holds of it between two calls, in builds with
//! debug assertions only.

/// What was found: the name of the first invariant that is broken.
pub(crate) type Held = Result<(), &'static str>;

/// `condition` holds; `invariant` says what it is.
pub(crate) const fn holds(condition: bool, invariant: &'static str) -> Held {
    if condition { Ok(()) } else { Err(invariant) }
}

/// Elements that a recount looks at per call, on average.
const PER_CALL: usize = 64;

/// Decides when everything is recounted: at each call while that is little, else so seldom that it
/// costs [`PER_CALL`] elements a call on average.
#[derive(Debug, Default)]
pub(crate) struct Recounts {
    calls: usize,
}

impl Recounts {
    /// One more call; whether it is time to recount `len` elements.
    pub(crate) const fn is_due(&mut self, len: usize) -> bool {
        self.calls += 1;
        let due = len <= self.calls.saturating_mul(PER_CALL);
        if due {
            self.calls = 0;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_recount_is_rare_and_a_small_one_is_not() {
        let mut recounts = Recounts::default();
        assert!((0..100).all(|_| recounts.is_due(PER_CALL)));
        let due = (0..1_000).filter(|_| recounts.is_due(100 * PER_CALL));
        assert_eq!(due.count(), 10);
    }
}
