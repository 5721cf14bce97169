//! Datagrams: echoed, counted, or sent as ordered.

use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::tun::Tun;
use super::wire::{self, IP, Transport, u16_at};
use crate::datagrams::{Order, QUESTION, SIZE};
use crate::port::{CHARGEN, DISCARD, ECHO};

const HEADER: usize = 8;

/// Datagrams that one frame carries at most.
const MAX_BURST: u64 = 50;

/// How long to sleep between bursts at least, so that a frame carries several.
const REST: Duration = Duration::from_micros(50);

static PAYLOAD: [u8; SIZE * MAX_BURST as usize] = [0x55; SIZE * MAX_BURST as usize];

#[derive(Debug, Default)]
pub(super) struct Probe {
    counted: u64,
    sending: Option<Sending>,
}

#[derive(Debug)]
struct Sending {
    order: Order,
    begin: Instant,
    sent: u64,
    ends: (Ipv4Addr, Ipv4Addr),
    to: u16,
}

impl Probe {
    pub(super) fn on_packet(
        &mut self,
        vnet: &[u8],
        packet: &mut [u8],
        tun: &mut Tun,
    ) -> io::Result<()> {
        let Some((head, data)) = packet.split_at_checked(IP + HEADER) else {
            return Ok(());
        };
        let (from, to) = wire::addresses(head);
        let (source, destination) = (u16_at(head, IP), u16_at(head, IP + 2));
        match destination {
            ECHO => {
                wire::turn_round(packet);
                tun.send_back(vnet, packet)?;
            }
            DISCARD if data == QUESTION => {
                let answer = self.counted.to_be_bytes();
                send(tun, (to, from), (DISCARD, source), &answer)?;
            }
            DISCARD => {
                self.counted += match wire::gso_size(vnet) {
                    0 => 1,
                    size => data.len().div_ceil(size) as u64,
                }
            }
            CHARGEN => {
                self.sending = Order::from_bytes(data).map(|order| Sending {
                    order,
                    begin: Instant::now(),
                    sent: 0,
                    ends: (to, from),
                    to: source,
                });
            }
            _ => {}
        }
        Ok(())
    }

    /// Sends what is due, and says how long to wait for the next.
    pub(super) fn blast(&mut self, tun: &mut Tun) -> io::Result<Option<Duration>> {
        let Some(sending) = &mut self.sending else {
            return Ok(None);
        };
        let due = sending.order.due(sending.begin.elapsed().as_nanos() as u64);
        let burst = if tun.offload() { MAX_BURST } else { 1 };
        while sending.sent < due {
            let now = (due - sending.sent).min(burst);
            let data = &PAYLOAD[..SIZE * now as usize];
            send(tun, sending.ends, (CHARGEN, sending.to), data)?;
            sending.sent += now;
        }
        if sending.sent == sending.order.count {
            self.sending = None;
            return Ok(None);
        }
        let next = Duration::from_nanos(sending.order.due_at(sending.sent + 1));
        let wait = next.saturating_sub(sending.begin.elapsed()).max(REST);
        Ok(Some(wait))
    }
}

/// Sends datagrams of [`SIZE`] bytes, or one that is shorter.
fn send(
    tun: &mut Tun,
    ends: (Ipv4Addr, Ipv4Addr),
    (from, to): (u16, u16),
    data: &[u8],
) -> io::Result<()> {
    let mut head = [0; IP + HEADER];
    let len = (HEADER + data.len()) as u16;
    head[IP..IP + 2].copy_from_slice(&from.to_be_bytes());
    head[IP + 2..IP + 4].copy_from_slice(&to.to_be_bytes());
    head[IP + 4..IP + 6].copy_from_slice(&len.to_be_bytes());
    wire::put_ip(&mut head, Transport::Udp, ends, data.len());
    let mut vnet = [0; 10];
    if tun.offload() {
        vnet = wire::put_offload(&mut head, Transport::Udp, data.len(), SIZE);
    } else {
        wire::put_checksum(&mut head, Transport::Udp, data);
    }
    tun.send(vnet, &head, data)
}
