//! Listeners: which one a SYN belongs to, and how many handshakes each may have under way.

use alloc::collections::btree_map::Entry;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::endpoint::{ConnId, ListenOptions, ListenerId};
use crate::error::ListenError;

/// One listener.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) options: ListenOptions,
    /// Handshakes under way, held ones included.
    pub(crate) half_open: u32,
    /// Open connections that wait for [`Tcp::accept`](crate::Tcp::accept).
    pub(crate) accept_queue: VecDeque<ConnId>,
}

impl Listener {
    /// Whether one more SYN fits the backlog.
    pub(crate) fn has_room(&self) -> bool {
        let used = self.half_open as usize + self.accept_queue.len();
        used < usize::from(self.options.backlog.max(1))
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
        let id = ListenerId(self.next_id);
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
        let listener = Listener {
            options,
            half_open: 0,
            accept_queue: VecDeque::new(),
        };
        self.by_id.insert(id, listener);
        self.next_id += 1;
        Ok(id)
    }

    pub(crate) fn remove(&mut self, id: ListenerId) -> Option<Listener> {
        let listener = self.by_id.remove(&id)?;
        self.exact.retain(|_, other| *other != id);
        self.transparent.retain(|other| *other != id);
        Some(listener)
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
