//! The flow table: a slab whose ids carry a generation, and a keyed hash from flow to slot.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::ops::Range;

use arrayvec::ArrayVec;
use siphasher::sip::SipHasher13;

use crate::arena::Arena;
use crate::config::LargeMemory;
use crate::endpoint::ConnId;
use crate::flow;
use crate::index::Index;
#[cfg(any(test, debug_assertions))]
use crate::invariant::{Held, holds};
use crate::segment::FlowKey;
use crate::wheel::Armed;

/// A hash whose key no peer knows: peers choose addresses and ports, and must not be able to
/// choose collisions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyedHash(pub(crate) u64, pub(crate) u64);

impl KeyedHash {
    fn of(self, flow: &FlowKey) -> u64 {
        flow::octets(flow, |octets| {
            SipHasher13::new_with_keys(self.0, self.1).hash(octets)
        })
    }
}

/// What lies in a slot and belongs to a flow.
pub(crate) trait Keyed {
    /// The flow it belongs to.
    fn flow(&self) -> FlowKey;

    /// Whether it belongs to `flow`.
    fn is_of(&self, flow: &FlowKey) -> bool;
}

/// Flows that are looked up together at most: as many as a turn has frames.
pub(crate) const MAX_EXPECTED: usize = 32;

/// Of expected flows, how many in a row may fail to come.
const MAX_MISSING: usize = 3;

/// A place in the slab; what is promised to its index stays when another flow takes it over. With one
/// of many flows it is in no cache, and it should not be in two lines of memory.
#[derive(Debug)]
#[repr(align(64))]
struct Slot<S> {
    value: Option<S>,
    generation: u32,
    armed: Armed,
    ready: bool,
}

/// A slot in use.
pub(crate) struct Entry<'a, S> {
    pub(crate) value: &'a mut S,
    /// The wheel's entries for it.
    pub(crate) armed: &'a mut Armed,
    /// It stands in the ready list.
    pub(crate) ready: &'a mut bool,
}

/// Flows and what is known of them. The hash holds indices alone: what is found is compared in the
/// slab.
#[derive(Debug)]
pub(crate) struct Table<S> {
    slots: Arena<Slot<S>>,
    free: Vec<u32>,
    index: Index,
    hash: KeyedHash,
    /// What [`Table::lookup_again`] found last.
    latest: Option<ConnId>,
    /// What [`Table::expect`] has found, in order, for [`Table::lookup_again`] to take.
    expected: VecDeque<ConnId>,
}

impl<S: Keyed> Table<S> {
    pub(crate) fn new(hash: KeyedHash, on_large_memory: Option<LargeMemory>) -> Self {
        Self {
            slots: Arena::new(on_large_memory),
            free: Vec::new(),
            index: Index::new(on_large_memory),
            hash,
            latest: None,
            expected: VecDeque::new(),
        }
    }

    /// [`Table::lookup`] for segments, which come in trains: the flow of the last one is asked first.
    pub(crate) fn lookup_again(&mut self, flow: &FlowKey) -> Option<ConnId> {
        if let Some(id) = self.latest
            && self.get(id).is_some_and(|value| value.is_of(flow))
        {
            if self.expected.front() == Some(&id) {
                self.expected.pop_front();
            }
            return Some(id);
        }
        self.latest = if self.expected.is_empty() {
            self.lookup(flow)
        } else {
            self.meet(flow).or_else(|| self.lookup(flow))
        };
        self.latest
    }

    /// Whether [`Table::lookup_again`] found it last, and it has its flow still.
    pub(crate) fn is_latest(&self, id: Option<ConnId>) -> bool {
        id.is_some() && self.latest == id
    }

    /// One of the next that are expected, if this is its flow: those before it have not come, as
    /// their packets were dropped.
    #[inline(never)]
    fn meet(&mut self, flow: &FlowKey) -> Option<ConnId> {
        let mut next = self.expected.iter().take(MAX_MISSING + 1);
        let missing = next.position(|&id| self.get(id).is_some_and(|value| value.is_of(flow)))?;
        self.expected.drain(..missing);
        self.expected.pop_front()
    }

    /// Looks up flows that [`Table::lookup_again`] is about to be asked for, at most
    /// [`MAX_EXPECTED`]. All take each step together: their looks at memory do not depend on each other,
    /// and so they wait at the same time.
    pub(crate) fn expect(&mut self, flows: &[FlowKey]) {
        let flows = flows.iter().take(MAX_EXPECTED);
        let hashes: ArrayVec<u64, MAX_EXPECTED> =
            flows.clone().map(|flow| self.hash.of(flow)).collect();
        // Another flow's index may have the same few bits of hash beside it.
        let mut candidates = ArrayVec::<(u32, &FlowKey), { 2 * MAX_EXPECTED }>::new();
        for (&hash, flow) in hashes.iter().zip(flows) {
            self.index.find(hash, |index| {
                candidates.try_push((index, flow)).is_err() // there is no room for more
            });
        }
        self.expected.clear();
        for (index, flow) in candidates {
            if let Some(slot) = self.slots.get(index)
                && slot.value.as_ref().is_some_and(|value| value.is_of(flow))
            {
                let generation = slot.generation;
                self.expected.push_back(ConnId { index, generation });
            }
        }
    }

