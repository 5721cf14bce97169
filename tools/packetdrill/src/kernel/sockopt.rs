//! `setsockopt` and `getsockopt`: `set` and `get` have the options, here is what both share.

mod get;
mod set;

use ustack::tcp::{CongestionAlgorithm, Keepalive};

use super::Result;

/// The smallest and largest `TCP_MAXSEG` (`TCP_MIN_MSS`, `MAX_TCP_WINDOW`).
const MAXSEG: std::ops::RangeInclusive<i32> = 88..=32_767;

/// The least `SO_SNDBUF` and `SO_RCVBUF` (`SOCK_MIN_SNDBUF`, `SOCK_MIN_RCVBUF`), and the most that
/// may be asked for, before doubling (`net.core.wmem_max`).
const MIN_SNDBUF: i32 = 4608;
const MIN_RCVBUF: i32 = 2304;
const MAX_BUFFER: i32 = 4 << 20;

/// What a socket keeps besides the core's options.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KeepaliveParams {
    pub(super) on: bool,
    pub(super) params: Keepalive,
}

impl KeepaliveParams {
    pub(super) fn option(self) -> Option<Keepalive> {
        self.on.then_some(self.params)
    }
}

const ALGORITHMS: [(&str, CongestionAlgorithm); 3] = [
    ("bbr", CongestionAlgorithm::Bbr),
    ("cubic", CongestionAlgorithm::Cubic),
    ("reno", CongestionAlgorithm::Reno),
];

/// The algorithm of a name; `ENOENT` as Linux says of a module that it cannot find.
pub(super) fn algorithm(name: &str) -> Result<CongestionAlgorithm> {
    let found = ALGORITHMS.iter().find(|(known, _)| *known == name);
    found.map(|(_, algorithm)| *algorithm).ok_or(libc::ENOENT)
}

/// The first `int` of an option's value.
fn int(value: &[u8]) -> Result<i32> {
    match value.first_chunk() {
        Some(bytes) => Ok(i32::from_ne_bytes(*bytes)),
        None => Err(libc::EINVAL),
    }
}

/// An `int`, or a single byte where IP's options allow that.
fn int_or_byte(value: &[u8]) -> Result<i32> {
    match value {
        [byte, rest @ ..] if rest.len() < 3 => Ok(i32::from(*byte)),
        value => int(value),
    }
}
