//! The script's connections, opened and played at both ends.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::select;
use tokio::sync::{Notify, oneshot};
use tokio::time::sleep;

use super::hosts::Host;
use super::play::{ended, play};
use crate::{End, EndReport, Ended, Opener, Pattern, Script, SendOp, Start};

/// How long after its opener's end a connection may still be handed out by the listener: a
/// handshake whose last ACK was lost a few times.
const LATE: Duration = Duration::from_secs(8);

/// Bytes that Fast Open begins with at most.
const EARLY: u64 = 500;

/// What the applications of one connection saw so far.
#[derive(Debug, Default)]
pub(super) struct Reports {
    ends: [Cell<EndReport>; 2],
    over: [Cell<bool>; 2],
    changed: Notify,
}

impl Reports {
    pub(super) fn get(&self) -> [EndReport; 2] {
        [self.ends[0].get(), self.ends[1].get()]
    }

    fn is_over(&self) -> bool {
        self.over.iter().all(Cell::get)
    }

    async fn wait(&self, condition: impl Fn(&Self) -> bool) {
        while !condition(self) {
            let changed = self.changed.notified();
            if condition(self) {
                return;
            }
            changed.await;
        }
    }

    /// Notes how an end that never had a connection ended.
    fn fail(&self, end: End, ended: Ended) {
        let mut report = self.ends[end as usize].get();
        report.ended = ended;
        self.ends[end as usize].set(report);
    }

    fn end(&self, end: End) {
        self.over[end as usize].set(true);
        self.changed.notify_waiters();
    }
}

/// Both hosts and what is going on between them.
pub(super) struct Flows<'a, A: Host, B: Host> {
    pub(super) script: &'a Script,
    pub(super) a: A,
    pub(super) b: B,
    pub(super) fast_open: bool,
    pub(super) reports: &'a [Reports],
}

/// Which connections wait to be accepted, by their opener's port; the one that began last is last.
type Expected<S> = RefCell<HashMap<u16, Vec<(usize, oneshot::Sender<S>)>>>;

impl<A: Host, B: Host> Flows<'_, A, B> {
    /// Plays the whole script.
    pub(super) async fn run(&self) -> io::Result<()> {
        let (at_a, at_b) = (Expected::default(), Expected::default());
        let flows = (0..self.script.flows.len()).map(|flow| self.flow(flow, &at_a, &at_b));
        select! {
            _ = join_all(flows) => Ok(()),
            error = accept(&self.a, &at_a) => error,
            error = accept(&self.b, &at_b) => error,
        }
    }

    async fn flow(&self, flow: usize, at_a: &Expected<A::Socket>, at_b: &Expected<B::Socket>) {
        match self.script.flows[flow].start {
            Start::At(time) => sleep(time).await,
            Start::After(other) => self.reports[other].wait(Reports::is_over).await,
        }
        let ports = self.script.ports(flow);
        let (remote_of_a, remote_of_b) = match self.script.flows[flow].opener {
            Opener::One(End::A) => (Some(ports.other), None),
            Opener::One(End::B) => (None, Some(ports.other)),
            Opener::Both => (Some(ports.other), Some(ports.opener)),
        };
        let local_of_b = match self.script.flows[flow].opener {
            Opener::Both => ports.other,
            Opener::One(_) => ports.opener,
        };
        let to_b = remote_of_a.map(|port| (ports.opener, self.b.at(port)));
        let to_a = remote_of_b.map(|port| (local_of_b, self.a.at(port)));
        tokio::join!(
            self.end(&self.a, End::A, flow, to_b, at_a),
            self.end(&self.b, End::B, flow, to_a, at_b),
        );
    }

    /// One end of a connection, from its opening on.
    async fn end<H: Host>(
        &self,
        host: &H,
        end: End,
        flow: usize,
        connect: Option<(u16, std::net::SocketAddr)>,
        expected: &Expected<H::Socket>,
    ) {
        let reports = &self.reports[flow];
        let opened = if let Some((local, remote)) = connect {
            host.connect(local, remote, self.early(flow, end)).await
        } else {
            let port = self.script.ports(flow).opener;
            let accepted = self.accepted(flow, end, port, expected).await;
            accepted.map(|socket| (socket, 0))
        };
        match opened {
            Ok((socket, already)) => {
                let program = &self.script.flows[flow].programs[end as usize];
                let report = &reports.ends[end as usize];
                play(socket, program, (flow, end), already, report).await;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                reports.fail(end, Ended::NeverOpened);
            }
            Err(error) => reports.fail(end, ended(&error)),
        }
        reports.end(end);
    }

    /// What an opener may say with its SYN.
    fn early(&self, flow: usize, end: End) -> Option<Bytes> {
        let program = &self.script.flows[flow].programs[end as usize];
        match program.send.first() {
            // Linux does not answer a SYN while its own waits for the first write.
            Some(SendOp::Write(size, _))
                if self.fast_open && self.script.flows[flow].opener != Opener::Both =>
            {
                let size = (*size).min(EARLY) as usize;
                Some(Pattern::new(flow, end).bytes(0, size))
            }
            _ => None,
        }
    }

    /// The connection that comes from `port`.
    async fn accepted<S>(
        &self,
        flow: usize,
        end: End,
        port: u16,
        expected: &Expected<S>,
    ) -> io::Result<S> {
        let (sender, receiver) = oneshot::channel();
        expected
            .borrow_mut()
            .entry(port)
            .or_default()
            .push((flow, sender));
        let reports = &self.reports[flow];
        let too_late = async {
            let peer = end.peer() as usize;
            reports.wait(|reports| reports.over[peer].get()).await;
            if reports.ends[peer].get().ended != Ended::InUse {
                sleep(LATE).await;
            }
        };
        let accepted = select! {
            biased;
            Ok(socket) = receiver => Ok(socket),
            () = too_late => Err(io::ErrorKind::NotFound.into()),
        };
        if let Some(waiting) = expected.borrow_mut().get_mut(&port) {
            waiting.retain(|(other, _)| *other != flow);
        }
        accepted
    }
}

/// Hands out the connections of a listener; what nobody expects is closed again.
async fn accept<H: Host>(host: &H, expected: &Expected<H::Socket>) -> io::Result<()> {
    loop {
        let (socket, from) = host.accept().await?;
        let waiting = expected
            .borrow_mut()
            .get_mut(&from.port())
            .and_then(Vec::pop);
        if let Some((_, sender)) = waiting {
            // Who expected it may have given up.
            drop(sender.send(socket));
        }
    }
}
