//! Demultiplexing against an oracle that looks at every socket.

use bytes::Bytes;

use super::*;
use proptest::prelude::{Strategy, any, prop, prop_oneof, proptest};

#[derive(Clone, Debug)]
enum Op {
    Bind {
        ip: u8,
        port: u16,
        transparent: bool,
    },
    Connect {
        nth: prop::sample::Index,
        remote: u8,
    },
    Close {
        nth: prop::sample::Index,
    },
    Deliver {
        ip: u8,
        port: u16,
        remote: u8,
    },
}

/// What the oracle knows of a socket.
#[derive(Debug)]
struct Known {
    id: SocketId,
    local: SocketAddr,
    remote: Option<SocketAddr>,
    transparent: bool,
}

impl Known {
    /// How well the socket fits, as a rank; `None` when it does not.
    fn rank(&self, local: SocketAddr, remote: SocketAddr, ours: bool) -> Option<u32> {
        let is_any = self.local.ip().is_unspecified();
        let has_ip = is_any || self.local.ip() == local.ip();
        let has_port = self.local.port() == local.port() || (self.local.port() == 0 && !ours);
        let is_peer = self.remote.is_none_or(|peer| peer == remote);
        // A connected socket is its pair's, a transparent one's pair a foreign address only by name.
        let may = match self.remote {
            Some(_) => ours || !is_any,
            None => ours || self.transparent,
        };
        (has_ip && has_port && is_peer && may).then(|| {
            let address = match self.local.ip() {
                IpAddr::V4(ip) if !ip.is_unspecified() => 4,
                IpAddr::V4(_) => 2,
                IpAddr::V6(_) => 0,
            };
            u32::from(self.remote.is_some()) * 8 + address + u32::from(self.local.port() != 0)
        })
    }
}

/// 0: any; 1 and 2: ours; 3 and 4: others'; 5: any of both families.
fn ip(n: u8) -> IpAddr {
    match n {
        0 => IpAddr::from([0; 4]),
        5 => IpAddr::from([0; 16]),
        n => IpAddr::from([10, 0, 0, n]),
    }
}

fn op() -> impl Strategy<Value = Op> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        3 => (0..6_u8, 0..4_u16, any::<bool>())
            .prop_map(|(ip, port, transparent)| Op::Bind { ip, port, transparent }),
        2 => (index(), 6..9_u8).prop_map(|(nth, remote)| Op::Connect { nth, remote }),
        1 => index().prop_map(|nth| Op::Close { nth }),
        6 => (1..5_u8, 1..4_u16, 6..9_u8)
            .prop_map(|(ip, port, remote)| Op::Deliver { ip, port, remote }),
    ]
}

/// Delivers a datagram and asserts that it went where a search says.
fn deliver(udp: &mut Udp, known: &[Known], local: SocketAddr, remote: SocketAddr, ours: bool) {
    let expected = known
        .iter()
        .filter_map(|known| Some((known.rank(local, remote, ours)?, known.id)))
        .max();
    let datagram = Datagram::new(local, remote, Bytes::new());
    match (udp.on_datagram(datagram, ours), expected) {
        (Ok(()), Some((_, id))) => {
            let received = udp.recv(id).expect("no error");
            assert_eq!(received.expect("delivered here").local, local);
        }
        (result, expected) => {
            assert_eq!((result, expected), (Err(Dropped::NoSocket), None));
        }
    }
}

fn run(ops: Vec<Op>) {
    let config = Config {
        addresses: [ip(1), ip(2)].to_vec(),
        ephemeral_ports: (50_000, 50_100),
        ..Config::default()
    };
    let mut udp = Udp::new(config, [9; 32]);
    let mut known: Vec<Known> = Vec::new();
    for op in ops {
        match op {
            Op::Bind {
                ip: n,
                port,
                transparent,
            } => {
                let local = SocketAddr::new(ip(n), port);
                let options = BindOptions {
                    transparent,
                    ..BindOptions::new(local)
                };
                let Ok(id) = udp.bind(options) else { continue };
                let local = udp.local_addr(id).expect("bound");
                let twin = known
                    .iter()
                    .any(|known| known.local == local && known.remote.is_none());
                assert!(!twin, "{local} bound twice");
                known.push(Known {
                    id,
                    local,
                    remote: None,
                    transparent,
                });
            }
            Op::Connect { nth, remote } if !known.is_empty() => {
                let socket = &mut known[nth.index(udp.socket_count())];
                let remote = SocketAddr::new(ip(remote), 7);
                if udp.connect(socket.id, remote).is_ok() {
                    socket.remote = Some(remote);
                }
                assert_eq!(udp.peer_addr(socket.id), socket.remote);
            }
            Op::Close { nth } if !known.is_empty() => {
                let socket = known.swap_remove(nth.index(known.len()));
                udp.close(socket.id);
                assert_eq!(udp.recv(socket.id), Err(SocketError::NotFound));
            }
            Op::Deliver {
                ip: n,
                port,
                remote,
            } => {
                let (local, remote) =
                    (SocketAddr::new(ip(n), port), SocketAddr::new(ip(remote), 7));
                deliver(&mut udp, &known, local, remote, n <= 2);
            }
            Op::Connect { .. } | Op::Close { .. } => {}
        }
        assert_eq!(udp.socket_count(), known.len());
    }
}

proptest! {
    #[test]
    fn the_table_finds_what_a_search_finds(ops in prop::collection::vec(op(), 0..60)) {
        run(ops);
    }
}
