//! The two streams as the application has them: what it writes and reads, and who of it waits.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::congestion::CongestionController;
use crate::endpoint::{Queued, Read};
use crate::error::{CloseReason, SocketError};
use crate::observe::AckWhy;
use crate::send::Fin;
use crate::time::Instant;

use super::Connection;

impl Connection {
    /// Queues as much of `data` as there is room for; returns how many bytes.
    pub(crate) fn write(&mut self, data: &Bytes) -> Result<usize, SocketError> {
        let room = self.write_room()?.min(data.len());
        if room > 0 {
            self.check_app_limited();
            let keeps_much = room < data.len() / 2;
            self.snd.buffer.push(if keeps_much {
                Bytes::copy_from_slice(data.get(..room).unwrap_or_default())
            } else {
                data.slice(..room)
            });
        }
        self.write_blocked |= room < data.len();
        self.wake_writer(); // the buffer may have come to cost less by what was joined
        Ok(room)
    }

    /// Queues what was taken while the connection opened, whatever its options say by now.
    pub(crate) fn queue_taken(&mut self, data: Bytes) {
        let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
        self.snd.capacity = self.snd.capacity.max(len);
        self.check_app_limited();
        self.snd.buffer.push(data);
    }

    pub(crate) fn write_room(&self) -> Result<usize, SocketError> {
        match (self.close_reason, self.snd.fin) {
            (Some(CloseReason::Finished), _) => Err(SocketError::BrokenPipe),
            (Some(reason), _) => Err(SocketError::Closed(reason)),
            (None, Fin::Open) => Ok(self.writable() as usize),
            (None, _) => Err(SocketError::BrokenPipe),
        }
    }

    /// Queues urgent data: [`Connection::write`], and the urgent pointer names its end.
    pub(crate) fn write_urgent(&mut self, data: &Bytes) -> Result<usize, SocketError> {
        let taken = self.write(data)?;
        if taken > 0 {
            self.snd.up = Some(self.snd.buffer.end());
        }
        Ok(taken)
    }

    /// Bytes that a writer may add now: the buffer's room, less with `TCP_NOTSENT_LOWAT`.
    pub(super) fn writable(&self) -> u32 {
        let (room, unsent) = (self.send_room(), self.snd.unsent());
        match self.options.notsent_lowat.map(|lowat| lowat.max(1)) {
            Some(lowat) if unsent >= lowat => 0,
            Some(lowat) => room.min((lowat - unsent).max(self.snd.mss)),
            None => room,
        }
    }

    /// Tells a writer who waits that there is room again, once it is worth while.
    pub(super) fn wake_writer(&mut self) {
        let unsent = self.snd.unsent();
        let below_lowat = self
            .options
            .notsent_lowat
            .is_none_or(|lowat| unsent == 0 || unsent < lowat / 2);
        if self.write_blocked && below_lowat && self.send_room() >= self.send_capacity() / 3 {
            self.write_blocked = false;
            self.events.writable = true;
        }
    }

    /// Notes that a writer found no room and waits.
    pub(crate) const fn block_writer(&mut self) {
        self.write_blocked = true;
    }

    /// At most `most` chunks, together at most `max` bytes, one by one to `put`. Who finds fewer
    /// waits for more.
    #[inline]
    pub(crate) fn read(
        &mut self,
        now: Instant,
        max: usize,
        most: usize,
        put: impl FnMut(Bytes),
    ) -> Result<Read<usize>, SocketError> {
        let (bytes, ran_dry) = self.rcv.read(max, most, put);
        if bytes > 0 {
            self.on_read(now, bytes as u32);
        }
        let is_open = self.close_reason.is_none() && !self.rcv.fin_received;
        self.read_blocked |= is_open && ran_dry;
        if bytes > 0 {
            return Ok(Read::Data(bytes));
        }
        match self.close_reason {
            None if is_open => Ok(Read::Empty),
            Some(reason) if !self.rcv.fin_received && reason != CloseReason::Finished => {
                Err(SocketError::Closed(reason))
            }
            _ => Ok(Read::Eof),
        }
    }

    /// The reader found less than it had room for, and waits.
    pub(crate) const fn is_reader_blocked(&self) -> bool {
        self.read_blocked
    }

    /// What waits in the buffers.
    pub(crate) fn queued(&self) -> Queued {
        Queued {
            unread: self.rcv.reassembler.readable(),
            fin_received: self.rcv.fin_received,
            unacked: self.snd.buffer.end().max(self.snd.una) - self.snd.una,
            unsent: self.snd.unsent(),
        }
    }

    /// A copy of unread bytes.
    pub(crate) fn peek(&self, max: usize) -> Vec<u8> {
        self.rcv.reassembler.peek(max)
    }

    /// Bytes between the reader and the end of the urgent ones: 0 at the mark, `None` past it.
    pub(crate) fn urgent_left(&self) -> Option<u32> {
        self.rcv.urgent_left()
    }

    /// The reader took bytes: the buffer may grow, the window may open.
    fn on_read(&mut self, now: Instant, bytes: u32) {
        if !self.state.receives() {
            return;
        }
        let (buffer, mss) = (self.rcv.window.buffer(), self.snd.mss);
        if let Some(larger) = self.tuning.on_read(now, bytes, buffer, mss) {
            self.rcv.window.grow(larger);
        }
        if self.acks.is_due() {
            return; // it will offer what there is
        }
        let (nxt, charged) = (self.rcv.nxt(), self.rcv.reassembler.charged());
        if self
            .rcv
            .window
            .update_due(nxt, self.recv_share(), charged, mss)
        {
            self.acks.owe(AckWhy::WindowUpdate);
        }
    }

    /// Room for twice the congestion window, so that the sender never runs dry.
    pub(super) fn grow_send_buffer(&mut self) {
        // What the peer holds above a gap takes room, too, and is not in flight any more.
        let wanted = self
            .cc
            .cwnd()
            .saturating_mul(2)
            .saturating_add(self.snd.flight.sacked());
        self.snd.capacity = self.snd.capacity.max(wanted.min(self.send_buffer_max));
    }
}
