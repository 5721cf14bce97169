//! The highest rate at which something still works: doubled until it does not, then bisected.

/// How close the answer is, as a ratio.
const RESOLUTION: f64 = 1.04;

/// What is known so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search {
    works: Option<f64>,
    fails: Option<f64>,
    start: f64,
    bounds: (f64, f64),
}

impl Search {
    /// Nothing is known; begins at `start` and stays within `bounds`.
    pub(super) fn new(start: f64, bounds: (f64, f64)) -> Self {
        Self {
            works: None,
            fails: None,
            start,
            bounds,
        }
    }

    /// The rate to try next; `None` when nothing more is to be learnt.
    pub(super) fn next(&self) -> Option<f64> {
        let (least, most) = self.bounds;
        let next = match (self.works, self.fails) {
            (None, None) => self.start,
            (Some(works), None) => (works * 2.0).min(most),
            (None, Some(fails)) => (fails / 2.0).max(least),
            (Some(works), Some(fails)) if fails / works > RESOLUTION => (works * fails).sqrt(),
            (Some(_), Some(_)) => return None,
        };
        let known = [self.works, self.fails].contains(&Some(next));
        (!known).then_some(next)
    }

    /// Takes in what came of a rate.
    pub(super) fn on_trial(&mut self, rate: f64, works: bool) {
        if works {
            self.works = Some(rate);
            // A failure below what works was an accident.
            self.fails = self.fails.filter(|&fails| fails > rate);
        } else {
            self.fails = Some(self.fails.map_or(rate, |fails| fails.min(rate)));
            self.works = self.works.filter(|&works| works < rate);
        }
    }

    /// The highest rate that worked.
    pub(super) fn highest(&self) -> Option<f64> {
        self.works
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(limit: f64, start: f64) -> (Option<f64>, u32) {
        let mut search = Search::new(start, (100.0, 1e7));
        let mut trials = 0;
        while let Some(rate) = search.next() {
            trials += 1;
            assert!(trials < 60, "no end for {limit}");
            search.on_trial(rate, rate <= limit);
        }
        (search.highest(), trials)
    }

    #[test]
    fn finds_a_limit_above_and_below_the_start() {
        for limit in [150.0, 999.0, 20_000.0, 20_001.0, 123_456.0, 9e6] {
            let (found, trials) = find(limit, 20_000.0);
            let found = found.expect("a rate");
            assert!(found <= limit && found > limit / 1.05, "{limit}: {found}");
            assert!(trials <= 20, "{limit}: {trials} trials");
        }
    }

    #[test]
    fn an_accident_is_forgotten_when_a_higher_rate_works() {
        let mut search = Search::new(1000.0, (100.0, 1e7));
        search.on_trial(1000.0, true);
        search.on_trial(1030.0, false);
        assert_eq!(search.next(), None);
        search.on_trial(1300.0, false);
        assert_eq!(search.next(), None, "as before");
        search.on_trial(1300.0, true);
        assert_eq!(search.next(), Some(2600.0));
    }

    #[test]
    fn says_when_nothing_works_or_everything_does() {
        assert_eq!(find(50.0, 20_000.0).0, None);
        assert_eq!(find(f64::INFINITY, 20_000.0).0, Some(1e7));
    }
}
