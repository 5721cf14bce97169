//! Sequence space: numbers wrap on the wire and nowhere else.

use core::fmt;
use core::num::NonZeroU64;
use core::ops::{Add, AddAssign, Range, Sub};

/// A sequence number as a header carries it (RFC 9293 §3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct WireSeq(pub u32);

impl WireSeq {
    /// The number `by` bytes further on, modulo 2³².
    pub const fn wrapping_add(self, by: u32) -> Self {
        Self(self.0.wrapping_add(by))
    }

    /// The number `by` bytes before, modulo 2³².
    pub const fn wrapping_sub(self, by: u32) -> Self {
        Self(self.0.wrapping_sub(by))
    }
}

/// A sequence number widened to 64 bits: its low half is what the wire carries.
///
/// Ordered like any integer, so nothing past the parser knows that RFC 9293 §3.4 is modulo 2³².
/// Never zero, so that `Option<SeqNum>` takes eight bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeqNum(NonZeroU64);

impl SeqNum {
    /// The first number of a connection: 2³² above the wire value, so that what lies just before
    /// it (a peer's ISN may be 0) still has a place.
    pub const fn first(wire: WireSeq) -> Self {
        Self::new((1 << 32) + wire.0 as u64)
    }

    /// The number nearest to `self` whose low half is `wire`; right for any distance below 2³¹.
    pub const fn expand(self, wire: WireSeq) -> Self {
        let distance = wire.0.wrapping_sub(self.get() as u32) as i32;
        Self::new(self.get().wrapping_add_signed(distance as i64))
    }

    /// What the wire carries for this number.
    pub const fn wire(self) -> WireSeq {
        WireSeq(self.get() as u32)
    }

    /// The number `by` bytes before, stopping at the lowest there is.
    pub const fn saturating_sub(self, by: u64) -> Self {
        Self::new(self.get().saturating_sub(by))
    }

    const fn new(number: u64) -> Self {
        match NonZeroU64::new(number) {
            Some(number) => Self(number),
            None => Self(NonZeroU64::MIN),
        }
    }

    const fn get(self) -> u64 {
        self.0.get()
    }
}

impl Add<u32> for SeqNum {
    type Output = Self;

    fn add(self, by: u32) -> Self {
        Self::new(self.get() + by as u64)
    }
}

impl Add<usize> for SeqNum {
    type Output = Self;

    fn add(self, by: usize) -> Self {
        Self::new(self.get() + by as u64)
    }
}

impl AddAssign<u32> for SeqNum {
    fn add_assign(&mut self, by: u32) {
        *self = *self + by;
    }
}

/// The distance in bytes from `rhs` up to `self`, zero where `rhs` lies above.
///
/// All distances inside one connection fit `u32`: windows end at 2³⁰.
impl Sub for SeqNum {
    type Output = u32;

    fn sub(self, rhs: Self) -> u32 {
        self.get().saturating_sub(rhs.get()).min(u32::MAX as u64) as u32
    }
}

impl fmt::Debug for SeqNum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.wire().0)
    }
}

/// A half-open range of sequence numbers, `start..end`.
pub type SeqRange = Range<SeqNum>;

/// The shift count of RFC 7323 §2, at most 14.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowScale(u8);

impl WindowScale {
    /// The largest shift there is (RFC 7323 §2.3).
    pub const MAX: Self = Self(14);

    /// A shift of `shift`; what lies above 14 is taken as 14 (RFC 7323 §2.3, TS-4).
    pub const fn new(shift: u8) -> Self {
        if shift > 14 { Self::MAX } else { Self(shift) }
    }

    /// The smallest shift that lets 16 bits express `bytes`.
    pub const fn for_buffer(bytes: u32) -> Self {
        let mut shift = 0;
        while shift < 14 && (u16::MAX as u32) << shift < bytes {
            shift += 1;
        }
        Self(shift)
    }

    /// The shift count as the option carries it.
    pub const fn shift(self) -> u8 {
        self.0
    }
}

/// The window field of a header, before scaling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireWindow(pub u16);

impl WireWindow {
    /// The window in bytes under `scale` (RFC 7323 §2.3).
    pub const fn bytes(self, scale: WindowScale) -> u32 {
        (self.0 as u32) << scale.0
    }

    /// The largest field value that promises no more than `bytes` under `scale`.
    pub const fn from_bytes(bytes: u32, scale: WindowScale) -> Self {
        let value = bytes >> scale.0;
        if value > u16::MAX as u32 {
            Self(u16::MAX)
        } else {
            Self(value as u16)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_isn_of_zero_has_room_below_it() {
        let first = SeqNum::first(WireSeq(0));
        let before = first.expand(WireSeq(u32::MAX));
        assert!(before < first);
        assert_eq!(first - before, 1);
    }

    #[test]
    fn scales_cover_their_buffer() {
        assert_eq!(WindowScale::for_buffer(65_535).shift(), 0);
        assert_eq!(WindowScale::for_buffer(65_536).shift(), 1);
        assert_eq!(WindowScale::for_buffer(16 << 20).shift(), 9);
        assert_eq!(WindowScale::new(255), WindowScale::MAX);
    }

    proptest! {
        #[test]
        fn expansion_is_the_nearest_number(start: u32, ahead in 0u64..1 << 40, off in -(1i64 << 31) + 1..1 << 31) {
            let here = SeqNum::new(SeqNum::first(WireSeq(start)).get() + ahead);
            let there = SeqNum::new(here.get().wrapping_add_signed(off));
            prop_assert_eq!(here.expand(there.wire()), there);
        }

        /// Against plain integers, across any number of wraps.
        #[test]
        fn numbers_are_integers(start: u32, ahead in 0u64..1 << 40, by: u32, back in 0u64..1 << 41) {
            let first = (1u64 << 32) + u64::from(start);
            prop_assert_eq!(SeqNum::first(WireSeq(start)).get(), first);
            let number = first + ahead;
            let here = SeqNum::new(number);
            prop_assert_eq!(here.wire().0, (number % (1 << 32)) as u32);
            prop_assert_eq!(here.wire().wrapping_add(by), (here + by).wire());
            prop_assert_eq!((here + by).get(), number + u64::from(by));
            prop_assert_eq!(here + by as usize, here + by);
            let mut moved = here;
            moved += by;
            prop_assert_eq!(moved, here + by);
            prop_assert_eq!(moved - here, by);
            prop_assert_eq!(here - moved, 0);
            prop_assert_eq!(here.saturating_sub(back).get(), number.saturating_sub(back).max(1));
            let below = here.saturating_sub(back);
            prop_assert_eq!(u64::from(here - below), back.min(number - 1).min(u32::MAX.into()));
            prop_assert_eq!(below < here, back > 0);
        }

        #[test]
        fn a_window_promises_as_much_as_it_can_and_no_more(bytes in 0u32..1 << 31, shift in 0u8..=14) {
            let scale = WindowScale::new(shift);
            prop_assert_eq!(scale.shift(), shift);
            let field = WireWindow::from_bytes(bytes, scale);
            prop_assert!(field.bytes(scale) <= bytes);
            let more = u64::from(field.0) + 1;
            prop_assert!(more > u16::MAX.into() || more << shift > bytes.into());
        }

        #[test]
        fn a_scale_is_the_smallest_that_covers(bytes: u32) {
            let shift = WindowScale::for_buffer(bytes).shift();
            let covers = |shift: u8| 65_535u64 << shift >= u64::from(bytes);
            prop_assert!(covers(shift) || shift == 14);
            prop_assert!(shift == 0 || !covers(shift - 1));
        }
    }
}
