//! What is done to a subject: each workload begins with a subject that is set up and warm, and
//! checks that what it counts has really happened.

mod bulk;
mod connections;
mod events;
mod many;

pub use self::bulk::{BulkIn, BulkOut, Reordered};
pub use self::connections::{Close, Connect, Open};
pub use self::events::EventLines;
pub use self::many::{RequestResponse, RequestsTogether};

use crate::peer::{ACK, Client, Segment};
use crate::subject::Subject;

/// Work in units.
pub trait Workload {
    /// Does so many units.
    fn run(&mut self, units: u64);
}

/// The subject on its cable, and the time.
pub(crate) struct Cable<S> {
    pub(crate) subject: S,
    /// Microseconds.
    pub(crate) now: u64,
    /// What the subject sent in the last turn.
    pub(crate) sent: Vec<Segment>,
}

impl<S: Subject> Cable<S> {
    pub(crate) fn new(subject: S) -> Self {
        Self {
            subject,
            now: 1_000,
            sent: Vec::with_capacity(128),
        }
    }

    /// A segment comes in, and is dealt with.
    pub(crate) fn deliver(&mut self, segment: &Segment) {
        self.subject.on_segment(self.now, segment);
        self.subject.settle(self.now);
    }

    /// What the subject has to send leaves; the turn is over.
    pub(crate) fn transmit(&mut self, step: u64) {
        self.sent.clear();
        self.subject.transmit(self.now, &mut self.sent);
        self.now += step;
    }

    /// Opens a connection for `client`.
    pub(crate) fn open(&mut self, client: &mut Client) -> S::Conn {
        self.deliver(&client.syn());
        self.transmit(1);
        let [answer] = self.sent[..] else {
            panic!("a SYN is answered by {:?}", self.sent);
        };
        client.on_segment(&answer);
        self.deliver(&client.send(ACK, 0));
        let conn = self.subject.accept().expect("a connection to accept");
        self.transmit(1);
        assert_eq!(self.sent, [], "nothing answers an ACK");
        conn
    }
}
