//! Listeners: which one a SYN belongs to, and how many handshakes each may have under way.

use alloc::collections::btree_map::Entry;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::num::NonZeroU32;

use crate::config::SocketOptions;
use crate::endpoint::{ConnId, ListenOptions, ListenerId};
use crate::error::ListenError;
use crate::time::{Duration, Instant};

/// How long a Fast Open connection that was reset counts against the limit: the reset may be
/// spoofed as the SYN was (RFC 7413 §5.1).
const FAST_OPEN_RESET_LIFE: Duration = Duration::from_secs(60);

/// One listener.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) options: ListenOptions,
    /// What connections start with.
    pub(crate) socket: Arc<SocketOptions>,
    /// Handshakes under way, held ones included.
    pub(crate) half_open: u32,
    /// They, oldest first; some have ended since.
    pub(crate) oldest: VecDeque<ConnId>,
    /// Open connections that wait for [`Tcp::accept`](crate::Tcp::accept).
    pub(crate) accept_queue: VecDeque<ConnId>,
    /// Until when an ACK may bring back a SYN cookie.
    pub(crate) cookies_until: Option<Instant>,
    /// Connections opened by Fast Open whose handshake is not complete
    /// (PendingFastOpenRequests).
    pub(crate) fast_open_pending: u16,
    /// When those end to count that were reset.
    fast_open_resets: VecDeque<Instant>,
}

impl Listener {
    fn new(options: ListenOptions) -> Self {
        Self {
            options,
            socket: Arc::new(options.socket),
            half_open: 0,
            oldest: VecDeque::new(),
            accept_queue: VecDeque::new(),
            cookies_until: None,
            fast_open_pending: 0,
            fast_open_resets: VecDeque::new(),
        }
    }

    /// Whether one more connection fits the queue of those to accept.
    pub(crate) fn can_queue(&self) -> bool {
        self.accept_queue.len() < usize::from(self.options.backlog.max(1))
    }

    /// Whether one more SYN may be held.
    pub(crate) fn can_hold(&self) -> bool {
        self.half_open < u32::from(self.options.backlog.max(1))
    }

    /// Whether one more connection may open before its handshake is complete (TF-5).
    pub(crate) fn can_fast_open(&mut self, now: Instant) -> bool {
        while self.fast_open_resets.front().is_some_and(|&end| end <= now) {
            self.fast_open_resets.pop_front();
        }
        let limit = self.socket.fast_open.unwrap_or(0);
        usize::from(self.fast_open_pending) + self.fast_open_resets.len() < usize::from(limit)
    }

    /// A connection opened by Fast Open is no longer pending.
    pub(crate) fn on_fast_open_end(&mut self, now: Instant, reset: bool) {
        self.fast_open_pending = self.fast_open_pending.saturating_sub(1);
        if reset {
            self.fast_open_resets.push_back(now + FAST_OPEN_RESET_LIFE);
        }
    }
}

/// All listeners of a host.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    by_id: BTreeMap<ListenerId, Listener>,
    next_id: u32,
    exact: BTreeMap<SocketAddr, ListenerId>,
    /// Those that take any destination, in order of creation.
    transparent: Vec<ListenerId>,
}

impl Listeners {
    pub(crate) fn insert(&mut self, options: ListenOptions) -> Result<ListenerId, ListenError> {
        let id = ListenerId(NonZeroU32::MIN.saturating_add(self.next_id));
        if options.transparent {
            let same = |&other: &ListenerId| {
                self.get(other)
                    .is_some_and(|other| other.options.local == options.local)
            };
            if self.transparent.iter().any(same) {
                return Err(ListenError::AddrInUse);
            }
            self.transparent.push(id);
        } else {
            match self.exact.entry(options.local) {
                Entry::Occupied(_) => return Err(ListenError::AddrInUse),
                Entry::Vacant(entry) => entry.insert(id),
            };
        }
        self.by_id.insert(id, Listener::new(options));
        self.next_id += 1;
        Ok(id)
    }

    pub(crate) fn remove(&mut self, id: ListenerId) -> Option<Listener> {
        let listener = self.by_id.remove(&id)?;
        self.exact.retain(|_, other| *other != id);
        self.transparent.retain(|other| *other != id);
        Some(listener)
    }

