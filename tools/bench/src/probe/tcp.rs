//! TCP without TCP: what a peer's kernel needs to hear, and nothing else.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::tun::Tun;
use super::wire::{self, IP, Transport, u16_at, u32_at};
use crate::MTU;
use crate::port::{CHARGEN, ECHO};

/// Payload of a full segment; the probe knows no timestamps.
const MSS: usize = MTU as usize - 40;

/// What every ACK offers, in bytes, and the scale it is told in.
const WINDOW: u32 = 4 << 20;
const WINDOW_SCALE: u8 = 10;

/// The same without offload: four such windows are 5,700 packets, of the 10,000 that the device's queue
/// holds. Who loses packets here recovers one in a round trip, as the probe reports no ranges.
const PLAIN_WINDOW: u32 = 2 << 20;

/// Without offload: packets that one ACK answers, or that are sent between two looks at the device.
const BATCH: usize = 32;

/// The first sequence number; any will do.
const ISS: u32 = 1000;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const ACK: u8 = 16;

static ZEROS: [u8; 65536] = [0; 65536];

/// All flows, by the ports of the peer and of ours.
#[derive(Debug, Default)]
pub(super) struct Probe {
    flows: HashMap<(u16, u16), Flow>,
    /// Whom zeros are blasted at, in turns.
    blasting: VecDeque<(u16, u16)>,
    /// Who waits for an ACK, without offload.
    owing: Vec<(u16, u16)>,
    /// Packets since the last time nothing was owed.
    unpaid: usize,
}

#[derive(Debug)]
struct Flow {
    peer: Ipv4Addr,
    local: Ipv4Addr,
    ports: (u16, u16),
    snd_una: u32,
    snd_nxt: u32,
    snd_wnd: u32,
    snd_wscale: u8,
    rcv_nxt: u32,
    is_blasted: bool,
    is_owed: bool,
}

impl Probe {
    pub(super) fn on_packet(&mut self, packet: &[u8], tun: &mut Tun) -> io::Result<()> {
        let Some(segment) = packet.get(IP..).and_then(Segment::parse) else {
            return Ok(());
        };
        let key = segment.ports;
        if segment.flags & RST != 0 {
            self.forget(key);
            return Ok(());
        }
        if segment.flags & SYN != 0 {
            let flow = Flow::new(packet, &segment);
            flow.send(tun, ISS, SYN | ACK, &[])?;
            self.flows.insert(key, flow);
            return Ok(());
        }
        let Some(flow) = self.flows.get_mut(&key) else {
            return Ok(());
        };
        if key.1 == CHARGEN && !flow.is_blasted {
            flow.is_blasted = true;
            self.blasting.push_back(key);
        }
        if !tun.offload() && flow.takes_mere_data(&segment) {
            if !flow.is_owed {
                flow.is_owed = true;
                self.owing.push(key);
            }
            self.unpaid += 1;
            if self.unpaid == BATCH {
                self.pay(tun)?;
            }
            return Ok(());
        }
        if flow.on_segment(&segment, tun)? {
            self.forget(key);
        }
        Ok(())
    }

    /// Acknowledges what came packet by packet.
    pub(super) fn pay(&mut self, tun: &mut Tun) -> io::Result<()> {
        self.unpaid = 0;
        for key in self.owing.drain(..) {
            if let Some(flow) = self.flows.get_mut(&key) {
                flow.is_owed = false;
                flow.send(tun, flow.snd_nxt, ACK, &[])?;
            }
        }
        Ok(())
    }

    fn forget(&mut self, key: (u16, u16)) {
        self.flows.remove(&key);
        self.blasting.retain(|blasted| *blasted != key);
    }

    /// Sends what the peers' windows take, a frame each in turn, until something is there to be read.
    pub(super) fn blast(&mut self, tun: &mut Tun) -> io::Result<()> {
        let most = if tun.offload() {
            (65_535 - 40) / MSS * MSS
        } else {
            MSS
        };
        let (mut idle, mut sent) = (0, 0);
        while idle < self.blasting.len() {
            self.blasting.rotate_left(1);
            let Some(flow) = self.flows.get_mut(&self.blasting[0]) else {
                return Ok(());
            };
            let in_flight = flow.snd_nxt.wrapping_sub(flow.snd_una);
            let room = flow.snd_wnd.saturating_sub(in_flight) as usize / MSS * MSS;
            if room == 0 {
                idle += 1;
                continue;
            }
            idle = 0;
            let len = room.min(most);
            flow.send(tun, flow.snd_nxt, ACK, &ZEROS[..len])?;
            flow.snd_nxt = flow.snd_nxt.wrapping_add(len as u32);
            sent += 1;
            let looks = tun.offload() || sent % BATCH == 0;
            if looks && tun.is_readable(Duration::ZERO)? {
                return Ok(());
            }
        }
        Ok(())
    }
}

impl Flow {
    fn new(packet: &[u8], syn: &Segment<'_>) -> Self {
        let (peer, local) = wire::addresses(packet);
        Self {
            peer,
            local,
            ports: syn.ports,
            snd_una: ISS.wrapping_add(1),
            snd_nxt: ISS.wrapping_add(1),
            snd_wnd: syn.window.into(),
            snd_wscale: window_scale(syn.options),
            rcv_nxt: syn.seq.wrapping_add(1),
            is_blasted: false,
            is_owed: false,
        }
    }

