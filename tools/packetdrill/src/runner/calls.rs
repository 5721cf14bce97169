//! System calls: begun, waited for, and their results compared.

use std::net::SocketAddr;

use ustack::tcp::testing::script::ast::{Call, Expr, Nanos};
use ustack::tcp::time::Instant;

use super::sockets::arg;
use super::values::{int, integer};
use super::{MAX_TURNS, PATIENCE, Result, Runner, failed};
use crate::kernel::{Blocking, Call as KernelCall, EpollEvent, Errno, Fd, PollFd, Received, Reply};
use crate::options::{Suite, Tolerance};
use crate::symbols;

/// A call that waits.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    call: Call,
    blocking: Blocking,
    /// When it must return.
    end: Nanos,
    slack: Nanos,
    /// Its line.
    line: usize,
}

impl Pending {
    pub(super) fn name(&self) -> &str {
        &self.call.name
    }

    pub(super) const fn is_opening(&self) -> bool {
        self.blocking.is_opening()
    }

    /// When it gives up by itself.
    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.blocking.deadline()
    }
}

/// What a call came back with.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Number(i64),
    Fd(Fd),
    /// A file of zeroes, which only the runner knows.
    ZeroFile,
    Accepted(Fd, SocketAddr),
    /// The two ends of a pipe.
    Pair([Fd; 2]),
    /// What `getsockopt` stored.
    Option(Vec<u8>),
    /// What `ioctl` stored.
    Stored(i32),
    Received(Received),
    Polled(Vec<PollFd>),
    Events(Vec<EpollEvent>),
}

/// How a call begins.
pub(super) enum Begun {
    Done(std::result::Result<Answer, Errno>),
    /// It may have to wait.
    Waits(KernelCall),
}

impl From<std::result::Result<Answer, Errno>> for Begun {
    fn from(result: std::result::Result<Answer, Errno>) -> Self {
        Self::Done(result)
    }
}

