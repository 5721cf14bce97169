//! The application at the stack's end: makes the recorded calls, keeps what it reads.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use ustack_tcp::time::Instant;
use ustack_tcp::{
    CloseReason, ConnId, Event, FlowKey, ListenOptions, ListenerId, Read, SocketError,
    SocketOptions, Tcp,
};

use crate::conversation::{Conversation, Role};
use crate::script::{Call, Step};

/// When the application reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reads {
    /// As soon as there is something.
    #[default]
    AtOnce,
    /// From the moment at which the recorded application opened its window again.
    AsRecorded,
    /// Never: it closes the connection with bytes unread.
    Never,
}

#[derive(Debug)]
pub(crate) struct App {
    conn: Option<ConnId>,
    listener: Option<ListenerId>,
    steps: VecDeque<Step>,
    stream: Bytes,
    /// What the write under way still has to write.
    rest: Bytes,
    reads: Reads,
    /// Recorded time from which on it reads.
    pub(crate) reads_from: Duration,
    pub(crate) received: Vec<u8>,
    pub(crate) is_eof: bool,
    is_released: bool,
    pub(crate) closed: Option<CloseReason>,
    pub(crate) error: Option<SocketError>,
}

impl App {
    pub(crate) fn new(
        conversation: &Conversation,
        steps: VecDeque<Step>,
        reads: Reads,
        reads_from: Duration,
    ) -> Self {
        Self {
            conn: None,
            listener: None,
            steps,
            stream: conversation.ours.stream.clone().into(),
            rest: Bytes::new(),
            reads,
            reads_from,
            received: Vec::new(),
            is_eof: false,
            is_released: false,
            closed: None,
            error: None,
        }
    }

    /// Listens or connects, as the recorded end did.
    pub(crate) fn open(
        &mut self,
        tcp: &mut Tcp,
        now: Instant,
        role: Role,
        flow: (SocketAddr, SocketAddr),
        socket: SocketOptions,
    ) -> Result<(), String> {
        let (local, remote) = flow;
        match role {
            Role::Server => {
                let options = ListenOptions {
                    local,
                    backlog: 8,
                    transparent: false,
                    hold: false,
                    socket,
                };
                let listener = tcp
                    .listen(options)
                    .map_err(|error| format!("listen: {error:?}"))?;
                self.listener = Some(listener);
            }
            Role::Client => {
                let (conn, _) = tcp
                    .connect(now, FlowKey { local, remote }, socket)
                    .map_err(|error| format!("connect: {error:?}"))?;
                self.conn = Some(conn);
            }
        }
        Ok(())
    }

    /// All calls made and nothing left to wait for.
    pub(crate) fn is_done(&self) -> bool {
        let is_over = self.closed.is_some() || self.error.is_some() || self.is_released;
        is_over || (self.steps.is_empty() && self.rest.is_empty())
    }

    /// When it next does something by itself, after this recorded time. Everything else it does
    /// when something arrives.
    pub(crate) fn next_at(&self, recorded: Duration) -> Option<Duration> {
        let call = self.steps.front().and_then(|step| step.at);
        let times = [call, Some(self.reads_from)].into_iter().flatten();
        times.filter(|at| *at > recorded).min()
    }

    /// What it waits for, in words.
    pub(crate) fn waits_for(&self) -> String {
        format!("the application has yet to make {:?}", self.steps.front())
    }

    pub(crate) const fn conn(&self) -> Option<ConnId> {
        self.conn
    }

    /// Does what is due: `recorded` is the time of the recording, `arrived` how far the other
    /// end's bytes came.
    pub(crate) fn run(&mut self, tcp: &mut Tcp, now: Instant, recorded: Duration, arrived: u64) {
        while let Some(event) = tcp.poll_event() {
            if let Event::Closed(id, reason) = event
                && Some(id) == self.conn
            {
                self.closed = Some(reason);
            }
        }
        if let (None, Some(listener)) = (self.conn, self.listener) {
            self.conn = tcp.accept(listener).map(|(conn, _)| conn);
        }
        let Some(conn) = self.conn else { return };
        if self.is_released || self.error.is_some() {
            return;
        }
        if self.reads != Reads::Never && recorded >= self.reads_from {
            self.read(tcp, now, conn);
        }
        self.write(tcp, now, conn);
        while self.rest.is_empty()
            && let Some(step) = self.steps.front()
            && step.after <= arrived
            && step.at.is_none_or(|at| at <= recorded)
        {
            match self.steps.pop_front().map(|step| step.call) {
                Some(Call::Write(range)) => {
                    self.rest = self.stream.slice(range);
                    self.write(tcp, now, conn);
                }
                Some(Call::Shutdown) => {
                    let result = tcp.shutdown(now, conn);
                    self.error = self.error.or(result.err());
                }
                Some(Call::Reset) if self.reads == Reads::Never => self.release(tcp, now, conn),
                Some(Call::Reset) => {
                    tcp.abort(now, conn);
                    self.is_released = true;
                }
                None => {}
            }
        }
        if self.is_eof && self.is_done() && !self.is_released {
            self.release(tcp, now, conn);
        }
    }

    fn release(&mut self, tcp: &mut Tcp, now: Instant, conn: ConnId) {
        tcp.release(now, conn);
        self.is_released = true;
    }

    fn read(&mut self, tcp: &mut Tcp, now: Instant, conn: ConnId) {
        loop {
            match tcp.read(now, conn, 64 << 10) {
                Ok(Read::Data(data)) => self.received.extend_from_slice(&data),
                Ok(Read::Eof) => {
                    self.is_eof = true;
                    return;
                }
                Ok(Read::Empty) | Err(SocketError::NotConnected) => return,
                Err(error) => {
                    self.error = Some(error);
                    return;
                }
            }
        }
    }

    fn write(&mut self, tcp: &mut Tcp, now: Instant, conn: ConnId) {
        while !self.rest.is_empty() {
            match tcp.write(now, conn, &self.rest) {
                Ok(0) | Err(SocketError::NotConnected) => return,
                Ok(taken) => drop(self.rest.split_to(taken)),
                Err(error) => {
                    self.error = Some(error);
                    return;
                }
            }
        }
    }
}
