//! Requests and responses, on one connection or on any of many.

use fastrand::Rng;

use super::{Cable, Workload};
use crate::peer::{ACK, Client, PSH};
use crate::subject::{BUFFER, Needs, Subject};

/// Bytes of a request and of a response.
const MESSAGE: u32 = 64;

/// Requests that come together.
const TOGETHER: usize = 16;

/// A request on a connection drawn at random, its response, and the ACK of that.
///
/// A unit is a round trip: three segments. Each connection has had one before.
pub struct RequestResponse<S: Subject> {
    cable: Cable<S>,
    flows: Vec<(Client, S::Conn)>,
    random: Rng,
}

impl<S: Subject> RequestResponse<S> {
    /// On so many connections.
    pub fn new(connections: u32) -> Self {
        let mut cable = Cable::new(S::new(Needs {
            connections,
            // Where buffers cost memory from the start, many have small ones.
            buffer: if connections == 1 { BUFFER } else { 4096 },
            ..Needs::default()
        }));
        let flows = (0..connections)
            .map(|flow| {
                let mut client = Client::new(flow);
                let conn = cable.open(&mut client);
                (client, conn)
            })
            .collect();
        let mut workload = Self {
            cable,
            flows,
            random: Rng::with_seed(7),
        };
        (0..connections as usize).for_each(|index| workload.round_trip(index));
        workload
    }

    fn round_trip(&mut self, index: usize) {
        let Self { cable, flows, .. } = self;
        let (client, conn) = &mut flows[index];
        cable.deliver(&client.send(PSH | ACK, MESSAGE));
        assert_eq!(cable.subject.read(cable.now, *conn), MESSAGE);
        assert_eq!(cable.subject.write(cable.now, *conn, MESSAGE), MESSAGE);
        cable.transmit(1);
        let [response] = cable.sent[..] else {
            panic!("a request is answered by {:?}", cable.sent);
        };
        assert_eq!((response.len, response.ack), (MESSAGE, client.nxt()));
        client.on_segment(&response);
        cable.deliver(&client.ack());
        cable.transmit(1);
    }
}

impl<S: Subject> Workload for RequestResponse<S> {
    fn run(&mut self, units: u64) {
        for _ in 0..units {
            let index = self.random.usize(..self.flows.len());
            self.round_trip(index);
        }
    }
}

/// The same, 16 requests a turn, each on another connection, as a busy device brings them; then 16 ACKs.
///
/// As many units take as long on the subject's clock.
pub struct RequestsTogether<S: Subject> {
    alone: RequestResponse<S>,
    /// Whose turn it is.
    drawn: Vec<usize>,
}

impl<S: Subject> RequestsTogether<S> {
    /// On so many connections, 16 at least.
    pub fn new(connections: u32) -> Self {
        Self {
            alone: RequestResponse::new(connections),
            drawn: Vec::with_capacity(TOGETHER),
        }
    }

    fn draw(&mut self, count: usize) {
        self.drawn.clear();
        while self.drawn.len() < count {
            let index = self.alone.random.usize(..self.alone.flows.len());
            if !self.drawn.contains(&index) {
                self.drawn.push(index);
            }
        }
    }

    fn turn(&mut self, count: usize) {
        self.draw(count);
        let RequestResponse { cable, flows, .. } = &mut self.alone;
        for &index in &self.drawn {
            let (client, _) = &mut flows[index];
            let request = client.send(PSH | ACK, MESSAGE);
            cable.subject.on_segment(cable.now, &request);
        }
        cable.subject.settle(cable.now);
        for &index in &self.drawn {
            let (_, conn) = flows[index];
            assert_eq!(cable.subject.read(cable.now, conn), MESSAGE);
            assert_eq!(cable.subject.write(cable.now, conn, MESSAGE), MESSAGE);
        }
        cable.transmit(count as u64);
        assert_eq!(cable.sent.len(), count, "each request is answered");
        for (&index, response) in self.drawn.iter().zip(&cable.sent) {
            let (client, _) = &mut flows[index];
            assert_eq!((response.len, response.ack), (MESSAGE, client.nxt()));
            client.on_segment(response);
            let ack = client.ack();
            cable.subject.on_segment(cable.now, &ack);
        }
        cable.subject.settle(cable.now);
        cable.transmit(count as u64);
    }
}

impl<S: Subject> Workload for RequestsTogether<S> {
    fn run(&mut self, units: u64) {
        let mut left = units as usize;
        while left > 0 {
            let count = left.min(TOGETHER);
            self.turn(count);
            left -= count;
        }
    }
}
