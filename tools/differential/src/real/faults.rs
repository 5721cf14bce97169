//! Faults of the link, drawn from a seed; so small that real time stays short.

use std::time::Duration;

use ustack::device::ImpairSpec;
use ustack::device::impair::QueueLimit;

use crate::Random;

/// The faults of one direction; `None` leaves it untouched, super-segments included.
pub(super) fn draw(random: &mut Random, mtu: u16, v6: bool) -> Option<ImpairSpec> {
    let mut share = |percent: u64, most: u64| {
        let drawn = random.between(1, most) as f64 / 1000.0;
        if random.chance(percent) { drawn } else { 0.0 }
    };
    let mut spec = ImpairSpec {
        loss: share(45, 60),
        reorder: share(35, 100),
        duplicate: share(30, 50),
        corrupt: share(25, 20),
        ce: share(20, 100),
        ..ImpairSpec::default()
    };
    if random.chance(15) {
        spec.drop = if random.chance(50) {
            format!("{}", random.between(1, 12))
        } else {
            format!("every:{}", random.between(7, 40))
        }
        .parse()
        .unwrap_or_default();
    }
    let millis =
        |random: &mut Random, most: u64| Duration::from_micros(random.scaled(50, most * 1000));
    if random.chance(60) {
        spec.delay = millis(random, 20);
        if random.chance(30) {
            spec.jitter = spec.delay / 3;
        }
    }
    if spec.reorder > 0.0 && random.chance(50) {
        spec.hold = Some(millis(random, 15));
    }
    if random.chance(25) {
        spec.rate = Some(random.scaled(4_000_000, 200_000_000));
        if random.chance(60) {
            spec.queue = Some(QueueLimit::Packets(random.scaled(4, 200) as usize));
        }
    }
    let least = if v6 { 1280 } else { 600 };
    if mtu > least && random.chance(12) {
        spec.mtu = Some(random.between(least.into(), u64::from(mtu) - 1) as u16);
    }
    let touched = spec != ImpairSpec::default() && !random.chance(20);
    spec.seed = Some(random.next());
    touched.then_some(spec)
}
