//! What applications ask of the endpoint: listen, accept, connect, read, write, close.

use bytes::Bytes;

use crate::config::SocketOptions;
use crate::connection::{Connection, State};
use crate::endpoint::{ConnId, ListenOptions, ListenerId, Read, Slot, Tcp, Verdict};
use crate::error::{CloseReason, ListenError, SocketError};
use crate::segment::FlowKey;
use crate::time::Instant;

/// What a writer that asks for room may go on to write at once.
const MOST_WRITTEN: usize = 64 << 10;

impl Tcp {
    /// Listens.
    pub fn listen(&mut self, options: ListenOptions) -> Result<ListenerId, ListenError> {
        self.listeners.insert(options)
    }

    /// Stops listening: connections not yet accepted are reset, held SYNs refused, handshakes under
    /// way forgotten.
    pub fn close_listener(&mut self, now: Instant, id: ListenerId) {
        let Some(listener) = self.listeners.remove(id) else {
            return;
        };
        for conn in listener.accept_queue {
            self.abort(now, conn);
            self.release(now, conn);
        }
        for conn in listener.oldest {
            match self.table.get(conn) {
                Some(Slot::SynReceived(syn)) if syn.held => self.refuse(now, conn),
                // An answer will find nobody, and hear so then.
                Some(Slot::SynReceived(_)) => self.drop_half_open(now, conn, CloseReason::Aborted),
                _ => {}
            }
        }
    }

    /// The oldest connection not yet accepted.
    pub fn accept(&mut self, id: ListenerId) -> Option<(ConnId, FlowKey)> {
        loop {
            let conn = self.listeners.get_mut(id)?.accept_queue.pop_front()?;
            match self.table.get_mut(conn) {
                Some(Slot::Connection(accepted)) => accepted.listener = None,
                Some(Slot::Resting(_, rest)) => {
                    if let Some(record) = self.dormitory.record_mut(rest) {
                        record.listener = None;
                    }
                }
                _ => continue,
            }
            return Some((conn, self.table.flow(conn)?));
        }
    }

    /// Answers a SYN that a listener with `hold` holds. An accepted one shows up in
    /// [`Tcp::accept`] once its handshake is complete. Returns whether it was still held: its client
    /// may have reset it, or others may have been in greater need of its place.
    pub fn decide(&mut self, now: Instant, conn: ConnId, verdict: Verdict) -> bool {
        let Some(Slot::SynReceived(syn)) = self.table.get_mut(conn) else {
            return false;
        };
        if !syn.held {
            return false;
        }
        match verdict {
            Verdict::Accept => {
                syn.held = false;
                self.settle(now, conn);
            }
            Verdict::Refuse => self.refuse(now, conn),
            Verdict::Drop => self.drop_half_open(now, conn, CloseReason::Aborted),
        }
        true
    }

    /// Queues a chunk for sending; returns how many bytes of it were taken (the caller keeps the
    /// rest). Fewer than all: [`Event::Writable`](crate::Event::Writable) follows.
    pub fn write(&mut self, now: Instant, id: ConnId, data: &Bytes) -> Result<usize, SocketError> {
        let taken = self.funded_mut(id, data.len())?.write(data)?;
        if taken > 0 {
            self.settle(now, id);
        } else {
            self.starve(id);
        }
        Ok(taken)
    }

    /// [`Tcp::write`] for urgent data (`MSG_OOB`): the peer is pointed to the byte after it
    /// (RFC 9293 §3.8.5), and it does not wait for more. New applications should not use it
    /// (SHLD-13, RFC 6093 §5): middleboxes clear the pointer, and stacks differ about its place.
    pub fn write_urgent(
        &mut self,
        now: Instant,
        id: ConnId,
        data: &Bytes,
    ) -> Result<usize, SocketError> {
        let taken = self.funded_mut(id, data.len())?.write_urgent(data)?;
        if taken > 0 {
            self.settle(now, id);
        } else {
            self.starve(id);
        }
        Ok(taken)
    }

    /// How many bytes [`Tcp::write`] would take now. 0:
    /// [`Event::Writable`](crate::Event::Writable) follows.
    pub fn write_room(&mut self, id: ConnId) -> Result<usize, SocketError> {
        self.look_again(id);
        let conn = self.funded_mut(id, MOST_WRITTEN)?;
        let room = conn.write_room()?;
        if room == 0 {
            conn.block_writer();
            self.starve(id);
        }
        Ok(room)
    }

