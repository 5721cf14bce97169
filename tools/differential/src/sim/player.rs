//! The application at one end of a connection: plays its program.

use std::time::Duration;

use ustack_tcp::time::Instant;

use crate::pattern::Pattern;
use crate::report::{EndReport, Ended};
use crate::script::{Pieces, Program, ReceiveOp, SendOp};
use crate::sim::peer::{Got, Peer, Phase, Socket};

/// What one call writes or reads at most.
const CALL: u64 = 64 << 10;

/// One end of one connection.
#[derive(Debug)]
pub(crate) struct Player<'a> {
    program: &'a Program,
    ours: Pattern,
    theirs: Pattern,
    socket: Option<Socket>,
    opened: bool,
    done: bool,
    writer: Place,
    reader: Place,
    report: EndReport,
}

/// Where a list is.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    step: usize,
    /// Bytes moved in this step.
    moved: u64,
    /// When it goes on.
    until: Option<Instant>,
    done: bool,
}

impl Place {
    fn next_step(&mut self) {
        self.step += 1;
        self.moved = 0;
        self.until = None;
    }

    /// Whether this long has passed since the step was first asked.
    fn has_passed(&mut self, now: Instant, time: Duration) -> bool {
        *self.until.get_or_insert(now + time) <= now
    }

    /// Whether the gap after the last call is over.
    fn is_between_calls(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until > now)
    }

    fn on_call(&mut self, now: Instant, moved: u64, pieces: Pieces) {
        self.moved += moved;
        self.until = (!pieces.gap.is_zero()).then(|| now + pieces.gap);
    }

    fn wake(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|&until| !self.done && until > now)
    }
}

impl<'a> Player<'a> {
    pub(crate) fn new(program: &'a Program, ours: Pattern, theirs: Pattern) -> Self {
        Self {
            program,
            ours,
            theirs,
            socket: None,
            opened: false,
            done: false,
            writer: Place::default(),
            reader: Place::default(),
            report: EndReport::default(),
        }
    }

