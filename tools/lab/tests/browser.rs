//! Every kind of figure, on one page, in a real browser: `tools/lab/check-reports` looks at it.

use std::path::Path;
use std::process::{Command, ExitCode, Output};

use libtest_mimic::{Arguments, Failed, Trial};

use figures::{
    Axis, Bar, Block, Chart, EventTrack, Line, Panel, Report, Section, Stroke, Table, Waterfall,
};

/// The script's exit code when there is no browser.
const NO_BROWSER: i32 = 77;

fn time() -> Axis {
    Axis::new("time", "s")
}

/// 60 s of a sawtooth, a sample every 10 ms.
fn sawtooth(period: f64, low: f64, rise: f64) -> Vec<(f64, f64)> {
    (0..6000)
        .map(|n| f64::from(n) * 0.01)
        .map(|t| (t, low + rise * (t % period)))
        .collect()
}

fn one_run() -> Chart {
    let limit = |from: f64, value: f64| {
        let limit = move |t| (t, if t < from { f64::NAN } else { value });
        (0..6000).map(|n| limit(f64::from(n) * 0.01)).collect()
    };
    let windows = Panel::new(Axis::new("window", "kB"))
        .line(Line::new("cwnd a", sawtooth(7.0, 320.0, 20.0)).colour(0))
        .line(
            Line::new("ssthresh a", limit(3.0, 320.0))
                .colour(0)
                .stroke(Stroke::Dashed),
        )
        .line(Line::new("cwnd b", sawtooth(9.0, 200.0, 22.0)).colour(1))
        .line(
            Line::new("ssthresh b", limit(5.0, 200.0))
                .colour(1)
                .stroke(Stroke::Dashed),
        );
    let queue = Line::new("bottleneck", sawtooth(0.3, 0.0, 999.0)).stroke(Stroke::Steps);
    Chart::new("Two flows on one link", time())
        .panel(windows)
        .panel(Panel::new(Axis::new("queue", "packets")).line(queue.colour(2)))
        .events(EventTrack::new(
            "fast recovery, a",
            (1..9).map(|n| f64::from(n) * 7.0).collect(),
        ))
        .events(EventTrack::new("timeout, b", vec![13.0, 41.0]).colour(1))
        .events(EventTrack::new("congestion experienced, b", vec![]).colour(1))
        .marker(20.0, "rate 50 Mbit/s")
        .marker(20.9, "rate 100 Mbit/s")
        .marker(59.9, "the end of the last change")
}

fn sweep() -> Chart {
    let losses = [0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 5.0];
    let panel = (0..9).fold(Panel::new(Axis::new("goodput", "Mbit/s")), |panel, n| {
        let points = losses
            .iter()
            .map(|loss| (*loss, 100.0 - 9.0 * f64::from(n) - loss));
        let line = Line::new(format!("algorithm {n}"), points.collect());
        panel.line(line.stroke(Stroke::Marked))
    });
    Chart::new("Goodput against loss", Axis::new("loss", "%").log()).panel(panel.height(240.0))
}

fn bars() -> Waterfall {
    Waterfall::new(
        "Time to first byte",
        Axis::new("time", "ms"),
        ["TCP", "TLS", "request"],
    )
    .bar(
        Bar::new("TLS 1.2")
            .span(0, 0.0, 100.0)
            .span(1, 100.0, 300.0)
            .span(2, 300.0, 400.0)
            .note("400 ms"),
    )
    .bar(Bar::new("With Fast Open"))
    .bar(
        Bar::new("TLS 1.3 and a long label that has to end somewhere all the same")
            .span(1, 0.0, 100.0)
            .span(2, 100.0, 200.0)
            .note("200 ms"),
    )
}

fn awkward() -> Vec<Block> {
    let long = "A title that goes on and on and on until it no longer fits on the line at all, \
                whatever one does about it";
    let dot = Panel::new(Axis::new("window", "B")).line(Line::new("one", vec![(1.0, 5e6)]));
    let nothing = Panel::new(Axis::new("nothing", "")).line(Line::new("none", vec![]));
    let one = Chart::new(long, time()).panel(dot);
    vec![
        one.into(),
        Chart::new("Nothing", time()).panel(nothing).into(),
    ]
}

fn gallery() -> Report {
    let table = Table::new(["flow", "goodput (Mbit/s)"])
        .row(["a <1>", "51.2"])
        .row(["b & c", "44.6"]);
    let results = Section::new("Results")
        .block(table)
        .block(sweep())
        .block(bars());
    let awkward = Section {
        title: "Awkward".into(),
        blocks: awkward(),
        ..Section::default()
    };
    let mut report = Report::new("Every kind of figure", "lab run gallery --seed 7")
        .section(results)
        .section(Section::new("One run").block(one_run()))
        .section(Section::new("Folded").collapsed().block(one_run()))
        .section(awkward);
    report.about = "What it shows.\n\nWhy it is so.".into();
    report.parameters = vec![("seed".into(), "7".into())];
    report
}

fn check_reports(arguments: &[&Path]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("check-reports");
    Command::new(script)
        .args(arguments)
        .output()
        .expect("the script runs")
}

/// Whether the page passes, and what is said of it.
fn check(file: &Path) -> (bool, String) {
    let output = check_reports(&[file]);
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

fn every_figure_is_visible() -> Result<(), Failed> {
    let page = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gallery.html");
    std::fs::write(&page, gallery().to_html())?;
    let (passed, said) = check(&page);
    if passed && said.contains("ok, 6 figures") {
        Ok(())
    } else {
        Err(said.into())
    }
}

fn a_broken_page_is_found_out() -> Result<(), Failed> {
    let page = Path::new(env!("CARGO_TARGET_TMPDIR")).join("broken.html");
    let blank = "<svg class=\"fig\" width=\"300\" height=\"90\"/></main>";
    let script = "<script>console.error('oh')</script>";
    std::fs::write(
        &page,
        gallery().to_html().replace("</main>", blank) + script,
    )?;
    let (passed, said) = check(&page);
    if !passed && said.contains("blank") && said.contains("oh") {
        Ok(())
    } else {
        Err(said.into())
    }
}

fn main() -> ExitCode {
    let no_browser = check_reports(&[]).status.code() == Some(NO_BROWSER);
    if no_browser {
        eprintln!("no Chromium on this machine: reports are not looked at");
    }
    let trial = |name: &str, test: fn() -> Result<(), Failed>| {
        Trial::test(name, test).with_ignored_flag(no_browser)
    };
    let trials = vec![
        trial("every_figure_is_visible", every_figure_is_visible),
        trial("a_broken_page_is_found_out", a_broken_page_is_found_out),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
