//! What the congestion controllers must reach on a link that they have to themselves, or share.
//! Everything runs in virtual time: the same figures on every machine.

use lab::recording::Run;
use lab::{Experiment, Options, Recording};

/// Runs an experiment of one link; its queue holds one bandwidth-delay product if `link` does not
/// say. Results count from the beginning, or from where `time` says: `100s..400s`.
fn run(time: &str, link: &str, flows: &[&str]) -> Run {
    let (from, duration) = time.split_once("..").unwrap_or(("0s", time));
    let mut link = link.to_owned();
    if !link.contains("queue") {
        link.push_str("\nqueue = \"1bdp\"");
    }
    let flows: Vec<_> = flows
        .iter()
        .map(|keys| format!("[[flow]]\n{keys}\n"))
        .collect();
    let flows = flows.concat();
    let file = format!(
        "[experiment]\nname = \"test\"\nduration = \"{duration}\"\nfrom = \"{from}\"\n\
         [[link]]\nname = \"bottleneck\"\n{link}\n{flows}[report]\nseries = []\n"
    );
    let experiment = Experiment::parse(&file).unwrap_or_else(|error| panic!("{error}\n{file}"));
    let Recording { mut runs, .. } = experiment
        .run(Options::default())
        .unwrap_or_else(|error| panic!("{error}"));
    let run = runs.remove(0);
    for flow in &run.flows {
        assert_eq!(flow.failure, None, "{}", flow.name);
        println!(
            "{:8} {:6} {:7.2} Mbit/s, share {:4.1} %, {} timeouts",
            flow.name,
            flow.algorithm,
            flow.goodput,
            flow.share * 100.0,
            flow.rtos
        );
    }
    let link = &run.links[0];
    println!(
        "link {:.1} %, Jain {:.3}",
        link.utilisation * 100.0,
        run.jain
    );
    run
}

fn flow(name: &str, congestion: &str) -> String {
    format!("name = \"{name}\"\ncongestion = \"{congestion}\"")
}

const FAST: &str = "rate = \"100mbit\"\ndelay = \"20ms\"";

#[test]
fn one_flow_fills_the_link() {
    for (congestion, least) in [("reno", 0.95), ("cubic", 0.97), ("bbr", 0.95)] {
        let run = run("60s", FAST, &[&flow("alone", congestion)]);
        let utilisation = run.links[0].utilisation;
        assert!(utilisation >= least, "{congestion}: {utilisation}");
    }
}

#[test]
fn four_equal_flows_have_equal_shares() {
    for congestion in ["reno", "cubic", "bbr"] {
        let four = format!("{}\ncount = 4", flow("flow", congestion));
        let run = run("120s", FAST, &[&four]);
        assert!(run.jain >= 0.95, "{congestion}: Jain {}", run.jain);
        assert!(run.links[0].utilisation >= 0.95, "{congestion}");
    }
}

/// Where Reno's formula gives the larger window, CUBIC has that at least (RFC 9438 §4.3).
#[test]
fn cubic_is_not_below_reno_where_reno_is_enough() {
    for loss in ["0.1%", "0.3%", "1%"] {
        let link = format!("rate = \"200mbit\"\ndelay = \"5ms\"\nloss = \"{loss}\"");
        let goodput =
            |congestion| run("60s", &link, &[&flow("alone", congestion)]).flows[0].goodput;
        let (reno, cubic) = (goodput("reno"), goodput("cubic"));
        assert!(cubic >= reno, "{loss}: CUBIC {cubic}, Reno {reno} Mbit/s");
    }
}

/// The link delays each packet by up to a millisecond more, less than the 1.2 ms that it takes to
/// send one: as with any real host. Without it and without pacing the flows' bursts lock into
/// step, and one of them always meets the full queue (Floyd and Jacobson's phase effects).
#[test]
fn cubic_and_reno_share_a_link() {
    let link = "rate = \"10mbit\"\ndelay = \"10ms\"\njitter = \"1ms\"";
    for start in ["0s", "1s", "3s"] {
        let late = format!("{}\nstart = \"{start}\"", flow("reno", "reno"));
        let run = run("120s", link, &[&flow("cubic", "cubic"), &late]);
        for flow in &run.flows {
            let share = flow.share;
            assert!((0.4..=0.6).contains(&share), "{}: {share}", flow.name);
        }
    }
}

/// Losses that are not congestion do not stop BBR.
#[test]
fn bbr_fills_a_lossy_link() {
    let link = "rate = \"100mbit\"\ndelay = \"33ms\"\nloss = \"1%\"";
    let run = run("60s", link, &[&flow("alone", "bbr")]);
    let goodput = run.flows[0].goodput;
    assert!(goodput >= 80.0, "{goodput} Mbit/s of 100");
}

/// What BBR takes beside CUBIC is told, and that both go on.
#[test]
fn bbr_leaves_something_to_cubic() {
    for queue in ["1bdp", "4bdp"] {
        let link = format!("rate = \"50mbit\"\ndelay = \"20ms\"\nqueue = \"{queue}\"");
        println!("a queue of {queue}:");
        let run = run(
            "120s",
            &link,
            &[&flow("bbr", "bbr"), &flow("cubic", "cubic")],
        );
        for flow in &run.flows {
            assert!(flow.share >= 0.1, "{}: {}", flow.name, flow.share);
        }
    }
}

/// The mean windows of RFC 9438 §5.1, tables 1 and 2, with the whole stack: a packet in so many is
/// dropped. Delayed ACKs, a round trip for each repair and slow start are part of it, so the figures
/// are told, and only held to be of the right size; those of the algorithms alone are gated in
/// `ustack-tcp`.
#[test]
fn the_whole_stack_beside_the_published_windows() {
    let rows = [
        (100, [12.0, 12.0], [12.0, 12.0]),
        (1_000, [38.0, 38.0], [38.0, 38.0]),
        (10_000, [120.0, 187.0], [120.0, 120.0]),
    ];
    for (per_loss, long, short) in rows {
        for (delay, rtt, published) in [("50ms", 0.1, long), ("5ms", 0.01, short)] {
            let link = format!(
                "rate = \"1gbit\"\ndelay = \"{delay}\"\ndrop = \"every:{per_loss}\"\nqueue = 1000"
            );
            for (congestion, published) in ["reno", "cubic"].into_iter().zip(published) {
                let run = run("30s..210s", &link, &[&flow("alone", congestion)]);
                let window = run.flows[0].goodput * 1e6 * rtt / 8.0 / 1448.0;
                let ratio = window / published;
                println!(
                    "{congestion}, RTT {rtt} s, 1/{per_loss}: {window:.1} segments, {ratio:.2} of {published}"
                );
                assert!((0.5..2.0).contains(&ratio), "{congestion}: {ratio}");
            }
        }
    }
}
