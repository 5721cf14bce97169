//! Recordings become reports.

use super::dimension::number;
use super::*;
use crate::recording::{Event, FlowResult, Message, Run, Series, Step};
use figures::Chart;

fn flow(name: &str, goodput: f64) -> FlowResult {
    FlowResult {
        name: name.into(),
        goodput,
        ..FlowResult::default()
    }
}

fn run(params: &[(&str, &str)], flows: Vec<FlowResult>) -> Run {
    let params: Vec<_> = params
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let label: Vec<_> = params
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    Run {
        label: label.join(" "),
        params,
        duration: 10.0,
        flows,
        ..Run::default()
    }
}

/// Loss × RTT, with Reno and CUBIC in every run.
fn sweep() -> Recording {
    let mut recording = Recording {
        name: "sweep".into(),
        ..Recording::default()
    };
    for rtt in ["20ms", "0.2s"] {
        for (loss, goodput) in [("0%", 9.0), ("0.01%", 7.0), ("1%", 2.0)] {
            let flows = vec![flow("reno", goodput), flow("cubic", goodput + 0.5)];
            recording
                .runs
                .push(run(&[("rtt", rtt), ("loss", loss)], flows));
        }
    }
    recording
}

fn asked(kind: PlotKind, x: &str, y: &str, by: &str) -> Plot {
    Plot {
        title: "plot".into(),
        kind,
        series: Vec::new(),
        x: Some(x.into()),
        y: Some(y.into()),
        by: Some(by.into()),
        log_x: false,
        log_y: false,
    }
}

fn charts(blocks: &[Block]) -> Vec<&Chart> {
    let charts = blocks.iter().filter_map(|block| match block {
        Block::Chart(chart) => Some(chart),
        _ => None,
    });
    charts.collect()
}

#[test]
fn a_sweep_becomes_a_panel_for_each_value_of_its_other_axes() {
    let blocks = plot(&sweep(), &asked(PlotKind::Xy, "loss", "goodput", "flow"));
    let charts = charts(&blocks);
    let panels = charts[0].panels.iter().map(|panel| panel.y.title());
    let titles: Vec<_> = panels.collect();
    assert_eq!(
        titles,
        ["goodput, rtt 20ms (Mbit/s)", "goodput, rtt 0.2s (Mbit/s)"]
    );
    let lines = &charts[0].panels[0].lines;
    assert_eq!(lines[0].name, "reno");
    assert_eq!(lines[0].points, [(0.0, 9.0), (0.01, 7.0), (1.0, 2.0)]);
    assert_eq!(lines[1].points[2], (1.0, 2.5));
    assert_eq!(charts[0].x.unit, "%");
    assert_eq!(charts[0].x.scale, figures::Scale::Log, "loss spans decades");
}

#[test]
fn many_values_of_the_other_axes_have_a_chart_each() {
    let mut recording = sweep();
    for (index, run) in recording.runs.iter_mut().enumerate() {
        run.params[0].1 = format!("{index}ms");
    }
    let blocks = plot(&recording, &asked(PlotKind::Xy, "loss", "goodput", "flow"));
    assert_eq!(charts(&blocks).len(), 6);
    assert_eq!(charts(&blocks)[5].title, "plot, rtt 5ms");
}

#[test]
fn flows_that_are_not_told_apart_are_added_up() {
    let blocks = plot(&sweep(), &asked(PlotKind::Xy, "loss", "goodput", "rtt"));
    let charts = charts(&blocks);
    assert_eq!(charts.len(), 1);
    let line = &charts[0].panels[0].lines[1];
    assert_eq!((line.name.as_str(), line.points[2]), ("0.2s", (1.0, 4.5)));
}

#[test]
fn values_that_are_words_become_bars() {
    let mut recording = Recording::default();
    for (pair, goodput) in [("r/c", 4.0), ("c/c", 5.0)] {
        recording
            .runs
            .push(run(&[("pair", pair)], vec![flow("a", goodput)]));
    }
    let blocks = plot(&recording, &asked(PlotKind::Xy, "pair", "goodput", "flow"));
    let [Block::Waterfall(bars)] = &blocks[..] else {
        panic!("{blocks:?}")
    };
    let labels: Vec<_> = bars.bars.iter().map(|bar| bar.label.as_str()).collect();
    assert_eq!(labels, ["r/c", "a", "c/c", "a"]);
    assert_eq!(bars.bars[3].note, "5 Mbit/s");
}

#[test]
fn an_unknown_result_is_said_to_be_unknown() {
    let blocks = plot(&sweep(), &asked(PlotKind::Xy, "loss", "speed", "flow"));
    assert!(matches!(&blocks[..], [Block::Text(text)] if text.contains("\"speed\"")));
}

