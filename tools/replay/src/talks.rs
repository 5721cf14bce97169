//! What a capture holds: its conversations, one after the other.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use etherparse::{IpNumber, IpSlice};

use referee::Rule;

use crate::capture::{Capture, Recorded};
use crate::inject;
use crate::packet::{self, ACK, Checksums, FIN, Malformed, RST, SYN, TcpPacket};

/// The largest packet of a usual link; larger ones have yet to be cut, or were put together.
const LARGEST: usize = 1500;

/// What speaks in a [`Talk`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One TCP connection.
    Tcp,
    /// UDP and ICMP of two hosts.
    Datagrams,
}

/// One conversation: a TCP connection, or all UDP and ICMP of two hosts.
#[derive(Clone, Debug)]
pub struct Talk {
    /// Of which kind.
    pub kind: Kind,
    /// The end that began. The port of a [`Kind::Datagrams`] is 0.
    pub client: SocketAddr,
    /// The end that it began with.
    pub server: SocketAddr,
    /// Its packets, in the order of the capture.
    pub packets: Vec<Recorded>,
    /// Some packets were recorded in part, and zeros stand for the rest.
    pub is_cut: bool,
    /// It was recorded between a stack and a device that cuts and sums for it: segments may be
    /// larger than the MSS.
    pub is_offloaded: bool,
}

impl Talk {
    /// Whether one of its ends has this address.
    pub fn is_of_host(&self, address: IpAddr) -> bool {
        [self.client, self.server]
            .iter()
            .any(|end| end.ip() == address)
    }

    /// Whether one of its ends has this port.
    pub fn is_of_port(&self, port: u16) -> bool {
        [self.client, self.server]
            .iter()
            .any(|end| end.port() == port)
    }
}

/// The conversations of a capture, and what belongs to none.
#[derive(Clone, Debug, Default)]
pub struct Talks {
    /// In the order of their first packets.
    pub talks: Vec<Talk>,
    /// Packets that no end would take, and why: malformed, or with a wrong checksum.
    pub damaged: Vec<(usize, String)>,
    /// Packets of other protocols, and to groups.
    pub others: usize,
}

/// Sorts packets by conversation. Ports that are used again after a connection has ended begin
/// another one.
pub fn talks(packets: &[Recorded]) -> Talks {
    let mut sorter = Sorter::default();
    for packet in packets {
        sorter.add(packet);
    }
    sorter.found
}

/// Like [`talks`], for a file of which not everything may be there.
pub fn talks_of(capture: &Capture) -> Talks {
    let mut sorter = Sorter::default();
    for packet in &capture.packets {
        if capture.cut.contains(&packet.number) {
            sorter.add_cut(packet);
        } else {
            sorter.add(packet);
        }
    }
    sorter.found
}

#[derive(Default)]
struct Sorter {
    found: Talks,
    /// The latest talk of two ends, and how far it has come.
    latest: BTreeMap<(SocketAddr, SocketAddr), Progress>,
}

#[derive(Clone, Copy, Default)]
struct Progress {
    index: usize,
    /// By which end it was closed: the first, the second.
    fins: [bool; 2],
    is_reset: bool,
}

impl Sorter {
    fn add(&mut self, recorded: &Recorded) {
        let result = match packet::tcp(&recorded.data) {
            Ok(Some(tcp)) => {
                let is_offloaded = recorded.data.len() > LARGEST;
                self.add_segment(recorded, &tcp, is_offloaded);
                Ok(())
            }
            Ok(None) => {
                self.add_datagram(recorded);
                Ok(())
            }
            Err(Malformed {
                rule: Rule::Checksum,
                what,
            }) => self.add_unfinished(recorded).ok_or(what),
            Err(Malformed { what, .. }) => Err(what),
        };
        if let Err(damage) = result {
            self.found.damaged.push((recorded.number, damage));
        }
    }

