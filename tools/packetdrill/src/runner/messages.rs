//! `sendmsg`, `recvmsg`, `poll`, `epoll`: calls whose arguments have a structure.

use ustack::tcp::testing::script::ast::{Call, Expr};
use ustack::tcp::time::Duration;

use super::calls::{Answer, Begun};
use super::sockets::{arg, vectors};
use super::values::{address, int, integer, size};
use super::{Result, Runner, not_runnable};
use crate::kernel::{Call as KernelCall, Control, EpollEvent, Message, PollFd, Received, Recv};

impl Runner<'_> {
    pub(super) fn message(&mut self, name: &str, args: &[Expr]) -> Result<Begun> {
        let fd = self.fd(arg(args, 0)?)?;
        let header = arg(args, 1)?;
        let flags = int(arg(args, 2)?)?;
        let data = vectors(header.field("msg_iov").unwrap_or(&Expr::List(Vec::new())))?;
        if name == "recvmsg" {
            let recv = Recv {
                len: data.len(),
                flags,
                fault: false,
            };
            return Ok(Begun::Waits(KernelCall::Recv(fd, recv)));
        }
        let to = match header.field("msg_name") {
            Some(name) if flags & libc::MSG_FASTOPEN != 0 => address(name, self.shown_remote())?,
            _ => None,
        };
        let control = header.field("msg_control").map_or(&[][..], Expr::elements);
        let data = self.note_write(integer(arg(args, 0)?)?, data);
        let message = Message {
            data,
            to,
            flags,
            control: control.iter().map(control_of).collect::<Result<_>>()?,
        };
        self.note_fast_open(args, &message)?;
        Ok(Begun::Waits(KernelCall::Send(fd, message)))
    }

    pub(super) fn compare_received(
        &self,
        call: &Call,
        received: &Received,
    ) -> Result<Option<String>> {
        if call.name != "recvmsg" {
            return Ok(None);
        }
        let header = arg(&call.args, 1)?;
        if let Some(flags) = header.field("msg_flags").filter(|e| **e != Expr::Ellipsis) {
            let wanted = int(flags)?;
            if wanted != received.flags {
                return Ok(Some(format!("msg_flags are {:#x}", received.flags)));
            }
        }
        let Some(control) = header
            .field("msg_control")
            .filter(|e| **e != Expr::Ellipsis)
        else {
            return Ok(None);
        };
        let wanted = control.elements();
        if wanted.len() != received.control.len() {
            return Ok(Some(format!("{} control messages", received.control.len())));
        }
        for (wanted, got) in wanted.iter().zip(&received.control) {
            if !self.same_control(wanted, got)? {
                return Ok(Some(format!("the control message is {got:?}")));
            }
        }
        Ok(None)
    }

    fn same_control(&self, wanted: &Expr, got: &Control) -> Result<bool> {
        let field = |name: &str| {
            wanted
                .field(name)
                .ok_or_else(|| not_runnable(format!("a control message without {name}")))
        };
        let head = int(field("cmsg_level")?)? == got.level && int(field("cmsg_type")?)? == got.kind;
        let data = field("cmsg_data")?;
        let number = |at: usize, len: usize| {
            let mut bytes = [0; 8];
            let from = got.data.get(at..at + len)?;
            bytes[..len].copy_from_slice(from);
            Some(i64::from_le_bytes(bytes))
        };
        if let (Some(secs), Some(nanos)) = (data.field("scm_sec"), data.field("scm_nsec")) {
            let wanted = integer(secs)? * 1_000_000_000 + integer(nanos)?;
            let got = number(0, 8).zip(number(8, 8));
            let got = got.map(|(secs, nanos)| secs * 1_000_000_000 + nanos);
            let start = self.start.as_nanos() as i64;
            let slack = self.settings.tolerance.nanos;
            return Ok(head && got.is_some_and(|got| (got - start - wanted).abs() <= slack));
        }
        // `struct sock_extended_err`.
        let fields = [
            ("ee_errno", 0, 4),
            ("ee_origin", 4, 1),
            ("ee_type", 5, 1),
            ("ee_code", 6, 1),
            ("ee_info", 8, 4),
            ("ee_data", 12, 4),
        ];
        if data.field("ee_errno").is_some() {
            let mut same = head;
            for (name, at, len) in fields {
                let wanted = data.field(name).map_or(Ok(0), integer)?;
                same &= number(at, len) == Some(wanted);
            }
            return Ok(same);
        }
        let wanted = integer(data)?;
        Ok(head && number(0, got.data.len().min(4)) == Some(wanted))
    }

    pub(super) fn poll_call(&mut self, name: &str, args: &[Expr]) -> Result<Begun> {
        Ok(match name {
            "poll" => {
                let mut fds = Vec::new();
                for entry in arg(args, 0)?.elements() {
                    let field = |name: &str| entry.field(name).unwrap_or(&Expr::Number(0));
                    fds.push(PollFd {
                        fd: self.fd(field("fd"))?,
                        events: int(field("events"))? as i16,
                        revents: 0,
                    });
                }
                Begun::Waits(KernelCall::Poll(fds, timeout(arg(args, 2)?)?))
            }
            "epoll_ctl" => {
                let (epfd, op) = (self.fd(arg(args, 0)?)?, int(arg(args, 1)?)?);
                let fd = self.fd(arg(args, 2)?)?;
                let event = args.get(3).map_or(Ok(EpollEvent::default()), event_of)?;
                let result = self.kernel.epoll_ctl(epfd, op, fd, event);
                Begun::Done(result.map(|()| Answer::Number(0)))
            }
            "epoll_wait" => {
                let epfd = self.fd(arg(args, 0)?)?;
                let max = size(arg(args, 2)?)?;
                Begun::Waits(KernelCall::EpollWait(epfd, max, timeout(arg(args, 3)?)?))
            }
            _ => Begun::Done(self.kernel.epoll_create().map(Answer::Fd)),
        })
    }

    pub(super) fn compare_polled(call: &Call, fds: &[PollFd]) -> Result<Option<String>> {
        let wanted = arg(&call.args, 0)?.elements();
        for (wanted, got) in wanted.iter().zip(fds) {
            let Some(revents) = wanted.field("revents") else {
                continue;
            };
            if int(revents)? as i16 != got.revents {
                return Ok(Some(format!("revents are {:#x}", got.revents)));
            }
        }
        Ok(None)
    }

    /// Only the first event is looked at.
    pub(super) fn compare_events(call: &Call, events: &[EpollEvent]) -> Result<Option<String>> {
        let Some(got) = events.first() else {
            return Ok(None);
        };
        let wanted = arg(&call.args, 1)?;
        if *wanted == Expr::Ellipsis {
            return Ok(None);
        }
        let wanted = event_of(wanted)?;
        Ok((wanted != *got).then(|| format!("the event is {:#x} of {}", got.events, got.data)))
    }
}

/// Milliseconds; a negative number is for ever.
fn timeout(expr: &Expr) -> Result<Option<Duration>> {
    let millis = integer(expr)?;
    Ok(u64::try_from(millis).ok().map(Duration::from_millis))
}

/// `{events=…, fd=…}`: the script's own number comes back as it is.
fn event_of(expr: &Expr) -> Result<EpollEvent> {
    let events = expr.field("events").map_or(Ok(0), integer)? as u32;
    let data = ["fd", "ptr", "u32", "u64"]
        .iter()
        .find_map(|name| expr.field(name));
    Ok(EpollEvent {
        events,
        data: data.map_or(Ok(0), integer)? as u64,
    })
}

fn control_of(expr: &Expr) -> Result<Control> {
    let field = |name: &str| {
        expr.field(name)
            .ok_or_else(|| not_runnable(format!("a control message without {name}")))
    };
    Ok(Control {
        level: int(field("cmsg_level")?)?,
        kind: int(field("cmsg_type")?)?,
        data: int(field("cmsg_data")?)?.to_ne_bytes().to_vec(),
    })
}
