//! What docs/lab/hol.md, last-mile.md and edge.md say, with the seed that their commands have.

use lab::recording::{FlowResult, Run, percentile};
use lab::{Experiment, Options, Recording};

fn run(name: &str, settings: &[(&str, &str)]) -> Recording {
    let mut experiment = Experiment::builtin(name).expect("built in");
    for (key, value) in settings {
        experiment.set(key, value).expect(key);
    }
    experiment.run(Options::default()).expect("runs")
}

fn flow<'a>(run: &'a Run, name: &str) -> &'a FlowResult {
    let flow = run.flows.iter().find(|flow| flow.name == name);
    flow.unwrap_or_else(|| panic!("{}: no flow {name}", run.label))
}

fn lost(run: &Run, link: &str) -> u64 {
    let link = run.links.iter().find(|other| other.name == link);
    link.expect("the link").lost
}

#[test]
fn hol_a_datagram_is_on_time_or_never_comes() {
    for run in &run("hol", &[("loss", "0%,1%,5%")]).runs {
        let udp = flow(run, "udp");
        let delays = udp.delays();
        assert!(percentile(&delays, 1.0) < 25.2, "{}", run.label);
        let missing = (udp.messages.len() - delays.len()) as u64;
        assert_eq!(missing, lost(run, "udp-path"), "{}", run.label);
    }
}

#[test]
fn hol_one_loss_makes_many_messages_of_a_stream_late() {
    let recording = run("hol", &[("loss", "0%,1%,5%")]);
    let tcp: Vec<_> = recording.runs.iter().map(|run| flow(run, "tcp")).collect();
    for flow in &tcp {
        assert_eq!(flow.delays().len(), 3600, "all arrive");
    }
    assert_eq!(tcp[0].late(), 3, "those that wait for the handshake");
    let losses = lost(&recording.runs[1], "tcp-path");
    let late = tcp[1].late() as u64;
    assert!(
        late >= 3 * losses,
        "{late} late messages of {losses} losses"
    );
    // A loss costs a round trip, 50 ms, at least.
    let p99 = percentile(&tcp[1].delays(), 0.99);
    assert!((75.0..125.0).contains(&p99), "{p99} ms");
    assert!(percentile(&tcp[2].delays(), 0.95) > 75.0);
}

#[test]
fn last_mile_each_handshake_costs_its_round_trips() {
    for run in &run("last-mile", &[]).runs {
        let rtt: f64 = run.params[0].1.trim_end_matches("ms").parse().expect("ms");
        for (name, trips) in [
            ("HTTP, no TLS", 2.0),
            ("TLS 1.2", 4.0),
            ("TLS 1.3", 3.0),
            ("Fast Open, TLS 1.3", 2.0),
            ("TLS 1.3, 0-RTT", 2.0),
            ("Fast Open, TLS 1.3, 0-RTT", 1.0),
        ] {
            let first_byte = flow(run, name).first_byte().expect("an answer");
            let over = first_byte - trips * rtt;
            assert!(
                (0.0..0.5).contains(&over),
                "{name} at {rtt} ms: {first_byte} ms"
            );
        }
    }
}

#[test]
fn edge_a_split_keeps_losses_away_from_the_long_way() {
    let settings = [("congestion", "reno,cubic"), ("loss", "0%,1%")];
    let recording = run("edge", &settings);
    for runs in recording.runs.chunks(2) {
        let [clean, lossy] = runs else {
            panic!("two losses")
        };
        let goodput = |run, name| flow(run, name).goodput;
        assert!(goodput(clean, "end-to-end") > 40.0, "{}", clean.label);
        assert!(goodput(clean, "split") > 40.0, "{}", clean.label);
        let (whole, split) = (goodput(lossy, "end-to-end"), goodput(lossy, "split"));
        assert!(
            split > 5.0 * whole,
            "{}: {split} against {whole}",
            lossy.label
        );
    }
}

#[test]
fn edge_a_model_of_the_path_does_without_the_split() {
    let settings = [
        ("congestion", "cubic,bbr"),
        ("loss", "1%"),
        ("duration", "20s"),
    ];
    let recording = run("edge", &settings);
    let whole = |index: usize| flow(&recording.runs[index], "end-to-end").goodput;
    assert!(
        whole(1) > 10.0 * whole(0),
        "{} against {}",
        whole(1),
        whole(0)
    );
}
