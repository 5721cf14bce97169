//! Which packets a capture shows: those between certain hosts, ports, of certain protocols.

use std::net::IpAddr;
use std::str::FromStr;

use etherparse::{IpNumber, TransportSlice};

/// Which way a packet goes, seen from the stack. The numbers are those of pcapng's `epb_flags`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureDirection {
    /// It came.
    In = 1,
    /// It leaves.
    Out = 2,
}

impl FromStr for CaptureDirection {
    type Err = CaptureDirectionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "in" => Ok(Self::In),
            "out" => Ok(Self::Out),
            other => Err(CaptureDirectionError(other.to_owned())),
        }
    }
}

/// Why a direction is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no direction of a capture: use in or out")]
pub struct CaptureDirectionError(String);

/// A filter: terms `host ADDR`, `port N`, `tcp`, `udp` and `icmp`, all of which must hold; `or`
/// between groups of them. Without a term every packet passes.
///
/// ```
/// use ustack::device::CaptureFilter;
///
/// let filter: CaptureFilter = "tcp port 80 or host 10.77.0.1 udp".parse()?;
/// assert!("port eighty".parse::<CaptureFilter>().is_err());
/// # Ok::<(), ustack::device::CaptureFilterError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaptureFilter {
    /// Any of these must hold.
    groups: Vec<Vec<Term>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Term {
    Host(IpAddr),
    Port(u16),
    Tcp,
    Udp,
    Icmp,
}

/// Why a filter is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no term of a capture filter: use host ADDR, port N, tcp, udp, icmp, or")]
pub struct CaptureFilterError(String);

impl FromStr for CaptureFilter {
    type Err = CaptureFilterError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.split_whitespace().filter(|&word| word != "and");
        let mut groups = vec![Vec::new()];
        while let Some(word) = words.next() {
            let refuse = || CaptureFilterError(word.to_owned());
            let term = match word {
                "tcp" => Term::Tcp,
                "udp" => Term::Udp,
                "icmp" => Term::Icmp,
                "host" | "port" => {
                    let value = words.next().ok_or_else(refuse)?;
                    let refuse = |()| CaptureFilterError(format!("{word} {value}"));
                    if word == "host" {
                        Term::Host(value.parse().map_err(|_| refuse(()))?)
                    } else {
                        Term::Port(value.parse().map_err(|_| refuse(()))?)
                    }
                }
                "or" => {
                    if groups.last().is_none_or(Vec::is_empty) {
                        return Err(refuse());
                    }
                    groups.push(Vec::new());
                    continue;
                }
                _ => return Err(refuse()),
            };
            if let Some(group) = groups.last_mut() {
                group.push(term);
            }
        }
        if groups.len() > 1 && groups.last().is_some_and(Vec::is_empty) {
            return Err(CaptureFilterError("or".to_owned()));
        }
        groups.retain(|group| !group.is_empty());
        Ok(Self { groups })
    }
}

impl CaptureFilter {
    /// Whether a packet, or its beginning, passes. One that cannot be read passes: it is worth
    /// seeing.
    pub fn passes(&self, packet: &[u8]) -> bool {
        if self.groups.is_empty() {
            return true;
        }
        let Some(facts) = Facts::of(packet) else {
            return true;
        };
        let holds = |group: &Vec<Term>| group.iter().all(|&term| facts.holds(term));
        self.groups.iter().any(holds)
    }
}

/// What the terms ask for.
struct Facts {
    hosts: [IpAddr; 2],
    ports: Option<[u16; 2]>,
    protocol: IpNumber,
}

impl Facts {
    fn of(packet: &[u8]) -> Option<Self> {
        let sliced = etherparse::LaxSlicedPacket::from_ip(packet).ok()?;
        let (hosts, protocol) = match sliced.net.as_ref()? {
            etherparse::LaxNetSlice::Ipv4(ip) => {
                let header = ip.header();
                let hosts = [
                    header.source_addr().into(),
                    header.destination_addr().into(),
                ];
                (hosts, ip.payload().ip_number)
            }
            etherparse::LaxNetSlice::Ipv6(ip) => {
                let header = ip.header();
                let hosts = [
                    header.source_addr().into(),
                    header.destination_addr().into(),
                ];
                (hosts, ip.payload().ip_number)
            }
            etherparse::LaxNetSlice::Arp(_) => return None,
        };
        let ports = match &sliced.transport {
            Some(TransportSlice::Tcp(tcp)) => Some([tcp.source_port(), tcp.destination_port()]),
            Some(TransportSlice::Udp(udp)) => Some([udp.source_port(), udp.destination_port()]),
            _ => None,
        };
        Some(Self {
            hosts,
            ports,
            protocol,
        })
    }

    fn holds(&self, term: Term) -> bool {
        match term {
            Term::Host(host) => self.hosts.contains(&host),
            Term::Port(port) => self.ports.is_some_and(|ports| ports.contains(&port)),
            Term::Tcp => self.protocol == IpNumber::TCP,
            Term::Udp => self.protocol == IpNumber::UDP,
            Term::Icmp => {
                matches!(self.protocol, IpNumber::ICMP | IpNumber::IPV6_ICMP)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    fn tcp(ports: (u16, u16)) -> Vec<u8> {
        let mut packet = Vec::new();
        PacketBuilder::ipv4([10, 77, 0, 2], [10, 77, 0, 1], 64)
            .tcp(ports.0, ports.1, 1, 1)
            .write(&mut packet, &[0; 100])
            .unwrap();
        packet
    }

    fn udp_v6() -> Vec<u8> {
        let mut packet = Vec::new();
        PacketBuilder::ipv6([1; 16], [2; 16], 64)
            .udp(7, 9)
            .write(&mut packet, &[0; 100])
            .unwrap();
        packet
    }

    #[test]
    fn terms_hold_together_and_groups_each_for_itself() {
        for (filter, first, second) in [
            ("", true, true),
            ("tcp", true, false),
            ("port 80", true, false),
            ("port 81", false, false),
            ("udp", false, true),
            ("icmp", false, false),
            ("tcp and port 9", false, false),
            ("host 10.77.0.1 tcp", true, false),
            ("host 10.77.0.3", false, false),
            ("tcp port 80 or udp port 9", true, true),
            ("host 202:202:202:202:202:202:202:202", false, true),
        ] {
            let parsed: CaptureFilter = filter.parse().unwrap();
            assert_eq!(parsed.passes(&tcp((80, 4000))), first, "{filter}");
            assert_eq!(parsed.passes(&udp_v6()), second, "{filter}");
            // Headers are enough.
            assert_eq!(parsed.passes(&tcp((80, 4000))[..40]), first, "{filter}");
        }
        assert!("tcp".parse::<CaptureFilter>().unwrap().passes(&[1, 2, 3]));
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for text in [
            "port",
            "port x",
            "host",
            "host x",
            "tpc",
            "or tcp",
            "tcp or",
            "udp or or tcp",
        ] {
            assert!(text.parse::<CaptureFilter>().is_err(), "{text}");
        }
    }
}
