use super::*;

const GOOD: &str = r#"[experiment]
name = "good"
duration = "2s"

[[link]]
name = "l"
rate = "10mbit"
delay = "10ms"
queue = "1bdp"

[[flow]]
name = "a"

[[flow]]
name = "b"
count = 2
kind = "messages"
size = "100B"
every = "10ms"

[[sweep]]
name = "loss"
set = "link.l.loss"
values = ["0%", "1%"]

[[sweep]]
name = "who"
set = ["flow.a.congestion", "flow.a.rtt"]
values = [["reno", "20ms"], ["cubic", "80ms"], ["cubic", "40ms"]]
labels = ["r", "c", "d"]
"#;

fn error(text: &str) -> String {
    match Experiment::parse(text) {
        Ok(_) => panic!("this was taken:\n{text}"),
        Err(error) => error.to_string(),
    }
}

/// The good file with one thing changed.
fn error_of(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    error(&GOOD.replacen(from, to, 1))
}

#[test]
fn a_sweep_is_the_product_of_its_axes() {
    let points = Experiment::parse(GOOD)
        .expect("good")
        .points()
        .expect("points");
    assert_eq!(points.len(), 6);
    let params = |index: usize| {
        let params = points[index].params.iter();
        params
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(params(0), "loss=0% who=r");
    assert_eq!(params(4), "loss=1% who=c");
    let scenario = &points[4].scenario;
    assert!((scenario.lanes[0].spec.loss - 0.01).abs() < 1e-12);
    assert_eq!(scenario.flows.len(), 3);
    assert_eq!(scenario.flows[0].algorithm, "cubic");
    // The longest round trip is the flow's own, on a wire of 60 ms besides the link's 20 ms.
    let queue = ustack::device::impair::QueueLimit::Bytes(100_000);
    assert_eq!(scenario.lanes[0].spec.queue, Some(queue));
    assert_eq!(scenario.flows[0].legs[0].back, [1, 2]);
}

#[test]
fn settings_change_values_and_axes() {
    let mut experiment = Experiment::parse(GOOD).expect("good");
    experiment.set("duration", "5s").expect("a duration");
    experiment.set("who", "c,r").expect("labels of the axis");
    experiment
        .set("loss", "3%")
        .expect("a new value of the axis");
    let points = experiment.points().expect("points");
    assert_eq!(points.len(), 2);
    assert_eq!(points[0].scenario.duration.as_secs(), 5);
    assert!((points[0].scenario.lanes[0].spec.loss - 0.03).abs() < 1e-12);
    assert_eq!(points[0].params[1].1, "c");
    for (key, value, words) in [
        (
            "link.l.lost",
            "1%",
            "unknown field `lost`, expected one of `name`, `rate`",
        ),
        ("link.l.rate", "fast", "`fast` is not a rate"),
        ("link.k.rate", "1mbit", "there is no link `k`, but `l`"),
        ("who", "x", "with sweep"),
    ] {
        let error = experiment.set(key, value).expect_err(key).to_string();
        assert!(error.contains(words), "{key}: {error}");
    }
    assert_eq!(
        experiment.points().expect("points").len(),
        2,
        "a bad setting changes nothing"
    );
}

#[test]
fn a_bad_value_is_told_with_line_key_and_what_is_allowed() {
    assert_eq!(
        error_of("rate = \"10mbit\"", "rate = \"10mb\""),
        "line 7: rate: `10mb` is not a rate of at least 1bit, such as \"100mbit\" (units bit, kbit, mbit, gbit)"
    );
    assert_eq!(
        error_of("kind = \"messages\"", "kind = \"message\""),
        "line 17: kind: unknown variant `message`, expected one of `bulk`, `onoff`, `messages`, `requests`"
    );
    let unknown = error_of("delay =", "dealy =");
    assert!(
        unknown
            .starts_with("line 8: unknown field `dealy`, expected one of `name`, `rate`, `delay`"),
        "{unknown}"
    );
    let missing = error_of("duration = \"2s\"\n", "");
    assert!(missing.contains("missing field `duration`"), "{missing}");
    let syntax = error_of("[[flow]]", "[[flow]");
    assert!(syntax.starts_with("line 11: "), "{syntax}");
}

/// What is replaced in the good file, by what, and what is said about it.
const BAD: &[(&str, &str, &str)] = &[
    (
        "every = \"10ms\"",
        "every = \"1us\"",
        "line 19: flow.b.every: a flow has at most 1000000 messages",
    ),
    (
        "duration = \"2s\"",
        "duration = 0",
        "line 3: experiment.duration: nothing happens",
    ),
    (
        "name = \"a\"",
        "name = \"a\"\npath = [\"m\"]",
        "line 13: flow.a.path: there is no link `m`, but `l`",
    ),
    (
        "name = \"b\"",
        "name = \"b\"\nrtt = \"5ms\"",
        "flow.b.rtt: the links alone take 20ms",
    ),
    (
        "name = \"a\"",
        "name = \"a\"\nevery = \"5ms\"",
        "line 13: flow.a.every: only flows of kind = \"messages\"",
    ),
    (
        "every = \"10ms\"",
        "",
        "line 14: flow.b.every: a flow of this kind needs `every`",
    ),
    ("name = \"b\"", "name = \"a\"", "two flows are called `a`"),
    (
        "size = \"100B\"",
        "size = \"4B\"",
        "line 18: flow.b.size: a message has 8 to",
    ),
    (
        "rate = \"10mbit\"\n",
        "",
        "link.l.queue: a queue in `bdp` needs a `rate`",
    ),
    (
        "labels = [\"r\", \"c\", \"d\"]",
        "labels = [\"r\"]",
        "sweep.who.labels: 1 labels for 3 values",
    ),
    (
        "[\"reno\", \"20ms\"]",
        "[\"reno\"]",
        "sweep.who.values: each is one value, or a list of 2",
    ),
    (
        "set = \"link.l.loss\"",
        "set = \"link.m.loss\"",
        "there is no link `m`, but `l`",
    ),
    (
        "[\"0%\", \"1%\"]",
        "[\"0%\", \"x\"]",
        "with sweep = loss=x who=r: `x` is not a share",
    ),
    (
        "duration = \"2s\"",
        "duration = \"2s\"\nsample = \"1ns\"",
        "line 4: experiment.sample: a run has at most",
    ),
    (
        "[[flow]]\nname = \"a\"",
        "[report]\nseries = [\"cwmd\"]\n[[flow]]\nname = \"a\"",
        "line 12: report.series: `cwmd` is not one of cwnd, ssthresh",
    ),
    (
        "[[flow]]\nname = \"a\"",
        "[[change]]\nat = \"1s\"\nlink = \"l\"\n[[flow]]\nname = \"a\"",
        "change.0: nothing changes",
    ),
    (
        "delay = \"10ms\"",
        "delay = \"10ms\"\ngemodel = \"x\"",
        "link.l: ",
    ),
];

#[test]
fn what_does_not_hold_together_is_told_with_its_line() {
    for (from, to, expected) in BAD {
        let message = error_of(from, to);
        assert!(message.contains(expected), "{message}\nlacks\n{expected}");
    }
}
