//! The arithmetic: which rounds count, medians of ratios, and what they say about a bar.

use std::collections::BTreeMap;

use crate::Figures;
use crate::table::{Bar, Demand, Over, Row};

/// A round counts only if its reference is this near to the median of all references, as a share.
const TOLERANCE: f64 = 0.15;

/// What one round gave: by contestant, its figures or why there are none.
pub type Round = BTreeMap<String, Result<Figures, String>>;

/// What came of a bar.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It is as it must be.
    Pass,
    /// It is not. What the contestant that shows the limit reaches, where one is named.
    Fail(Option<f64>),
    /// Nothing is asked for.
    Told,
    /// What is asked for is above what the limit shows; told only.
    AboveLimit,
    /// It failed in a round that counts; how.
    Broke(String),
    /// Too few rounds to say.
    TooFew,
    /// There are no figures; why.
    NotMeasured(String),
}

/// A bar with what was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The ratio or figure that is quoted.
    pub value: Option<f64>,
    /// The least and the most over the rounds that count.
    pub spread: Option<(f64, f64)>,
    /// Against whom, where it was the best of several.
    pub best: Option<&'static str>,
    /// What it says.
    pub verdict: Verdict,
}

/// The median; of an even number the mean of the middle two. `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        len if len % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// The rounds that count: those in which the machine let the reference be what it is.
pub fn kept<'a>(row: &Row, rounds: &'a [Round]) -> Vec<&'a Round> {
    let reference = |round: &Round| figure(round, row.contestants[0].name, row.figure);
    let references: Vec<f64> = rounds.iter().filter_map(reference).collect();
    let Some(median) = median(&references) else {
        return Vec::new();
    };
    let near = |value: f64| (value - median).abs() <= TOLERANCE * median.abs();
    rounds
        .iter()
        .filter(|round| reference(round).is_some_and(near))
        .collect()
}

fn figure(round: &Round, contestant: &str, name: &str) -> Option<f64> {
    let figures = round.get(contestant)?.as_ref().ok()?;
    figures.get(name).copied().filter(|value| value.is_finite())
}

/// What rounds that count say of a bar, when at least `needed` are asked for. Why there are none,
/// any round may tell.
pub fn judge(bar: &Bar, rounds: &[&Round], all: &[Round], needed: usize) -> Finding {
    let (best, values) = match bar.against {
        [] => (None, own(bar, rounds)),
        [one] => (None, ratios(bar, rounds, one)),
        several => best_of(bar, rounds, several),
    };
    let mut finding = Finding {
        value: None,
        spread: None,
        best,
        verdict: Verdict::NotMeasured(why_nothing(bar, all)),
    };
    let (Some(middle), Some((low, high))) = (median(&values), spread(&values)) else {
        return finding;
    };
    let value = match (bar.over, bar.demand) {
        (Over::Every, Demand::AtLeast(_)) => low,
        (Over::Every, Demand::AtMost(_)) => high,
        _ => middle,
    };
    finding.value = Some(value);
    finding.spread = Some((low, high));
    let met = match bar.demand {
        Demand::None => None,
        Demand::AtLeast(bound) => Some(value >= bound),
        Demand::AtMost(bound) => Some(value <= bound),
    };
    let failure = rounds
        .iter()
        .find_map(|round| round.get(bar.of)?.as_ref().err());
    finding.verdict = match (met, failure) {
        (Some(_), Some(why)) => Verdict::Broke(why.clone()),
        _ if values.len() < needed => Verdict::TooFew,
        (None, _) => Verdict::Told,
        (Some(true), _) => Verdict::Pass,
        (Some(false), _) if is_above_limit(bar, rounds, best) => Verdict::AboveLimit,
        (Some(false), _) => Verdict::Fail(reached(bar, bar.limit, rounds, best)),
    };
    finding
}

fn own(bar: &Bar, rounds: &[&Round]) -> Vec<f64> {
    let own = |round: &&Round| figure(round, bar.of, bar.figure);
    rounds.iter().filter_map(own).collect()
}

fn ratios(bar: &Bar, rounds: &[&Round], against: &str) -> Vec<f64> {
    let ratio = |round: &&Round| {
        let (ours, theirs) = (
            figure(round, bar.of, bar.figure)?,
            figure(round, against, bar.figure)?,
        );
        (theirs > 0.0).then_some(ours / theirs)
    };
    rounds.iter().filter_map(ratio).collect()
}

