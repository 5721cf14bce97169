//! Path MTU discovery by probes, for protocols over UDP (DPLPMTUD, RFC 8899).
//!
//! UDP has no acknowledgements, so the protocol above it probes: it sends a padded message of the
//! size that [`Plpmtud::poll_probe`] names, through a socket with
//! [`MtuDiscover::Probe`](crate::MtuDiscover::Probe), and tells when the other end has confirmed
//! it. Sizes are UDP payloads in bytes; time is whatever the caller measures since some fixed
//! moment.

use core::time::Duration;

/// `BASE_PLPMTU`: a payload that practically every path takes (RFC 8899 §5.1.2).
const BASE_PLPMTU: u16 = 1200;

/// `MIN_PLPMTU`: what is used where even that is too much.
const MIN_PLPMTU: u16 = 512;

/// `MAX_PROBES`: a size that was asked so often in vain does not fit (RFC 8899 §5.1.2).
const MAX_PROBES: u8 = 3;

/// `PROBE_TIMER`: how long a confirmation may take (RFC 8899 §5.1.1: above 15 seconds, unless the
/// round-trip time is known; see [`Plpmtud::set_probe_timer`]).
const PROBE_TIMER: Duration = Duration::from_secs(15);

/// `PMTU_RAISE_TIMER`: when to look whether the path has become wider (RFC 8899 §5.1.1).
const RAISE_TIMER: Duration = Duration::from_secs(600);

/// A search that is this close ends.
const STEP: u16 = 8;

/// Where a search stands (RFC 8899 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlpmtudState {
    /// Asking whether the base size arrives.
    Base,
    /// It does; asking for more.
    Searching,
    /// The largest size is known, for ten minutes.
    SearchComplete,
    /// Not even the base size arrives: less is used, and the base asked for again and again.
    Error,
}

/// The search of one path.
#[derive(Clone, Debug)]
pub struct Plpmtud {
    state: PlpmtudState,
    /// Confirmed, and refuted or beyond the device.
    plpmtu: u16,
    ceiling: u16,
    max: u16,
    /// The size on its way, how often it was sent, and when it counts as lost.
    probe: Option<(u16, u8, Option<Duration>)>,
    raise_at: Option<Duration>,
    probe_timer: Duration,
}

impl Plpmtud {
    /// A search up to `max` bytes of payload: what the socket's
    /// [`max_unfragmented`](crate::Udp::max_unfragmented) says.
    pub const fn new(max: u16) -> Self {
        Self {
            state: PlpmtudState::Base,
            plpmtu: if max < BASE_PLPMTU { max } else { BASE_PLPMTU },
            ceiling: max.saturating_add(1),
            max,
            probe: None,
            raise_at: None,
            probe_timer: PROBE_TIMER,
        }
    }

    /// How long to wait for a confirmation, at least a second (RFC 8899 §5.1.1).
    pub fn set_probe_timer(&mut self, timer: Duration) {
        self.probe_timer = timer.max(Duration::from_secs(1));
    }

    /// The largest payload to send data in.
    pub const fn plpmtu(&self) -> u16 {
        self.plpmtu
    }

    /// Where the search stands.
    pub const fn state(&self) -> PlpmtudState {
        self.state
    }

    /// The size of a probe to send now; one at a time is on its way.
    pub fn poll_probe(&mut self, now: Duration) -> Option<u16> {
        let (size, count) = match self.probe {
            Some((_, _, Some(_))) => return None,
            Some((size, count, None)) => (size, count),
            None => (self.next_size()?, 0),
        };
        let expires = now + self.probe_timer;
        self.probe = Some((size, count + 1, Some(expires)));
        Some(size)
    }

    /// The largest first, for most paths take it; then halves.
    fn next_size(&self) -> Option<u16> {
        match self.state {
            PlpmtudState::Base | PlpmtudState::Error => Some(BASE_PLPMTU.min(self.max)),
            PlpmtudState::Searching if self.ceiling > self.max => Some(self.max),
            PlpmtudState::Searching => Some(self.plpmtu + (self.ceiling - self.plpmtu) / 2),
            PlpmtudState::SearchComplete => None,
        }
    }

