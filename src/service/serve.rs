//! The accept loop that all stream services share.

use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::serve::Listener;
use futures_util::FutureExt as _;
use tokio::sync::{Notify, Semaphore};
use tracing::{Instrument as _, debug, debug_span};

use super::IdleTimeout;

/// Tells services to stop; dropping it tells them too.
#[derive(Debug)]
pub struct Stopper(Arc<Signal>);

/// Hears when to stop. Cheap to clone and to wait for: each connection has one.
#[derive(Clone, Debug)]
pub struct Stop(Arc<Signal>);

#[derive(Debug, Default)]
struct Signal {
    is_set: AtomicBool,
    waiters: Notify,
}

/// A connected pair of the two.
pub fn stop() -> (Stopper, Stop) {
    let signal = Arc::<Signal>::default();
    (Stopper(Arc::clone(&signal)), Stop(signal))
}

impl Stopper {
    /// Asks every holder of the [`Stop`] to finish what it does and start nothing new.
    pub fn stop(&self) {
        self.0.is_set.store(true, Ordering::Release);
        self.0.waiters.notify_waiters();
    }
}

impl Drop for Stopper {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Stop {
    /// Ready once stopping is asked for.
    pub async fn requested(&mut self) {
        let notified = self.0.waiters.notified(); // hears of all that comes from here on
        if !self.0.is_set.load(Ordering::Acquire) {
            notified.await;
        }
    }
}

/// What a service grants its clients.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// How long a connection may make no progress, in either direction.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            idle: Duration::from_secs(300),
        }
    }
}

/// Accepts connections and runs `handler` on each, in a task, until `stop`; then waits for those
/// under way. A handler that should end early clones `stop` itself. The `name` marks the log.
pub async fn serve<L, H, F>(name: &'static str, listener: L, limits: Limits, stop: Stop, handler: H)
where
    L: Listener,
    L::Addr: Display,
    H: Fn(IdleTimeout<L::Io>, L::Addr, Stop) -> F,
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let mut listener = listener;
    let mut stopped = stop.clone();
    let most = u32::try_from(limits.connections).unwrap_or(u32::MAX);
    let places = Arc::new(Semaphore::new(most as usize));
    // A timer that is to fire before all others wakes tokio's reactor, by a system call even from its
    // own thread: none of a connection's is, as long as this one comes before.
    let mut first = tokio::time::interval((limits.idle / 2).max(Duration::from_secs(1)));
    loop {
        let place = async {
            let place = Arc::clone(&places).acquire_owned().await.ok()?;
            Some((listener.accept().await, place))
        };
        let ((io, peer), place) = tokio::select! {
            () = stopped.requested() => break,
            Some(accepted) = place => accepted,
            _ = first.tick() => continue,
            else => break,
        };
        let span = debug_span!("connection", service = name, %peer);
        let serving = handler(IdleTimeout::new(io, limits.idle), peer, stop.clone());
        // As a block it would have room for `serving` twice.
        let served = serving.map(move |done| {
            match done {
                Ok(()) => debug!("done"),
                Err(error) => debug!(%error, "ended"),
            }
            drop(place);
        });
        if span.is_disabled() {
            tokio::spawn(served); // takes less room
        } else {
            tokio::spawn(served.instrument(span));
        }
    }
    drop(listener);
    let _ = places.acquire_many(most).await; // all places are free again
}

#[cfg(test)]
mod tests {
    use super::super::echo;
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    #[tokio::test]
    async fn beyond_the_bound_a_connection_waits_for_its_turn() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stopper, stop) = stop();
        let limits = Limits {
            connections: 1,
            ..Limits::default()
        };
        let serving = tokio::spawn(serve("echo", listener, limits, stop, |io, _, stop| {
            echo(io, stop)
        }));

        let mut first = TcpStream::connect(address).await.unwrap();
        first.write_all(b"1").await.unwrap();
        assert_eq!(first.read_u8().await.unwrap(), b'1');
        let mut second = TcpStream::connect(address).await.unwrap();
        second.write_all(b"2").await.unwrap();
        let early = tokio::time::timeout(Duration::from_millis(50), second.read_u8()).await;
        assert!(early.is_err(), "served beyond the bound");
        drop(first);
        assert_eq!(second.read_u8().await.unwrap(), b'2');

        stopper.stop();
        assert_eq!(second.read(&mut [0; 1]).await.unwrap(), 0, "FIN on stop");
        serving.await.unwrap();
        assert!(
            TcpStream::connect(address).await.is_err(),
            "still listening"
        );
    }
}
