//! A host of either kind, as the simulation and its applications see it.

mod smoltcp;
mod ustack;

use std::fmt::Debug;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ::ustack_tcp::time::Instant;
use bytes::Bytes;

use crate::report::Ended;
use crate::script::End;
use crate::sim::settings::{Settings, Stack};

/// A connection of a host, by number.
pub(crate) type Socket = usize;

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The handshake is under way.
    Opening,
    /// It was open once; reads and writes tell the rest.
    Open,
    /// It never opened, for this reason.
    Failed(Ended),
}

/// What a read found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    /// Bytes.
    Data(Bytes),
    /// Nothing yet.
    Nothing,
    /// The end, this way.
    End(Ended),
}

/// A stack with a device and its applications' calls. A turn is
/// [`turn_in`](Peer::turn_in), calls, [`turn_out`](Peer::turn_out).
pub(crate) trait Peer: Debug {
    /// Begins to listen, for at most so many connections in all.
    fn listen(&mut self, port: u16, most: usize);
    /// Stops listening.
    fn close_listener(&mut self, now: Instant);
    /// Begins to connect; fails when the ports are in use.
    fn connect(&mut self, now: Instant, local: u16, remote: u16) -> Result<Socket, Ended>;
    /// A new connection and the peer's port.
    fn accept(&mut self) -> Option<(Socket, u16)>;
    /// How far a connection is.
    fn phase(&mut self, socket: Socket) -> Phase;
    /// Writes; how many bytes were taken.
    fn write(&mut self, now: Instant, socket: Socket, data: &Bytes) -> Result<usize, Ended>;
    /// Reads at most so many bytes.
    fn read(&mut self, now: Instant, socket: Socket, most: usize) -> Got;
    /// Ends our direction.
    fn shutdown(&mut self, now: Instant, socket: Socket) -> Result<(), Ended>;
    /// Resets the connection and lets go of it.
    fn abort(&mut self, now: Instant, socket: Socket);
    /// Lets go of the connection: a RST if not everything was read, otherwise an orderly end.
    fn release(&mut self, now: Instant, socket: Socket);

    /// A packet arrives.
    fn on_packet(&mut self, now: Instant, packet: Bytes);
    /// Deals with what has arrived and what is due.
    fn turn_in(&mut self, now: Instant);
    /// Appends the wire packets that leave to `out`.
    fn turn_out(&mut self, now: Instant, out: &mut Vec<Vec<u8>>);
    /// When the next turn is due.
    fn next(&self) -> Option<Instant>;
    /// What is still there once everything is over, in words.
    fn leftovers(&self) -> Vec<String>;
}

/// Makes the host at `end`.
pub(crate) fn host(
    stack: Stack,
    end: End,
    v6: bool,
    settings: &Settings,
    secret: u64,
    keepalive: bool,
    begin: Instant,
) -> io::Result<Box<dyn Peer>> {
    let place = Place {
        local: address(end, v6),
        remote: address(end.peer(), v6),
        secret,
        keepalive,
    };
    Ok(match stack {
        Stack::Ustack => Box::new(ustack::Host::new(place, settings)?),
        Stack::Smoltcp => Box::new(smoltcp::Host::new(place, settings, begin)),
    })
}

/// What a host is told besides its settings.
#[derive(Clone, Copy, Debug)]
struct Place {
    local: IpAddr,
    remote: IpAddr,
    /// What its secrets come from.
    secret: u64,
    /// Whether dead connections are to be found.
    keepalive: bool,
}

/// The address of an end.
pub(crate) fn address(end: End, v6: bool) -> IpAddr {
    let host = end as u8 + 1;
    if v6 {
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, host.into()).into()
    } else {
        Ipv4Addr::new(10, 77, 0, host).into()
    }
}