    /// The other end has confirmed a probe of this size.
    pub fn on_probe_acked(&mut self, now: Duration, size: u16) {
        if self.probe.is_none_or(|(probed, ..)| probed != size) {
            return; // a late answer to a probe that is given up
        }
        self.probe = None;
        self.plpmtu = size;
        self.search(now);
    }

    /// Goes on from a confirmed size.
    fn search(&mut self, now: Duration) {
        let is_over = self.plpmtu >= self.max || self.ceiling.saturating_sub(self.plpmtu) <= STEP;
        (self.state, self.raise_at) = if is_over {
            (PlpmtudState::SearchComplete, Some(now + RAISE_TIMER))
        } else {
            (PlpmtudState::Searching, None)
        };
    }

    /// When [`Plpmtud::on_timeout`] wants to be called next.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let probe = self.probe.and_then(|(_, _, expires)| expires);
        [probe, self.raise_at].into_iter().flatten().min()
    }

    /// A probe is lost, or it is time to look for more.
    pub fn on_timeout(&mut self, now: Duration) {
        if let Some((size, count, Some(expires))) = self.probe
            && expires <= now
        {
            if count < MAX_PROBES {
                self.probe = Some((size, count, None)); // the same size once more
            } else {
                self.probe = None;
                self.on_refuted(now, size);
            }
        }
        if self.raise_at.is_some_and(|at| at <= now) {
            self.raise_at = None;
            self.ceiling = self.max.saturating_add(1);
            self.search(now);
        }
    }

    fn on_refuted(&mut self, now: Duration, size: u16) {
        if self.state == PlpmtudState::Searching {
            self.ceiling = self.ceiling.min(size);
            self.search(now);
        } else {
            self.state = PlpmtudState::Error;
            self.plpmtu = MIN_PLPMTU.min(self.max);
        }
    }

    /// ICMP says that only payloads of `size` bytes fit: a hint (RFC 8899 §4.6.2). It ends the
    /// wait for a larger probe; where it contradicts what was confirmed, that is confirmed anew.
    /// The caller has checked that it quotes a packet of its own.
    pub fn on_packet_too_big(&mut self, now: Duration, size: u16) {
        if size < BASE_PLPMTU {
            return; // what everybody takes is not given up for a message that anybody can send
        }
        if size < self.plpmtu {
            return self.on_black_hole();
        }
        if let Some((probed, ..)) = self.probe
            && self.state == PlpmtudState::Searching
            && size < probed
        {
            self.probe = None;
            self.ceiling = self.ceiling.min(probed).min(size + 1);
            if size > self.plpmtu {
                // The next probe asks for exactly that.
                self.probe = Some((size, 0, None));
            } else {
                self.search(now);
            }
        }
    }

    /// Data of the confirmed size is lost again and again, smaller data is not: starts anew.
    pub fn on_black_hole(&mut self) {
        let timer = self.probe_timer;
        *self = Self::new(self.max);
        self.probe_timer = timer;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;
    use covers::covers;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    /// Runs a search over a path that takes `limit` bytes of payload, for `time`; returns the
    /// sizes probed.
    fn run(search: &mut Plpmtud, from: Duration, time: Duration, limit: u16) -> Vec<u16> {
        let (mut now, mut probed) = (from, vec![]);
        loop {
            while let Some(size) = search.poll_probe(now) {
                probed.push(size);
                if size <= limit {
                    search.on_probe_acked(now, size);
                }
            }
            match search.poll_timeout() {
                Some(at) if at <= from + time => now = at,
                _ => return probed,
            }
            search.on_timeout(now);
        }
    }

    /// Every limit is found, to a step, asking at most three times for what does not fit.
    #[test]
    #[covers("PM-10")]
    fn the_limit_is_found() {
        for limit in (1200..=1472).chain([1473, 9000]) {
            let mut search = Plpmtud::new(1472);
            let probed = run(&mut search, secs(0), secs(599), limit);
            assert_eq!(search.state(), PlpmtudState::SearchComplete);
            let found = search.plpmtu();
            assert!(
                found <= limit && limit.min(1472) - found < STEP,
                "{limit}: {found}"
            );
            assert_eq!(probed[0], BASE_PLPMTU);
            for size in &probed {
                let count = probed.iter().filter(|other| *other == size).count();
                let expected = if *size <= limit { 1 } else { 3 };
                assert_eq!(count, expected, "{limit}: {size}");
            }
        }
    }

    /// Ten minutes later the path is asked again, and a wider one found.
    #[test]
    #[covers("PM-10")]
    fn a_wider_path_is_noticed() {
        let mut search = Plpmtud::new(1472);
        run(&mut search, secs(0), secs(599), 1300);
        assert!((1293..=1300).contains(&search.plpmtu()));
        let raise = search.poll_timeout().expect("a raise timer");
        assert!(raise >= secs(600));
        assert_eq!(search.poll_probe(secs(599)), None);
        search.on_timeout(raise);
        run(&mut search, raise, secs(1), 1472);
        assert_eq!(search.plpmtu(), 1472);
    }

    /// A path that takes less than the base size: the smallest is used until the base arrives.
    #[test]
    #[covers("PM-10")]
    fn an_error_is_left_when_the_base_arrives() {
        let mut search = Plpmtud::new(1472);
        let probed = run(&mut search, secs(0), secs(100), 1000);
        assert_eq!(
            (search.state(), search.plpmtu()),
            (PlpmtudState::Error, MIN_PLPMTU)
        );
        assert!(probed.iter().all(|size| *size == BASE_PLPMTU));
        run(&mut search, secs(200), secs(1000), 1472);
        assert_eq!(search.plpmtu(), 1472);
    }

    /// ICMP is a hint: it says what to ask next, never what holds.
    #[test]
    #[covers("PM-10")]
    fn too_big_is_a_hint() {
        let mut search = Plpmtud::new(1472);
        search.poll_probe(secs(0));
        search.on_probe_acked(secs(0), BASE_PLPMTU);
        assert_eq!(search.poll_probe(secs(1)), Some(1472));
        search.on_packet_too_big(secs(1), 68);
        assert_eq!(search.poll_probe(secs(1)), None, "nothing to do with us");
        search.on_packet_too_big(secs(1), 1372);
        assert_eq!(search.plpmtu(), BASE_PLPMTU, "not yet confirmed");
        assert_eq!(search.poll_probe(secs(1)), Some(1372));
        search.on_probe_acked(secs(2), 1372);
        assert_eq!(search.plpmtu(), 1372);
        assert_eq!(search.state(), PlpmtudState::SearchComplete);
        // It contradicts what is confirmed: back to the base, and up again.
        search.on_packet_too_big(secs(3), 1250);
        assert_eq!(
            (search.state(), search.plpmtu()),
            (PlpmtudState::Base, BASE_PLPMTU)
        );
        run(&mut search, secs(3), secs(1), 1372);
        assert_eq!(
            search.state(),
            PlpmtudState::Searching,
            "waits for the first loss"
        );
    }

    /// A black hole: from the base again. A late confirmation of an old probe is none.
    #[test]
    fn a_black_hole_starts_anew() {
        let mut search = Plpmtud::new(1472);
        run(&mut search, secs(0), secs(1), 1472);
        assert_eq!(search.plpmtu(), 1472);
        search.on_black_hole();
        assert_eq!(search.plpmtu(), BASE_PLPMTU);
        search.on_probe_acked(secs(2), 1472);
        assert_eq!(
            (search.state(), search.plpmtu()),
            (PlpmtudState::Base, BASE_PLPMTU)
        );
        let small = Plpmtud::new(900);
        assert_eq!(small.plpmtu(), 900, "a device that takes no more");
    }
}
