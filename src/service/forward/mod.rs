//! Forwarding: what a transparent stack's clients send to other hosts goes on through the host's
//! own sockets.
//!
//! A client learns of its destination what the destination says. Its SYN is held until the
//! upstream connection answers (`tcp`), its UDP port has one mapping whoever it talks to
//! (`udp`), its pings come back when the other host answers (`icmp`). Which destinations are
//! open is for the [`Rules`] to say.

mod counters;
mod errqueue;
mod icmp;
mod mapping;
mod relay;
mod rules;
mod segments;
mod tcp;
mod udp;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::Stop;
use crate::udp::BindOptions;
use crate::{IncomingListener, Stack, TcpListener, UdpSocket};

pub use counters::{ForwardCounters, ForwardStats};
pub use rules::{Refusal, Rules};

/// Queues of the socket that all clients of one IP version share, in bytes each way.
const UDP_BUFFER: u32 = 4 << 20;

/// What to forward, and how much of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ForwardConfig {
    /// Which destinations may be reached.
    pub rules: Rules,
    /// SYNs that wait for their upstream at once; more are dropped, and clients try again.
    pub max_held: usize,
    /// TCP connections at once, those waiting included; more are dropped. Each takes a file
    /// descriptor.
    pub max_connections: usize,
    /// UDP mappings per IP version; beyond it the least recently used goes. Each takes a file
    /// descriptor.
    pub max_mappings: usize,
    /// How long a UDP mapping lives unused (RFC 4787 REQ-5: two minutes or more).
    pub udp_idle: Duration,
    /// How long an upstream connection may take to open.
    pub connect_timeout: Duration,
    /// An address of the stack, with port, and the name server of the host that it stands for.
    pub resolver: Option<(SocketAddr, SocketAddr)>,
}

impl ForwardConfig {
    /// The defaults with these rules.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            max_held: 1024,
            max_connections: 8192,
            max_mappings: 2048,
            udp_idle: Duration::from_secs(120),
            connect_timeout: Duration::from_secs(60),
            resolver: None,
        }
    }
}

/// A forwarder that listens and has not begun, or its part at one shard.
#[derive(Debug)]
pub struct Forwarder {
    config: ForwardConfig,
    counters: Arc<ForwardCounters>,
    shared: Arc<tcp::Shared>,
    incoming: Vec<IncomingListener>,
    /// What is not TCP.
    others: Option<Others>,
}

/// What only one part has: a client's port has one mapping, whoever it talks to (RFC 4787 REQ-1),
/// so all its datagrams go one way.
#[derive(Debug)]
struct Others {
    stack: Stack,
    datagrams: Vec<UdpSocket>,
    resolver: Option<(TcpListener, UdpSocket, SocketAddr)>,
}

impl Forwarder {
    /// Listens for what goes to other hosts. The stack must be transparent.
    pub fn bind(stack: &Stack, config: ForwardConfig) -> io::Result<Self> {
        let counters = Arc::<ForwardCounters>::default();
        Ok(Self {
            incoming: listen(stack, &config)?,
            others: Some(Others::bind(stack, &config)?),
            shared: Arc::new(tcp::Shared::new(&config, Arc::clone(&counters))),
            config,
            counters,
        })
    }

    /// As [`Forwarder::bind`], with a part for each shard, to run where that does. They have their
    /// counters and the limit of connections in common; datagrams are all forwarded by the first.
    pub fn bind_each(stack: &Stack, config: &ForwardConfig) -> io::Result<Vec<Self>> {
        let counters = Arc::<ForwardCounters>::default();
        let shared = Arc::new(tcp::Shared::new(config, Arc::clone(&counters)));
        let mut others = Some(Others::bind(stack, config)?);
        let part = |shard: Stack| {
            Ok(Self {
                incoming: listen(&shard, config)?,
                others: others.take(),
                shared: Arc::clone(&shared),
                config: config.clone(),
                counters: Arc::clone(&counters),
            })
        };
        stack.each_shard().map(part).collect()
    }

    /// Counters, to be read while the forwarder runs.
    pub fn counters(&self) -> Arc<ForwardCounters> {
        Arc::clone(&self.counters)
    }

    /// Forwards until `stop`, then takes nothing new and waits for the connections under way.
    pub async fn run(self, stop: Stop) {
        let Self {
            config,
            counters,
            shared,
            incoming,
            others,
        } = self;
        let mut parts = JoinSet::new();
        for listener in incoming {
            parts.spawn(tcp::forward(listener, Arc::clone(&shared), stop.clone()));
        }
        if let Some(others) = others {
            others.spawn(&mut parts, config, &counters, shared, &stop);
        }
        while let Some(ended) = parts.join_next().await {
            if let Err(error) = ended {
                warn!(%error, "a part of the forwarder failed");
            }
        }
        debug!(stats = ?counters.stats(), "the forwarder has ended");
    }
}

const ANY: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    IpAddr::V6(Ipv6Addr::UNSPECIFIED),
];

fn listen(stack: &Stack, config: &ForwardConfig) -> io::Result<Vec<IncomingListener>> {
    let listen = |ip| {
        TcpListener::builder(stack)
            .transparent(true)
            .hold(config.max_held)
            .bind_incoming(SocketAddr::new(ip, 0))
    };
    ANY.into_iter().map(listen).collect()
}

impl Others {
    fn bind(stack: &Stack, config: &ForwardConfig) -> io::Result<Self> {
        let bind = |ip| {
            UdpSocket::bind_with(
                stack,
                BindOptions {
                    transparent: true,
                    recv_buffer: UDP_BUFFER,
                    send_buffer: UDP_BUFFER,
                    ..BindOptions::new(SocketAddr::new(ip, 0))
                },
            )
        };
        let resolver = match config.resolver {
            None => None,
            Some((local, target)) => Some((
                TcpListener::bind(stack, local)?,
                UdpSocket::bind(stack, local)?,
                target,
            )),
        };
        Ok(Self {
            stack: stack.clone(),
            datagrams: ANY.into_iter().map(bind).collect::<io::Result<_>>()?,
            resolver,
        })
    }

    fn spawn(
        self,
        parts: &mut JoinSet<()>,
        config: ForwardConfig,
        counters: &Arc<ForwardCounters>,
        shared: Arc<tcp::Shared>,
        stop: &Stop,
    ) {
        for socket in self.datagrams {
            let route = udp::Route::Open(config.rules.clone());
            let relay = udp::Relay::new(socket, route, &config, Arc::clone(counters));
            parts.spawn(relay.run(stop.clone()));
        }
        if let Some((listener, socket, target)) = self.resolver {
            let route = udp::Route::Fixed(target);
            let relay = udp::Relay::new(socket, route, &config, Arc::clone(counters));
            parts.spawn(relay.run(stop.clone()));
            parts.spawn(tcp::relay_to(listener, target, shared, stop.clone()));
        }
        parts.spawn(icmp::forward(
            self.stack,
            config.rules,
            Arc::clone(counters),
            stop.clone(),
        ));
    }
}
