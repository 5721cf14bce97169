//! The flow table: a slab whose ids carry a generation, and a keyed hash from flow to slot.

use alloc::vec::Vec;
use core::hash::{BuildHasher, Hash, Hasher};
use core::net::IpAddr;

use hashbrown::HashMap;
use siphasher::sip::SipHasher13;

use crate::endpoint::ConnId;
use crate::segment::FlowKey;

/// A hash whose key no peer knows: peers choose addresses and ports, and must not be able to
/// choose collisions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyedHash(pub(crate) u64, pub(crate) u64);

impl BuildHasher for KeyedHash {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, self.1)
    }
}

/// A flow in as few bytes as tell it apart: 12 for IPv4, 36 for IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key<const N: usize>([u8; N]);

const _: () = assert!(size_of::<Key<12>>() == 12 && size_of::<Key<36>>() == 36);

impl<const N: usize> Hash for Key<N> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

fn fill<const N: usize>(local: &[u8], remote: &[u8], flow: &FlowKey) -> Key<N> {
    let mut key = [0; N];
    let (ports, addresses) = key.split_at_mut(4);
    ports[..2].copy_from_slice(&flow.local.port().to_be_bytes());
    ports[2..].copy_from_slice(&flow.remote.port().to_be_bytes());
    addresses[..local.len()].copy_from_slice(local);
    addresses[local.len()..].copy_from_slice(remote);
    Key(key)
}

enum AnyKey {
    V4(Key<12>),
    V6(Key<36>),
}

fn key(flow: &FlowKey) -> AnyKey {
    match (flow.local.ip(), flow.remote.ip()) {
        (IpAddr::V4(local), IpAddr::V4(remote)) => {
            AnyKey::V4(fill(&local.octets(), &remote.octets(), flow))
        }
        (local, remote) => AnyKey::V6(fill(&to_v6(local), &to_v6(remote), flow)),
    }
}

fn to_v6(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

#[derive(Debug)]
struct Slot<S> {
    generation: u32,
    value: Option<(FlowKey, S)>,
}

/// Flows and what is known of them.
#[derive(Debug)]
pub(crate) struct Table<S> {
    slots: Vec<Slot<S>>,
    free: Vec<u32>,
    v4: HashMap<Key<12>, u32, KeyedHash>,
    v6: HashMap<Key<36>, u32, KeyedHash>,
}

impl<S> Table<S> {
    pub(crate) fn new(hash: KeyedHash) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            v4: HashMap::with_hasher(hash),
            v6: HashMap::with_hasher(hash),
        }
    }

    /// Whose flow this is.
    pub(crate) fn lookup(&self, flow: &FlowKey) -> Option<ConnId> {
        let index = match key(flow) {
            AnyKey::V4(key) => *self.v4.get(&key)?,
            AnyKey::V6(key) => *self.v6.get(&key)?,
        };
        Some(ConnId {
            index,
            generation: self.slots[index as usize].generation,
        })
    }

    /// Adds a flow that [`Table::lookup`] does not know.
    pub(crate) fn insert(&mut self, flow: FlowKey, value: S) -> ConnId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                value: None,
            });
            self.slots.len() as u32 - 1
        });
        match key(&flow) {
            AnyKey::V4(key) => self.v4.insert(key, index),
            AnyKey::V6(key) => self.v6.insert(key, index),
        };
        let slot = &mut self.slots[index as usize];
        slot.value = Some((flow, value));
        ConnId {
            index,
            generation: slot.generation,
        }
    }

    pub(crate) fn get(&self, id: ConnId) -> Option<&S> {
        let slot = self.slots.get(id.index as usize)?;
        let (_, value) = slot
            .value
            .as_ref()
            .filter(|_| slot.generation == id.generation)?;
        Some(value)
    }

    pub(crate) fn get_mut(&mut self, id: ConnId) -> Option<&mut S> {
        let slot = self.slots.get_mut(id.index as usize)?;
        let (_, value) = slot
            .value
            .as_mut()
            .filter(|_| slot.generation == id.generation)?;
        Some(value)
    }

    pub(crate) fn flow(&self, id: ConnId) -> Option<&FlowKey> {
        let slot = self.slots.get(id.index as usize)?;
        slot.value
            .as_ref()
            .filter(|_| slot.generation == id.generation)
            .map(|(flow, _)| flow)
    }

    /// Frees the flow for others; the slot stays for whoever holds its id.
    pub(crate) fn forget_flow(&mut self, id: ConnId) {
        if let Some(&flow) = self.flow(id)
            && self.lookup(&flow) == Some(id)
        {
            match key(&flow) {
                AnyKey::V4(key) => self.v4.remove(&key),
                AnyKey::V6(key) => self.v6.remove(&key),
            };
        }
    }

    pub(crate) fn remove(&mut self, id: ConnId) -> Option<S> {
        self.forget_flow(id);
        let slot = self.slots.get_mut(id.index as usize)?;
        if slot.generation != id.generation {
            return None;
        }
        let (_, value) = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.index);
        Some(value)
    }

    /// Slots in use.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ConnId, &FlowKey, &S)> + '_ {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let (flow, value) = slot.value.as_ref()?;
            Some((
                ConnId {
                    index: index as u32,
                    generation: slot.generation,
                },
                flow,
                value,
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::SocketAddr;
    use proptest::prelude::*;
    use std::collections::HashMap as Oracle;

    fn nth(n: u8) -> FlowKey {
        let local: SocketAddr = if n.is_multiple_of(2) {
            "10.0.0.1:80"
        } else {
            "[fd00::1]:80"
        }
        .parse()
        .unwrap();
        let mut remote = local;
        remote.set_port(u16::from(n));
        FlowKey { local, remote }
    }

    proptest! {
        /// Random inserts, removals and detachments against a plain map.
        #[test]
        fn behaves_like_a_map(ops in proptest::collection::vec((0u8..3, 0u8..20), 1..300)) {
            let mut table = Table::new(KeyedHash(1, 2));
            let mut oracle = Oracle::new();
            let mut dead = Vec::new();
            for (op, n) in ops {
                let flow = nth(n);
                match op {
                    0 if !oracle.contains_key(&flow) => {
                        let id = table.insert(flow, n);
                        oracle.insert(flow, id);
                    }
                    1 => if let Some(id) = oracle.remove(&flow) {
                        prop_assert_eq!(table.remove(id), Some(n));
                        dead.push(id);
                    },
                    2 => if let Some(id) = oracle.remove(&flow) {
                        table.forget_flow(id);
                        prop_assert_eq!(table.get(id), Some(&n));
                        prop_assert_eq!(table.remove(id), Some(n));
                        dead.push(id);
                    },
                    _ => {}
                }
                prop_assert_eq!(table.lookup(&flow), oracle.get(&flow).copied());
            }
            prop_assert_eq!(table.len(), oracle.len());
            prop_assert_eq!(table.iter().count(), oracle.len());
            for id in dead {
                prop_assert!(table.get(id).is_none());
            }
        }
    }
}
