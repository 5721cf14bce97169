//! The flow table: a slab whose ids carry a generation, and a keyed hash from flow to slot.

use alloc::vec::Vec;
use core::hash::{BuildHasher, Hash, Hasher};
use core::net::IpAddr;

use hashbrown::HashMap;
use siphasher::sip::SipHasher13;

use crate::endpoint::ConnId;
#[cfg(any(test, debug_assertions))]
use crate::invariant::{Held, holds};
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

    /// How many slots [`Table::recount`] looks at.
    #[cfg(any(test, debug_assertions))]
    pub(crate) const fn slot_count(&self) -> usize {
        self.slots.len()
    }

    /// What holds between two calls.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn recount(&self) -> Held {
        let used = self.slots.iter().filter(|slot| slot.value.is_some());
        holds(self.len() == used.count(), "slots in use equal a recount")?;
        let free = |&index: &u32| self.slots[index as usize].value.is_none();
        holds(self.free.iter().all(free), "what is free is not in use")?;
        let found = self
            .iter()
            .filter(|&(id, flow, _)| self.lookup(flow) == Some(id));
        holds(
            self.v4.len() + self.v6.len() == found.count(),
            "each flow leads to its slot",
        )
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
    use proptest::sample::Index;

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

    #[derive(Clone, Debug)]
    enum Op {
        Insert(u8),
        Set(Index, u8),
        Forget(Index),
        Remove(Index),
    }

    fn op() -> impl Strategy<Value = Op> {
        let index = any::<Index>;
        prop_oneof![
            3 => (0u8..20).prop_map(Op::Insert),
            1 => (index(), any::<u8>()).prop_map(|(id, value)| Op::Set(id, value)),
            1 => index().prop_map(Op::Forget),
            2 => index().prop_map(Op::Remove),
        ]
    }

    /// What the oracle knows of an id that was handed out.
    struct Known {
        id: ConnId,
        flow: FlowKey,
        value: Option<u8>,
        /// Its flow leads to it.
        found: bool,
    }

    proptest! {
        /// Against a list of all ids ever handed out.
        #[test]
        fn behaves_like_a_list(ops in proptest::collection::vec(op(), 1..300)) {
            let mut table = Table::new(KeyedHash(1, 2));
            let mut known: Vec<Known> = Vec::new();
            for op in ops {
                match op {
                    Op::Insert(n) => if !known.iter().any(|k| k.found && k.flow == nth(n)) {
                        let id = table.insert(nth(n), n);
                        prop_assert!(known.iter().all(|k| k.id != id), "an id comes twice");
                        known.push(Known { id, flow: nth(n), value: Some(n), found: true });
                    },
                    Op::Set(..) | Op::Forget(_) | Op::Remove(_) if known.is_empty() => {}
                    Op::Set(index, value) => {
                        let known = index.get_mut(&mut known);
                        prop_assert_eq!(table.get_mut(known.id).copied(), known.value);
                        if let Some(held) = table.get_mut(known.id) {
                            *held = value;
                            known.value = Some(value);
                        }
                    }
                    Op::Forget(index) => {
                        let known = index.get_mut(&mut known);
                        table.forget_flow(known.id);
                        known.found = false;
                    }
                    Op::Remove(index) => {
                        let known = index.get_mut(&mut known);
                        prop_assert_eq!(table.remove(known.id), known.value.take());
                        known.found = false;
                    }
                }
                prop_assert_eq!(table.recount(), Ok(()));
                for n in 0..20 {
                    let owner = known.iter().find(|k| k.found && k.flow == nth(n));
                    prop_assert_eq!(table.lookup(&nth(n)), owner.map(|k| k.id));
                }
                for k in &known {
                    prop_assert_eq!(table.get(k.id).copied(), k.value);
                    prop_assert_eq!(table.flow(k.id).copied(), k.value.map(|_| k.flow));
                }
                let living = known.iter().filter_map(|k| Some((k.id, k.flow, k.value?)));
                let mut living: Vec<_> = living.collect();
                let listed = table.iter().map(|(id, flow, value)| (id, *flow, *value));
                let mut listed: Vec<_> = listed.collect();
                living.sort_unstable_by_key(|&(id, ..)| id);
                listed.sort_unstable_by_key(|&(id, ..)| id);
                prop_assert_eq!(table.len(), living.len());
                prop_assert_eq!(listed, living);
            }
        }
    }

    /// The IPv6 way to write an IPv4 address is another flow's, if its other end is IPv6.
    #[test]
    fn every_part_of_a_flow_tells_it_apart() {
        let address = |text: &str| -> SocketAddr { text.parse().unwrap() };
        let flows = [
            ("10.0.0.1:80", "10.0.0.2:80"),
            ("10.0.0.2:80", "10.0.0.1:80"),
            ("10.0.0.1:81", "10.0.0.2:80"),
            ("10.0.0.1:80", "10.0.0.2:81"),
            ("[fd00::1]:80", "[fd00::2]:80"),
            ("[fd00::2]:80", "[fd00::1]:80"),
            ("[fd00::1]:80", "[fd00::2]:81"),
            ("10.0.0.1:80", "[fd00::2]:80"),
        ];
        let flow = |(local, remote)| FlowKey::new(address(local), address(remote));
        let mut table = Table::new(KeyedHash(1, 2));
        let ids: Vec<_> = flows
            .iter()
            .map(|&ends| table.insert(flow(ends), ends))
            .collect();
        for (&ends, id) in flows.iter().zip(ids) {
            assert_eq!(table.lookup(&flow(ends)), Some(id));
        }
    }
}
