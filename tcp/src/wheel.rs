//! A hierarchical timer wheel: one lazily armed entry per connection, whatever its deadlines do.
//!
//! Six levels of 64 slots; a tick is 2¹⁷ ns (131 µs), and nothing is late by more than two. A
//! bitmap per level finds the next slot in use without walking empty ones. Entries and promises
//! hold the low half of a tick: all of them lie within [`MAX_TICKS`] of the present.

use alloc::vec::Vec;
use core::num::NonZeroU32;

#[cfg(any(test, debug_assertions))]
use crate::invariant::{Held, holds};
use crate::time::{Duration, Instant};

const TICK_BITS: u32 = 17; // 131 µs
const LEVEL_BITS: u32 = 6;
const SLOTS: usize = 1 << LEVEL_BITS;
const LEVELS: usize = 6;
/// The farthest deadline in ticks; what lies beyond is looked at earlier and armed again.
const MAX_TICKS: u64 = 1 << 30; // 39 hours

/// Entries that each slot has room for from the start: some are used for the first time after hours.
const ROOM: usize = 4;

/// A slot that has emptied keeps the room for so many entries.
const KEPT: usize = 1024;

/// The low half of a tick; never zero, which is one later.
pub(crate) type LowTick = NonZeroU32;

/// The tick by which what falls due at `deadline` is looked at.
const fn due_tick(deadline: Instant) -> u64 {
    let tick = (deadline.as_nanos() >> TICK_BITS) + 1; // rounded up
    tick + (tick as u32 == 0) as u64
}

/// Whether `low` lies behind `tick`.
const fn is_after(low: LowTick, tick: u64) -> bool {
    (low.get().wrapping_sub(tick as u32) as i32) > 0
}

/// The entries of a wheel that count for one key.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Armed {
    /// It is looked at by then.
    next: Option<LowTick>,
    /// The farthest entry behind that one, which counts again once it has fired: a deadline that
    /// moves nearer and out again does not leave an entry for each time.
    later: Option<LowTick>,
}

const _: () = assert!(size_of::<Armed>() == 8);

impl Armed {
    /// An entry of the key fired. False when a nearer deadline has taken its place.
    pub(crate) fn fires(&mut self, entry: LowTick) -> bool {
        let due = self.next == Some(entry);
        if due {
            self.next = self.later.take();
        }
        due
    }
}

#[derive(Debug)]
struct Level<T> {
    used: u64,
    slots: [Vec<(LowTick, T)>; SLOTS],
}

/// Promises to look at keys, by tick.
#[derive(Debug)]
pub(crate) struct Wheel<T> {
    /// Every tick before this one has been dealt with.
    current: u64,
    /// Nothing comes up before it: most turns find nothing due, and need not look.
    earliest: u64,
    levels: [Level<T>; LEVELS],
    len: usize,
}