#[test]
fn messages_that_never_came_count_as_not_delivered() {
    let message = |received| Message {
        sent: 1.0,
        received,
    };
    let mut udp = flow("udp", 0.0);
    udp.messages = vec![
        message(Some(1.5)),
        message(None),
        message(Some(1.25)),
        message(None),
    ];
    let recording = Recording {
        runs: vec![run(&[], vec![udp])],
        ..Recording::default()
    };
    let mut wanted = asked(PlotKind::Cdf, "", "", "flow");
    let points = |plot: &Plot| {
        let blocks = self::plot(&recording, plot);
        charts(&blocks)[0].panels[0].lines[0].points.clone()
    };
    assert_eq!(
        points(&wanted),
        [(0.0, 0.0), (250.0, 25.0), (500.0, 50.0), (500.0, 50.0)]
    );
    wanted.log_y = true;
    assert_eq!(
        points(&wanted),
        [(0.0, 100.0), (250.0, 75.0), (500.0, 50.0), (500.0, 50.0)]
    );
}

#[test]
fn a_waterfall_ends_with_the_first_byte_of_the_answer() {
    let step = |label: &str, start: f64, end: f64| Step {
        label: label.into(),
        start,
        first_byte: end - 0.05,
        end,
    };
    let mut tls = flow("tls", 0.0);
    tls.steps = vec![step("TLS", 0.0, 0.1), step("HTTP", 0.1, 0.3)];
    let recording = Recording {
        runs: vec![run(&[], vec![tls])],
        ..Recording::default()
    };
    let blocks = plot(&recording, &asked(PlotKind::Waterfall, "", "", ""));
    let [Block::Waterfall(figure)] = &blocks[..] else {
        panic!("{blocks:?}")
    };
    assert_eq!(figure.bars[0].note, "250 ms");
    assert_eq!(figure.kinds, ["TLS", "HTTP", "rest of the answer"]);
    assert_eq!(figure.bars[0].spans.len(), 3);
}

#[test]
fn a_run_has_its_series_in_panels_and_its_events_below() {
    let series = |subject: &str, name: &str, unit, value| Series {
        subject: subject.into(),
        name: name.into(),
        unit,
        points: vec![(0.0, value), (10.0, value)],
    };
    let event = |flow: &str, what: &str| Event {
        at: 5.0,
        flow: flow.into(),
        what: what.into(),
    };
    let mut one = run(&[], vec![flow("a", 1.0), flow("b", 1.0)]);
    one.series = vec![
        series("a", "cwnd", "B", 50_000.0),
        series("b", "cwnd", "B", 1_000.0),
        series("a", "ssthresh", "B", f64::NAN),
        series("link", "queue", "packets", 3.0),
    ];
    one.events = vec![
        event("b", "rto"),
        event("a", "recovery"),
        event("link", "rate 5mbit"),
    ];
    let recording = Recording {
        runs: vec![one],
        ..Recording::default()
    };
    let report = from_recording(&recording);
    let section = report.sections.last().expect("a section");
    assert!(!section.collapsed);
    let chart = charts(&section.blocks)[0];
    let panels: Vec<_> = chart.panels.iter().map(|panel| panel.y.title()).collect();
    assert_eq!(panels, ["window (kB)", "queue (packets)"]);
    assert_eq!(chart.panels[0].lines[0].points[0], (0.0, 50.0));
    let tracks: Vec<_> = chart
        .events
        .iter()
        .map(|track| track.name.as_str())
        .collect();
    assert_eq!(tracks, ["recovery, a", "rto, b"]);
    assert_eq!(chart.markers[0].label, "link: rate 5mbit");
}

#[test]
fn of_a_large_sweep_the_first_runs_are_drawn() {
    let mut recording = sweep();
    for run in &mut recording.runs {
        run.series = vec![Series::default()];
    }
    let runs = recording.runs.clone();
    recording.runs = runs.iter().cycle().take(100).cloned().collect();
    let report = from_recording(&recording);
    let folded = report.sections.iter().filter(|section| section.collapsed);
    assert_eq!(folded.count(), DRAWN_RUNS);
    assert!(report.to_html().contains("88 more runs are not drawn"));
}

#[test]
fn values_of_the_file_have_a_common_unit() {
    assert_eq!(number("20ms"), Some((20.0, "ms")));
    assert_eq!(number("1.5 s"), Some((1500.0, "ms")));
    assert_eq!(number("0.01%"), Some((0.01, "%")));
    assert_eq!(number("1gbit"), Some((1000.0, "Mbit/s")));
    assert_eq!(number("0.5bdp"), Some((0.5, "BDP")));
    assert_eq!(number("100"), Some((100.0, "")));
    for text in ["reno", "", "on", "1/2", "ms", "nan"] {
        assert_eq!(number(text), None, "{text}");
    }
}

#[test]
fn figures_are_called_by_their_titles() {
    let mut recording = sweep();
    let plot = asked(PlotKind::Xy, "loss", "goodput", "flow");
    let again = Plot {
        title: "Plot!".into(),
        ..plot.clone()
    };
    recording.plots = vec![plot, again];
    let directory = tempfile::tempdir().expect("a directory");
    let files = write(directory.path(), &recording).expect("writes");
    let names: Vec<_> = files
        .iter()
        .filter_map(|file| file.file_name()?.to_str())
        .collect();
    assert_eq!(names, ["sweep.html", "sweep-plot.svg", "sweep-plot-2.svg"]);
    for file in &files {
        assert!(
            fs::read_to_string(file).expect("reads").contains("<svg"),
            "{file:?}"
        );
    }
}
