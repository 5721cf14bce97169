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
use ustack_tcp::{FlowKey, Summary};

use crate::clock::RunningClock;
use crate::config::Config;
use crate::device::{Caps, Device};
use crate::host::{Host, Shared};
use crate::ip::Echo;
use crate::listing::{self, Key, Listing};
use crate::metrics::Stats;
use crate::shard::Shard;
use crate::shards::{Place, Shards};
use crate::socket::wait;

/// A handle to a running stack: sockets are made with it. Clones are handles to the same stack;
/// dropping them all leaves the sockets alive.
///
/// A stack over several queues of a device consists of as many shards ([`Stack::with_queues`]).
/// Listeners listen at all of them; a connection that is opened here begins at one after the
/// other. [`Stack::each_shard`] gives handles that keep to one.
#[derive(Clone)]
pub struct Stack {
    shards: Arc<Shards>,
    /// The shard that this handle keeps to.
    at: Option<usize>,
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
        let (shards, busy_poll) = start(config, caps, 1)?;
        let driver = Driver::new(Shard::new(&shards, 0, device, busy_poll));
        Ok((Self { shards, at: None }, driver))
    }

    /// A host behind several queues of one device, with a shard and a driver for each, in order:
    /// spawn each on a thread of its own, and use the handle of [`Stack::each_shard`] there.
    ///
    /// A device may deliver a packet by any queue: shards hand over to each other what is not
    /// theirs. Limits of the configuration (connections, backlogs, ICMP) are each shard's,
    /// but for memory.
    ///
    /// Fails as [`Stack::new`], and when there is no queue or the queues differ in what they can do.
    ///
    /// ```
    /// use ustack::{Config, Stack, TcpListener, device};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// let caps = device::Caps::plain(1500);
    /// let (queues, _others): (Vec<_>, Vec<_>) = (0..2).map(|_| device::memory::pair(caps)).unzip();
    /// let config = Config::new().address([10, 77, 0, 2], 24);
    /// let (stack, drivers) = Stack::with_queues(config, queues)?;
    /// for (driver, stack) in drivers.into_iter().zip(stack.each_shard()) {
    ///     std::thread::spawn(move || {
    ///         let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    ///         let listener = TcpListener::bind(&stack, ([10, 77, 0, 2], 80).into())?;
    ///         runtime.spawn(async move { while let Ok(_connection) = listener.accept().await {} });
    ///         runtime.block_on(driver)
    ///     });
    /// }
    /// stack.shutdown(std::time::Duration::from_secs(1)).await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_queues<D: Device>(
        config: Config,
        queues: Vec<D>,
    ) -> io::Result<(Self, Vec<Driver<D>>)> {
        let Some(caps) = queues.first().map(Device::caps) else {
            return Err(invalid("a stack needs a device with at least one queue"));
        };
        if queues.iter().any(|queue| queue.caps() != caps) {
            return Err(invalid(
                "the queues differ in MTU or offload: all must belong to one device",
            ));
        }
        let (shards, busy_poll) = start(config, caps, queues.len())?;
        let drivers = queues
            .into_iter()
            .enumerate()
            .map(|(index, device)| Driver::new(Shard::new(&shards, index, device, busy_poll)));
        let drivers = drivers.collect();
        Ok((Self { shards, at: None }, drivers))
    }

    /// A handle to each shard alone, in the order of the drivers. What is made with it lives
    /// there: its listeners accept what arrives there, its connections begin there. So applications
    /// run where their packets are, and nothing crosses from one core to another.
    ///
    /// Only what has a port of its own choice keeps to that port's shard: see
    /// [`Stack::shard_of_port`].
    pub fn each_shard(&self) -> impl Iterator<Item = Self> + use<> {
        let shards = Arc::clone(&self.shards);
        (0..shards.each().len()).map(move |index| Self {
            shards: Arc::clone(&shards),
            at: Some(index),
        })
    }

    /// The number of the shard where UDP sockets of this port live, and connections opened from it.
    pub fn shard_of_port(&self, port: u16) -> usize {
        usize::from(port) % self.shards.each().len()
    }

    /// The shards that this handle is about.
    pub(crate) fn reached(&self) -> &[Arc<Shared>] {
        let each = self.shards.each();
        match self.at {
            Some(index) => &each[index..=index],
            None => each,
        }
    }

    /// The shard of something that could be anywhere.
    pub(crate) fn any(&self) -> &Arc<Shared> {
        let reached = self.reached();
        match reached {
            [only] => only,
            _ => &reached[self.shards.next()],
        }
    }

    /// The shard of a local port, which is 0 where the choice is left to the stack.
    pub(crate) fn owner(&self, port: u16) -> &Arc<Shared> {
        match port {
            0 => self.any(),
            port => &self.shards.each()[self.shard_of_port(port)],
        }
    }

    /// The shard of what there is once only, such as a socket for every port.
    pub(crate) fn first(&self) -> &Arc<Shared> {
        &self.shards.each()[0]
    }

    /// Ends the stack in good order: stops accepting, lets every connection send what it has
    /// queued and its FIN, waits until all are over, and resets after `deadline` those that are
    /// not. Then the driver's future ends with `Ok`, and every socket fails with
    /// [`io::ErrorKind::ConnectionAborted`].
    ///
    /// Applications that are to finish what they are writing must be told first. Cancel-safe: the
    /// shutdown goes on when this future is dropped. It needs the driver to be running. Called once
    /// more, it may end sooner, not later. A device that takes nothing for 200 ms does not hold it up
    /// beyond the deadline.
    pub async fn shutdown(&self, deadline: Duration) {
        for shared in self.shards.each() {
            let wake = shared.call(|host, now| host.begin_shutdown(now, now + deadline));
            wake.into_iter().for_each(Waker::wake);
            shared.driver.wake();
        }
        for shared in self.shards.each() {
            wait(
                shared,
                |host| Some(&mut host.sockets.ended),
                |host, _| host.check_alive().is_err().then_some(()),
            )
            .await;
        }
    }

    /// Counters of everything, as of now, over all shards.
    pub fn stats(&self) -> Stats {
        let mut sum = Stats::default();
        for shared in self.shards.each() {
            sum += shared.host.lock().stats();
        }
        sum
    }

    /// All TCP connections, in no order.
    pub fn connections(&self) -> Vec<Summary> {
        let mut all = Vec::new();
        let mut listing = self.listing();
        while listing.next_summaries(&mut all) {}
        all
    }

    /// All TCP connections with all that is known of each, a few at a time.
    pub fn listing(&self) -> Listing {
        Listing::new(Arc::clone(&self.shards))
    }

    /// Resets a connection, whoever has it: the peer hears RST, the application
    /// [`io::ErrorKind::ConnectionAborted`]. False when `flow` is no longer the connection `key`, or
    /// nothing is left of it to reset (TIME-WAIT).
    pub fn reset(&self, key: Key, flow: &FlowKey) -> bool {
        listing::reset(&self.shards, key, flow)
    }

    /// The next echo request for another host's address, which a transparent stack never answers
    /// by itself: whoever relays it calls [`Stack::send_echo_reply`] once that host has answered.
    /// 64 of them wait, more are forgotten.
    ///
    /// Cancel-safe. Fails once the driver is gone.
    pub async fn foreign_echo(&self) -> io::Result<Echo> {
        wait(
            self.first(),
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
        self.first()
            .call(|host, now| host.ip.send_echo_reply(now, echo));
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack").finish_non_exhaustive()
    }
}