impl<T: Copy> Wheel<T> {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            current: now.as_nanos() >> TICK_BITS,
            earliest: u64::MAX,
            levels: core::array::from_fn(|_| Level {
                used: 0,
                slots: core::array::from_fn(|_| Vec::with_capacity(ROOM)),
            }),
            len: 0,
        }
    }

    /// Promises that `key` is looked at by `deadline`, and writes to the wheel only to move
    /// earlier.
    ///
    /// A deadline pushed out by every ACK costs nothing: when the old slot comes up, the key has
    /// nothing due and is armed again. A cancelled deadline costs that one look, too.
    pub(crate) fn arm(&mut self, key: T, armed: &mut Armed, deadline: Option<Instant>) {
        let Some(deadline) = deadline else { return };
        let tick = due_tick(deadline).clamp(self.current, self.current + MAX_TICKS);
        if armed.next.is_none_or(|next| is_after(next, tick)) {
            let low = LowTick::new(tick as u32).unwrap_or(LowTick::MIN);
            self.insert(low, key);
            self.len += 1;
            armed.later = armed.later.or(armed.next);
            armed.next = Some(low);
        }
    }

    /// Whether a key is looked at by `deadline`, as far as the wheel reaches.
    pub(crate) fn covers(&self, armed: Armed, deadline: Instant) -> bool {
        let tick = due_tick(deadline).clamp(self.current, self.current + MAX_TICKS);
        armed.next.is_some_and(|next| !is_after(next, tick))
    }

    /// What falls due then, or fell before, is looked at with the current tick.
    pub(crate) fn present(&self) -> Instant {
        Instant::from_nanos((self.current << TICK_BITS).saturating_sub(1))
    }

    /// The farthest deadline that there is room for.
    #[cfg(test)]
    fn horizon(&self) -> Instant {
        Instant::from_nanos((self.current + MAX_TICKS - 1) << TICK_BITS)
    }

    /// Moves on towards `now`, to the next tick that has entries: they are appended to `fired`,
    /// the tick for [`Armed::fires`]. False when there is none left up to `now`.
    ///
    /// What fired is to be looked at before the next call: promises are compared with the tick
    /// that the wheel stands at. A key armed twice may fire twice.
    pub(crate) fn expire(&mut self, now: Instant, fired: &mut Vec<(LowTick, T)>) -> bool {
        let target = now.as_nanos() >> TICK_BITS;
        if target < self.earliest {
            self.current = self.current.max(target + 1);
            return false;
        }
        while self.current <= target {
            let next = self.next_tick();
            self.earliest = next.unwrap_or(u64::MAX);
            let Some(next) = next.filter(|&tick| tick <= target) else {
                self.current = target + 1;
                break;
            };
            self.current = next;
            self.cascade();
            let level = &mut self.levels[0];
            let slot = self.current as usize % SLOTS;
            level.used &= !(1 << slot);
            let mut entries = core::mem::take(&mut level.slots[slot]);
            self.current += 1;
            self.len -= entries.len();
            fired.append(&mut entries);
            self.keep_room(0, slot, entries);
            if !fired.is_empty() {
                return true;
            }
        }
        false
    }

    /// Promises kept in mind, broken ones included.
    #[cfg(any(test, debug_assertions, feature = "testing"))]
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// What holds between two calls: each entry lies where the bitmaps say one is, and none is
    /// overdue.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn recount(&self) -> Held {
        let mut len = 0;
        for level in &self.levels {
            let mut used = level.used;
            while used != 0 {
                let entries = &level.slots[used.trailing_zeros() as usize];
                let mut ticks = entries.iter().map(|&(tick, _)| tick);
                let before = self.current.wrapping_sub(1);
                holds(
                    ticks.all(|tick| is_after(tick, before)),
                    "no entry is overdue",
                )?;
                len += entries.len();
                used &= used - 1;
            }
        }
        let earliest = self.next_tick().unwrap_or(u64::MAX);
        holds(
            self.earliest <= earliest,
            "nothing comes up before the wheel looks",
        )?;
        holds(self.len == len, "the wheel's entries equal a recount")
    }

    /// When [`Wheel::expire`] has something to do next, at the latest; perhaps a little early,
    /// when far entries move closer.
    pub(crate) fn next(&self) -> Option<Instant> {
        if self.len == 0 {
            return None;
        }
        let tick = self.next_tick()?;
        Some(Instant::ZERO + Duration::from_nanos(tick << TICK_BITS))
    }

    /// The first tick at or after `current` at which a slot of any level comes up.
    fn next_tick(&self) -> Option<u64> {
        (0..LEVELS).filter_map(|n| self.next_in_level(n)).min()
    }

    fn next_in_level(&self, n: usize) -> Option<u64> {
        let shift = LEVEL_BITS * n as u32;
        let used = self.levels[n].used;
        if used == 0 {
            return None;
        }
        let position = self.current >> shift;
        // A slot of an upper level comes up when its first tick begins; the one that `current`
        // stands inside of is empty unless `current` is that first tick.
        let inside = n > 0 && self.current & ((1 << shift) - 1) != 0;
        let from = position + u64::from(inside);
        let ahead = used
            .rotate_right((from % SLOTS as u64) as u32)
            .trailing_zeros();
        Some((from + u64::from(ahead)) << shift)
    }

    /// Moves the entries of upper slots that begin at `current` down.
    fn cascade(&mut self) {
        for n in (1..LEVELS).rev() {
            let shift = LEVEL_BITS * n as u32;
            if self.current & ((1 << shift) - 1) != 0 {
                continue;
            }
            let slot = (self.current >> shift) as usize % SLOTS;
            let level = &mut self.levels[n];
            if level.used & (1 << slot) == 0 {
                continue;
            }
            level.used &= !(1 << slot);
            let mut entries = core::mem::take(&mut level.slots[slot]);
            for (tick, key) in entries.drain(..) {
                self.insert(tick, key);
            }
            self.keep_room(n, slot, entries);
        }
    }

    /// Gives a slot the room of its `entries` back, of which none is left, unless that is much.
    fn keep_room(&mut self, n: usize, slot: usize, entries: Vec<(LowTick, T)>) {
        if entries.capacity() <= KEPT && self.levels[n].slots[slot].is_empty() {
            self.levels[n].slots[slot] = entries;
        }
    }

    fn insert(&mut self, low: LowTick, key: T) {
        let ahead = low.get().wrapping_sub(self.current as u32) as i32;
        let tick = self.current + u64::from(ahead.max(0).unsigned_abs());
        let mut n = 0;
        // The level at which `tick` lies less than a turn ahead of `current`.
        while n + 1 < LEVELS
            && (tick >> (LEVEL_BITS * n as u32)) - (self.current >> (LEVEL_BITS * n as u32))
                >= SLOTS as u64
        {
            n += 1;
        }
        let position = tick >> (LEVEL_BITS * n as u32);
        self.earliest = self.earliest.min(position << (LEVEL_BITS * n as u32));
        let slot = position as usize % SLOTS;
        let level = &mut self.levels[n];
        level.used |= 1 << slot;
        let entries = &mut level.slots[slot];
        if entries.len() == entries.capacity() {
            // Beyond what is kept not twice as much: there may be as many entries as connections.
            let more = if entries.len() < KEPT {
                entries.len().max(ROOM)
            } else {
                entries.len() / 16
            };
            entries.reserve_exact(more);
        }
        entries.push((low, key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TICK: u64 = 1 << TICK_BITS;

    #[derive(Clone, Debug)]
    enum Op {
        /// The key's deadline lies so far ahead from now on.
        Arm(usize, Duration),
        Cancel(usize),
        Wait(Duration),
    }

    fn op() -> impl Strategy<Value = Op> {
        let up_to = |bits: u32| {
            let ahead = (0..bits, any::<u64>());
            ahead.prop_map(|(bits, random)| Duration::from_nanos(random & ((1 << bits) - 1)))
        };
        prop_oneof![
            4 => (0usize..8, up_to(60)).prop_map(|(key, ahead)| Op::Arm(key, ahead)),
            1 => (0usize..8).prop_map(Op::Cancel),
            4 => up_to(54).prop_map(Op::Wait),
        ]
    }

    /// A key as its owner sees it, and when each of its entries is to fire.
    #[derive(Clone, Default)]
    struct Key {
        wanted: Option<Instant>,
        armed: Armed,
        entries: Vec<Instant>,
    }

    impl Key {
        fn arm(&mut self, wheel: &mut Wheel<usize>, key: usize, deadline: Option<Instant>) {
            self.wanted = deadline;
            let before = wheel.len();
            wheel.arm(key, &mut self.armed, deadline);
            if wheel.len() > before {
                self.entries.push(deadline.unwrap().min(wheel.horizon()));
            }
        }

        /// An entry has fired: none does so early, and the owner looks at its deadline.
        fn on_fired(
            &mut self,
            now: Instant,
            wheel: &mut Wheel<usize>,
            (tick, key): (LowTick, usize),
        ) {
            self.entries.sort_unstable();
            assert!(self.entries.remove(0) <= now, "early");
            if self.armed.fires(tick) {
                let wanted = self.wanted.filter(|&wanted| wanted > now);
                self.arm(wheel, key, wanted);
            }
        }
    }

    proptest! {
        /// Against a list of deadlines: nothing fires early, nothing late by more than two ticks,
        /// no key is forgotten, and `next` never lies behind nor too far ahead.
        #[test]
        fn fires_on_time(start in 0u64..1 << 40, ops in proptest::collection::vec(op(), 1..200)) {
            let mut now = Instant::from_nanos(start);
            let mut wheel = Wheel::new(now);
            let mut keys = std::vec![Key::default(); 8];
            for op in ops {
                match op {
                    Op::Arm(key, ahead) => keys[key].arm(&mut wheel, key, Some(now + ahead)),
                    Op::Cancel(key) => keys[key].arm(&mut wheel, key, None),
                    Op::Wait(by) => {
                        now += by;
                        let mut fired = Vec::new();
                        while wheel.expire(now, &mut fired) {
                            for (tick, key) in fired.drain(..) {
                                keys[key].on_fired(now, &mut wheel, (tick, key));
                            }
                        }
                        let late = now.saturating_before(Duration::from_nanos(2 * TICK));
                        let on_time = |at: &Instant| *at > late;
                        prop_assert!(keys.iter().flat_map(|key| &key.entries).all(on_time), "late");
                        let wanted = keys.iter().filter_map(|key| key.wanted);
                        prop_assert!(wanted.into_iter().all(|at| on_time(&at)), "forgotten");
                        if let Some(next) = wheel.next() {
                            prop_assert!(next + Duration::from_nanos(1) > now, "behind");
                        }
                    }
                }
                prop_assert_eq!(wheel.recount(), Ok(()));
                let entries: Vec<_> = keys.iter().flat_map(|key| &key.entries).collect();
                prop_assert_eq!(wheel.len(), entries.len());
                let first = entries.into_iter().min();
                prop_assert_eq!(wheel.next().is_some(), first.is_some());
                if let (Some(next), Some(first)) = (wheel.next(), first) {
                    prop_assert!(next <= *first + Duration::from_nanos(2 * TICK), "ahead");
                }
            }
        }
    }

    #[test]
    fn a_later_deadline_writes_nothing() {
        let now = Instant::from_millis(5);
        let mut wheel = Wheel::new(now);
        let mut armed = Armed::default();
        wheel.arm(1, &mut armed, Some(now + Duration::from_millis(10)));
        for ms in 11..1000 {
            wheel.arm(1, &mut armed, Some(now + Duration::from_millis(ms)));
        }
        assert_eq!(wheel.len, 1);
        let mut fired = Vec::new();
        assert!(wheel.expire(now + Duration::from_millis(11), &mut fired));
        assert_eq!(fired.iter().map(|&(_, key)| key).collect::<Vec<_>>(), [1]);
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn idle_hours_are_crossed_at_once() {
        let mut wheel: Wheel<u8> = Wheel::new(Instant::ZERO);
        let day = Duration::from_hours(24);
        let mut armed = Armed::default();
        wheel.arm(9, &mut armed, Some(Instant::ZERO + day));
        let mut fired = Vec::new();
        assert!(!wheel.expire(Instant::from_millis(24 * 3_600_000 - 1), &mut fired));
        assert!(wheel.expire(Instant::ZERO + day + Duration::from_millis(1), &mut fired));
        assert_eq!(fired.iter().map(|&(_, key)| key).collect::<Vec<_>>(), [9]);
    }
}
