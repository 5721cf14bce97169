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
mod tcp;
mod udp;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

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

/// A forwarder that listens and has not begun.
#[derive(Debug)]
pub struct Forwarder {
    stack: Stack,
    config: ForwardConfig,
    counters: Arc<ForwardCounters>,
    incoming: Vec<IncomingListener>,
    datagrams: Vec<UdpSocket>,
    resolver: Option<(TcpListener, UdpSocket, SocketAddr)>,
}

impl Forwarder {
    /// Listens for what goes to other hosts. The stack must be transparent.
    pub fn bind(stack: &Stack, config: ForwardConfig) -> io::Result<Self> {
        let mut incoming = Vec::new();
        let mut datagrams = Vec::new();
        for any in [
            Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        ] {
            let any = SocketAddr::new(any, 0);
            incoming.push(
                TcpListener::builder(stack)
                    .transparent(true)
                    .hold(config.max_held)
                    .bind_incoming(any)?,
            );
            datagrams.push(UdpSocket::bind_with(
                stack,
                BindOptions {
                    transparent: true,
                    recv_buffer: UDP_BUFFER,
                    send_buffer: UDP_BUFFER,
                    ..BindOptions::new(any)
                },
            )?);
        }
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
            config,
            counters: Arc::default(),
            incoming,
            datagrams,
            resolver,
        })
    }

    /// Counters, to be read while the forwarder runs.
    pub fn counters(&self) -> Arc<ForwardCounters> {
        Arc::clone(&self.counters)
    }

    /// Forwards until `stop`, then takes nothing new and waits for the connections under way.
    pub async fn run(self, stop: Stop) {
        let Self {
            stack,
            config,
            counters,
            incoming,
            datagrams,
            resolver,
        } = self;
        let shared = Arc::new(tcp::Shared::new(&config, Arc::clone(&counters)));
        let mut parts = tokio::task::JoinSet::new();
        for listener in incoming {
            parts.spawn(tcp::forward(listener, Arc::clone(&shared), stop.clone()));
        }
        for socket in datagrams {
            let route = udp::Route::Open(config.rules.clone());
            let relay = udp::Relay::new(socket, route, &config, Arc::clone(&counters));
            parts.spawn(relay.run(stop.clone()));
        }
        if let Some((listener, socket, target)) = resolver {
            let route = udp::Route::Fixed(target);
            let relay = udp::Relay::new(socket, route, &config, Arc::clone(&counters));
            parts.spawn(relay.run(stop.clone()));
            parts.spawn(tcp::relay_to(listener, target, shared, stop.clone()));
        }
        parts.spawn(icmp::forward(
            stack,
            config.rules,
            Arc::clone(&counters),
            stop,
        ));
        while let Some(ended) = parts.join_next().await {
            if let Err(error) = ended {
                warn!(%error, "a part of the forwarder failed");
            }
        }
        debug!(stats = ?counters.stats(), "the forwarder has ended");
    }
}
