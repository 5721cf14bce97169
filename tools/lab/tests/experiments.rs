//! The built-in experiments, shortened: every point of every sweep is sound, and the first and the
//! last one run.

use lab::{Experiment, builtin, runner, tables};
use ustack_tcp::time::{Duration, Instant};

/// How much of each is simulated.
const SHORT: Duration = Duration::from_secs(2);

#[test]
fn all_run() {
    for name in builtin::names() {
        let experiment =
            Experiment::builtin(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        let points = experiment
            .points()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let ends = [points.first(), points.last()];
        for point in ends.into_iter().flatten().take(points.len()) {
            let mut point = point.clone();
            let scenario = &mut point.scenario;
            scenario.duration = scenario.duration.min(SHORT);
            scenario.from = Instant::ZERO;
            let run = runner::run_point(&point).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(run.flows.len(), point.scenario.flows.len());
            for (flow, spec) in run.flows.iter().zip(&point.scenario.flows) {
                let had_time = spec.start < Instant::from_millis(500);
                assert!(
                    !had_time || flow.bytes > 0,
                    "{name} {}: {flow:?}",
                    run.label
                );
                assert_eq!(flow.failure, None, "{name} {}: {}", run.label, flow.name);
            }
            assert!(!tables::of(&[run], experiment.columns())[0].rows.is_empty());
        }
    }
}

/// The file that the README explains everything with.
#[test]
fn the_example_of_the_readme_is_sound() {
    let readme = include_str!("../README.md");
    let (_, rest) = readme.split_once("```toml\n").expect("an example");
    let (text, _) = rest.split_once("```").expect("its end");
    let mut experiment = Experiment::parse(text).unwrap_or_else(|error| panic!("{error}"));
    experiment
        .set("congestion", "reno,cubic")
        .expect("values of the axis");
    experiment
        .set("link.bottleneck.loss", "1%")
        .expect("a share");
    assert_eq!(experiment.points().expect("points").len(), 2);
}
