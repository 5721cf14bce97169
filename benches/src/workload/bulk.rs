//! One connection, as much as it takes.

use super::{Cable, Workload};
use crate::peer::{ACK, Client, MSS, Segment};
use crate::subject::{Needs, Subject};

/// Microseconds of a turn: a warm-up is longer than a retransmission timeout, so that the timer wheel
/// has been round.
const TURN: u64 = 200;

/// Bytes of one write.
const WRITE: u32 = 32 << 10;

/// Segments that arrive, are read and acknowledged.
///
/// A unit is a segment of [`MSS`] bytes, on the wire.
pub struct BulkIn<S: Subject> {
    cable: Cable<S>,
    client: Client,
    conn: S::Conn,
    /// Segments of a turn.
    batch: u32,
    /// Bytes of a segment.
    len: u32,
    /// What the subject has acknowledged.
    acked: u32,
    acks: u64,
}

impl<S: Subject> BulkIn<S> {
    /// One segment a turn, acknowledged at once.
    pub fn single() -> Self {
        let needs = Needs {
            acks_each: true,
            ..Needs::default()
        };
        Self::new(needs, 1, MSS)
    }

    /// `batch` segments a turn, acknowledged as the subject thinks best.
    pub fn batch(batch: u32) -> Self {
        Self::new(Needs::default(), batch, MSS)
    }

    /// One super-segment a turn, of `joined` segments.
    pub fn joined(joined: u32) -> Self {
        let needs = Needs {
            offload: true,
            buffer: 1 << 20,
            ..Needs::default()
        };
        Self::new(needs, 1, joined * MSS)
    }

    fn new(needs: Needs, batch: u32, len: u32) -> Self {
        let mut cable = Cable::new(S::new(needs));
        let mut client = Client::new(0);
        let conn = cable.open(&mut client);
        Self {
            cable,
            acked: client.nxt(),
            client,
            conn,
            batch,
            len,
            acks: 0,
        }
    }

    /// ACKs that the subject has sent.
    pub const fn acks(&self) -> u64 {
        self.acks
    }
}

impl<S: Subject> Workload for BulkIn<S> {
    fn run(&mut self, units: u64) {
        let Self { cable, client, .. } = self;
        let per_turn = u64::from(self.batch * (self.len / MSS));
        for _ in 0..units.div_ceil(per_turn) {
            for _ in 0..self.batch {
                let segment = client.send(ACK, self.len);
                cable.subject.on_segment(cable.now, &segment);
            }
            cable.subject.settle(cable.now);
            let read = cable.subject.read(cable.now, self.conn);
            assert_eq!(read, self.batch * self.len, "the reader gets everything");
            cable.transmit(TURN);
            self.acks += cable.sent.len() as u64;
            if let Some(ack) = cable.sent.last() {
                self.acked = ack.ack;
            }
        }
        let behind = client.nxt().wrapping_sub(self.acked);
        assert!(behind <= self.len, "{behind} bytes are not acknowledged");
    }
}

/// Segments in groups of which the first comes last: the others wait above the gap, each is
/// answered by a duplicate ACK.
///
/// A unit is a segment.
pub struct Reordered<S: Subject> {
    cable: Cable<S>,
    client: Client,
    conn: S::Conn,
}

impl<S: Subject> Reordered<S> {
    /// Segments of a group.
    pub const GROUP: u32 = 16;

    /// One connection.
    pub fn new() -> Self {
        let mut cable = Cable::new(S::new(Needs {
            acks_each: true,
            ..Needs::default()
        }));
        let mut client = Client::new(0);
        let conn = cable.open(&mut client);
        Self {
            cable,
            client,
            conn,
        }
    }
}

impl<S: Subject> Default for Reordered<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Subject> Workload for Reordered<S> {
    fn run(&mut self, units: u64) {
        for _ in 0..units.div_ceil(Self::GROUP.into()) {
            let late = self.client.send(ACK, MSS);
            let mut acked = 0;
            for index in 1..=Self::GROUP {
                let segment = if index == Self::GROUP {
                    late
                } else {
                    self.client.send(ACK, MSS)
                };
                self.cable.deliver(&segment);
                if index == Self::GROUP {
                    let read = self.cable.subject.read(self.cable.now, self.conn);
                    assert_eq!(read, Self::GROUP * MSS, "the gap is filled");
                }
                self.cable.transmit(TURN);
                let [ack] = self.cable.sent[..] else {
                    panic!("{} ACKs of one segment", self.cable.sent.len());
                };
                acked = ack.ack;
            }
            assert_eq!(acked, self.client.nxt());
        }
    }
}

/// A writer that always has more, a client that acknowledges every second segment.
///
/// A unit is a segment of [`MSS`] bytes, on the wire.
pub struct BulkOut<S: Subject> {
    cable: Cable<S>,
    client: Client,
    conn: S::Conn,
    /// Bytes that an ACK of the client acknowledges.
    step: u32,
    /// Sent and not yet acknowledged, oldest first: ends of segments.
    flight: std::collections::VecDeque<Segment>,
}

impl<S: Subject> BulkOut<S> {
    /// Wire packets.
    pub fn single() -> Self {
        Self::new(Needs::default(), 2 * MSS)
    }

    /// Super-segments, each acknowledged as a whole.
    pub fn joined() -> Self {
        let needs = Needs {
            offload: true,
            ..Needs::default()
        };
        Self::new(needs, 22 * MSS)
    }

    fn new(needs: Needs, step: u32) -> Self {
        let mut cable = Cable::new(S::new(needs));
        let mut client = Client::new(0);
        let conn = cable.open(&mut client);
        Self {
            cable,
            client,
            conn,
            step,
            flight: std::collections::VecDeque::with_capacity(256),
        }
    }

    /// One ACK, and what it lets out; how many bytes were acknowledged.
    fn turn(&mut self) -> u32 {
        let Self { cable, client, .. } = self;
        let before = client.rcv_nxt();
        while client.rcv_nxt().wrapping_sub(before) < self.step
            && let Some(segment) = self.flight.pop_front()
        {
            client.on_segment(&segment);
        }
        let acked = client.rcv_nxt().wrapping_sub(before);
        if acked > 0 {
            cable.deliver(&client.ack());
        } else {
            cable.subject.settle(cable.now);
        }
        while cable.subject.write(cable.now, self.conn, WRITE) == WRITE {}
        cable.transmit(TURN);
        self.flight.extend(cable.sent.drain(..));
        acked
    }
}

impl<S: Subject> Workload for BulkOut<S> {
    fn run(&mut self, units: u64) {
        let wanted = units * u64::from(MSS);
        let (mut acked, mut turns) = (0, 0);
        while acked < wanted {
            acked += u64::from(self.turn());
            turns += 1;
            assert!(turns <= 1_000 + 2 * units, "{acked} bytes in {turns} turns");
        }
    }
}
