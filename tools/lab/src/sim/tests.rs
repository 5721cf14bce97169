use super::*;
use crate::file::Experiment;
use crate::sim::network::count;

/// Everything that can happen to a packet, and TCP and UDP to suffer it.
const ROUGH: &str = r#"
[experiment]
name = "rough"
duration = "4s"

[[link]]
name = "edge"
rate = "10mbit"
delay = "10ms"
jitter = "1ms"
queue = 30
loss = "1%"
reorder = "1%"
duplicate = "1%"
corrupt = "0.5%"
[link.back]
loss = "2%"

[[link]]
name = "core"
rate = "8mbit"
delay = "5ms"
queue = "1bdp"
[link.back]
rate = "2mbit"
queue = 50

[[flow]]
name = "bulk"
count = 2
rtt = "60ms"
congestion = "reno"

[[flow]]
name = "up"
reverse = true
path = ["core"]

[[flow]]
name = "relayed"
split = "edge"
bytes = "300kB"

[[flow]]
name = "talk"
kind = "messages"
transport = "udp"
size = "200B"
every = "20ms"

[[change]]
at = "2s"
link = "core"
rate = "4mbit"
"#;

fn scenario(text: &str) -> Scenario {
    let experiment = Experiment::parse(text).unwrap_or_else(|error| panic!("{error}"));
    experiment.points().expect("points").remove(0).scenario
}

#[test]
fn a_seed_gives_the_same_run_every_time() {
    let scenario = scenario(ROUGH);
    let first = run(&scenario, 7).expect("a run");
    assert_eq!(first, run(&scenario, 7).expect("a run"));
    assert_ne!(first, run(&scenario, 8).expect("a run"));
}

/// Of every lane: what went in came out, was dropped, or is still inside.
#[test]
fn no_packet_appears_or_vanishes() {
    let scenario = scenario(ROUGH);
    let mut world = World::new(&scenario, 3).expect("a world");
    while world.step() {}
    for link in &world.network.links {
        let counters = link.counters();
        let sum = |all: &[&std::sync::atomic::AtomicU64]| -> u64 {
            all.iter().map(|counter| count(counter)).sum()
        };
        let came = sum(&[&counters.packets, &counters.duplicated]);
        let gone = sum(&[
            &counters.delivered,
            &counters.lost,
            &counters.overflowed,
            &counters.codel_dropped,
            &counters.oversized,
        ]);
        let inside = (link.lane.queue_packets() + link.lane.in_flight_packets()) as u64;
        assert_eq!(came, gone + inside, "{}", link.name);
        assert!(came > 0, "{}", link.name);
    }
    let edge = world.network.links[0].counters();
    for counter in [
        &edge.lost,
        &edge.duplicated,
        &edge.corrupted,
        &edge.reordered,
        &edge.overflowed,
    ] {
        assert!(count(counter) > 0, "{edge:?}");
    }
}

#[test]
fn bytes_arrive_through_a_relay_and_in_spite_of_everything() {
    let run = run(&scenario(ROUGH), 1).expect("a run");
    let relayed = &run.flows[3];
    assert_eq!((relayed.name.as_str(), relayed.bytes), ("relayed", 300_000));
    assert!(relayed.completed.is_some(), "{relayed:?}");
    assert!(
        run.series
            .iter()
            .any(|series| series.subject == "relayed (relay)")
    );
    for flow in &run.flows {
        assert_eq!(flow.failure, None, "{}", flow.name);
        assert!(flow.bytes > 20_000, "{flow:?}");
    }
    let talk = run.flows[4].delays();
    assert!(talk.len() > 150, "{}", talk.len());
    assert!(run.events.iter().any(|event| event.what == "rate 4mbit"));
}

#[test]
fn a_clean_link_is_used_up() {
    let text = "[experiment]\nname = \"a\"\nduration = \"10s\"\nfrom = \"1s\"\n[[link]]\nname = \"l\"\nrate = \"10mbit\"\ndelay = \"10ms\"\nqueue = \"1bdp\"\n[[flow]]\nname = \"f\"\n";
    let run = run(&scenario(text), 1).expect("a run");
    assert!(
        run.links[0].utilisation > 0.97 && run.links[0].utilisation <= 1.001,
        "{:?}",
        run.links
    );
    // 1448 of 1500 bytes are payload.
    let most = 10.0 * 1448.0 / 1500.0;
    assert!(
        (0.96 * most..=most).contains(&run.flows[0].goodput),
        "{}",
        run.flows[0].goodput
    );
    let queue = run.links[0].queue_delay_max;
    assert!((10.0..=21.0).contains(&queue), "{queue}");
}

/// Four round trips of 100 ms, 10 ms of thought; with a cookie the request saves one of them.
#[test]
fn requests_take_as_many_round_trips_as_they_must() {
    let text = |fast_open| {
        format!(
            "[experiment]\nname = \"a\"\nduration = \"5s\"\n[[link]]\nname = \"l\"\ndelay = \"50ms\"\n[[flow]]\nname = \"f\"\nkind = \"requests\"\nfast_open = {fast_open}\nsteps = [{{ label = \"hello\", send = 500, receive = 3000 }}, {{ label = \"get\", send = 200, receive = 1000, think = \"10ms\" }}]\n"
        )
    };
    let plain = run(&scenario(&text(false)), 1).expect("a run");
    let ends: Vec<_> = plain.flows[0]
        .steps
        .iter()
        .map(|step| (step.end * 1e3).round())
        .collect();
    assert_eq!(ends, [100.0, 200.0, 310.0], "{:?}", plain.flows[0]);
    let fast = run(&scenario(&text(true)), 1).expect("a run");
    let ends: Vec<_> = fast.flows[0]
        .steps
        .iter()
        .map(|step| (step.end * 1e3).round())
        .collect();
    assert_eq!(ends, [100.0, 210.0], "{:?}", fast.flows[0]);
}
