//! What is measured: a TCP with a device in memory. All are called in the same order, and all get
//! and give the same segments.

mod host;
mod recorded;
mod smoltcp;
mod tcp;

pub use self::host::Host;
pub use self::recorded::Recorded;
pub use self::smoltcp::Smoltcp;
pub use self::tcp::Core;

use crate::peer::Segment;

/// Buffers of a connection, in bytes, in either direction: the same for all subjects, and fixed.
pub const BUFFER: u32 = 128 << 10;

/// What a workload needs of a subject.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// Connections at the same time.
    pub connections: u32,
    /// Every segment of data is acknowledged at once, by an ACK of its own.
    pub acks_each: bool,
    /// Segments that offload has joined and will cut.
    pub offload: bool,
    /// Bytes of a connection's buffers, where they are of a fixed size.
    pub buffer: u32,
}

impl Default for Needs {
    fn default() -> Self {
        Self {
            connections: 1,
            acks_each: false,
            offload: false,
            buffer: BUFFER,
        }
    }
}

/// A TCP that listens at [`SERVER`](crate::peer::SERVER).
///
/// A turn is [`on_segment`](Subject::on_segment) for what has arrived, [`settle`](Subject::settle),
/// the application's calls, and [`transmit`](Subject::transmit). `now` is in microseconds.
pub trait Subject: Sized {
    /// A connection.
    type Conn: Copy;

    /// One that listens.
    fn new(needs: Needs) -> Self;
    /// A segment arrives.
    fn on_segment(&mut self, now: u64, segment: &Segment);
    /// Deals with what has arrived and with what is due.
    fn settle(&mut self, now: u64);
    /// Appends what leaves to `sent`.
    fn transmit(&mut self, now: u64, sent: &mut Vec<Segment>);

    /// A connection that was opened.
    fn accept(&mut self) -> Option<Self::Conn>;
    /// Takes all bytes that are there; how many that were.
    fn read(&mut self, now: u64, conn: Self::Conn) -> u32;
    /// Writes `len` bytes; how many were taken.
    fn write(&mut self, now: u64, conn: Self::Conn, len: u32) -> u32;
    /// Lets go of the connection, in good order.
    fn close(&mut self, now: u64, conn: Self::Conn);
    /// Connections that exist.
    fn connections(&self) -> usize;
}