    /// Takes the next bytes in order of a flow that wants nothing but an ACK for them.
    fn takes_mere_data(&mut self, segment: &Segment<'_>) -> bool {
        let is_mere = segment.flags & FIN == 0 && !segment.data.is_empty();
        let is_next = is_mere && self.ports.1 != ECHO && segment.seq == self.rcv_nxt;
        if is_next {
            self.rcv_nxt = self.rcv_nxt.wrapping_add(segment.data.len() as u32);
        }
        is_next
    }

    /// Returns whether the flow is over.
    fn on_segment(&mut self, segment: &Segment<'_>, tun: &mut Tun) -> io::Result<bool> {
        self.snd_una = segment.ack;
        self.snd_wnd = u32::from(segment.window) << self.snd_wscale;
        if !segment.data.is_empty() {
            if segment.seq != self.rcv_nxt {
                // The device's queue overran: an honest probe asks again.
                self.send(tun, self.snd_nxt, ACK, &[])?;
                return Ok(false);
            }
            self.rcv_nxt = self.rcv_nxt.wrapping_add(segment.data.len() as u32);
            if self.ports.1 == ECHO {
                self.send(tun, self.snd_nxt, ACK | PSH, segment.data)?;
                self.snd_nxt = self.snd_nxt.wrapping_add(segment.data.len() as u32);
            } else {
                self.send(tun, self.snd_nxt, ACK, &[])?;
            }
        }
        if segment.flags & FIN == 0 {
            return Ok(false);
        }
        self.rcv_nxt = self.rcv_nxt.wrapping_add(1);
        self.send(tun, self.snd_nxt, ACK | FIN, &[])?;
        Ok(true)
    }

    fn send(&self, tun: &mut Tun, seq: u32, flags: u8, data: &[u8]) -> io::Result<()> {
        const OPTIONS: [u8; 8] = {
            let [high, low] = (MSS as u16).to_be_bytes();
            [2, 4, high, low, 1, 3, 3, WINDOW_SCALE]
        };
        let mut head = [0; IP + 20 + OPTIONS.len()];
        let options: &[u8] = if flags & SYN != 0 { &OPTIONS } else { &[] };
        let len = 20 + options.len();
        let head = &mut head[..IP + len];
        let tcp = &mut head[IP..];
        tcp[0..2].copy_from_slice(&self.ports.1.to_be_bytes());
        tcp[2..4].copy_from_slice(&self.ports.0.to_be_bytes());
        tcp[4..8].copy_from_slice(&seq.to_be_bytes());
        tcp[8..12].copy_from_slice(&self.rcv_nxt.to_be_bytes());
        tcp[12] = (len as u8 / 4) << 4;
        tcp[13] = flags;
        let window = if tun.offload() { WINDOW } else { PLAIN_WINDOW };
        tcp[14..16].copy_from_slice(&((window >> WINDOW_SCALE) as u16).to_be_bytes());
        tcp[20..].copy_from_slice(options);
        wire::put_ip(head, Transport::Tcp, (self.local, self.peer), data.len());
        let mut vnet = [0; 10];
        if tun.offload() {
            vnet = wire::put_offload(head, Transport::Tcp, data.len(), MSS);
        } else {
            wire::put_checksum(head, Transport::Tcp, data);
        }
        tun.send(vnet, head, data)
    }
}

struct Segment<'a> {
    /// Theirs and ours.
    ports: (u16, u16),
    seq: u32,
    ack: u32,
    flags: u8,
    window: u16,
    options: &'a [u8],
    data: &'a [u8],
}

impl<'a> Segment<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let header_len = usize::from(bytes.get(12)? >> 4) * 4;
        if header_len < 20 || bytes.len() < header_len {
            return None;
        }
        let (header, data) = bytes.split_at(header_len);
        Some(Self {
            ports: (u16_at(header, 0), u16_at(header, 2)),
            seq: u32_at(header, 4),
            ack: u32_at(header, 8),
            flags: header[13],
            window: u16_at(header, 14),
            options: &header[20..],
            data,
        })
    }
}

/// The window scale that a SYN asks for, 0 if none.
fn window_scale(options: &[u8]) -> u8 {
    let mut rest = options;
    loop {
        rest = match *rest {
            [3, 3, scale, ..] => return scale.min(14),
            [1, ref rest @ ..] => rest,
            [kind, len, ..] if kind != 0 && (2..=rest.len()).contains(&usize::from(len)) => {
                &rest[usize::from(len)..]
            }
            _ => return 0,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_scale_is_found_among_other_options() {
        let linux = [
            2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7,
        ];
        assert_eq!(window_scale(&linux), 7);
        assert_eq!(window_scale(&[3, 3, 200]), 14);
        for none in [&[][..], &[0, 3, 3, 7], &[2, 0, 3, 3, 7], &[2, 9, 1], &[2]] {
            assert_eq!(window_scale(none), 0, "{none:?}");
        }
    }

    #[test]
    fn short_segments_are_nobody() {
        assert!(Segment::parse(&[0; 19]).is_none());
        let mut header = [0; 20];
        header[12] = 6 << 4;
        assert!(Segment::parse(&header).is_none(), "options missing");
        header[12] = 5 << 4;
        assert!(Segment::parse(&header).is_some_and(|segment| segment.data.is_empty()));
    }
}
