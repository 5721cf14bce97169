//! The limit of one thread on one TUN queue: a "stack" with no state machine at all.
//!
//! It answers SYN with SYN-ACK, acknowledges whatever arrives in order (port 9), blasts zeros as
//! fast as the peer's window allows (port 19), and echoes (port 7, in order only). Datagrams it
//! echoes, counts and sends as [`crate::datagrams`] says. Nothing is ever sent again. No stack on one
//! thread and one system call per frame can be much faster. With offload each frame is acknowledged at
//! once, without one ACK answers what there is to be read.

mod tcp;
mod tun;
mod udp;
mod wire;

use std::io;
use std::time::Duration;

use clap::ValueEnum;
use ustack::device::tun::DeviceKind;

use tun::{Next, Tun};

/// How the probe uses its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// With checksum and segmentation offload
    Offload,
    /// The same, without ever sleeping
    Spin,
    /// Packet by packet
    Plain,
}

impl Mode {
    fn kind(self) -> DeviceKind {
        match self {
            Self::Offload | Self::Spin => DeviceKind::Offload,
            Self::Plain => DeviceKind::Plain,
        }
    }
}

/// Answers on a device of this name until it is killed.
pub fn main(name: &str, mode: Mode) -> io::Result<()> {
    let mut tun = Tun::open(name, mode)?;
    let mut tcp = tcp::Probe::default();
    let mut udp = udp::Probe::default();
    let mut frame = vec![0; 70_000];
    loop {
        tcp.blast(&mut tun)?;
        let wait: Option<Duration> = udp.blast(&mut tun)?;
        let len = match tun.receive(&mut frame, wait)? {
            Next::Frame(len) => len,
            Next::Nothing => continue,
            Next::Idle => {
                tcp.pay(&mut tun)?;
                tun.wait(wait)?;
                continue;
            }
            Next::Gone => return Ok(()),
        };
        let Some((vnet, packet)) = frame[..len].split_at_mut_checked(tun.header_len()) else {
            continue;
        };
        match wire::protocol(packet) {
            Some(wire::TCP) => tcp.on_packet(packet, &mut tun)?,
            Some(wire::UDP) => udp.on_packet(vnet, packet, &mut tun)?,
            _ => {}
        }
    }
}
