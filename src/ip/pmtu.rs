//! Path MTUs: what ICMP reported, and whether it may be believed.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hashbrown::HashMap;
use ustack_tcp::time::{Duration, Instant};

use super::keyed::KeyedHash;

/// Never below this over IPv4: smaller reports are a way to make us send crumbs (PM-2).
pub(super) const FLOOR_V4: u16 = 552;
/// The smallest MTU an IPv6 link may have (RFC 8200 §5).
pub(super) const FLOOR_V6: u16 = 1280;

/// How long a report counts (RFC 8201 §4: ten minutes, PM-7).
const LIFETIME: Duration = Duration::from_secs(600);

/// RFC 1191 §7.1, for routers that do not say how much they take (PM-4).
const PLATEAUS: [u16; 10] = [32_000, 17_914, 8166, 4352, 2002, 1492, 1006, 552, 508, 296];

/// The MTU to assume when a packet of `total_len` bytes was too big and nobody says for what.
pub(super) fn plateau_below(total_len: u16) -> u16 {
    PLATEAUS
        .into_iter()
        .find(|&plateau| plateau < total_len)
        .unwrap_or(FLOOR_V4)
        .max(FLOOR_V4)
}

#[derive(Debug)]
struct Entry {
    mtu: u16,
    expires: Instant,
}

/// Paths known to take less than the device. Bounded; what expires first goes first.
#[derive(Debug)]
pub(super) struct PathMtus {
    entries: HashMap<IpAddr, Entry, KeyedHash>,
    /// The same entries by the date they expire.
    order: BTreeSet<(Instant, IpAddr)>,
    limit: usize,
}

impl PathMtus {
    pub(super) fn new(limit: usize, hash: KeyedHash) -> Self {
        Self {
            entries: HashMap::with_hasher(hash),
            order: BTreeSet::new(),
            limit: limit.max(1),
        }
    }

    /// The MTU of the path to `remote`, where it is known.
    pub(super) fn get(&self, remote: IpAddr) -> Option<u16> {
        if self.entries.is_empty() {
            return None;
        }
        self.entries.get(&remote).map(|entry| entry.mtu)
    }

    /// A believable report. Never raises (PM-2); returns whether it lowered the MTU.
    pub(super) fn on_report(
        &mut self,
        now: Instant,
        remote: IpAddr,
        mtu: u16,
        device: u16,
    ) -> bool {
        let known = self.get(remote).unwrap_or(device);
        if mtu > known || mtu >= device {
            return false;
        }
        let expires = now + LIFETIME;
        if let Some(old) = self.entries.insert(remote, Entry { mtu, expires }) {
            self.order.remove(&(old.expires, remote));
        }
        self.order.insert((expires, remote));
        if self.entries.len() > self.limit
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.entries.remove(&oldest);
        }
        mtu < known
    }

    /// Forgets what is too old.
    pub(super) fn on_timeout(&mut self, now: Instant) {
        while let Some(&(expires, remote)) = self.order.first()
            && expires <= now
        {
            self.order.pop_first();
            self.entries.remove(&remote);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.order.first().map(|(expires, _)| *expires)
    }
}

/// Places in the table of flows, in sets of which each flow may use every place of one.
const SETS: usize = 2048;
const WAYS: usize = 4;

/// How far behind the newest one a quoted sequence number may lie: the largest window.
const SEQ_WINDOW: u32 = 16 << 20;

#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    fingerprint: u32,
    seq: u32,
}

/// What was sent lately in packets large enough for a router to refuse, so that a report about
/// anything else is recognised as forged (PM-5).
#[derive(Debug)]
pub(super) struct SentFlows(Box<[[Flow; WAYS]]>);

impl SentFlows {
    pub(super) fn new() -> Self {
        Self(vec![Default::default(); SETS].into())
    }

    /// Notes a packet of the flow with this keyed hash; `seq`: the number behind its last byte, 0
    /// for protocols without. The flow of its set that sent longest ago makes room.
    pub(super) fn on_sent(&mut self, hash: u64, seq: u32) {
        let set = &mut self.0[hash as usize % SETS];
        let fingerprint = fingerprint(hash);
        let known = set.iter().position(|flow| flow.fingerprint == fingerprint);
        set[..=known.unwrap_or(WAYS - 1)].rotate_right(1);
        // A retransmission does not take back what was sent after it.
        let is_older = known.is_some() && set[0].seq.wrapping_sub(seq) <= SEQ_WINDOW;
        if !is_older {
            set[0] = Flow { fingerprint, seq };
        }
    }