/// The shards of a host, and what their drivers begin with.
fn start(config: Config, caps: Caps, count: usize) -> io::Result<(Arc<Shards>, Duration)> {
    config.check(caps, count)?;
    let seed = match config.seed {
        Some(seed) => seed,
        None => random_seed()?,
    };
    let busy_poll = config.busy_poll;
    let clock = RunningClock::start(config.clock);
    let budget = config.budget(count);
    let shard = |(index, config)| {
        let place = Place { index, count };
        let host = Host::new(config, caps, seed, place, budget.as_ref());
        Arc::new(Shared {
            clock,
            driver: AtomicWaker::new(),
            inbox: Shards::inbox(count),
            pool: Mutex::default(),
            host: Mutex::new(host),
        })
    };
    let configs = std::iter::repeat_n(config, count).enumerate();
    let shards = Shards::new(configs.map(shard).collect());
    Ok((Arc::new(shards), busy_poll))
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
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

/// Moves the packets of a stack, or of one shard of it: spawn it. Ends with `Ok` after
/// [`Stack::shutdown`], with an error when the device is gone.
///
/// Dropping it ends the stack at once, all its shards, without a word to the peers: every socket
/// fails with [`io::ErrorKind::ConnectionAborted`].
#[derive(Debug)]
#[must_use = "nothing moves unless the driver is polled: spawn it"]
pub struct Driver<D: Device> {
    shard: Shard<D>,
    half: Half,
    is_over: bool,
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
        let mut result = ready!(this.poll_turn(cx));
        if this.shard.is_over() {
            result = Ok(()); // other queues of the device may be gone by now
        }
        this.is_over = true;
        match &result {
            Ok(()) => this.shard.end("the stack was shut down"),
            Err(error) => this
                .shard
                .fail(&format!("the stack's device failed: {error}")),
        }
        Poll::Ready(result)
    }
}

impl<D: Device> Driver<D> {
    fn new(shard: Shard<D>) -> Self {
        Self {
            shard,
            half: Half::In,
            is_over: false,
        }
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.shard.is_over() {
            return Poll::Ready(Ok(()));
        }
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
}

impl<D: Device> Drop for Driver<D> {
    fn drop(&mut self) {
        if !self.is_over {
            self.shard.fail("the stack's driver was dropped");
        }
    }
}
