//! Replays UDP and ICMP: what the recorded client sent goes into IP and UDP, and what comes out is
//! compared, message by message, with what the kernel answered.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use ustack::batch::{Frame, TxBatch};
use ustack::device::{Caps, Offload};
use ustack::ip::{Input, Ip, IpConfig, Unreachable};
use ustack_tcp::time::Instant;
use ustack_udp::{BindOptions, SocketId, Udp};

use crate::capture::Recorded;
use crate::message::{Assembler, Message};

/// The MTU of every recording.
const MTU: u16 = 1500;
const SEED: [u8; 32] = [0x5a; 32];

/// What a replay of datagrams came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Packets that went in.
    pub packets_in: usize,
    /// Packets that came out.
    pub packets_out: usize,
    /// Messages that came out, as the kernel answered them.
    pub messages: Vec<Message>,
}

struct Host {
    ip: Ip,
    udp: Udp,
    echo: Option<SocketId>,
    out: Vec<Bytes>,
}

impl Host {
    fn new(address: IpAddr, echo_port: Option<u16>) -> Result<Self, String> {
        let config = IpConfig {
            addresses: vec![(address, if address.is_ipv4() { 24 } else { 64 })],
            ..IpConfig::default()
        };
        let caps = Caps {
            mtu: MTU,
            tx_checksum: false,
            tso: false,
            uso: false,
        };
        let udp = ustack_udp::Config {
            addresses: vec![address],
            mtu: MTU,
            ..Default::default()
        };
        let mut udp = Udp::new(udp, SEED);
        let bind = |port| udp.bind(BindOptions::new(SocketAddr::new(address, port)));
        let echo = echo_port
            .map(bind)
            .transpose()
            .map_err(|error| format!("{error:?}"))?;
        let ip = Ip::new(config, caps, SEED);
        Ok(Self {
            ip,
            udp,
            echo,
            out: Vec::new(),
        })
    }

    fn on_packet(&mut self, now: Instant, data: Bytes) -> Result<(), String> {
        let frame = Frame {
            data,
            offload: Offload::default(),
        };
        let input = self
            .ip
            .on_frame(now, frame)
            .map_err(|error| format!("drops it: {error:?}"))?;
        match input {
            Some(Input::Udp {
                datagram,
                local,
                packet,
            }) => {
                let delivered = self.udp.on_datagram(datagram, local);
                delivered
                    .unwrap_or_else(|_| self.ip.send_unreachable(now, Unreachable::Port, &packet));
            }
            Some(other) => return Err(format!("takes it for {other:?}")),
            None => {}
        }
        self.answer()?;
        self.transmit(now);
        Ok(())
    }

    /// The echo service.
    fn answer(&mut self) -> Result<(), String> {
        let Some(echo) = self.echo else { return Ok(()) };
        while let Some(datagram) = self.udp.recv(echo).map_err(|error| format!("{error:?}"))? {
            self.udp
                .send(echo, None, Some(datagram.remote), datagram.data, |_| MTU)
                .map_err(|error| format!("cannot echo: {error:?}"))?;
        }
        Ok(())
    }

    fn transmit(&mut self, now: Instant) {
        let mut tx = TxBatch::new();
        loop {
            self.udp.poll_transmit(&mut self.ip.output(now, &mut tx));
            self.ip.poll_transmit(now, &mut tx);
            if tx.is_empty() {
                return;
            }
            self.out
                .extend(tx.iter().map(|frame| frame.to_frame().data));
            tx.clear();
        }
    }
}

/// Replays everything that was sent to `address`, with a UDP echo service at `echo_port`. An error
/// says at which packet of the capture the stack first did otherwise than the kernel.
pub fn replay(
    packets: &[Recorded],
    address: IpAddr,
    echo_port: Option<u16>,
) -> Result<Report, String> {
    let mut host = Host::new(address, echo_port)?;
    let mut report = Report::default();
    let (mut kernel, mut ours) = (Assembler::default(), Assembler::default());
    let mut expected = Vec::new();
    for packet in packets {
        let at = format!("packet {}", packet.number);
        if sender(&packet.data) == Some(address) {
            let said = kernel
                .push(&packet.data)
                .map_err(|error| format!("{at}: {error}"))?;
            expected.extend(said.map(|said| (packet.number, said)));
            continue;
        }
        let now = Instant::ZERO + packet.time;
        host.on_packet(now, packet.data.clone())
            .map_err(|error| format!("{at}: {error}"))?;
        report.packets_in += 1;
        for data in host.out.drain(..) {
            report.packets_out += 1;
            if data.len() > MTU as usize {
                return Err(format!("{at}: an answer of {} bytes", data.len()));
            }
            let said = ours
                .push(&data)
                .map_err(|error| format!("answer to {at}: {error}"))?;
            report.messages.extend(said);
        }
    }
    if ours.incomplete() > 0 {
        return Err(format!("{} answers lack fragments", ours.incomplete()));
    }
    for (index, (number, kernel)) in expected.iter().enumerate() {
        match report.messages.get(index) {
            Some(said) if said.agrees(kernel) => {}
            said => {
                let said = said.map_or("nothing".to_owned(), Message::describe);
                let kernel = kernel.describe();
                return Err(format!(
                    "packet {number} is {kernel}; the stack says {said}"
                ));
            }
        }
    }
    if let Some(more) = report.messages.get(expected.len()) {
        return Err(format!("the stack also says {}", more.describe()));
    }
    Ok(report)
}

fn sender(packet: &[u8]) -> Option<IpAddr> {
    let ip = etherparse::IpSlice::from_slice(packet).ok()?;
    Some(ip.source_addr())
}
