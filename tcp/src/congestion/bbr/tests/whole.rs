//! How much of a link BBR takes, and how long the queue gets.

use std::println;

use super::SECOND;
use super::link::{Net, Path};
use crate::time::Duration;

/// Percent of the link after the first five seconds, with the mean and the longest queue in percent
/// of a BDP.
fn measure(path: Path, seed: u64, time: Duration) -> (u64, u64, u64) {
    let mut net = Net::bulk(path, seed);
    net.run(5 * SECOND);
    net.reset_queue();
    let share = net.share(0, time);
    let of_bdp = |bytes: u64| bytes * 100 / path.bdp();
    (share, of_bdp(net.queue_mean()), of_bdp(net.queue_max))
}

#[test]
fn fills_a_clean_link_and_keeps_the_queue_short() {
    for (megabits, rtt) in [(10, 20), (100, 20), (100, 66), (100, 200)] {
        let (share, mean, max) = measure(Path::new(megabits, rtt), 1, 20 * SECOND);
        println!(
            "{megabits} Mbit/s, {rtt} ms: {share} %, queue {mean} % of a BDP, at most {max} %"
        );
        assert!(share >= 95 && mean <= 40 && max < 100);
    }
}

/// Ten BDPs of queue: it does not use them.
#[test]
fn a_deep_queue_stays_empty() {
    let mut path = Path::new(50, 40);
    path.queue *= 10;
    let (share, mean, max) = measure(path, 1, 20 * SECOND);
    println!("{share} %, queue {mean} % of a BDP, at most {max} %");
    assert!(share >= 95 && mean <= 40 && max <= 110);
}

/// Losses by chance, in ten thousand; what of the link remains at least.
#[test]
fn losses_by_chance_cost_little() {
    for (megabits, rtt, loss, least) in [
        (100, 20, 10, 85),
        (100, 66, 10, 85),
        (20, 20, 100, 65),
        (100, 20, 100, 70),
        (100, 66, 100, 80),
        (100, 200, 100, 80),
    ] {
        let mut path = Path::new(megabits, rtt);
        path.loss = loss;
        let (share, ..) = measure(path, 3, 30 * SECOND);
        println!("{megabits} Mbit/s, {rtt} ms, {loss}/10000: {share} %");
        assert!(share >= least);
    }
}

#[test]
fn two_flows_share() {
    let mut net = Net::new(Path::new(100, 40), 1);
    net.add(1, Duration::ZERO);
    net.add(2, 5 * SECOND);
    net.run(20 * SECOND);
    let before = net.senders[1].delivered;
    let first = net.share(0, 40 * SECOND);
    let second = (net.senders[1].delivered - before) / 40 * 100 / net.path.rate;
    println!("{first} % and {second} %");
    assert!(first + second >= 93 && first.abs_diff(second) <= 15);
}

/// One seed, one result.
#[test]
fn the_same_seed_gives_the_same_run() {
    let mut path = Path::new(20, 40);
    path.loss = 100;
    let run = |seed| {
        let mut net = Net::bulk(path, seed);
        net.run(8 * SECOND);
        (net.senders[0].delivered, net.senders[0].states.clone())
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}
