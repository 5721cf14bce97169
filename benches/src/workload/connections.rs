//! Connections come and go, or stay.

use super::{Cable, Workload};
use crate::peer::{ACK, Client, FIN, RST};
use crate::subject::{Needs, Subject};

/// How the client ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// By FIN; the subject's follows.
    Fin,
    /// By RST.
    Rst,
}

/// A handshake, accepted, and the end at once.
///
/// A unit is a connection.
pub struct Connect<S: Subject> {
    cable: Cable<S>,
    close: Close,
    flow: u32,
}

impl<S: Subject> Connect<S> {
    /// Connections that end this way.
    pub fn new(close: Close) -> Self {
        Self {
            cable: Cable::new(S::new(Needs::default())),
            close,
            flow: 0,
        }
    }
}

impl<S: Subject> Workload for Connect<S> {
    fn run(&mut self, units: u64) {
        let Self { cable, .. } = self;
        for _ in 0..units {
            let mut client = Client::new(self.flow % 50_000);
            self.flow += 1;
            let conn = cable.open(&mut client);
            let flags = match self.close {
                Close::Fin => FIN | ACK,
                Close::Rst => RST | ACK,
            };
            cable.deliver(&client.send(flags, 0));
            assert_eq!(cable.subject.read(cable.now, conn), 0);
            cable.subject.close(cable.now, conn);
            cable.transmit(1);
            if self.close == Close::Fin {
                cable
                    .sent
                    .iter()
                    .for_each(|segment| client.on_segment(segment));
                assert_ne!(cable.sent.last().map_or(0, |last| last.flags & FIN), 0);
                cable.deliver(&client.ack());
            }
            cable.subject.settle(cable.now);
            cable.transmit(1);
            assert_eq!(cable.subject.connections(), 0, "the connection is over");
        }
    }
}

/// Connections that open, a batch a turn, and stay.
///
/// A unit is a connection.
pub struct Open<S: Subject> {
    cable: Cable<S>,
    clients: Vec<Client>,
    opened: u32,
    conns: Vec<S::Conn>,
}

impl<S: Subject> Open<S> {
    /// SYNs of a turn.
    const BATCH: u32 = 32;

    /// At most so many connections.
    pub fn new(connections: u32) -> Self {
        Self {
            cable: Cable::new(S::new(Needs {
                connections,
                ..Needs::default()
            })),
            clients: Vec::with_capacity(Self::BATCH as usize),
            opened: 0,
            conns: Vec::with_capacity(connections as usize),
        }
    }
}

impl<S: Subject> Workload for Open<S> {
    fn run(&mut self, units: u64) {
        let Self { cable, clients, .. } = self;
        let end = self.opened + units as u32;
        while self.opened < end {
            let flows = self.opened..end.min(self.opened + Self::BATCH);
            clients.clear();
            clients.extend(flows.clone().map(Client::new));
            for client in &mut *clients {
                let syn = client.syn();
                cable.subject.on_segment(cable.now, &syn);
            }
            cable.subject.settle(cable.now);
            cable.transmit(1);
            assert_eq!(cable.sent.len(), clients.len(), "each SYN is answered");
            for answer in &cable.sent {
                let client = &mut clients[(answer.flow - flows.start) as usize];
                client.on_segment(answer);
                let ack = client.ack();
                cable.subject.on_segment(cable.now, &ack);
            }
            cable.subject.settle(cable.now);
            while let Some(conn) = cable.subject.accept() {
                self.conns.push(conn);
            }
            cable.transmit(1);
            self.opened = flows.end;
        }
        assert_eq!(self.conns.len(), self.opened as usize);
        assert_eq!(cable.subject.connections(), self.opened as usize);
    }
}