    /// A packet of which only the beginning was recorded.
    fn add_cut(&mut self, recorded: &Recorded) {
        let damaged = self.found.damaged.len();
        let data = inject::complete(&recorded.data);
        self.add(&Recorded {
            data: data.unwrap_or_else(|_| recorded.data.clone()),
            ..recorded.clone()
        });
        if let Some((_, reason)) = self.found.damaged.get_mut(damaged) {
            "not even its headers were recorded (tcpdump -s 0 records all)".clone_into(reason);
        }
        let mut talks = self.found.talks.iter_mut();
        let talk = talks.find(|talk| {
            let last = talk.packets.last();
            last.is_some_and(|last| last.number == recorded.number)
        });
        if let Some(talk) = talk {
            talk.is_cut = true;
        }
    }

    /// A segment whose checksum the device has yet to complete.
    fn add_unfinished(&mut self, recorded: &Recorded) -> Option<()> {
        packet::read(&recorded.data, Checksums::Partial).ok()?;
        let finished = Recorded {
            data: inject::complete(&recorded.data).ok()?,
            ..recorded.clone()
        };
        let tcp = packet::tcp(&finished.data).ok()??;
        self.add_segment(&finished, &tcp, true);
        Some(())
    }

    fn add_segment(&mut self, recorded: &Recorded, tcp: &TcpPacket, is_offloaded: bool) {
        let ends = ordered(tcp.source, tcp.destination);
        let is_open = tcp.has(SYN) && !tcp.has(ACK);
        let known = self.latest.get(&ends).copied();
        let mut progress = known.filter(|progress| {
            let is_over = progress.is_reset || progress.fins == [true; 2];
            !(is_open && is_over && !self.is_repeated_syn(progress.index, tcp))
        });
        let progress = progress.get_or_insert_with(|| {
            // A capture that begins with SYN,ACK lacks the client's SYN.
            let answers = tcp.has(SYN) && tcp.has(ACK) && !tcp.has(FIN | RST);
            let (client, server) = if answers {
                (tcp.destination, tcp.source)
            } else {
                (tcp.source, tcp.destination)
            };
            Progress {
                index: self.found.begin(Kind::Tcp, client, server),
                ..Progress::default()
            }
        });
        progress.is_reset |= tcp.has(RST);
        progress.fins[usize::from(tcp.source == ends.1)] |= tcp.has(FIN);
        let talk = &mut self.found.talks[progress.index];
        talk.packets.push(recorded.clone());
        talk.is_offloaded |= is_offloaded;
        self.latest.insert(ends, *progress);
    }

    /// Whether this SYN opened the conversation already: it is a retransmission.
    fn is_repeated_syn(&self, index: usize, tcp: &TcpPacket) -> bool {
        let first = self.found.talks[index].packets.first();
        let first = first.and_then(|first| packet::tcp(&first.data).ok().flatten());
        first.is_some_and(|first| first.has(SYN) && first.seq == tcp.seq)
    }

    fn add_datagram(&mut self, recorded: &Recorded) {
        let Ok(ip) = IpSlice::from_slice(&recorded.data) else {
            self.found.others += 1;
            return;
        };
        let (source, destination) = (ip.source_addr(), ip.destination_addr());
        let is_known = matches!(
            ip.payload_ip_number(),
            IpNumber::UDP | IpNumber::ICMP | IpNumber::IPV6_ICMP
        );
        if !is_known || is_group(source) || is_group(destination) {
            self.found.others += 1;
            return;
        }
        let (client, server) = (SocketAddr::new(source, 0), SocketAddr::new(destination, 0));
        let progress = self
            .latest
            .entry(ordered(client, server))
            .or_insert_with(|| {
                let index = self.found.begin(Kind::Datagrams, client, server);
                Progress {
                    index,
                    ..Progress::default()
                }
            });
        self.found.talks[progress.index]
            .packets
            .push(recorded.clone());
    }
}

impl Talks {
    fn begin(&mut self, kind: Kind, client: SocketAddr, server: SocketAddr) -> usize {
        self.talks.push(Talk {
            kind,
            client,
            server,
            packets: Vec::new(),
            is_cut: false,
            is_offloaded: false,
        });
        self.talks.len() - 1
    }
}

fn ordered(one: SocketAddr, other: SocketAddr) -> (SocketAddr, SocketAddr) {
    (one.min(other), one.max(other))
}

fn is_group(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    address.is_multicast() || broadcast
}
