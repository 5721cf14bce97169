//! Secrets put to use: a keyed hash, a random sequence, packet identifiers.

use std::hash::{BuildHasher, Hash};
use std::net::IpAddr;

use siphasher::sip::SipHasher13;

/// SipHash under a secret key: for tables whose keys a peer chooses.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyedHash(u64, u64);

impl KeyedHash {
    pub(super) fn new(key: [u8; 16]) -> Self {
        let key = u128::from_le_bytes(key);
        Self(key as u64, (key >> 64) as u64)
    }

    /// As [`KeyedHash::of`], of plain bytes.
    pub(super) fn of_bytes(self, bytes: &[u8]) -> u64 {
        SipHasher13::new_with_keys(self.0, self.1).hash(bytes)
    }

    /// A number that depends on the key and on `value`, and tells nothing of either.
    pub(super) fn of(self, value: impl Hash) -> u64 {
        self.hash_one(value)
    }
}

impl BuildHasher for KeyedHash {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, self.1)
    }
}

/// Numbers nobody outside can predict: a keyed hash of a counter.
#[derive(Debug)]
pub(super) struct Random {
    hash: KeyedHash,
    counter: u64,
}

impl Random {
    pub(super) const fn new(hash: KeyedHash) -> Self {
        Self { hash, counter: 0 }
    }

    /// Another sequence under the same key, which never meets the first.
    pub(super) const fn starting_at(hash: KeyedHash, counter: u64) -> Self {
        Self { hash, counter }
    }

    /// A number below `bound`, or 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.counter += 1;
        self.hash.of(self.counter) % bound.max(1)
    }
}

/// Counters kept for the identifiers of packets that may be fragmented.
const COUNTERS: usize = 1024;

/// Identifiers of packets that may be fragmented (RFC 6864 §4, RFC 7739 §5.3).
///
/// Each address pair has its own counter (unless two share a place in the table) and its own
/// secret permutation over it: no identifier of a pair comes twice before all have come once, and
/// none tells the next, nor anything of another pair (IP-11, V6-12).
#[derive(Debug)]
pub(super) struct PacketIds {
    hash: KeyedHash,
    counters: Box<[u32]>,
    /// Which of so many shards this is: each has the counts that leave its number.
    shard: (u16, u16),
}

impl PacketIds {
    /// Shards with the same key never give a pair the same identifier.
    pub(super) fn new(hash: KeyedHash, shard: (u16, u16)) -> Self {
        Self {
            hash,
            counters: vec![0; COUNTERS].into(),
            shard,
        }
    }

    /// The next IPv4 identification from `source` to `destination`.
    pub(super) fn next_v4(&mut self, source: IpAddr, destination: IpAddr, protocol: u8) -> u16 {
        let (pair, count) = self.next(source, destination, protocol, u16::MAX.into());
        self.permute(pair, count, 8) as u16
    }

    /// The next IPv6 fragment identification from `source` to `destination`.
    pub(super) fn next_v6(&mut self, source: IpAddr, destination: IpAddr) -> u32 {
        let (pair, count) = self.next(source, destination, 0, u32::MAX);
        self.permute(pair, count, 16)
    }

    /// A count up to `most` that is this shard's.
    fn next(&mut self, source: IpAddr, destination: IpAddr, protocol: u8, most: u32) -> (u64, u32) {
        let pair = self.hash.of((source, destination, protocol));
        let counter = &mut self.counters[pair as usize % COUNTERS];
        *counter = counter.wrapping_add(1);
        let (index, shards) = (u64::from(self.shard.0), u64::from(self.shard.1.max(1)));
        let own = (u64::from(most) + 1) / shards;
        let count = u64::from(*counter) % own * shards + index;
        (pair, count as u32)
    }

    /// A Feistel network of four rounds over two halves of `bits` bits each.
    fn permute(&self, pair: u64, value: u32, bits: u32) -> u32 {
        let mask = (1 << bits) - 1;
        let (mut left, mut right) = (value >> bits & mask, value & mask);
        for round in 0..4_u8 {
            let mixed = self.hash.of((pair, round, right)) as u32 & mask;
            (left, right) = (right, left ^ mixed);
        }
        left << bits | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use covers::covers;
    use std::collections::HashSet;

    fn ips() -> (IpAddr, IpAddr, IpAddr) {
        let ip = |text: &str| text.parse().expect("an address");
        (ip("10.0.0.1"), ip("10.0.0.2"), ip("10.0.0.3"))
    }

    /// IP-11: unique per tuple, no counter visible, none shared over destinations.
    #[test]
    #[covers("IP-11")]
    fn v4_identifiers_are_unique_per_pair_and_show_no_run() {
        let mut ids = PacketIds::new(KeyedHash::new([3; 16]), (0, 1));
        let (a, b, c) = ips();
        let (mut to_b, mut to_c) = (Vec::new(), Vec::new());
        for _ in 0..60_000 {
            to_b.push(ids.next_v4(a, b, 17));
            to_c.push(ids.next_v4(a, c, 17));
        }
        assert_eq!(to_b.iter().collect::<HashSet<_>>().len(), to_b.len());
        let runs = to_b
            .windows(2)
            .filter(|pair| pair[1].wrapping_sub(pair[0]) == 1)
            .count();
        assert!(runs < 20, "{runs} identifiers follow their predecessor");
        let equal_steps = to_b
            .iter()
            .zip(&to_c)
            .map(|(b, c)| b.wrapping_sub(*c))
            .collect::<HashSet<_>>()
            .len();
        assert!(
            equal_steps > 20_000,
            "the two sequences move together: {equal_steps}"
        );
    }

    /// V6-12: ids over 10⁴ datagrams: no run, no counter, no repetition.
    #[test]
    #[covers("V6-12")]
    fn v6_identifiers_are_unique_and_show_no_run() {
        let mut ids = PacketIds::new(KeyedHash::new([4; 16]), (0, 1));
        let (a, b, _) = ips();
        let seen: Vec<_> = (0..10_000).map(|_| ids.next_v6(a, b)).collect();
        assert_eq!(seen.iter().collect::<HashSet<_>>().len(), seen.len());
        assert!(
            seen.windows(2)
                .all(|pair| pair[1].wrapping_sub(pair[0]) > 1000)
        );
    }

    /// IP-11 over several shards of one host: each pair's identifiers are shared out.
    #[test]
    #[covers("IP-11")]
    fn shards_share_the_identifiers_out() {
        let (a, b, _) = ips();
        for shards in [2, 3, 7] {
            let mut seen = HashSet::new();
            for shard in 0..shards {
                let mut ids = PacketIds::new(KeyedHash::new([5; 16]), (shard, shards));
                let own = 65_536 / usize::from(shards);
                assert!((0..own).all(|_| seen.insert(ids.next_v4(a, b, 17))));
            }
        }
    }
}
