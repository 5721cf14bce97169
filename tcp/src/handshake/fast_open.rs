//! TCP Fast Open (RFC 7413): a server's cookies, and what a client remembers of servers.

use alloc::collections::{BTreeMap, VecDeque};
use core::hash::Hasher;
use core::net::IpAddr;

use siphasher::sip::SipHasher24;

use crate::isn::Secrets;
use crate::segment::{FastOpen, FlowKey};
use crate::time::{Duration, Instant};

/// How long a key makes cookies; they are good for as long again (RFC 7413 §4.1.2).
const KEY_LIFE: Duration = Duration::from_hours(1);

/// Servers that a client remembers; the oldest makes room.
const MAX_SERVERS: usize = 1024;

/// How long a server that did not answer a Fast Open SYN is spared another (RFC 7413 §4.1.3).
const NEGATIVE_LIFE: Duration = Duration::from_hours(1);

/// What a cookie is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CookieCheck {
    /// Made with this hour's key.
    Fresh,
    /// Made with the last one's: good, but to be replaced.
    Old,
    /// Not ours.
    Wrong,
}

/// The keys of a server's cookies.
pub(crate) struct FastOpenKeys<'a> {
    /// What the operator set (`tcp_fastopen_key`), for servers that share an address.
    pub(crate) fixed: Option<[u8; 16]>,
    pub(crate) secrets: &'a Secrets,
}

impl FastOpenKeys<'_> {
    /// The cookie of the client at the other end of `flow`.
    pub(crate) fn cookie(&self, now: Instant, flow: &FlowKey) -> FastOpen {
        self.cookie_of(epoch(now), flow)
    }

    /// What the cookie that came with `flow` is worth.
    pub(crate) fn check(&self, now: Instant, flow: &FlowKey, got: FastOpen) -> CookieCheck {
        let epoch = epoch(now);
        if got.cookie() == self.cookie_of(epoch, flow).cookie() {
            CookieCheck::Fresh
        } else if epoch > 0 && got.cookie() == self.cookie_of(epoch - 1, flow).cookie() {
            CookieCheck::Old
        } else {
            CookieCheck::Wrong
        }
    }

    /// A MAC of both addresses (RFC 7413 §4.1.2); ports would make each cookie good only once.
    fn cookie_of(&self, epoch: u64, flow: &FlowKey) -> FastOpen {
        let key = self
            .fixed
            .unwrap_or_else(|| self.secrets.fast_open_key(epoch));
        let mut hasher = SipHasher24::new_with_key(&key);
        for ip in [flow.remote.ip(), flow.local.ip()] {
            match ip {
                IpAddr::V4(ip) => hasher.write(&ip.octets()),
                IpAddr::V6(ip) => hasher.write(&ip.octets()),
            }
        }
        FastOpen::new(&hasher.finish().to_le_bytes())
    }
}

fn epoch(now: Instant) -> u64 {
    now.as_millis() / KEY_LIFE.as_millis() as u64
}

/// What the first SYN of an active open says of Fast Open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FastOpenRequest {
    /// It asks for a cookie.
    Ask,
    /// It brings one, and data.
    Cookie {
        /// What the server gave.
        cookie: FastOpen,
        /// The MSS it offered then.
        mss: u16,
    },
}

impl FastOpenRequest {
    pub(crate) const fn option(self) -> FastOpen {
        match self {
            Self::Ask => FastOpen::REQUEST,
            Self::Cookie { cookie, .. } => cookie,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Server {
    Gave { cookie: FastOpen, mss: u16 },
    Silent { since: Instant },
}

/// A client's memory of servers: their cookies, and those that do not answer (RFC 7413 §4.1.3).
#[derive(Debug, Default)]
pub(crate) struct FastOpenCache {
    servers: BTreeMap<(IpAddr, IpAddr), Server>,
    /// Oldest first.
    order: VecDeque<(IpAddr, IpAddr)>,
}

impl FastOpenCache {
    /// What the SYN of `flow` should say; `None`: nothing.
    pub(crate) fn request(&self, now: Instant, flow: &FlowKey) -> Option<FastOpenRequest> {
        match self.servers.get(&key(flow)) {
            None => Some(FastOpenRequest::Ask),
            Some(&Server::Gave { cookie, mss }) => Some(FastOpenRequest::Cookie { cookie, mss }),
            Some(Server::Silent { since }) => {
                (now - *since >= NEGATIVE_LIFE).then_some(FastOpenRequest::Ask)
            }
        }
    }

    /// The server gave a cookie.
    pub(crate) fn on_cookie(&mut self, flow: &FlowKey, cookie: FastOpen, mss: u16) {
        self.insert(flow, Server::Gave { cookie, mss });
    }

    /// The server offers another MSS than it did with its cookie.
    pub(crate) fn on_mss(&mut self, flow: &FlowKey, now: u16) {
        if let Some(Server::Gave { mss, .. }) = self.servers.get_mut(&key(flow)) {
            *mss = now;
        }
    }

    /// A SYN with the option stayed without answer.
    pub(crate) fn on_silence(&mut self, now: Instant, flow: &FlowKey) {
        self.insert(flow, Server::Silent { since: now });
    }

    fn insert(&mut self, flow: &FlowKey, server: Server) {
        let key = key(flow);
        if self.servers.insert(key, server).is_some() {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > MAX_SERVERS
            && let Some(oldest) = self.order.pop_front()
        {
            self.servers.remove(&oldest);
        }
    }
}

/// A cookie is bound to the client's address as well.
const fn key(flow: &FlowKey) -> (IpAddr, IpAddr) {
    (flow.local.ip(), flow.remote.ip())
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::SocketAddr;

    fn flow(host: u32) -> FlowKey {
        let remote = SocketAddr::new(IpAddr::V4(host.into()), 80);
        FlowKey::new("10.0.0.1:5000".parse().unwrap(), remote)
    }

    #[test]
    fn the_cache_forgets_the_oldest_server() {
        let mut cache = FastOpenCache::default();
        for host in 0..2 * MAX_SERVERS as u32 {
            cache.on_cookie(&flow(host), FastOpen::new(&[1; 8]), 1460);
        }
        assert_eq!(cache.servers.len(), MAX_SERVERS);
        let now = Instant::from_millis(1);
        assert_eq!(cache.request(now, &flow(0)), Some(FastOpenRequest::Ask));
        let last = flow(2 * MAX_SERVERS as u32 - 1);
        assert_ne!(cache.request(now, &last), Some(FastOpenRequest::Ask));
    }
}
