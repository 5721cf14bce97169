//! The stack as a program sees it: a handle to make sockets with, and the driver that moves
//! packets.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use ustack_tcp::Summary;

use crate::clock::RunningClock;
use crate::config::Config;
use crate::device::Device;
use crate::host::{Host, Shared};
use crate::ip::Echo;
use crate::metrics::Stats;
use crate::shard::Shard;
use crate::socket::wait;

/// A handle to a running stack: sockets are made with it. Clones are handles to the same stack;
/// dropping them all leaves the sockets alive.
#[derive(Clone)]
pub struct Stack {
    pub(crate) shared: Arc<Shared>,
}

impl Stack {
    /// A host behind `device`. Nothing moves until the driver is polled: spawn it.
    ///
    /// Fails with [`io::ErrorKind::InvalidInput`] on settings that cannot work, and says which.
    ///
    /// ```
    /// use ustack::{Clock, Config, Stack, device};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// let (here, _there) = device::memory::pair(device::Caps::plain(1500));
    /// let (stack, driver) = Stack::new(Config::new().address([10, 77, 0, 2], 24), here)?;
    /// let driver = tokio::spawn(driver);
    ///
    /// let listener = ustack::TcpListener::bind(&stack, ([10, 77, 0, 2], 80).into())?;
    /// assert_eq!(listener.local_addr().port(), 80);
    ///
    /// stack.shutdown(std::time::Duration::from_secs(1)).await;
    /// driver.await?
    /// # }
    /// ```
    pub fn new<D: Device>(config: Config, device: D) -> io::Result<(Self, Driver<D>)> {
        let caps = device.caps();
        config.check(caps)?;
        let seed = match config.seed {
            Some(seed) => seed,
            None => random_seed()?,
        };
        let shared = Arc::new(Shared {
            clock: RunningClock::start(config.clock),
            driver: AtomicWaker::new(),
            host: Mutex::new(Host::new(config, caps, seed)),
        });
        let driver = Driver {
            shard: Shard::new(Arc::clone(&shared), device),
            half: Half::In,
        };
        Ok((Self { shared }, driver))
    }

    /// Ends the stack in good order: stops accepting, lets every connection send what it has
    /// queued and its FIN, waits until all are over, and resets after `deadline` those that are
    /// not. Then the driver's future ends with `Ok`, and every socket fails with
    /// [`io::ErrorKind::ConnectionAborted`].
    ///
    /// Applications that are to finish what they are writing must be told first. Cancel-safe: the
    /// shutdown goes on when this future is dropped. It needs the driver to be running.
    pub async fn shutdown(&self, deadline: Duration) {
        let wake = self
            .shared
            .call(|host, now| host.begin_shutdown(now, now + deadline));
        wake.into_iter().for_each(Waker::wake);
        self.shared.driver.wake();
        wait(
            &self.shared,
            |host| Some(&mut host.sockets.ended),
            |host, _| host.check_alive().is_err().then_some(()),
        )
        .await;
    }

    /// Counters of everything, as of now.
    pub fn stats(&self) -> Stats {
        self.shared.host.lock().stats()
    }

    /// All TCP connections, in no order.
    pub fn connections(&self) -> Vec<Summary> {
        self.shared.host.lock().tcp.connections().collect()
    }

    /// The next echo request for another host's address, which a transparent stack never answers
    /// by itself: whoever relays it calls [`Stack::send_echo_reply`] once that host has answered.
    /// 64 of them wait, more are forgotten.
    ///
    /// Cancel-safe. Fails once the driver is gone.
    pub async fn foreign_echo(&self) -> io::Result<Echo> {
        wait(
            &self.shared,
            |host| Some(&mut host.echo_waiters),
            |host, _| match host.echos.pop_front() {
                Some(echo) => Some(Ok(echo)),
                None => host.check_alive().err().map(Err),
            },
        )
        .await
    }

    /// Answers an echo request in the name of the host it was for.
    pub fn send_echo_reply(&self, echo: &Echo) {
        self.shared
            .call(|host, now| host.ip.send_echo_reply(now, echo));
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack").finish_non_exhaustive()
    }
}

fn random_seed() -> io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| {
        io::Error::other(format!(
            "no secret for sequence numbers from the system: {error}"
        ))
    })?;
    Ok(seed)
}

/// Moves the packets of a stack: spawn it. Ends with `Ok` after [`Stack::shutdown`], with an error
/// when the device is gone.
///
/// Dropping it ends the stack at once, without a word to the peers: every socket fails with
/// [`io::ErrorKind::ConnectionAborted`].
#[derive(Debug)]
#[must_use = "nothing moves unless the driver is polled: spawn it"]
pub struct Driver<D: Device> {
    shard: Shard<D>,
    half: Half,
}

/// Which half of a turn comes next.
#[derive(Clone, Copy, Debug)]
enum Half {
    In,
    Out,
}

/// The device is never pinned.
impl<D: Device> Unpin for Driver<D> {}

impl<D: Device> Future for Driver<D> {
    type Output = io::Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.shard.shared.driver.register(cx.waker());
        let result = ready!(this.poll_turn(cx));
        this.end(match &result {
            Ok(()) => "the stack was shut down".into(),
            Err(error) => format!("the stack's device failed: {error}"),
        });
        Poll::Ready(result)
    }
}

impl<D: Device> Driver<D> {
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Half::In = self.half {
            self.half = Half::Out;
            if self.shard.turn_in(cx)? {
                cx.waker().wake_by_ref(); // applications run first
                return Poll::Pending;
            }
        }
        self.half = Half::In;
        self.shard.turn_out()?;
        self.shard.poll_rest(cx)
    }

    fn end(&self, why: String) {
        let mut wake = Vec::new();
        self.shard.shared.host.lock().end(why, &mut wake);
        wake.into_iter().for_each(Waker::wake);
    }
}

impl<D: Device> Drop for Driver<D> {
    fn drop(&mut self) {
        self.end("the stack's driver was dropped".into());
    }
}
