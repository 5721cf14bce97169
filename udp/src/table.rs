//! Finding a socket: a slab with generations, and a keyed hash of what each socket claims.

use alloc::vec::Vec;
use core::hash::{BuildHasher, Hash};
use core::net::{IpAddr, SocketAddr};

use hashbrown::HashMap;
use siphasher::sip::SipHasher13;

/// A socket, for as long as it exists: slab index and generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// What a socket claims. An unspecified address claims all of its family; port 0, every port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Claim {
    pub(crate) local: SocketAddr,
    pub(crate) remote: Option<SocketAddr>,
}

/// The same address without what distinguishes no socket: flow label, scope, and the IPv6 way to
/// write an IPv4 one.
pub(crate) const fn plain(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

/// The unspecified address of the family of `ip`.
pub(crate) const fn any(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(core::net::Ipv6Addr::UNSPECIFIED),
    }
}

/// SipHash under a secret key: peers choose addresses and ports, and must not choose buckets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyedHash(u64, u64);

impl KeyedHash {
    pub(crate) fn new(key: &[u8; 16]) -> Self {
        let word = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&key[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        Self(word(0), word(8))
    }

    /// A number that depends on the key and on `value`.
    pub(crate) fn of(&self, value: impl Hash) -> u64 {
        self.hash_one(value)
    }
}

impl BuildHasher for KeyedHash {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, self.1)
    }
}

/// Slab of `T` whose ids stop working once the entry is removed.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    slots: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(crate) fn insert(&mut self, value: T) -> SocketId {
        if let Some(index) = self.free.pop()
            && let Some(slot) = self.slots.get_mut(index as usize)
        {
            slot.1 = Some(value);
            return SocketId {
                index,
                generation: slot.0,
            };
        }
        self.slots.push((0, Some(value)));
        SocketId {
            index: self.slots.len() as u32 - 1,
            generation: 0,
        }
    }

    pub(crate) fn get(&self, id: SocketId) -> Option<&T> {
        let (generation, value) = self.slots.get(id.index as usize)?;
        value.as_ref().filter(|_| *generation == id.generation)
    }

    pub(crate) fn get_mut(&mut self, id: SocketId) -> Option<&mut T> {
        let (generation, value) = self.slots.get_mut(id.index as usize)?;
        value.as_mut().filter(|_| *generation == id.generation)
    }

    pub(crate) fn remove(&mut self, id: SocketId) -> Option<T> {
        self.get(id)?;
        let (generation, value) = self.slots.get_mut(id.index as usize)?;
        *generation = generation.wrapping_add(1);
        self.free.push(id.index);
        value.take()
    }
}

/// Which socket claims what.
#[derive(Debug)]
pub(crate) struct Table {
    claims: HashMap<Claim, SocketId, KeyedHash>,
    /// Sockets that also take datagrams to other hosts.
    transparent: HashMap<SocketAddr, SocketId, KeyedHash>,
    /// How many claims use a local port, whatever the address, for the choice of ephemeral ones.
    ports: HashMap<u16, u32, KeyedHash>,
    connected: usize,
}

impl Table {
    pub(crate) fn new(hash: KeyedHash) -> Self {
        Self {
            claims: HashMap::with_hasher(hash),
            transparent: HashMap::with_hasher(hash),
            ports: HashMap::with_hasher(hash),
            connected: 0,
        }
    }

    pub(crate) fn is_port_used(&self, port: u16) -> bool {
        self.ports.contains_key(&port)
    }

    pub(crate) fn is_free(&self, claim: &Claim, transparent: bool) -> bool {
        let is_taken =
            transparent && claim.remote.is_none() && self.transparent.contains_key(&claim.local);
        !is_taken && !self.claims.contains_key(claim)
    }

    pub(crate) fn insert(&mut self, claim: Claim, transparent: bool, id: SocketId) {
        self.claims.insert(claim, id);
        if transparent && claim.remote.is_none() {
            self.transparent.insert(claim.local, id);
        }
        self.connected += usize::from(claim.remote.is_some());
        *self.ports.entry(claim.local.port()).or_default() += 1;
    }

    pub(crate) fn remove(&mut self, claim: &Claim, transparent: bool) {
        if self.claims.remove(claim).is_none() {
            return;
        }
        if transparent && claim.remote.is_none() {
            self.transparent.remove(&claim.local);
        }
        self.connected -= usize::from(claim.remote.is_some());
        if let Some(count) = self.ports.get_mut(&claim.local.port()) {
            *count -= 1;
            if *count == 0 {
                self.ports.remove(&claim.local.port());
            }
        }
    }

    /// The connected socket of these two ends. `ours` says whether `local` is an address of this
    /// host: only then a socket bound to any address may have it.
    pub(crate) fn find_connected(
        &self,
        local: SocketAddr,
        remote: SocketAddr,
        ours: bool,
    ) -> Option<SocketId> {
        if self.connected == 0 {
            return None;
        }
        let claim = |local| {
            let remote = Some(remote);
            self.claims.get(&Claim { local, remote }).copied()
        };
        let wildcards = || wildcards(local).into_iter().find_map(claim);
        claim(local).or_else(|| wildcards().filter(|_| ours))
    }

    /// Whose datagram this is. The most specific claim wins; `ours` says whether `local` is an
    /// address of this host.
    pub(crate) fn find(
        &self,
        local: SocketAddr,
        remote: SocketAddr,
        ours: bool,
    ) -> Option<SocketId> {
        if let Some(id) = self.find_connected(local, remote, ours) {
            return Some(id);
        }
        let [any, both] = wildcards(local);
        let claim = |local| {
            self.claims
                .get(&Claim {
                    local,
                    remote: None,
                })
                .copied()
        };
        if ours {
            // Port 0 is what a socket for every foreign port claims, never a port of ours.
            if local.port() == 0 {
                return None;
            }
            return [local, any, both].into_iter().find_map(claim);
        }
        let every_port = |addr: SocketAddr| SocketAddr::new(addr.ip(), 0);
        [
            local,
            every_port(local),
            any,
            every_port(any),
            both,
            every_port(both),
        ]
        .iter()
        .find_map(|addr| self.transparent.get(addr).copied())
    }
}

/// The port of `local` at any address of its family, and at any of both: `[::]` takes IPv4, too,
/// as a listener of TCP there does.
const fn wildcards(local: SocketAddr) -> [SocketAddr; 2] {
    let both = IpAddr::V6(core::net::Ipv6Addr::UNSPECIFIED);
    [
        SocketAddr::new(any(local.ip()), local.port()),
        SocketAddr::new(both, local.port()),
    ]
}
