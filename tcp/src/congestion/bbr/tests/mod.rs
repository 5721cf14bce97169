//! BBR on a link of its own, in virtual time: the draft's example test cases, and what it is for.

mod any;
mod cycle;
mod link;
mod losses;
mod whole;

use super::State;
use crate::time::Duration;
use link::Net;

const SECOND: Duration = Duration::from_secs(1);

/// Goes on until the first sender is in `state`.
fn until(net: &mut Net, state: State) {
    let end = net.now + 20 * SECOND;
    let reached = net.run_until(end, |net| net.bbr().state == state);
    assert!(reached, "no {state:?}, but {:?}", net.senders[0].states());
}

/// The application of the first sender gives `rate` bytes per second for `time`.
fn feed(net: &mut Net, rate: u64, time: Duration) {
    let step = Duration::from_millis(5);
    let end = net.now + time;
    while net.now < end {
        *net.senders[0].supply.get_or_insert(0) += rate / 200;
        net.run(step);
    }
}