    /// Whether a packet of that flow, with that sequence number, may have been ours.
    pub(super) fn is_ours(&self, hash: u64, seq: u32) -> bool {
        let set = &self.0[hash as usize % SETS];
        set.iter()
            .find(|flow| flow.fingerprint == fingerprint(hash))
            .is_some_and(|flow| flow.seq.wrapping_sub(seq) <= SEQ_WINDOW)
    }
}

/// Never zero, so that an empty place matches nothing.
const fn fingerprint(hash: u64) -> u32 {
    (hash >> 32) as u32 | 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use covers::covers;

    fn ip(n: u32) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::from_bits(0x0a00_0000 + n))
    }

    fn cache(limit: usize) -> PathMtus {
        PathMtus::new(limit, KeyedHash::new([5; 16]))
    }

    /// PM-4: the next plateau, never below the floor.
    #[test]
    #[covers("PM-4")]
    fn plateaus_descend_to_the_floor() {
        let steps: Vec<_> = [65_535, 9000, 1500, 1492, 1006, 600, 552, 68]
            .map(plateau_below)
            .to_vec();
        assert_eq!(steps, [32_000, 8166, 1492, 1006, 552, 552, 552, 552]);
    }

    /// PM-2: a report never raises.
    #[test]
    #[covers("PM-2")]
    fn reports_only_lower() {
        let mut cache = cache(10);
        let now = Instant::from_millis(1);
        assert!(cache.on_report(now, ip(1), 1400, 1500));
        assert!(!cache.on_report(now, ip(1), 1450, 1500));
        assert!(!cache.on_report(now, ip(2), 9000, 1500));
        assert_eq!((cache.get(ip(1)), cache.get(ip(2))), (Some(1400), None));
        assert!(cache.on_report(now, ip(1), 1300, 1500));
        assert_eq!(cache.get(ip(1)), Some(1300));
    }

    /// PM-7: ten minutes after the last report.
    #[test]
    #[covers("PM-7")]
    fn entries_age() {
        let mut cache = cache(10);
        let at = Instant::from_millis;
        cache.on_report(at(0), ip(1), 1400, 1500);
        cache.on_report(at(1000), ip(2), 1400, 1500);
        cache.on_report(at(300_000), ip(1), 1400, 1500);
        cache.on_timeout(at(601_500));
        assert_eq!((cache.get(ip(1)), cache.get(ip(2))), (Some(1400), None));
        assert_eq!(cache.poll_timeout(), Some(at(900_000)));
        cache.on_timeout(at(900_000));
        assert_eq!((cache.get(ip(1)), cache.poll_timeout()), (None, None));
    }

    #[test]
    fn the_oldest_makes_room() {
        let mut cache = cache(100);
        for n in 0..10_000 {
            cache.on_report(Instant::from_millis(u64::from(n)), ip(n), 1400, 1500);
        }
        assert_eq!((cache.entries.len(), cache.order.len()), (100, 100));
        assert_eq!(
            (cache.get(ip(9_899)), cache.get(ip(9_900))),
            (None, Some(1400))
        );
    }

    /// PM-5: flow and sequence number must have been sent.
    #[test]
    #[covers("PM-5")]
    fn only_what_was_sent_is_ours() {
        let mut sent = SentFlows::new();
        assert!(!sent.is_ours(0, 0));
        sent.on_sent(77 << 33, 5000);
        sent.on_sent(77 << 33, 3000);
        assert!(sent.is_ours(77 << 33, 4999));
        assert!(sent.is_ours(77 << 33, 5000_u32.wrapping_sub(SEQ_WINDOW)));
        assert!(!sent.is_ours(77 << 33, 5001));
        assert!(!sent.is_ours(78 << 33, 4999));
    }

    /// Four flows that fall into one set are all remembered; the fifth replaces the one that has
    /// been silent longest.
    #[test]
    fn flows_that_collide_do_not_forget_each_other() {
        let mut sent = SentFlows::new();
        let hash = |n: u64| n << 33 | 5;
        for n in 1..=4 {
            sent.on_sent(hash(n), 1000);
        }
        assert!((1..=4).all(|n| sent.is_ours(hash(n), 500)));
        sent.on_sent(hash(1), 2000);
        sent.on_sent(hash(5), 1000);
        let remembered: Vec<_> = (1..=5).filter(|&n| sent.is_ours(hash(n), 500)).collect();
        assert_eq!(remembered, [1, 3, 4, 5]);
    }
}
