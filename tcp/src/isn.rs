//! Numbers that nobody outside may predict: initial sequence numbers (RFC 6528), timestamp
//! offsets (RFC 7323 §7.1) and ephemeral ports (RFC 6056).
//!
//! All come from one secret seed through SipHash, under a key of its own for each purpose (B-7).

use core::hash::Hasher;
use core::net::{IpAddr, SocketAddr};

use siphasher::sip::SipHasher24;

use crate::segment::FlowKey;
use crate::seq::WireSeq;
use crate::table::KeyedHash;
use crate::time::Instant;

/// The secrets of a host.
pub(crate) struct Secrets {
    isn: (u64, u64),
    timestamps: (u64, u64),
    ports: (u64, u64),
    table: (u64, u64),
    cookies: (u64, u64),
    fast_open: (u64, u64),
    /// How often a port was chosen.
    ports_chosen: u64,
}

impl core::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Secrets(..)") // ISN-1: never in logs
    }
}

impl Secrets {
    pub(crate) fn new(seed: &[u8; 32]) -> Self {
        let derive = |purpose: u8| {
            let half = |half: u8| {
                let mut hasher =
                    SipHasher24::new_with_key(seed[..16].first_chunk().unwrap_or(&[0; 16]));
                hasher.write(&seed[16..]);
                hasher.write(&[purpose, half]);
                hasher.finish()
            };
            (half(0), half(1))
        };
        Self {
            isn: derive(0),
            timestamps: derive(1),
            ports: derive(2),
            table: derive(3),
            cookies: derive(4),
            fast_open: derive(5),
            ports_chosen: 0,
        }
    }

    pub(crate) const fn table_hash(&self) -> KeyedHash {
        KeyedHash(self.table.0, self.table.1)
    }

    /// RFC 6528 §3: a 4 µs clock plus a keyed function of the flow (MUST-8, SHLD-1, MUST-9).
    pub(crate) fn isn(&self, now: Instant, flow: &FlowKey) -> WireSeq {
        let clock = (now.as_micros() / 4) as u32;
        WireSeq(clock.wrapping_add(hash(self.isn, flow) as u32))
    }

    /// What is added to the timestamp clock of this flow (TS-14).
    pub(crate) fn timestamp_offset(&self, flow: &FlowKey) -> u32 {
        hash(self.timestamps, flow) as u32
    }

    /// Authenticates what a SYN cookie says of `flow` (RFC 4987 §3.6).
    pub(crate) fn cookie_mac(&self, flow: &FlowKey, said: &[u8]) -> u64 {
        let (k0, k1) = self.cookies;
        let mut hasher = SipHasher24::new_with_keys(k0, k1);
        hash_flow(&mut hasher, flow);
        hasher.write(said);
        hasher.finish()
    }

    /// The key of Fast Open cookies in one epoch (RFC 7413 §4.1.2).
    pub(crate) fn fast_open_key(&self, epoch: u64) -> [u8; 16] {
        let (k0, k1) = self.fast_open;
        let half = |half: u8| {
            let mut hasher = SipHasher24::new_with_keys(k0, k1);
            hasher.write(&epoch.to_be_bytes());
            hasher.write(&[half]);
            hasher.finish()
        };
        (u128::from(half(0)) << 64 | u128::from(half(1))).to_be_bytes()
    }

    /// The ports to try for this peer, the first choice first, at most `tries` of them (PT-2). Each
    /// call begins anywhere in the range (RFC 6056 §3.3.1, the coin being a keyed count): not even
    /// the peer can tell the next port from the last ones, as it could with a hash and a step.
    pub(crate) fn ports(
        &mut self,
        local: IpAddr,
        remote: SocketAddr,
        (first, last): (u16, u16),
        tries: u32,
    ) -> impl Iterator<Item = u16> + use<> {
        let flow = FlowKey {
            local: SocketAddr::new(local, 0),
            remote,
        };
        let (k0, k1) = self.ports;
        let mut hasher = SipHasher24::new_with_keys(k0, k1);
        hash_flow(&mut hasher, &flow);
        hasher.write(&self.ports_chosen.to_be_bytes());
        self.ports_chosen = self.ports_chosen.wrapping_add(1);
        let count = u32::from(last.saturating_sub(first)) + 1;
        let start = (hasher.finish() % u64::from(count)) as u32;
        (0..count.min(tries)).map(move |n| first + ((start + n) % count) as u16)
    }
}

fn hash((k0, k1): (u64, u64), flow: &FlowKey) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(k0, k1);
    hash_flow(&mut hasher, flow);
    hasher.finish()
}

fn hash_flow(hasher: &mut SipHasher24, flow: &FlowKey) {
    let mut octets = [0; 36];
    let mut len = 0;
    let mut push = |bytes: &[u8]| {
        octets[len..len + bytes.len()].copy_from_slice(bytes);
        len += bytes.len();
    };
    for end in [flow.local, flow.remote] {
        match end.ip() {
            IpAddr::V4(ip) => push(&ip.octets()),
            IpAddr::V6(ip) => push(&ip.octets()),
        }
        push(&end.port().to_be_bytes());
    }
    hasher.write(&octets[..len]); // all at once: each call costs as much as a block
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::vec::Vec;

    fn flow(port: u16) -> FlowKey {
        FlowKey {
            local: "10.0.0.1:80".parse().unwrap(),
            remote: SocketAddr::new("10.0.0.2".parse().unwrap(), port),
        }
    }

    /// RFC 6528 §3: the same flow again gets a number further on, by the clock.
    #[test]
    fn the_same_flow_moves_with_the_clock() {
        let secrets = Secrets::new(&[7; 32]);
        let first = secrets.isn(Instant::from_millis(0), &flow(1));
        let later = secrets.isn(Instant::from_millis(1_000), &flow(1));
        assert_eq!(later.0.wrapping_sub(first.0), 250_000);
    }

    #[test]
    fn purposes_and_seeds_share_nothing() {
        let (a, b) = (Secrets::new(&[7; 32]), Secrets::new(&[8; 32]));
        let keys: HashSet<_> = [&a, &b]
            .into_iter()
            .flat_map(|s| {
                [
                    s.isn,
                    s.timestamps,
                    s.ports,
                    s.table,
                    s.cookies,
                    s.fast_open,
                ]
            })
            .flat_map(|(k0, k1)| [k0, k1])
            .collect();
        assert_eq!(keys.len(), 24);
    }

    /// PT-1: no long run of consecutive ports towards different peers, and all lie in range.
    #[test]
    fn ports_are_hard_to_follow() {
        let mut secrets = Secrets::new(&[9; 32]);
        let local = "10.0.0.1".parse().unwrap();
        let ports: Vec<u16> = (1..1000)
            .filter_map(|n| {
                secrets
                    .ports(local, flow(n).remote, (1024, 65535), 1)
                    .next()
            })
            .collect();
        assert!(ports.iter().all(|port| *port >= 1024));
        let runs = ports
            .windows(4)
            .filter(|w| w.windows(2).all(|p| p[1] == p[0].wrapping_add(1)));
        assert_eq!(runs.count(), 0);
        assert!(ports.iter().collect::<HashSet<_>>().len() > 950);
    }
}