/// The ratios to whoever leaves us the worst one.
fn best_of(
    bar: &Bar,
    rounds: &[&Round],
    several: &[&'static str],
) -> (Option<&'static str>, Vec<f64>) {
    let all = several
        .iter()
        .map(|&name| (name, ratios(bar, rounds, name)));
    let with_median = all.filter_map(|(name, ratios)| Some((median(&ratios)?, name, ratios)));
    let worst = with_median.min_by(|a, b| match bar.demand {
        Demand::AtMost(_) => b.0.total_cmp(&a.0),
        _ => a.0.total_cmp(&b.0),
    });
    worst.map_or((None, Vec::new()), |(_, name, ratios)| (Some(name), ratios))
}

/// Whether the demand asks for more than the contestant that shows the limit reaches.
fn is_above_limit(bar: &Bar, rounds: &[&Round], best: Option<&'static str>) -> bool {
    let Demand::AtLeast(bound) = bar.demand else {
        return false;
    };
    reached(bar, bar.where_below, rounds, best).is_some_and(|ratio| bound > ratio)
}

/// The same ratio, of somebody else.
fn reached(
    bar: &Bar,
    of: Option<&'static str>,
    rounds: &[&Round],
    best: Option<&'static str>,
) -> Option<f64> {
    let against = best.or(bar.against.first().copied())?;
    median(&ratios(&Bar { of: of?, ..*bar }, rounds, against))
}

fn spread(values: &[f64]) -> Option<(f64, f64)> {
    let low = values.iter().copied().reduce(f64::min)?;
    let high = values.iter().copied().reduce(f64::max)?;
    Some((low, high))
}

/// The last reason given for a figure that is missing.
fn why_nothing(bar: &Bar, rounds: &[Round]) -> String {
    let concerned = |name: &str| name == bar.of || bar.against.contains(&name);
    let mut reasons = rounds.iter().rev().flat_map(|round| round.iter());
    let reason = reasons.find_map(|(name, result)| {
        let reason = result.as_ref().err().filter(|_| concerned(name))?;
        Some(format!("{name}: {reason}"))
    });
    reason.unwrap_or_else(|| "not measured yet".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures;
    use crate::subject::Subject;
    use crate::table::Contestant;
    use crate::work::Work;

    const NAMES: [&str; 4] = ["probe", "ustack", "slow", "slower"];

    fn row() -> Row {
        let contestant = |name| Contestant {
            name,
            subject: Subject::Probe,
            work: Work::RoundTrips,
        };
        Row {
            name: "test",
            title: "",
            figure: "x",
            contestants: NAMES.map(contestant).to_vec(),
            bars: Vec::new(),
        }
    }

    fn bar(against: &'static [&'static str], demand: Demand) -> Bar {
        Bar {
            of: "ustack",
            figure: "x",
            against,
            demand,
            over: Over::Median,
            where_below: None,
            limit: None,
        }
    }

    fn rounds(values: &[[f64; 4]]) -> Vec<Round> {
        let round = |values: &[f64; 4]| {
            let named = NAMES.iter().zip(values);
            named
                .map(|(name, &x)| ((*name).to_owned(), Ok(figures([("x", x)]))))
                .collect()
        };
        values.iter().map(round).collect()
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 9.0]), Some(3.0));
    }

    #[test]
    fn rounds_with_an_unsteady_reference_are_thrown_away() {
        let all = rounds(&[
            [100.0, 1.0, 1.0, 1.0],
            [84.0, 2.0, 1.0, 1.0],
            [85.0, 3.0, 1.0, 1.0],
            [115.0, 4.0, 1.0, 1.0],
            [116.0, 5.0, 1.0, 1.0],
            [100.0, 6.0, 1.0, 1.0],
        ]);
        let kept: Vec<f64> = kept(&row(), &all)
            .iter()
            .filter_map(|round| figure(round, "ustack", "x"))
            .collect();
        assert_eq!(kept, [1.0, 3.0, 4.0, 6.0]);
    }

    #[test]
    fn a_round_without_its_reference_is_thrown_away() {
        let mut all = rounds(&[[1.0; 4]; 2]);
        all[1].insert("probe".to_owned(), Err("died".to_owned()));
        assert_eq!(kept(&row(), &all).len(), 1);
        all[0].remove("probe");
        assert!(kept(&row(), &all).is_empty());
    }

    #[test]
    fn the_median_of_ratios_is_not_the_ratio_of_medians() {
        let all = rounds(&[
            [10.0, 9.0, 1.0, 1.0],
            [11.0, 5.5, 1.0, 1.0],
            [9.0, 9.0, 1.0, 1.0],
        ]);
        let counting: Vec<&Round> = all.iter().collect();
        let finding = judge(&bar(&["probe"], Demand::AtLeast(0.85)), &counting, &all, 3);
        assert_eq!(finding.value, Some(0.9));
        assert_eq!(finding.spread, Some((0.5, 1.0)));
        assert_eq!(finding.verdict, Verdict::Pass);
        let strict = judge(&bar(&["probe"], Demand::AtLeast(0.91)), &counting, &all, 3);
        assert_eq!(strict.verdict, Verdict::Fail(None));
        let lower = judge(&bar(&["probe"], Demand::AtMost(0.9)), &counting, &all, 3);
        assert_eq!(lower.verdict, Verdict::Pass);
        let few = judge(&bar(&["probe"], Demand::AtLeast(0.1)), &counting, &all, 4);
        assert_eq!(few.verdict, Verdict::TooFew);
        let told = judge(&bar(&["probe"], Demand::None), &counting, &all, 3);
        assert_eq!(told.verdict, Verdict::Told);
    }

    #[test]
    fn a_failure_names_what_the_limit_reaches() {
        let all = rounds(&[[110.0, 100.0, 100.0, 1.0]; 3]);
        let counting: Vec<&Round> = all.iter().collect();
        let limited = Bar {
            limit: Some("probe"),
            ..bar(&["slow"], Demand::AtLeast(2.0))
        };
        let verdict = judge(&limited, &counting, &all, 3).verdict;
        assert_eq!(verdict, Verdict::Fail(Some(1.1)));
        let met = Bar {
            demand: Demand::AtLeast(1.0),
            ..limited
        };
        assert_eq!(judge(&met, &counting, &all, 3).verdict, Verdict::Pass);
    }

    #[test]
    fn the_best_of_several_is_the_one_that_counts() {
        let all = rounds(&[[100.0, 80.0, 20.0, 10.0]; 3]);
        let counting: Vec<&Round> = all.iter().collect();
        let peers = bar(&["slower", "slow"], Demand::AtLeast(5.0));
        let finding = judge(&peers, &counting, &all, 3);
        assert_eq!(finding.value, Some(4.0));
        assert_eq!(finding.best, Some("slow"));
        assert_eq!(finding.verdict, Verdict::Fail(None));
        // Five times the best peer is what the limit reaches, so it can be asked for.
        let bar = Bar {
            where_below: Some("probe"),
            ..peers
        };
        assert_eq!(judge(&bar, &counting, &all, 3).verdict, Verdict::Fail(None));
        let beyond = Bar {
            demand: Demand::AtLeast(5.1),
            ..bar
        };
        assert_eq!(
            judge(&beyond, &counting, &all, 3).verdict,
            Verdict::AboveLimit
        );
    }

    #[test]
    fn every_round_means_the_worst() {
        let all = rounds(&[
            [1.0, 0.0, 1.0, 1.0],
            [1.0, 3.0, 1.0, 1.0],
            [1.0, 0.0, 1.0, 1.0],
        ]);
        let counting: Vec<&Round> = all.iter().collect();
        let mut bar = bar(&[], Demand::AtMost(0.0));
        assert_eq!(judge(&bar, &counting, &all, 3).verdict, Verdict::Pass);
        bar.over = Over::Every;
        let finding = judge(&bar, &counting, &all, 3);
        assert_eq!(
            (finding.value, finding.verdict),
            (Some(3.0), Verdict::Fail(None))
        );
    }

    #[test]
    fn a_failure_of_who_is_judged_is_no_missing_round() {
        let mut all = rounds(&[[1.0; 4]; 6]);
        all[2].insert("ustack".to_owned(), Err("it died".to_owned()));
        let counting: Vec<&Round> = all.iter().collect();
        let finding = judge(&bar(&["probe"], Demand::AtLeast(0.5)), &counting, &all, 5);
        assert_eq!(finding.verdict, Verdict::Broke("it died".to_owned()));
    }

    #[test]
    fn what_is_missing_says_why() {
        let mut all = rounds(&[[1.0; 4]; 3]);
        for round in &mut all {
            round.insert("slow".to_owned(), Err("it stalled".to_owned()));
        }
        let counting: Vec<&Round> = all.iter().collect();
        let finding = judge(&bar(&["slow"], Demand::AtLeast(2.0)), &counting, &all, 3);
        let Verdict::NotMeasured(why) = finding.verdict else {
            panic!("{finding:?}");
        };
        assert_eq!(why, "slow: it stalled");
        // Who fails is not the best.
        let finding = judge(
            &bar(&["slow", "slower"], Demand::AtLeast(1.0)),
            &counting,
            &all,
            3,
        );
        assert_eq!(finding.best, Some("slower"));
        assert_eq!(finding.verdict, Verdict::Pass);
    }
}
