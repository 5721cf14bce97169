//! Replays UDP and ICMP: what the recorded client sent goes into IP and UDP, and what comes out is
//! compared, message by message, with what the kernel answered.

use std::net::IpAddr;

use ustack_tcp::time::Instant;

use crate::capture::Recorded;
use crate::host::{Host, MTU};
use crate::message::{Assembler, Message};
use crate::services::Services;

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

/// Replays everything that was sent to `address`, where these UDP services run. An error
/// says at which packet of the capture the stack first did otherwise than the kernel.
pub fn replay<H: Host>(
    packets: &[Recorded],
    address: IpAddr,
    services: Services,
) -> Result<Report, String> {
    let mut host = H::new(address, MTU, ustack_tcp::Config::default())?;
    let mut services = services.open(&mut host, address, packets)?;
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
        if packet.lost {
            continue;
        }
        let now = Instant::ZERO + packet.time;
        host.on_packet(now, packet.data.clone());
        for service in &mut services {
            service
                .run(&mut host)
                .map_err(|error| format!("{at}: {error}"))?;
        }
        report.packets_in += 1;
        for data in host.poll_transmit(now) {
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
    compare(&expected, &report.messages)?;
    Ok(report)
}

/// Both said the same in the same order, or what differs first.
fn compare(expected: &[(usize, Message)], ours: &[Message]) -> Result<(), String> {
    let is_expected = |ours: &Message| expected.iter().any(|(_, said)| said.agrees(ours));
    let is_said = |recorded: &Message| ours.iter().any(|said| said.agrees(recorded));
    for (index, (number, recorded)) in expected.iter().enumerate() {
        let instead = match ours.get(index) {
            Some(said) if said.agrees(recorded) => continue,
            Some(said) if is_said(recorded) => format!("first says {}", said.describe()),
            Some(said) if !is_expected(said) => format!("says {}", said.describe()),
            Some(_) | None => "does not say it".to_owned(),
        };
        return Err(format!(
            "packet {number} is {}; the stack {instead}",
            recorded.describe()
        ));
    }
    match ours.get(expected.len()) {
        Some(more) => Err(format!("the stack also says {}", more.describe())),
        None => Ok(()),
    }
}

fn sender(packet: &[u8]) -> Option<IpAddr> {
    let ip = etherparse::IpSlice::from_slice(packet).ok()?;
    Some(ip.source_addr())
}
