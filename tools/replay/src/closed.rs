//! Replays what was sent to ports nobody listens on: each answer as the kernel gave it.

use std::net::IpAddr;

use ustack_tcp::time::Instant;

use crate::capture::Recorded;
use crate::host::{Host, MTU};
use crate::packet::{self, TcpPacket};

/// Sends everything that went to `address` into a stack without listeners and compares answer by
/// answer; returns their number. An error names the first packet answered in another way.
pub fn replay<H: Host>(packets: &[Recorded], address: IpAddr) -> Result<usize, String> {
    let mut host = H::new(address, MTU, ustack_tcp::Config::default())?;
    let mut answers = Vec::new();
    let mut count = 0;
    for recorded in packets {
        let at = format!("packet {}", recorded.number);
        let tcp = packet::tcp(&recorded.data).map_err(|error| format!("{at}: {error}"))?;
        let Some(tcp) = tcp else { continue };
        if tcp.source.ip() != address {
            let now = Instant::ZERO + recorded.time;
            host.on_packet(now, recorded.data.clone());
            for data in host.poll_transmit(now) {
                let answer = packet::tcp(&data).map_err(|error| format!("answer: {error}"))?;
                answers.push(answer.ok_or("an answer that is no segment")?);
            }
            continue;
        }
        count += 1;
        let place = answers.iter().position(|answer| {
            answer.destination == tcp.destination && answer.source == tcp.source
        });
        let answer = place.map(|place| answers.remove(place));
        let essence = |tcp: &TcpPacket| (tcp.flags, tcp.seq, tcp.ack, tcp.payload.len());
        match answer {
            Some(answer) if essence(&answer) == essence(&tcp) => {}
            answer => {
                return Err(format!(
                    "{at}: the kernel says {tcp:?}, the stack {answer:?}"
                ));
            }
        }
    }
    match answers.first() {
        Some(answer) => Err(format!("the stack also says {answer:?}")),
        None => Ok(count),
    }
}