    /// What is expected.
    pub(crate) fn expected(&self) -> impl Iterator<Item = &S> + '_ {
        self.expected.iter().filter_map(|&id| self.get(id))
    }

    /// Whose flow this is.
    pub(crate) fn lookup(&self, flow: &FlowKey) -> Option<ConnId> {
        let is_of = |index: u32| {
            let value = self.slots.get(index).and_then(|slot| slot.value.as_ref());
            value.is_some_and(|value| value.is_of(flow))
        };
        let index = self.index.find(self.hash.of(flow), is_of)?;
        Some(self.id(index))
    }

    /// Adds a flow that [`Table::lookup`] does not know.
    pub(crate) fn insert(&mut self, value: S) -> ConnId {
        let hash = self.hash.of(&value.flow());
        let index = self.free.pop().unwrap_or_else(|| self.push_slot());
        if let Some(slot) = self.slots.get_mut(index) {
            slot.value = Some(value);
        }
        let (slots, keyed) = (&self.slots, self.hash);
        let hash_of = |index: u32| {
            let value = slots.get(index).and_then(|slot| slot.value.as_ref());
            value.map_or(0, |value| keyed.of(&value.flow()))
        };
        self.index.insert(hash, index, hash_of);
        self.id(index)
    }

    pub(crate) fn get(&self, id: ConnId) -> Option<&S> {
        self.living(id)?.value.as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: ConnId) -> Option<&mut S> {
        self.living_mut(id)?.value.as_mut()
    }

    /// The value, and what is kept beside it.
    pub(crate) fn entry_mut(&mut self, id: ConnId) -> Option<Entry<'_, S>> {
        let slot = self.living_mut(id)?;
        Some(Entry {
            value: slot.value.as_mut()?,
            armed: &mut slot.armed,
            ready: &mut slot.ready,
        })
    }

    pub(crate) fn flow(&self, id: ConnId) -> Option<FlowKey> {
        Some(self.get(id)?.flow())
    }

    /// Whether it stands in the ready list.
    pub(crate) fn is_ready(&self, id: ConnId) -> bool {
        self.living(id).is_some_and(|slot| slot.ready)
    }

    /// The wheel's entries for an index, whoever has it.
    pub(crate) fn armed_mut(&mut self, index: u32) -> Option<&mut Armed> {
        Some(&mut self.slots.get_mut(index)?.armed)
    }

    /// Who has this index now.
    pub(crate) fn holder(&self, index: u32) -> Option<ConnId> {
        self.slots.get(index)?.value.as_ref()?;
        Some(self.id(index))
    }

    /// Frees the flow for others; the slot stays for whoever holds its id.
    pub(crate) fn forget_flow(&mut self, id: ConnId) {
        let Some(flow) = self.flow(id) else { return };
        self.latest = self.latest.filter(|&latest| latest != id);
        self.expected.retain(|&expected| expected != id);
        let hash = self.hash.of(&flow);
        self.index.remove(hash, id.index);
    }

    pub(crate) fn remove(&mut self, id: ConnId) -> Option<S> {
        self.forget_flow(id);
        let slot = self.living_mut(id)?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        slot.ready = false;
        self.free.push(id.index);
        Some(value)
    }

    /// Slots in use.
    pub(crate) fn len(&self) -> usize {
        self.slot_count() - self.free.len()
    }

    /// Slots in use or not: what [`Table::recount`] looks at.
    pub(crate) fn slot_count(&self) -> usize {
        self.slots.len() as usize
    }

    #[cfg(any(test, debug_assertions))]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ConnId, &S)> + '_ {
        self.iter_in(0..self.slot_count() as u32)
    }

    /// Those in these slots.
    pub(crate) fn iter_in(&self, range: Range<u32>) -> impl Iterator<Item = (ConnId, &S)> + '_ {
        let slots = range.map_while(|index| Some((index, self.slots.get(index)?)));
        slots.filter_map(|(index, slot)| {
            let generation = slot.generation;
            Some((ConnId { index, generation }, slot.value.as_ref()?))
        })
    }

    fn id(&self, index: u32) -> ConnId {
        let generation = self.slots.get(index).map_or(0, |slot| slot.generation);
        ConnId { index, generation }
    }

    fn push_slot(&mut self) -> u32 {
        self.slots.push(Slot {
            value: None,
            generation: 0,
            armed: Armed::default(),
            ready: false,
        })
    }

    fn living(&self, id: ConnId) -> Option<&Slot<S>> {
        let slot = self.slots.get(id.index)?;
        (slot.generation == id.generation).then_some(slot)
    }

    fn living_mut(&mut self, id: ConnId) -> Option<&mut Slot<S>> {
        let slot = self.slots.get_mut(id.index)?;
        (slot.generation == id.generation).then_some(slot)
    }
}

