//! Bulk data: a sender that never waits for anything but its connection, and a sink.

use ustack_tcp::time::{Duration, Instant};
use ustack_tcp::{ConnId, ListenerId, Read};

use super::{App, Context, READ, Socket, filler, read, write};

/// How much, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bulk {
    /// So many bytes; `None`: without end.
    pub bytes: Option<u64>,
    /// When the sender says that it has finished.
    pub stop: Option<Instant>,
    /// Sends and pauses in turn.
    pub phases: Option<Phases>,
}

/// Lengths of sending and of silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phases {
    /// Sending.
    pub on: Duration,
    /// Silence.
    pub off: Duration,
}

impl Phases {
    /// Whether `now` is in a sending phase, and when the next phase begins.
    fn at(self, start: Instant, now: Instant) -> (bool, Instant) {
        let (on, off) = (self.on.as_nanos() as u64, self.off.as_nanos() as u64);
        let period = (on + off).max(1);
        let since = now.saturating_since(start).as_nanos() as u64;
        let into = since % period;
        let next = since - into + if into < on { on } else { period };
        (into < on, start + Duration::from_nanos(next))
    }
}

#[derive(Debug)]
pub(super) struct Sender {
    bulk: Bulk,
    socket: Socket,
    conn: Option<ConnId>,
    left: u64,
    finished: bool,
    wake_at: Option<Instant>,
}

impl Sender {
    pub(super) fn new(bulk: Bulk, socket: Socket) -> Self {
        Self {
            bulk,
            socket,
            conn: None,
            left: bulk.bytes.unwrap_or(u64::MAX),
            finished: false,
            wake_at: Some(socket.start),
        }
    }

    /// Whether it may send now; arms the next change of mind.
    fn may_send(&mut self, now: Instant) -> bool {
        self.wake_at = self.bulk.stop.filter(|stop| *stop > now);
        let Some(phases) = self.bulk.phases else {
            return true;
        };
        let (on, next) = phases.at(self.socket.start, now);
        self.wake_at = self.wake_at.map_or(Some(next), |stop| Some(stop.min(next)));
        on
    }

    fn fill(&mut self, cx: &mut Context<'_>, id: ConnId) {
        while self.left > 0 {
            let chunk = filler(self.left.min(1 << 16) as usize);
            let taken = write(cx, id, &chunk);
            self.left -= taken as u64;
            if taken < chunk.len() {
                break;
            }
        }
    }
}

impl App for Sender {
    fn on_wake(&mut self, cx: &mut Context<'_>) {
        if self.finished || cx.now < self.socket.start {
            return;
        }
        if self.conn.is_none() && cx.log.began.is_none() {
            cx.log.began = Some(cx.now);
            self.conn = self.socket.connect(cx);
        }
        let Some(id) = self.conn else {
            self.finished = true;
            self.wake_at = None;
            return;
        };
        let stopped = self.bulk.stop.is_some_and(|stop| stop <= cx.now);
        if self.may_send(cx.now) && !stopped {
            self.fill(cx, id);
        }
        if self.left == 0 || stopped {
            self.finished = true;
            self.wake_at = None;
            let now = cx.now;
            if let Err(error) = cx.tcp().shutdown(now, id) {
                cx.log.fail(error);
            }
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.wake_at
    }

    fn watched(&self) -> Option<ConnId> {
        self.conn
    }
}

/// Reads everything at once.
#[derive(Debug)]
pub(super) struct Sink {
    bulk: Bulk,
    socket: Socket,
    listener: Option<ListenerId>,
    conn: Option<ConnId>,
}

impl Sink {
    pub(super) fn new(bulk: Bulk, socket: Socket) -> Self {
        Self {
            bulk,
            socket,
            listener: None,
            conn: None,
        }
    }
}

impl App for Sink {
    fn on_wake(&mut self, cx: &mut Context<'_>) {
        let Some(listener) = self.socket.listen(&mut self.listener, cx) else {
            return;
        };
        if self.conn.is_none() {
            self.conn = cx.tcp().accept(listener).map(|(id, _)| id);
        }
        let Some(id) = self.conn else { return };
        while let Some(found) = read(cx, id, READ) {
            let Read::Data(data) = found else {
                if self
                    .bulk
                    .bytes
                    .is_some_and(|bytes| cx.log.received >= bytes)
                {
                    cx.log.completed.get_or_insert(cx.now);
                }
                let now = cx.now;
                // The sender has finished; so has this end.
                let _ = cx.tcp().shutdown(now, id);
                break;
            };
            cx.log.received += data.len() as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_alternate() {
        let phases = Phases {
            on: Duration::from_secs(2),
            off: Duration::from_secs(1),
        };
        let at = |millis| phases.at(Instant::from_millis(500), Instant::from_millis(millis));
        assert_eq!(at(500), (true, Instant::from_millis(2500)));
        assert_eq!(at(2499), (true, Instant::from_millis(2500)));
        assert_eq!(at(2500), (false, Instant::from_millis(3500)));
        assert_eq!(at(3500), (true, Instant::from_millis(5500)));
    }
}
