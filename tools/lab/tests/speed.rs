//! What a simulation costs.

use lab::{Experiment, Options};

/// CPU time of this process so far, in seconds, by the kernel's clock ticks of 10 ms.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("/proc");
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    let fields: Vec<_> = fields.split_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<f64>().expect("ticks");
    (ticks(11) + ticks(12)) / 100.0
}

/// 60 simulated seconds of a 100 Mbit/s flow are to take less than 2 s of CPU. Machines that run
/// tests are slower and busier than that, and debug builds slower still: the gates are wide, the
/// figure is printed.
#[test]
fn a_minute_of_100_mbit_takes_seconds() {
    let mut experiment = Experiment::builtin("one-flow").expect("built in");
    experiment.set("congestion", "cubic").expect("an axis");
    let simulated = if cfg!(debug_assertions) { 10.0 } else { 60.0 };
    experiment
        .set("duration", &format!("{simulated}s"))
        .expect("a duration");
    let begin = cpu_seconds();
    let recording = experiment.run(Options::default()).expect("a run");
    let took = cpu_seconds() - begin;
    let packets = recording.runs[0]
        .links
        .iter()
        .map(|link| link.packets)
        .sum::<u64>();
    println!("{simulated} simulated seconds, {packets} packets: {took:.2} s of CPU");
    assert!(
        recording.runs[0].flows[0].goodput > 80.0,
        "{:?}",
        recording.runs[0].flows
    );
    let gate = if cfg!(debug_assertions) { 20.0 } else { 6.0 };
    assert!(
        took < gate,
        "{took} s of CPU for {simulated} simulated seconds"
    );
}