    /// Takes received bytes out, at most `max` (> 0): one chunk, as it came.
    pub fn read(&mut self, now: Instant, id: ConnId, max: usize) -> Result<Read, SocketError> {
        let mut chunk = Bytes::new();
        let found = self.read_chunks(now, id, max, 1, |data| chunk = data)?;
        Ok(match found {
            Read::Data(_) => Read::Data(chunk),
            Read::Eof => Read::Eof,
            Read::Empty => Read::Empty,
        })
    }

    /// [`Tcp::read`] for as long as there are bytes, until `most` (> 0) chunks or `max` (> 0) bytes
    /// are taken: chunks one by one to `put`, and how many bytes those were. What a call costs is
    /// paid once for all of them.
    pub fn read_chunks(
        &mut self,
        now: Instant,
        id: ConnId,
        max: usize,
        most: usize,
        put: impl FnMut(Bytes),
    ) -> Result<Read<usize>, SocketError> {
        let Some(entry) = self.table.entry_mut(id) else {
            return Err(SocketError::NotFound);
        };
        let conn = match entry.value {
            Slot::Connection(conn) => conn,
            Slot::Resting(_, rest) => {
                if let Some(record) = self.dormitory.record_mut(rest) {
                    record.block_reader();
                }
                return Ok(Read::Empty);
            }
            Slot::SynSent(_) | Slot::SynReceived(_) => return Err(SocketError::NotConnected),
            Slot::TimeWait(..) => return Err(SocketError::NotFound),
        };
        if let Some(memory) = &mut self.memory {
            memory.grant(conn, 0);
        }
        let read = conn.read(now, max, most, put);
        if read.is_ok() {
            if let Some(memory) = &mut self.memory {
                memory.settle(now, id, conn, &mut self.counters);
            }
            let (awaits_ack, ran_dry) = (conn.ack_due(), conn.is_reader_blocked());
            if !*entry.ready && awaits_ack {
                self.settle(now, id);
            } else if !*entry.ready && (ran_dry || self.memory.is_some()) {
                self.settle_now(now, id); // it may have been what kept the connection awake
            }
        }
        read
    }

    /// What `SO_ERROR` tells, each once: how the connection ended, if that was abnormal, or else
    /// what ICMP last reported about a segment that was in flight (MUST-47).
    pub fn take_error(&mut self, id: ConnId) -> Option<SocketError> {
        self.look_again(id);
        self.connection_mut(id).ok()?.take_error()
    }

    /// Urgent data, which is read in line with all other (RFC 9293 §3.8.5): how many bytes are to
    /// be read up to its end. `Some(0)`: the reader stands at the mark, as `sockatmark` says it
    /// does; `None`: past it, or there never was any. New applications should not use it
    /// (SHLD-13).
    pub fn urgent_left(&mut self, id: ConnId) -> Result<Option<u32>, SocketError> {
        self.look_again(id);
        Ok(self.connection_mut(id)?.urgent_left())
    }

    /// Says FIN after what is queued (`shutdown(SHUT_WR)`).
    pub fn shutdown(&mut self, now: Instant, id: ConnId) -> Result<(), SocketError> {
        self.connection_mut(id)?.shutdown()?;
        self.settle(now, id);
        Ok(())
    }

    /// Ends the connection with a RST, if it still lives.
    pub fn abort(&mut self, now: Instant, id: ConnId) {
        self.observe_call(now, id, |tcp| tcp.abort_now(now, id));
    }

    fn abort_now(&mut self, now: Instant, id: ConnId) {
        self.wake(id);
        let Some(slot) = self.table.get_mut(id) else {
            return;
        };
        match slot {
            Slot::Connection(conn) => {
                conn.abort();
                self.settle(now, id);
            }
            Slot::SynSent(_) => self.drop_slot(id, CloseReason::Aborted),
            Slot::SynReceived(_) => self.refuse(now, id),
            Slot::Resting(..) | Slot::TimeWait(..) => {}
        }
    }

    /// The application lets go of the connection (`close`): unread or later bytes mean RST
    /// (SHLD-3), else queued bytes and FIN still go out. The id is dead afterwards.
    pub fn release(&mut self, now: Instant, id: ConnId) {
        self.observe_call(now, id, |tcp| tcp.release_now(now, id));
    }

