//! Time as the core sees it: an argument, never a clock.

use core::fmt;
use core::num::{NonZeroU32, NonZeroU64};
use core::ops::{Add, AddAssign, Sub};
pub use core::time::Duration;

/// A point on the caller's monotonic clock, in nanoseconds since the stack began.
///
/// Never zero, so that `Option<Instant>` takes eight bytes. The core never reads a clock; whoever
/// drives it stamps each turn with one reading.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(NonZeroU64);

impl Instant {
    /// The first instant there is.
    pub const ZERO: Self = Self(NonZeroU64::MIN);

    /// `nanos` nanoseconds after [`Instant::ZERO`].
    pub const fn from_nanos(nanos: u64) -> Self {
        match NonZeroU64::new(nanos.saturating_add(1)) {
            Some(value) => Self(value),
            None => Self::ZERO,
        }
    }

    /// `micros` microseconds after [`Instant::ZERO`].
    pub const fn from_micros(micros: u64) -> Self {
        Self::from_nanos(micros.saturating_mul(1_000))
    }

    /// `millis` milliseconds after [`Instant::ZERO`].
    pub const fn from_millis(millis: u64) -> Self {
        Self::from_nanos(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since [`Instant::ZERO`].
    pub const fn as_nanos(self) -> u64 {
        self.0.get() - 1
    }

    /// Whole microseconds since [`Instant::ZERO`].
    pub const fn as_micros(self) -> u64 {
        self.as_nanos() / 1_000
    }

    /// Whole milliseconds since [`Instant::ZERO`].
    pub const fn as_millis(self) -> u64 {
        self.as_nanos() / 1_000_000
    }

    /// The first of several deadlines, where there is one.
    pub(crate) fn earliest<const N: usize>(deadlines: [Option<Self>; N]) -> Option<Self> {
        // None is zero in memory, and one less than that is later than any other.
        let rank = |at: Option<Self>| at.map_or(0, |at| at.0.get()).wrapping_sub(1);
        let ranks = deadlines.into_iter().map(rank);
        let first = ranks.fold(u64::MAX, u64::min);
        NonZeroU64::new(first.wrapping_add(1)).map(Self)
    }

    /// The last of several points in time, where there is one.
    pub(crate) fn latest<const N: usize>(times: [Option<Self>; N]) -> Option<Self> {
        let numbers = times.into_iter().map(|at| at.map_or(0, |at| at.0.get()));
        NonZeroU64::new(numbers.fold(0, u64::max)).map(Self)
    }

    /// The time from `earlier` to `self`, zero when `earlier` is later.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.as_nanos().saturating_sub(earlier.as_nanos()))
    }

    /// The instant `nanos` nanoseconds after this one.
    pub(crate) const fn after_nanos(self, nanos: u64) -> Self {
        Self::from_nanos(self.as_nanos().saturating_add(nanos))
    }

    /// The instant `by` before this one, [`Instant::ZERO`] at the earliest.
    pub fn saturating_before(self, by: Duration) -> Self {
        Self::from_nanos(self.as_nanos().saturating_sub(nanos(by)))
    }
}

/// A length of time in four bytes, in units of 64 ns; what is longer than 274 seconds is taken as
/// that.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span(NonZeroU32);

/// A unit of [`Span`] is 2⁶ ns.
const SPAN_BITS: u32 = 6;

impl Span {
    /// No time at all.
    pub(crate) const ZERO: Self = Self::new(0);

    /// So many units.
    pub(crate) const fn new(units: u64) -> Self {
        let value = units.saturating_add(1);
        let value = if value > u32::MAX as u64 {
            u32::MAX
        } else {
            value as u32
        };
        match NonZeroU32::new(value) {
            Some(value) => Self(value),
            None => Self(NonZeroU32::MIN),
        }
    }

    /// `duration`, rounded down.
    pub(crate) const fn of(duration: Duration) -> Self {
        Self::new(nanos(duration) >> SPAN_BITS)
    }

