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

    /// The time from `earlier` to `self`, zero when `earlier` is later.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.as_nanos().saturating_sub(earlier.as_nanos()))
    }

    /// The instant `by` before this one, [`Instant::ZERO`] at the earliest.
    pub fn saturating_before(self, by: Duration) -> Self {
        Self::from_nanos(self.as_nanos().saturating_sub(nanos(by)))
    }
}

/// A point in time in four bytes: to the millisecond, and right as long as it is asked for within
/// three weeks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp(NonZeroU32);

impl Stamp {
    /// `at`, rounded up.
    pub(crate) const fn after(at: Instant) -> Self {
        let millis = at.as_nanos().div_ceil(1_000_000);
        match NonZeroU32::new(millis as u32) {
            Some(low) => Self(low),
            None => Self(NonZeroU32::MIN),
        }
    }

    /// The instant nearest to `now` that it stands for.
    pub(crate) const fn near(self, now: Instant) -> Instant {
        let distance = self.0.get().wrapping_sub(now.as_millis() as u32) as i32;
        Instant::from_millis(now.as_millis().saturating_add_signed(distance as i64))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self::from_nanos(self.as_nanos().saturating_add(nanos(rhs)))
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
