//! The sending ends.

use std::fmt;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender as Ready;
use std::thread::sleep;
use std::time::Duration;

use rustix::net::sockopt::set_tcp_congestion;
use ustack_tcp::Pacing;

use super::cell::Algorithm;
use super::{smoltcp, snmp, ustack};
use crate::{during, host, priority};

/// Where every sender listens (chargen, RFC 864).
pub const PORT: u16 = 19;
/// The network behind the sending host, for stacks that are hosts of their own.
pub const BEHIND: &str = "10.98.0.0/24";
/// The sending host's address in it.
pub(super) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 1);
/// The address of a stack there.
pub(super) const STACK: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 2);
/// How often a sender looks whether it is to stop.
pub(super) const TICK: Duration = Duration::from_millis(5);

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Sender {
    /// The kernel of the sending namespace.
    Linux,
    /// ustack, on a TUN device of its own behind that kernel.
    Ustack,
    /// smoltcp, likewise.
    Smoltcp,
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Linux => "linux",
            Self::Ustack => "ustack",
            Self::Smoltcp => "smoltcp",
        })
    }
}

/// What a sender says of its connection. `None` where it does not count that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderStats {
    /// Segments sent again.
    pub retransmits: Option<u64>,
    /// Retransmission timeouts.
    pub timeouts: Option<u64>,
    /// Duplicates that the receiver has reported: segments sent again for nothing.
    pub dsacks: Option<u64>,
}

/// What a sender needs to know.
#[derive(Debug)]
pub(super) struct Order<'a> {
    pub(super) algorithm: Algorithm,
    /// ustack's pacing, if not the default.
    pub(super) pacing: Option<Pacing>,
    pub(super) real_time: bool,
    /// Is told where the sender listens, once it does.
    pub(super) ready: Ready<SocketAddr>,
    pub(super) stop: &'a AtomicBool,
}

impl Order<'_> {
    pub(super) fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Sends as much as it can, from the calling thread's namespace, until told to stop.
pub(super) fn send(sender: Sender, order: &Order<'_>) -> io::Result<SenderStats> {
    if order.real_time {
        // Where it is refused, the link's report says so.
        let _ = priority::become_real_time(priority::END);
    }
    match sender {
        Sender::Linux => send_by_kernel(order),
        Sender::Ustack => ustack::send(order),
        Sender::Smoltcp => smoltcp::send(order),
    }
}

/// The receiver's connection; `None` when it has given up.
fn accept(listener: &TcpListener, order: &Order<'_>) -> io::Result<Option<TcpStream>> {
    listener.set_nonblocking(true)?;
    while !order.is_over() {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(Some(stream));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(TICK),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn send_by_kernel(order: &Order<'_>) -> io::Result<SenderStats> {
    let local = SocketAddr::from((host::A.v4, PORT));
    let listener =
        TcpListener::bind(local).map_err(during(format_args!("listening on {local}")))?;
    let name = order.algorithm.name();
    // What is accepted inherits it.
    set_tcp_congestion(&listener, name).map_err(during(format_args!(
        "the kernel has no `{name}` (see /proc/sys/net/ipv4/tcp_available_congestion_control)"
    )))?;
    let _ = order.ready.send(local);
    let Some(mut stream) = accept(&listener, order)? else {
        return Ok(SenderStats::default());
    };
    stream.set_write_timeout(Some(TICK))?;
    let chunk = vec![b'u'; 64 << 10];
    while !order.is_over() {
        match stream.write(&chunk) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // The receiver has what it wanted.
            Err(_) => break,
        }
    }
    // The namespace holds this one connection, so its counters are those of the connection.
    let counters = snmp::read()?;
    let get = |name: &str| counters.get(name).copied();
    Ok(SenderStats {
        retransmits: get("RetransSegs"),
        timeouts: get("TCPTimeouts"),
        dsacks: get("TCPDSACKRecv"),
    })
}