    /// Its connection begins; a listener's is open at once.
    pub(crate) fn begin(&mut self, socket: Socket) {
        self.socket = Some(socket);
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.socket.is_some()
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    pub(crate) fn report(&self) -> &EndReport {
        &self.report
    }

    /// There is no connection, and will be none.
    pub(crate) fn fail(&mut self, ended: Ended) {
        self.report.ended = ended;
        self.done = true;
    }

    /// Plays as far as it gets; says when it wants to go on by itself.
    pub(crate) fn play(&mut self, now: Instant, host: &mut dyn Peer) -> Option<Instant> {
        let socket = self.socket.filter(|_| !self.done)?;
        if !self.opened {
            match host.phase(socket) {
                Phase::Opening => return None,
                Phase::Open => self.opened = true,
                Phase::Failed(ended) => {
                    host.release(now, socket);
                    self.fail(ended);
                    return None;
                }
            }
        }
        loop {
            let before = (self.writer.done, self.reader.done, self.report.read);
            while !self.done && self.write(now, host, socket) {}
            while !self.done && self.read(now, host, socket) {}
            if before == (self.writer.done, self.reader.done, self.report.read) {
                break;
            }
        }
        if !self.done && self.writer.done && self.reader.done {
            self.let_go(now, host, socket);
        }
        let wakes = [self.writer.wake(now), self.reader.wake(now)];
        wakes.into_iter().flatten().min().filter(|_| !self.done)
    }

    fn let_go(&mut self, now: Instant, host: &mut dyn Peer, socket: Socket) {
        if self.report.ended == Ended::Unfinished {
            self.report.ended = self.report.write_error.unwrap_or(Ended::LetGo);
        }
        host.release(now, socket);
        self.done = true;
    }

    fn abort(&mut self, now: Instant, host: &mut dyn Peer, socket: Socket) {
        host.abort(now, socket);
        if self.report.ended == Ended::Unfinished {
            self.report.ended = Ended::Aborted;
        }
        self.report.aborted = true;
        self.done = true;
    }

    /// Takes the writer's next step, or a part of it; false when it has to wait.
    fn write(&mut self, now: Instant, host: &mut dyn Peer, socket: Socket) -> bool {
        if self.writer.done {
            return false;
        }
        let Some(&op) = self.program.send.get(self.writer.step) else {
            self.writer.done = true;
            if !self.report.finished && self.report.write_error.is_none() {
                self.shutdown(now, host, socket);
            }
            return true;
        };
        match op {
            SendOp::Write(size, _) if self.writer.moved == size => self.writer.next_step(),
            SendOp::Write(size, pieces) => {
                if self.writer.is_between_calls(now) {
                    return false;
                }
                let piece = pieces.size.map_or(CALL, u64::from);
                let call = piece.min(CALL).min(size - self.writer.moved);
                let data = self.ours.bytes(self.report.written, call as usize);
                match host.write(now, socket, &data) {
                    Ok(0) => return false,
                    Ok(taken) => {
                        self.report.written += taken as u64;
                        self.writer.on_call(now, taken as u64, pieces);
                    }
                    Err(error) => self.on_write_error(error),
                }
            }
            SendOp::Wait(time) => {
                if !self.writer.has_passed(now, time) {
                    return false;
                }
                self.writer.next_step();
            }
            SendOp::Await(size) => {
                if self.report.read < size && !self.reader.done {
                    return false;
                }
                self.writer.next_step();
            }
            SendOp::Shutdown => {
                self.shutdown(now, host, socket);
                self.writer.next_step();
            }
            SendOp::Abort => self.abort(now, host, socket),
        }
        true
    }

    fn shutdown(&mut self, now: Instant, host: &mut dyn Peer, socket: Socket) {
        match host.shutdown(now, socket) {
            Ok(()) => self.report.finished = true,
            Err(error) => self.on_write_error(error),
        }
    }

    fn on_write_error(&mut self, error: Ended) {
        self.report.write_error = Some(error);
        self.writer.done = true;
    }

    /// Takes the reader's next step, or a part of it; false when it has to wait.
    fn read(&mut self, now: Instant, host: &mut dyn Peer, socket: Socket) -> bool {
        if self.reader.done {
            return false;
        }
        let Some(&op) = self.program.receive.get(self.reader.step) else {
            self.reader.done = true;
            return true;
        };
        match op {
            ReceiveOp::Read(size, _) if self.reader.moved == size => self.reader.next_step(),
            ReceiveOp::Read(size, pieces) => {
                return self.take(now, host, socket, size - self.reader.moved, pieces);
            }
            ReceiveOp::ReadToEnd(pieces) => return self.take(now, host, socket, CALL, pieces),
            ReceiveOp::Pause(time) => {
                if !self.reader.has_passed(now, time) {
                    return false;
                }
                self.reader.next_step();
            }
            ReceiveOp::Abort => self.abort(now, host, socket),
        }
        true
    }

    /// One call that reads.
    fn take(
        &mut self,
        now: Instant,
        host: &mut dyn Peer,
        socket: Socket,
        most: u64,
        pieces: Pieces,
    ) -> bool {
        if self.reader.is_between_calls(now) {
            return false;
        }
        let piece = pieces.size.map_or(CALL, u64::from);
        match host.read(now, socket, piece.min(CALL).min(most) as usize) {
            Got::Nothing => false,
            Got::Data(data) => {
                let difference = self.theirs.difference(self.report.read, &data);
                self.report.difference = self.report.difference.or(difference);
                self.report.read += data.len() as u64;
                self.reader.on_call(now, data.len() as u64, pieces);
                true
            }
            Got::End(ended) => {
                self.report.ended = ended;
                self.reader.done = true;
                true
            }
        }
    }
}