    fn release_now(&mut self, now: Instant, id: ConnId) {
        self.wake(id);
        let Some(slot) = self.table.get_mut(id) else {
            return;
        };
        match slot {
            Slot::Connection(conn) => {
                self.orphans += usize::from(!conn.is_orphan());
                conn.release(now, &self.config);
                if self.orphans > self.config.max_orphans && conn.state() != State::TimeWait {
                    self.counters.abort_on_memory += 1;
                    conn.abort();
                }
                self.settle(now, id);
            }
            Slot::SynSent(_) => {
                self.discharge(id);
                self.table.remove(id);
            }
            Slot::SynReceived(_) => self.refuse(now, id),
            Slot::Resting(..) | Slot::TimeWait(..) => {}
        }
    }

    /// Answers a handshake under way with a RST, and forgets it.
    fn refuse(&mut self, now: Instant, id: ConnId) {
        if let Some(Slot::SynReceived(syn)) = self.table.get(id) {
            let (flow, refusal) = (syn.ours.flow, syn.refusal());
            self.reset(&flow, refusal);
            self.drop_half_open(now, id, CloseReason::Aborted);
        }
    }

    /// Whether every queued byte and the FIN were acknowledged, or the connection is gone.
    pub fn is_flushed(&self, id: ConnId) -> bool {
        match self.table.get(id) {
            Some(Slot::Connection(conn)) => conn.is_flushed(),
            Some(Slot::SynSent(_) | Slot::SynReceived(_) | Slot::Resting(..)) => false,
            Some(Slot::TimeWait(..)) | None => true,
        }
    }

    /// Changes `nodelay`, keep-alive and the like of a live connection.
    pub fn set_options(
        &mut self,
        now: Instant,
        id: ConnId,
        change: impl FnOnce(&mut SocketOptions),
    ) -> Result<(), SocketError> {
        self.wake(id);
        match self.table.get_mut(id) {
            Some(Slot::Connection(conn)) => {
                let options = self.option_sets.changed(&conn.options, change);
                conn.set_options(now, &self.config, options);
            }
            Some(Slot::SynSent(syn)) => {
                syn.ours.options = self.option_sets.changed(&syn.ours.options, change);
            }
            Some(Slot::SynReceived(syn)) => {
                syn.ours.options = self.option_sets.changed(&syn.ours.options, change);
            }
            Some(Slot::Resting(..) | Slot::TimeWait(..)) | None => {
                return Err(SocketError::NotFound);
            }
        }
        self.settle(now, id);
        Ok(())
    }

    /// Changes what connections that a listener accepts from now on start with.
    pub fn set_listen_options(
        &mut self,
        id: ListenerId,
        change: impl FnOnce(&mut SocketOptions),
    ) -> Result<(), SocketError> {
        let listener = self.listeners.get_mut(id).ok_or(SocketError::NotFound)?;
        listener.socket = self.option_sets.changed(&listener.socket, change);
        listener.options.socket = *listener.socket;
        Ok(())
    }

    /// The options of a live connection.
    pub fn options(&self, id: ConnId) -> Result<SocketOptions, SocketError> {
        match self.table.get(id) {
            Some(Slot::Connection(conn)) => Ok(*conn.options),
            Some(Slot::Resting(_, rest)) => {
                let record = self.dormitory.record(rest);
                record.map_or(Err(SocketError::NotFound), |record| Ok(*record.options()))
            }
            Some(Slot::SynSent(syn)) => Ok(*syn.ours.options),
            Some(Slot::SynReceived(syn)) => Ok(*syn.ours.options),
            Some(Slot::TimeWait(..)) | None => Err(SocketError::NotFound),
        }
    }

    /// Whether the flow of the last segment is owed an ACK that should not wait for the end of the
    /// turn: 64 KiB or a quarter of the window has arrived on it.
    pub const fn ack_overdue(&self) -> bool {
        self.ack_overdue
    }

    /// A connection that is about to take `bytes` of memory, or to free some.
    fn funded_mut(&mut self, id: ConnId, bytes: usize) -> Result<&mut Connection, SocketError> {
        if self.memory.is_some() {
            self.fund(id, bytes);
        }
        self.connection_mut(id)
    }

    fn connection_mut(&mut self, id: ConnId) -> Result<&mut Connection, SocketError> {
        self.wake(id);
        match self.table.get_mut(id) {
            Some(Slot::Connection(conn)) => Ok(conn),
            Some(Slot::SynSent(_) | Slot::SynReceived(_)) => Err(SocketError::NotConnected),
            Some(Slot::Resting(..) | Slot::TimeWait(..)) | None => Err(SocketError::NotFound),
        }
    }
}
