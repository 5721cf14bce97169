//! Fast Open. The recorder's server has the key that the stack gets here, and cookies are made alike.

use replay::conversation::Role;
use replay::stream::{self, Plan, Report};

use crate::common::{conversations, read};
use crate::stack::Stack;

/// `00112233-44556677-8899aabb-ccddeeff` as `tcp_fastopen_key` has it: four little-endian words.
const KEY: [u8; 16] = [
    0x33, 0x22, 0x11, 0x00, 0x77, 0x66, 0x55, 0x44, 0xbb, 0xaa, 0x99, 0x88, 0xff, 0xee, 0xdd, 0xcc,
];
const FAST_OPEN: u8 = 34;

fn as_server(name: &str, key: [u8; 16]) -> Vec<Report> {
    let mut plan = Plan::new(Role::Server);
    plan.config.fast_open_key = Some(key);
    plan.socket.fast_open = Some(5);
    let replay = |packets: Vec<_>| stream::replay::<Stack>(&packets, &plan);
    let reports = conversations(&read(name)).into_iter().map(replay);
    reports
        .map(|report| report.unwrap_or_else(|error| panic!("{name}: {error}")))
        .collect()
}

/// The first connection asks for a cookie and gets the one that Linux gave; the second brings it, and
/// its data is taken before the handshake is over.
#[test]
fn fastopen_data() {
    let [asks, brings] = &as_server("fastopen-data", KEY)[..] else {
        panic!("two connections");
    };
    assert_eq!(asks.syn.unknown, [FAST_OPEN]);
    assert!(brings.syn.unknown.is_empty(), "{:?}", brings.syn);
    assert_eq!((brings.received, brings.sent), (20, 16 + 1));
    assert_eq!(brings.tally.fast_open, 20);
}

/// Another key: the SYN,ACK leaves the data out and brings a cookie of the new key.
#[test]
fn fastopen_refused() {
    let [_, brings] = &as_server("fastopen-refused", [7; 16])[..] else {
        panic!("two connections");
    };
    assert_eq!(brings.syn.unknown, [FAST_OPEN]);
    assert_eq!((brings.received, brings.sent), (20, 16 + 1));
    assert_eq!(brings.tally.fast_open, 0);
}

/// The client did not see that its data was taken, and sends it again: no window shrinks.
#[test]
fn fastopen_repeated_data() {
    let reports = as_server("fastopen-refused", KEY);
    assert_eq!(reports[1].tally.fast_open, 20);
    assert_eq!(reports[1].received, 20);
}