    #[cfg(debug_assertions)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ListenerId, &Listener)> + '_ {
        self.by_id.iter().map(|(&id, listener)| (id, listener))
    }

    pub(crate) fn get(&self, id: ListenerId) -> Option<&Listener> {
        self.by_id.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: ListenerId) -> Option<&mut Listener> {
        self.by_id.get_mut(&id)
    }

    /// Who listens at `local`: the exact address, then any of its family, then `[::]`, then those
    /// that take every destination. `own`: the address is this host's.
    pub(crate) fn lookup(&self, local: SocketAddr, own: bool) -> Option<ListenerId> {
        let port = local.port();
        let any = |ip: IpAddr| self.exact.get(&SocketAddr::new(ip, port));
        let bound = if own {
            let family = match local {
                SocketAddr::V4(_) => any(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
                SocketAddr::V6(_) => None,
            };
            let both = || any(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
            self.exact.get(&local).or(family).or_else(both)
        } else {
            None
        };
        bound
            .or_else(|| self.transparent.iter().find(|&&id| self.takes(id, local)))
            .copied()
    }

    /// The listener with the most handshakes under way.
    pub(crate) fn busiest(&mut self) -> Option<&mut Listener> {
        self.by_id
            .values_mut()
            .max_by_key(|listener| listener.half_open)
    }

    /// Whether the port has a listener, so that active opens leave it alone (PT-2).
    pub(crate) fn has_port(&self, port: u16) -> bool {
        self.exact.keys().any(|local| local.port() == port)
    }

    fn takes(&self, id: ListenerId, local: SocketAddr) -> bool {
        self.get(id).is_some_and(|listener| {
            let wanted = listener.options.local;
            let family = wanted.is_ipv6() || local.is_ipv4();
            let address = wanted.ip().is_unspecified() && family || wanted.ip() == local.ip();
            address && (wanted.port() == 0 || wanted.port() == local.port())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> SocketAddr {
        address.parse().expect("an address")
    }

    /// Listeners in this order; `*` before the address: it takes every destination.
    fn listeners(addresses: &[&str]) -> Listeners {
        let mut listeners = Listeners::default();
        for address in addresses {
            let mut options = ListenOptions::new(at(address.trim_start_matches('*')));
            options.transparent = address.starts_with('*');
            listeners.insert(options).expect("a free address");
        }
        listeners
    }

    fn found(addresses: &[&str], local: &str, own: bool) -> Option<u32> {
        let id = listeners(addresses).lookup(at(local), own);
        id.map(|id| id.0.get() - 1)
    }

    #[test]
    fn the_most_exact_address_is_found() {
        let all = ["[::]:80", "0.0.0.0:80", "10.0.0.1:80", "10.0.0.1:81"];
        assert_eq!(found(&all, "10.0.0.1:80", true), Some(2));
        assert_eq!(found(&all, "10.0.0.2:80", true), Some(1));
        assert_eq!(found(&all, "[fd00::1]:80", true), Some(0));
        assert_eq!(
            found(&all[..1], "10.0.0.1:80", true),
            Some(0),
            "[::] takes both"
        );
        assert_eq!(found(&all[1..], "[fd00::1]:80", true), None);
        assert_eq!(found(&all, "10.0.0.1:82", true), None);
        assert_eq!(found(&all, "10.0.0.1:80", false), None, "another host's");
    }

    #[test]
    fn transparent_listeners_take_what_nobody_is_bound_to() {
        for own in [false, true] {
            assert_eq!(found(&["*0.0.0.0:0"], "192.0.2.1:80", own), Some(0));
            assert_eq!(found(&["*0.0.0.0:0"], "[fd00::1]:80", own), None);
            assert_eq!(found(&["*[::]:0"], "[fd00::1]:80", own), Some(0));
            assert_eq!(found(&["*[::]:0"], "192.0.2.1:80", own), Some(0));
            assert_eq!(found(&["*0.0.0.0:80"], "192.0.2.1:80", own), Some(0));
            assert_eq!(found(&["*0.0.0.0:80"], "192.0.2.1:81", own), None);
            assert_eq!(found(&["*192.0.2.1:0"], "192.0.2.1:81", own), Some(0));
            assert_eq!(found(&["*192.0.2.1:0"], "192.0.2.2:81", own), None);
        }
        let both = ["*0.0.0.0:0", "*0.0.0.0:80", "192.0.2.1:80"];
        assert_eq!(found(&both, "192.0.2.1:80", true), Some(2));
        assert_eq!(found(&both, "192.0.2.1:80", false), Some(0), "the oldest");
    }

    #[test]
    fn an_address_is_taken_once() {
        let again = ListenOptions::new(at("10.0.0.1:80"));
        let mut transparent = again;
        transparent.transparent = true;
        let mut listeners = listeners(&["10.0.0.1:80", "*10.0.0.1:80"]);
        for options in [again, transparent] {
            let refused = listeners.insert(options);
            assert!(matches!(refused, Err(ListenError::AddrInUse)));
        }
        for id in [NonZeroU32::MIN, NonZeroU32::MIN.saturating_add(1)] {
            assert!(listeners.remove(ListenerId(id)).is_some());
        }
        for own in [false, true] {
            assert_eq!(listeners.lookup(at("10.0.0.1:80"), own), None);
        }
    }
}
