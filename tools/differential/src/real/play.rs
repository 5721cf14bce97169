//! An application's end of one connection, played on a socket of either stack.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::pin;
use std::task::Poll;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::{End, EndReport, Ended, Pattern, Pieces, Program, ReceiveOp, SendOp};

/// Bytes of one read at most, unless the script says less.
const READ: usize = 64 << 10;

/// A connection of either stack.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// Ends it with a RST.
    fn abort(self);
}

impl Socket for ustack::TcpStream {
    fn abort(self) {
        Self::abort(&self);
    }
}

impl Socket for tokio::net::TcpStream {
    fn abort(self) {
        // A socket that takes no options is gone already.
        let _ = self.set_zero_linger();
    }
}

/// Plays a program to its end; `already` bytes have been written before.
///
/// `report` is up to date at any time, so that it can be looked at when the end never comes.
pub(super) async fn play<S: Socket>(
    socket: S,
    program: &Program,
    (flow, end): (usize, End),
    already: u64,
    report: &Cell<EndReport>,
) {
    let (mut reader, mut writer) = split(socket);
    let progress = Progress {
        report,
        no_more: Cell::new(false),
        moved: Notify::new(),
    };
    progress.note(|report| report.written = already);
    let aborted = both(
        progress.send(&mut writer, &program.send, Pattern::new(flow, end)),
        progress.receive(
            &mut reader,
            &program.receive,
            Pattern::new(flow, end.peer()),
        ),
    )
    .await;
    let socket = reader.unsplit(writer);
    if aborted {
        socket.abort();
        progress.note(|report| report.ended = Ended::Aborted);
    }
}

/// What an error is to the application.
pub(super) fn ended(error: &io::Error) -> Ended {
    match error.kind() {
        ErrorKind::ConnectionRefused => Ended::Refused,
        ErrorKind::TimedOut => Ended::TimedOut,
        ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable => Ended::InUse,
        _ => Ended::Reset,
    }
}

/// Whether a list of steps ended with a reset.
type Aborted = bool;

/// Runs both lists until both are over, or one resets the connection.
async fn both(
    send: impl Future<Output = Aborted>,
    receive: impl Future<Output = Aborted>,
) -> Aborted {
    let (mut send, mut receive) = (pin!(send), pin!(receive));
    let mut over = [false; 2];
    poll_fn(|cx| {
        for (index, over) in over.iter_mut().enumerate() {
            if *over {
                continue;
            }
            let polled = match index {
                0 => send.as_mut().poll(cx),
                _ => receive.as_mut().poll(cx),
            };
            match polled {
                Poll::Ready(true) => return Poll::Ready(true),
                Poll::Ready(false) => *over = true,
                Poll::Pending => {}
            }
        }
        if over == [true; 2] {
            Poll::Ready(false)
        } else {
            Poll::Pending
        }
    })
    .await
}

/// How far an end is.
struct Progress<'a> {
    report: &'a Cell<EndReport>,
    /// The reader will get no more.
    no_more: Cell<bool>,
    moved: Notify,
}

impl Progress<'_> {
    fn note(&self, change: impl FnOnce(&mut EndReport)) {
        let mut report = self.report.get();
        change(&mut report);
        self.report.set(report);
    }

    async fn send<S: Socket>(
        &self,
        writer: &mut WriteHalf<S>,
        ops: &[SendOp],
        pattern: Pattern,
    ) -> Aborted {
        // What Fast Open has sent is the beginning of the first write.
        let mut skip = self.report.get().written;
        for op in ops {
            let done = match *op {
                SendOp::Write(size, pieces) => {
                    let skipped = skip.min(size);
                    skip -= skipped;
                    self.write(writer, size - skipped, pieces, pattern).await
                }
                SendOp::Wait(time) => {
                    sleep(time).await;
                    Ok(())
                }
                SendOp::Await(size) => {
                    while self.report.get().read < size && !self.no_more.get() {
                        self.moved.notified().await;
                    }
                    Ok(())
                }
                SendOp::Shutdown => self.finish(writer).await,
                SendOp::Abort => return true,
            };
            if done.is_err() {
                return false;
            }
        }
        // Who has nothing more to write says so.
        if !self.report.get().finished {
            let _ = self.finish(writer).await;
        }
        false
    }

    async fn finish<S: Socket>(&self, writer: &mut WriteHalf<S>) -> io::Result<()> {
        let done = writer.shutdown().await;
        self.note(|report| report.finished = done.is_ok());
        self.not_failed(done)
    }

    /// Notes how writing failed.
    fn not_failed<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|error| {
            self.note(|report| report.write_error = Some(ended(error)));
        })
    }

    async fn write<S: Socket>(
        &self,
        writer: &mut WriteHalf<S>,
        mut left: u64,
        pieces: Pieces,
        pattern: Pattern,
    ) -> io::Result<()> {
        while left > 0 {
            let call = pieces.size.map_or(left, |size| left.min(size.into()));
            let bytes = pattern.bytes(self.report.get().written, call as usize);
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let taken = self.not_failed(writer.write(rest).await)?;
                rest = &rest[taken..];
                self.note(|report| report.written += taken as u64);
            }
            left -= call;
            if left > 0 && !pieces.gap.is_zero() {
                sleep(pieces.gap).await;
            }
        }
        Ok(())
    }

    async fn receive<S: Socket>(
        &self,
        reader: &mut ReadHalf<S>,
        ops: &[ReceiveOp],
        pattern: Pattern,
    ) -> Aborted {
        for op in ops {
            match *op {
                ReceiveOp::Read(size, pieces) => self.read(reader, size, pieces, pattern).await,
                ReceiveOp::ReadToEnd(pieces) => {
                    self.read(reader, u64::MAX, pieces, pattern).await;
                }
                ReceiveOp::Pause(time) => sleep(time).await,
                ReceiveOp::Abort => return true,
            }
        }
        self.end_reading(Ended::LetGo);
        false
    }

    /// Reads so many bytes, or up to the end.
    async fn read<S: Socket>(
        &self,
        reader: &mut ReadHalf<S>,
        mut left: u64,
        pieces: Pieces,
        pattern: Pattern,
    ) {
        let size = pieces.size.map_or(READ, |size| (size as usize).min(READ));
        let mut buffer = vec![0; size];
        while left > 0 && !self.no_more.get() {
            let room = left.min(size as u64) as usize;
            match reader.read(&mut buffer[..room]).await {
                // Who wrote has the error; who reads finds an end instead.
                Ok(0) => {
                    let failed = self.report.get().write_error;
                    self.end_reading(failed.unwrap_or(Ended::Eof));
                }
                Err(error) => self.end_reading(ended(&error)),
                Ok(read) => {
                    let wrong = pattern.difference(self.report.get().read, &buffer[..read]);
                    self.note(|report| {
                        report.difference = report.difference.or(wrong);
                        report.read += read as u64;
                    });
                    self.moved.notify_one();
                    left -= read as u64;
                    if left > 0 && !pieces.gap.is_zero() {
                        sleep(pieces.gap).await;
                    }
                }
            }
        }
    }

    /// The first end that the reader finds is the one.
    fn end_reading(&self, ended: Ended) {
        if !self.no_more.replace(true) {
            self.note(|report| report.ended = ended);
            self.moved.notify_one();
        }
    }
}