impl Runner<'_> {
    /// Makes a call; with `end`, it must return then and not before.
    pub(super) fn call(&mut self, call: &Call, end: Option<Nanos>) -> Result<()> {
        let begun = self.begin(call)?;
        let now = self.elapsed();
        let end = end.map(|end| {
            let Tolerance { nanos, part } = self.settings.tolerance;
            (end, nanos.max(((end - self.last) as f64 * part) as i64))
        });
        let result = match begun {
            Begun::Done(result) => result,
            Begun::Waits(kernel_call) => {
                let mut blocking = Blocking::new(&self.kernel, kernel_call);
                let attempt = blocking.attempt(&mut self.kernel);
                self.collect();
                match (attempt, end) {
                    (Some(reply), _) => answer(reply),
                    (None, Some((end, slack))) => {
                        if self.pending.is_some() {
                            return failed("two calls wait at once");
                        }
                        self.pending = Some(Pending {
                            call: call.clone(),
                            blocking,
                            end,
                            slack,
                            line: self.line,
                        });
                        return Ok(());
                    }
                    (None, None) if self.goes_on_alone(call) => {
                        self.background.push(blocking);
                        Ok(Answer::Number(integer(arg(&call.args, 2)?)?))
                    }
                    (None, None) => self.wait(blocking)?,
                }
            }
        };
        if let Some((end, slack)) = end
            && end - now > slack
        {
            return failed(format!("{} returned at once, without waiting", call.name));
        }
        self.finish(call, result)
    }

    /// A call without an end time may wait, for what the host's own timers bring.
    fn wait(&mut self, mut blocking: Blocking) -> Result<std::result::Result<Answer, Errno>> {
        let limit = self.kernel.now() + PATIENCE;
        for _ in 0..MAX_TURNS {
            let limit = blocking
                .deadline()
                .map_or(limit, |deadline| deadline.min(limit));
            if !self.kernel.advance_to_next(limit) {
                if blocking.deadline() != Some(limit) {
                    return failed("the call waits for ever");
                }
                self.kernel.advance_to(limit);
            }
            if let Some(reply) = blocking.attempt(&mut self.kernel) {
                self.collect();
                return Ok(answer(reply));
            }
        }
        failed("the call waits for ever")
    }

    /// On FreeBSD, a `sendto` that opens a connection queues its bytes and returns at once.
    fn goes_on_alone(&self, call: &Call) -> bool {
        self.options.suite == Suite::Freebsd && call.name == "sendto"
    }

    /// Asks the call that waits once more; whether it returned as it must.
    pub(super) fn retry(&mut self) -> Result<()> {
        let kernel = &mut self.kernel;
        // How they end, the script learns from what leaves.
        self.background
            .retain_mut(|send| send.attempt(kernel).is_none());
        let Some(mut pending) = self.pending.take() else {
            return Ok(());
        };
        let attempt = pending.blocking.attempt(&mut self.kernel);
        self.collect();
        let Some(reply) = attempt else {
            if self.elapsed() > pending.end.saturating_add(pending.slack) {
                self.line = pending.line;
                return failed(format!("{} has not returned", pending.call.name));
            }
            self.pending = Some(pending);
            return Ok(());
        };
        let now = self.elapsed();
        let here = std::mem::replace(&mut self.line, pending.line);
        if (now - pending.end).abs() > pending.slack {
            return failed(format!(
                "{} returned at {:.4} s, not {:.4} s",
                pending.call.name,
                now as f64 / 1e9,
                pending.end as f64 / 1e9
            ));
        }
        self.finish(&pending.call, answer(reply))?;
        self.line = here;
        Ok(())
    }

    /// Compares what a call came back with.
    fn finish(&mut self, call: &Call, result: std::result::Result<Answer, Errno>) -> Result<()> {
        let args: Vec<_> = call.args.iter().map(Expr::describe).collect();
        let head = format!("{}({})", call.name, args.join(", "));
        let wanted = match (&call.result, &call.errno) {
            (None, _) => "?".to_string(),
            (Some(expr), None) => expr.describe(),
            (Some(expr), Some(errno)) => format!("{} {errno}", expr.describe()),
        };
        let mut wrong = self.compare(call, &result)?;
        if let Ok(answer) = result {
            let bytes = self.note_result(call, &answer);
            if wrong.is_none() {
                wrong = self.compare_stored(call, &answer)?.or(bytes);
            }
        }
        let wanted = format!("{head} = {wanted}");
        let got = wrong.clone().unwrap_or_else(|| wanted.clone());
        self.row(' ', wanted, got);
        match wrong {
            Some(wrong) if !self.settings.lenient_calls => failed(format!("{head}: {wrong}")),
            _ => Ok(()),
        }
    }

    /// The result and the error; `Some` says what differs.
    fn compare(
        &mut self,
        call: &Call,
        result: &std::result::Result<Answer, Errno>,
    ) -> Result<Option<String>> {
        let Some(wanted) = &call.result else {
            return Ok(None);
        };
        let wanted = integer(wanted)?;
        let answer = match result {
            Err(errno) => {
                let name = symbols::errno_name(*errno);
                let same = match &call.errno {
                    None => true,
                    Some(wanted) => integer(&Expr::Name(wanted.clone()))? == i64::from(*errno),
                };
                let same = wanted == -1 && same;
                return Ok((!same).then(|| format!("-1 {name}")));
            }
            Ok(answer) => answer,
        };
        let got = match answer {
            Answer::Number(n) => *n,
            Answer::Option(_) | Answer::Stored(_) | Answer::Pair(_) => 0,
            Answer::Received(received) => received.len as i64,
            Answer::Polled(fds) => fds.iter().filter(|fd| fd.revents != 0).count() as i64,
            Answer::Events(events) => events.len() as i64,
            Answer::Fd(fd) | Answer::Accepted(fd, _) => {
                if wanted >= 0 {
                    self.files.insert(wanted, *fd);
                    self.forget_stream(wanted);
                    self.on_new_fd(wanted, answer);
                    wanted
                } else {
                    i64::from(*fd)
                }
            }
            Answer::ZeroFile => {
                self.zeroes.insert(wanted);
                wanted
            }
        };
        Ok((got != wanted).then(|| got.to_string()))
    }

    /// The script has a descriptor for a connection now.
    fn on_new_fd(&mut self, fd: i64, answer: &Answer) {
        match answer {
            Answer::Accepted(_, peer) => {
                self.last_fd = Some(fd);
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                let flow = self.flows.iter_mut().rev().find(|flow| flow.remote == peer);
                if let Some(flow) = flow {
                    flow.fd = Some(fd);
                }
            }
            _ if self.last_fd.is_none() => self.last_fd = Some(fd),
            _ => {}
        }
    }

    /// What a call stored where its arguments point; `Some` says what differs.
    fn compare_stored(&mut self, call: &Call, answer: &Answer) -> Result<Option<String>> {
        match answer {
            Answer::Option(bytes) => self.compare_option(call, bytes),
            Answer::Stored(value) => {
                let Some(wanted) = call.args.get(2).filter(|expr| **expr != Expr::Ellipsis) else {
                    return Ok(None);
                };
                let wanted = int(wanted)?;
                Ok((wanted != *value).then(|| format!("it stored {value}")))
            }
            Answer::Pair(ends) => {
                let wanted = call.args.first().map_or(&[][..], Expr::elements);
                for (expr, end) in wanted.iter().zip(ends) {
                    self.files.insert(integer(expr)?, *end);
                }
                Ok(None)
            }
            Answer::Received(received) => self.compare_received(call, received),
            Answer::Polled(fds) => Self::compare_polled(call, fds),
            Answer::Events(events) => Self::compare_events(call, events),
            _ => Ok(None),
        }
    }

    fn compare_option(&mut self, call: &Call, bytes: &[u8]) -> Result<Option<String>> {
        let option = (int(arg(&call.args, 1)?)?, int(arg(&call.args, 2)?)?);
        if self.has_other_buffers(option.0, option.1) {
            return Ok(None);
        }
        let Some(wanted) = call.args.get(3).filter(|expr| **expr != Expr::Ellipsis) else {
            return Ok(None);
        };
        let wanted = super::values::option_value(wanted, Some(bytes.len()))?;
        let len = wanted.len().min(bytes.len());
        if wanted[..len] == bytes[..len] {
            return Ok(None);
        }
        let number = |bytes: &[u8]| bytes.first_chunk().map(|four| i32::from_ne_bytes(*four));
        Ok(Some(match number(bytes) {
            Some(got) => format!("the option is {got}"),
            None => format!("the option is {bytes:?}"),
        }))
    }
}

/// The reply of a call that may wait.
fn answer(reply: std::result::Result<Reply, Errno>) -> std::result::Result<Answer, Errno> {
    Ok(match reply? {
        Reply::Done => Answer::Number(0),
        Reply::Accepted(fd, peer) => Answer::Accepted(fd, peer),
        Reply::Count(n) => Answer::Number(n as i64),
        Reply::Received(received) => Answer::Received(received),
        Reply::Polled(fds) => Answer::Polled(fds),
        Reply::Events(events) => Answer::Events(events),
    })
}
