//! Links from a seed.

use std::time::Duration;

use ustack::device::ImpairSpec;
use ustack::device::impair::{CodelSpec, GilbertElliott, QueueLimit};

use crate::random::Random;

/// Both ways, without their seeds.
pub(super) fn generate(random: &mut Random) -> [ImpairSpec; 2] {
    let there = lane(random);
    // Ways back are alike, or better, or something else.
    let back = match random.below(10) {
        0..5 => there.clone(),
        5..8 => ImpairSpec {
            delay: there.delay,
            rate: there.rate,
            queue: there.queue,
            ..ImpairSpec::default()
        },
        _ => lane(random),
    };
    if random.chance(50) {
        [there, back]
    } else {
        [back, there]
    }
}

fn lane(random: &mut Random) -> ImpairSpec {
    let mut lane = ImpairSpec::default();
    if random.chance(92) {
        lane.delay = Duration::from_micros(random.scaled(1, 300_000));
    }
    let (clean, rated) = (random.chance(25), random.chance(50));
    if rated {
        lane.rate = Some(random.scaled(64_000, 1_000_000_000));
        if random.chance(70) {
            lane.queue = Some(QueueLimit::Packets(random.scaled(2, 1_000) as usize));
        }
        if random.chance(15) {
            lane.codel = Some(CodelSpec::default());
        }
    }
    if clean {
        return lane;
    }
    let share = |random: &mut Random, most: u64| random.scaled(1, most) as f64 / 10_000.0;
    if random.chance(60) {
        lane.loss = share(random, 1_500);
    }
    if random.chance(10) {
        lane.gemodel = Some(GilbertElliott {
            p: 0.02,
            r: 0.3,
            bad_loss: 1.0,
            good_loss: 0.0,
        });
    }
    if random.chance(20) {
        // The first packets decide most.
        let first = random.between(1, 12);
        let last = first + random.below(3);
        let pattern: ImpairSpec = format!("drop={first}-{last}").parse().expect("a pattern");
        lane.drop = pattern.drop;
    }
    if random.chance(30) {
        lane.jitter = lane.delay / random.pick(&[2, 5, 20]);
    }
    if random.chance(35) {
        lane.reorder = share(random, 3_000);
        if random.chance(50) {
            lane.hold = Some(Duration::from_micros(random.scaled(100, 400_000)));
        }
    }
    if random.chance(30) {
        lane.duplicate = share(random, 3_000);
    }
    if random.chance(25) {
        lane.corrupt = share(random, 500);
    }
    if random.chance(20) {
        lane.ce = share(random, 3_000);
    }
    lane
}