#[cfg(any(test, debug_assertions))]
impl<S: Keyed> Table<S> {
    /// What holds between two calls.
    pub(crate) fn recount(&self) -> Held {
        holds(
            self.len() == self.iter().count(),
            "slots in use equal a recount",
        )?;
        let free = |&index: &u32| self.holder(index).is_none();
        holds(self.free.iter().all(free), "what is free is not in use")?;
        let found = self
            .iter()
            .filter(|&(id, value)| self.lookup(&value.flow()) == Some(id));
        holds(
            self.index.len() == found.count(),
            "each flow leads to its slot",
        )
    }

    /// The wheel's entries for it.
    #[cfg(debug_assertions)]
    pub(crate) fn armed(&self, id: ConnId) -> Armed {
        self.living(id)
            .map_or_else(Armed::default, |slot| slot.armed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Flow;
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

    impl<T> Keyed for (FlowKey, T) {
        fn flow(&self) -> FlowKey {
            self.0
        }

        fn is_of(&self, flow: &FlowKey) -> bool {
            Flow::new(&self.0).is(flow)
        }
    }

    #[derive(Clone, Debug)]
    enum Op {
        Insert(u8),
        Set(Index, u8),
        Forget(Index),
        Remove(Index),
        Expect(Vec<u8>),
        Come(u8),
    }

    fn op() -> impl Strategy<Value = Op> {
        let index = any::<Index>;
        prop_oneof![
            3 => (0u8..20).prop_map(Op::Insert),
            1 => (index(), any::<u8>()).prop_map(|(id, value)| Op::Set(id, value)),
            1 => index().prop_map(Op::Forget),
            2 => index().prop_map(Op::Remove),
            1 => prop::collection::vec(0u8..20, 0..5).prop_map(Op::Expect),
            3 => (0u8..20).prop_map(Op::Come),
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
            let mut table = Table::new(KeyedHash(1, 2), None);
            let mut known: Vec<Known> = Vec::new();
            for op in ops {
                match op {
                    Op::Insert(n) => if !known.iter().any(|k| k.found && k.flow == nth(n)) {
                        let id = table.insert((nth(n), n));
                        prop_assert!(known.iter().all(|k| k.id != id), "an id comes twice");
                        known.push(Known { id, flow: nth(n), value: Some(n), found: true });
                    },
                    Op::Set(..) | Op::Forget(_) | Op::Remove(_) if known.is_empty() => {}
                    Op::Set(index, value) => {
                        let known = index.get_mut(&mut known);
                        prop_assert_eq!(table.get(known.id).map(|held| held.1), known.value);
                        if let Some(held) = table.get_mut(known.id) {
                            held.1 = value;
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
                        let removed = table.remove(known.id);
                        prop_assert_eq!(removed.map(|(_, value)| value), known.value.take());
                        known.found = false;
                    }
                    Op::Expect(flows) => {
                        let flows: Vec<_> = flows.into_iter().map(nth).collect();
                        table.expect(&flows);
                    }
                    Op::Come(n) => {
                        let owner = known.iter().find(|k| k.found && k.flow == nth(n));
                        prop_assert_eq!(table.lookup_again(&nth(n)), owner.map(|k| k.id));
                        prop_assert_eq!(table.lookup_again(&nth(n)), owner.map(|k| k.id));
                    }
                }
                prop_assert_eq!(table.recount(), Ok(()));
                for n in 0..20 {
                    let owner = known.iter().find(|k| k.found && k.flow == nth(n));
                    prop_assert_eq!(table.lookup(&nth(n)), owner.map(|k| k.id));
                }
                for k in &known {
                    prop_assert_eq!(table.get(k.id).map(|held| held.1), k.value);
                    prop_assert_eq!(table.flow(k.id), k.value.map(|_| k.flow));
                }
                let living = known.iter().filter_map(|k| Some((k.id, k.flow, k.value?)));
                let mut living: Vec<_> = living.collect();
                let listed = table.iter().map(|(id, &(flow, value))| (id, flow, value));
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
        let mut table = Table::new(KeyedHash(1, 2), None);
        let ids: Vec<_> = flows
            .iter()
            .map(|&ends| table.insert((flow(ends), ends)))
            .collect();
        for (&ends, id) in flows.iter().zip(ids) {
            assert_eq!(table.lookup(&flow(ends)), Some(id));
        }
    }
}
