//! Sockets shaped like `tokio::net`'s, over the stack.

mod conn;
mod delegate;
mod incoming;
mod listener;
mod options;
mod ping_socket;
mod split;
mod tcp_listener;
mod tcp_stream;
mod udp_socket;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::task::coop::poll_proceed;
use ustack_tcp::time::Instant;

pub use incoming::{Incoming, IncomingListener};
pub use listener::ListenerBuilder;
pub(crate) use options::roomy;
pub use ping_socket::PingSocket;
pub use split::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, WriteHalf};
pub use tcp_listener::TcpListener;
pub use tcp_stream::{ConnectOptions, TcpStream};
pub use udp_socket::UdpSocket;

use crate::host::{Host, Shared};
use crate::wakers::{WaitKey, Waiters};

/// Waits until `check` finds something, looking again whenever `waiters` are woken. Cancel-safe:
/// `check` has the last word, and dropping the future takes its waker back.
pub(crate) async fn wait<T>(
    shared: &Arc<Shared>,
    waiters: impl Fn(&mut Host) -> Option<&mut Waiters>,
    mut check: impl FnMut(&mut Host, Instant) -> Option<T>,
) -> T {
    let mut place = Place {
        shared,
        waiters,
        key: WaitKey::default(),
    };
    poll_fn(move |cx| {
        let Place {
            shared,
            waiters,
            key,
        } = &mut place;
        cooperate(cx, || poll_wait(shared, waiters, Some(key), &mut check, cx))
    })
    .await
}

/// `look` is one of the operations after which tokio lets other tasks have their turn, as each of
/// `tokio::net` is: who is never kept waiting yields all the same ([`tokio::task::coop`]).
fn cooperate<T>(cx: &Context<'_>, look: impl FnOnce() -> Poll<T>) -> Poll<T> {
    let proceed = ready!(poll_proceed(&mut Context::from_waker(cx.waker())));
    let found = look();
    if found.is_ready() {
        proceed.made_progress();
    }
    found
}

/// One look, and a place among the waiters when it found nothing.
fn poll_wait<T>(
    shared: &Shared,
    waiters: &impl Fn(&mut Host) -> Option<&mut Waiters>,
    key: Option<&mut WaitKey>,
    check: &mut impl FnMut(&mut Host, Instant) -> Option<T>,
    cx: &Context<'_>,
) -> Poll<T> {
    shared.call(|host, now| {
        if let Some(found) = check(host, now) {
            return Poll::Ready(found);
        }
        let mut discarded = Vec::new();
        if let Some(waiters) = waiters(host) {
            waiters.register(key, cx, &mut discarded);
        }
        host.sockets.discarded.append(&mut discarded);
        Poll::Pending
    })
}

/// As [`wait`], at several shards at once: `parts` are each a shard, who waits there, and what
/// `check` gets to know it by.
async fn wait_any<'a, P, T, W>(
    parts: impl Iterator<Item = (&'a Arc<Shared>, W, P)>,
    mut check: impl FnMut(&P, &mut Host) -> Option<T>,
) -> T
where
    W: Fn(&mut Host) -> Option<&mut Waiters> + 'a,
{
    let place = |(shared, waiters, part)| {
        let key = WaitKey::default();
        let place = Place {
            shared,
            waiters,
            key,
        };
        (part, place)
    };
    let mut places: Vec<_> = parts.map(place).collect();
    let mut look = |cx: &Context<'_>| {
        for (part, place) in &mut places {
            let Place {
                shared,
                waiters,
                key,
            } = place;
            let mut check = |host: &mut Host, _| check(part, host);
            let found = poll_wait(shared, waiters, Some(key), &mut check, cx);
            if found.is_ready() {
                return found;
            }
        }
        Poll::Pending
    };
    poll_fn(move |cx| cooperate(cx, || look(cx))).await
}

struct Place<'a, F: Fn(&mut Host) -> Option<&mut Waiters>> {
    shared: &'a Arc<Shared>,
    waiters: F,
    key: WaitKey,
}

impl<F: Fn(&mut Host) -> Option<&mut Waiters>> Drop for Place<'_, F> {
    fn drop(&mut self) {
        if !self.key.is_registered() {
            return;
        }
        let mut discarded = Vec::new();
        let mut host = self.shared.host.lock();
        if let Some(waiters) = (self.waiters)(&mut host) {
            waiters.forget(&self.key, &mut discarded);
        }
        drop(host);
    }
}