    /// How many units.
    pub(crate) const fn get(self) -> u64 {
        self.0.get() as u64 - 1
    }

    /// The same in sixteen bytes.
    pub(crate) const fn duration(self) -> Duration {
        Duration::from_nanos(self.nanos())
    }

    pub(crate) const fn nanos(self) -> u64 {
        self.get() << SPAN_BITS
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.duration().fmt(f)
    }
}

/// A point in time in four bytes: to 131 µs, and right as long as it is asked for within three days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp(NonZeroU32);

/// A unit of [`Stamp`] is 2¹⁷ ns.
const STAMP_BITS: u32 = 17;

impl Stamp {
    /// `at`, rounded up.
    pub(crate) const fn after(at: Instant) -> Self {
        let units = at.as_nanos().div_ceil(1 << STAMP_BITS);
        match NonZeroU32::new(units as u32) {
            Some(low) => Self(low),
            None => Self(NonZeroU32::MIN),
        }
    }

    /// The instant nearest to `now` that it stands for.
    pub(crate) const fn near(self, now: Instant) -> Instant {
        let present = now.as_nanos() >> STAMP_BITS;
        let distance = self.0.get().wrapping_sub(present as u32) as i32;
        Instant::from_nanos(present.saturating_add_signed(distance as i64) << STAMP_BITS)
    }
}

const fn nanos(duration: Duration) -> u64 {
    let whole = duration.as_secs().saturating_mul(1_000_000_000);
    whole.saturating_add(duration.subsec_nanos() as u64)
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        self.after_nanos(nanos(rhs))
    }
}

impl Add<Span> for Instant {
    type Output = Self;

    fn add(self, rhs: Span) -> Self {
        self.after_nanos(rhs.nanos())
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, rhs: Duration) {
        *self = *self + rhs;
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, rhs: Self) -> Duration {
        self.saturating_since(rhs)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.as_micros();
        write!(f, "{}.{:06}s", micros / 1_000_000, micros % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_optional_instant_takes_eight_bytes() {
        assert_eq!(size_of::<Option<Instant>>(), 8);
    }

    #[test]
    fn a_stamp_is_found_again_near_its_time() {
        let day = Duration::from_hours(24);
        let units = [0, 1, u64::from(u32::MAX), 1 << 32, 300 << 32];
        for at in units.map(|units| Instant::from_nanos(units << STAMP_BITS)) {
            for now in [at.saturating_before(3 * day), at, at + 3 * day] {
                let found = Stamp::after(at).near(now);
                let late = found - at;
                assert!(
                    at <= found && late <= Duration::from_nanos(1 << STAMP_BITS),
                    "{at:?}"
                );
            }
        }
        let early = Instant::from_nanos((5 << STAMP_BITS) + 1);
        let stamped = Stamp::after(early).near(early);
        assert_eq!(stamped, Instant::from_nanos(6 << STAMP_BITS));
    }

    #[test]
    fn short_times_end_after_minutes() {
        assert_eq!(Span::of(Duration::from_nanos(127)).get(), 1);
        assert_eq!(Span::ZERO.duration(), Duration::ZERO);
        let most = Span::new(u64::MAX);
        assert_eq!(most, Span::of(Duration::MAX));
        assert!(most > Span::of(Duration::from_secs(274)));
        assert_eq!(size_of::<Option<Span>>(), 4);
    }

    #[test]
    fn arithmetic_saturates() {
        let start = Instant::from_millis(5);
        assert_eq!(start - Instant::from_millis(7), Duration::ZERO);
        assert_eq!(
            start + Duration::from_millis(2) - start,
            Duration::from_millis(2)
        );
        assert_eq!(
            start.saturating_before(Duration::from_secs(1)),
            Instant::ZERO
        );
        assert!(start + Duration::MAX > start);
    }
}
