//! Time outside the core: the clock that stamps the turns, and what wakes the driver at a deadline.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant as TokioInstant, Sleep, sleep_until};
use ustack_tcp::time::Instant;

/// Which clock a stack lives by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Clock {
    /// `CLOCK_MONOTONIC`, with a timerfd for deadlines: microseconds, where the runtime's own
    /// timers round up to a millisecond. The runtime must have I/O enabled.
    #[default]
    Monotonic,
    /// The runtime's clock and timers, which `tokio::time::pause` makes virtual: for tests over
    /// in-memory devices. The runtime must have time enabled.
    Tokio,
}

/// A running clock: the chosen one and where its zero lies.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RunningClock {
    Monotonic { origin: Duration },
    Tokio { origin: TokioInstant },
}

impl RunningClock {
    pub(crate) fn start(clock: Clock) -> Self {
        match clock {
            Clock::Monotonic => Self::Monotonic {
                origin: monotonic(),
            },
            Clock::Tokio => Self::Tokio {
                origin: TokioInstant::now(),
            },
        }
    }

    /// One reading.
    pub(crate) fn now(&self) -> Instant {
        let elapsed = match self {
            Self::Monotonic { origin } => monotonic().saturating_sub(*origin),
            Self::Tokio { origin } => origin.elapsed(),
        };
        Instant::ZERO + elapsed
    }
}

fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(
        now.tv_sec.try_into().unwrap_or_default(),
        now.tv_nsec as u32,
    )
}

/// Wakes the driver at a deadline, possibly earlier: it is moved only to fall due sooner, so that
/// a deadline which every packet pushes out costs no system call.
#[derive(Debug)]
pub(crate) struct Timer {
    armed: Option<Instant>,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Fd {
        fd: AsyncFd<OwnedFd>,
        origin: Duration,
    },
    Tokio {
        sleep: Pin<Box<Sleep>>,
        origin: TokioInstant,
    },
}

impl Timer {
    /// A timer for `clock`; called inside the runtime, whose reactor it joins.
    #[allow(unsafe_code, reason = "tokio's safe registration is deprecated")]
    pub(crate) fn new(clock: &RunningClock) -> io::Result<Self> {
        let source = match *clock {
            RunningClock::Monotonic { origin } => {
                let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
                let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
                // SAFETY: the descriptor is owned by the `AsyncFd` and never replaced in it.
                let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
                let fd = fd.map_err(io::Error::from)?;
                Source::Fd { fd, origin }
            }
            RunningClock::Tokio { origin } => Source::Tokio {
                sleep: Box::pin(sleep_until(origin)),
                origin,
            },
        };
        Ok(Self {
            armed: None,
            source,
        })
    }

    /// Ready once `deadline` has passed, possibly earlier; the task is woken then.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        deadline: Option<Instant>,
    ) -> Poll<io::Result<()>> {
        if let Some(deadline) = deadline
            && self.armed.is_none_or(|armed| deadline < armed)
        {
            self.arm(deadline)?;
        }
        if self.armed.is_some() {
            ready!(self.source.poll_fired(cx))?;
            self.armed = None;
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }

    fn arm(&mut self, deadline: Instant) -> io::Result<()> {
        let after = Duration::from_nanos(deadline.as_nanos());
        match &mut self.source {
            Source::Fd { fd, origin } => {
                let at = origin.saturating_add(after);
                let spec = Itimerspec {
                    it_interval: Timespec::default(),
                    it_value: Timespec {
                        tv_sec: at.as_secs().try_into().unwrap_or(i64::MAX),
                        tv_nsec: at.subsec_nanos().into(),
                    },
                };
                timerfd_settime(fd.get_ref(), TimerfdTimerFlags::ABSTIME, &spec)?;
            }
            Source::Tokio { sleep, origin } => {
                // What lies beyond the runtime's reach is looked at again in a year.
                let at = after.min(origin.elapsed() + Duration::from_hours(365 * 24));
                sleep.as_mut().reset(*origin + at);
            }
        }
        self.armed = Some(deadline);
        Ok(())
    }
}

impl Source {
    fn poll_fired(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Fd { fd, .. } => loop {
                let mut guard = ready!(fd.poll_read_ready(cx))?;
                let mut expirations = [0; 8];
                match guard.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut expirations)?)) {
                    Ok(result) => return Poll::Ready(result.map(drop)),
                    Err(_would_block) => {} // it was set anew meanwhile; `try_io` cleared the readiness
                }
            },
            Self::Tokio { sleep, .. } => sleep.as_mut().poll(cx).map(Ok),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    async fn fires(clock: Clock, wait: Duration) -> Duration {
        let clock = RunningClock::start(clock);
        let mut timer = Timer::new(&clock).expect("a timer");
        let far = clock.now() + Duration::from_secs(3600);
        let early = poll_fn(|cx| Poll::Ready(timer.poll(cx, Some(far)).is_ready())).await;
        assert!(!early, "an hour has not passed");
        let start = clock.now();
        poll_fn(|cx| timer.poll(cx, Some(start + wait)))
            .await
            .expect("no error");
        clock.now() - start
    }

    #[tokio::test]
    async fn the_timerfd_keeps_deadlines_below_a_millisecond() {
        let took = fires(Clock::Monotonic, Duration::from_micros(300)).await;
        assert!(took >= Duration::from_micros(300), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_runtimes_clock_is_virtual_when_paused() {
        let real = std::time::Instant::now();
        let took = fires(Clock::Tokio, Duration::from_secs(100)).await;
        assert!(
            took >= Duration::from_secs(100) && took < Duration::from_secs(101),
            "{took:?}"
        );
        assert!(real.elapsed() < Duration::from_secs(10));
    }
}
