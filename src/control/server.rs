//! Answers on the socket: a few clients at a time, each of which is sent what it can take.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, yield_now};
use tokio::time::timeout;

use super::protocol::{
    About, Answer, Connection, Filter, Hello, PROTOCOL, Refusal, Request, counters,
};
use super::socket::Bound;
use crate::Stack;
use crate::service::{Stop, aside};

/// What clients may take of the program.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Clients at once; one more is told so.
    pub clients: usize,
    /// Bytes of a request.
    pub request: usize,
    /// How long a client may take to read what it has asked for, part by part.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            clients: 8,
            request: 4096,
            patience: Duration::from_secs(5),
        }
    }
}

/// What the socket counts.
#[derive(Debug, Default)]
pub struct ControlCounters {
    /// Clients served.
    pub clients: AtomicU64,
    /// Clients turned away, as there were too many.
    pub refused: AtomicU64,
    /// Clients dropped, as they did not read their answers.
    pub slow: AtomicU64,
    /// Requests answered.
    pub requests: AtomicU64,
    /// Requests that were none, or too long.
    pub bad_requests: AtomicU64,
    /// Connections reset.
    pub resets: AtomicU64,
}

impl ControlCounters {
    fn all(&self) -> [(&'static str, u64); 6] {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [
            ("clients", get(&self.clients)),
            ("refused", get(&self.refused)),
            ("slow", get(&self.slow)),
            ("requests", get(&self.requests)),
            ("bad_requests", get(&self.bad_requests)),
            ("resets", get(&self.resets)),
        ]
    }
}

/// What every client's task knows.
#[derive(Debug)]
struct Served {
    stack: Stack,
    about: About,
    limits: Limits,
    counters: ControlCounters,
    started: Instant,
}

/// Answers clients until `stop`, each on a thread of its own, so that what they ask for takes no time
/// from the packet loop. Needs a tokio runtime, which may be that of the packet loop.
pub async fn serve(
    bound: Bound,
    stack: Stack,
    about: About,
    limits: Limits,
    stop: Stop,
) -> io::Result<()> {
    let mut stop = stop;
    let listener = bound.listener()?;
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(limits.clients));
    let served = Arc::new(Served {
        stack,
        about,
        limits,
        counters: ControlCounters::default(),
        started: Instant::now(),
    });
    let mut clients = JoinSet::new();
    loop {
        let stream = tokio::select! {
            () = stop.requested() => return Ok(()), // with the clients
            accepted = listener.accept() => accepted?.0,
            Some(_) = clients.join_next() => continue,
        };
        let served = Arc::clone(&served);
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            count(&served.counters.refused);
            let line = refusal("busy", "too many clients: close one, and try again");
            let _ = stream.try_write(&line_of(&line)?); // or it is gone
            continue;
        };
        count(&served.counters.clients);
        clients.spawn(async move {
            if let Err(error) = talk_aside(stream, &served).await {
                if error.kind() == io::ErrorKind::TimedOut {
                    count(&served.counters.slow);
                }
                tracing::debug!(%error, "a client of the control socket is gone");
            }
            drop(place);
        });
    }
}

async fn talk_aside(stream: UnixStream, served: &Arc<Served>) -> io::Result<()> {
    let stream = stream.into_std()?;
    let served = Arc::clone(served);
    let talk = async move || talk(UnixStream::from_std(stream)?, &served).await;
    aside("control", talk).await
}

async fn talk(stream: UnixStream, served: &Served) -> io::Result<()> {
    let (from, mut to) = stream.into_split();
    let mut from = BufReader::new(from);
    let hello = Hello {
        protocol: PROTOCOL,
        version: served.about.version.clone(),
        pid: served.about.pid,
        device: served.about.device.clone(),
    };
    send(&mut to, served, &line_of(&hello)?).await?;
    let mut line = Vec::new();
    loop {
        line.clear();
        let most = served.limits.request as u64;
        let read = (&mut from).take(most).read_until(b'\n', &mut line).await?;
        if read == 0 {
            return Ok(());
        }
        if !line.ends_with(b"\n") && read as u64 == most {
            count(&served.counters.bad_requests);
            let message = format!("a request has at most {most} bytes");
            let line = line_of(&refusal("too-long", &message))?;
            return send(&mut to, served, &line).await; // and no way to tell where the next begins
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice(&line) {
            Ok(request) => {
                count(&served.counters.requests);
                answer(&mut to, served, request).await?;
            }
            Err(error) => {
                count(&served.counters.bad_requests);
                let line = line_of(&refusal("bad-request", &error.to_string()))?;
                send(&mut to, served, &line).await?;
            }
        }
    }
}

async fn answer(
    to: &mut (impl tokio::io::AsyncWrite + Unpin),
    served: &Served,
    request: Request,
) -> io::Result<()> {
    let answer = match request {
        Request::Connections(filter) => connections(to, served, &filter).await?,
        Request::Counters {} => Answer::Counters {
            groups: counters(&served.stack.stats()),
            time: served.time(),
        },
        Request::About {} => Answer::About(served.about()),
        Request::Reset { id, local, remote } => {
            let flow = ustack_tcp::FlowKey { local, remote };
            match id.parse() {
                Ok(key) if served.stack.reset(key, &flow) => {
                    count(&served.counters.resets);
                    Answer::Reset { id }
                }
                Ok(_) => refusal("gone", "that connection is gone: list them again"),
                Err(bad) => refusal("bad-request", &bad.to_string()),
            }
        }
    };
    send(to, served, &line_of(&answer)?).await
}

/// A part of the connections at a time: the stack goes on in between, and memory does not grow
/// with their number.
async fn connections(
    to: &mut (impl tokio::io::AsyncWrite + Unpin),
    served: &Served,
    filter: &Filter,
) -> io::Result<Answer> {
    let mut listing = served.stack.listing();
    let (mut found, mut text, mut connections) = (Vec::new(), Vec::new(), 0);
    while listing.next(&mut found) {
        for listed in found.drain(..).filter(|listed| filter.matches(listed)) {
            let connection = Box::new(Connection::from(&listed));
            text.extend(line_of(&Answer::Connection(connection))?);
            connections += 1;
        }
        send(to, served, &text).await?;
        text.clear();
        yield_now().await;
    }
    Ok(Answer::End {
        connections,
        time: served.time(),
    })
}

async fn send(
    to: &mut (impl tokio::io::AsyncWrite + Unpin),
    served: &Served,
    text: &[u8],
) -> io::Result<()> {
    let written = timeout(served.limits.patience, to.write_all(text)).await;
    written.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

impl Served {
    /// Nanoseconds since the start.
    fn time(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn about(&self) -> About {
        let counts = self.counters.all().into_iter();
        About {
            uptime: self.time(),
            control: counts
                .map(|(name, count)| (name.to_owned(), count))
                .collect(),
            ..self.about.clone()
        }
    }
}

fn refusal(code: &str, message: &str) -> Answer {
    Answer::Error(Refusal {
        code: code.to_owned(),
        message: message.to_owned(),
    })
}

fn line_of(value: &impl serde::Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests;
