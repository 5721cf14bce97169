//! A host: the real stack, one application, and what has arrived for them.

use std::io;

use ustack::Config;
use ustack::device::{Caps, Frame, TxBatch};
use ustack::testing::VirtualHost;
use ustack_tcp::ConnId;
use ustack_tcp::Info;
use ustack_tcp::time::Instant;

use super::wire::{self, HostId};
use crate::app::{App, Context, FlowLog};
use crate::scenario::FlowSpec;

/// A host of one flow.
#[derive(Debug)]
pub(super) struct Host {
    stack: VirtualHost,
    app: Box<dyn App>,
    pub(super) flow: usize,
    /// What its connection is called in results.
    pub(super) label: String,
    inbox: Vec<(Vec<u8>, bool)>,
    /// The earliest deadline of stack and application.
    next: Option<Instant>,
}

impl Host {
    pub(super) fn new(
        id: HostId,
        seed: u64,
        flow: usize,
        spec: &FlowSpec,
        label: String,
        app: Box<dyn App>,
    ) -> io::Result<Self> {
        let mut config = Config::new()
            .address(wire::address(id), 8)
            .tcp(spec.tcp.clone())
            .seed(secret(seed, id));
        config.socket = spec.options;
        let caps = Caps {
            mtu: spec.mtu,
            tx_checksum: true,
            tso: spec.tso,
            uso: false,
        };
        Ok(Self {
            stack: VirtualHost::new(config, caps)?,
            app,
            flow,
            label,
            inbox: Vec::new(),
            next: Some(Instant::ZERO),
        })
    }

    pub(super) fn arrive(&mut self, packet: Vec<u8>, finished: bool) {
        self.inbox.push((packet, finished));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        !self.inbox.is_empty() || self.next.is_some_and(|next| next <= now)
    }

    /// One turn of the packet loop: input, deadlines, the application; `tx` holds what leaves.
    pub(super) fn turn(&mut self, now: Instant, log: &mut FlowLog, tx: &mut TxBatch) {
        for (packet, finished) in self.inbox.drain(..) {
            let frame = Frame {
                data: packet.into(),
                offload: wire::offload(finished),
            };
            self.stack.on_received(now, frame);
        }
        if self.stack.poll_timeout().is_some_and(|at| at <= now) {
            self.stack.on_timeout(now);
        }
        self.discard_events();
        let host = &mut self.stack;
        self.app.on_wake(&mut Context { now, host, log });
        self.stack.poll_transmit(now, tx);
        let deadlines = [self.stack.poll_timeout(), self.app.poll_timeout()];
        self.next = deadlines.into_iter().flatten().min();
        if self.stack.has_ready() {
            self.next = Some(now);
        }
    }

    /// The one application of a host is woken by anything, and looks for itself.
    fn discard_events(&mut self) {
        while self.stack.tcp_mut().poll_event().is_some() {}
        while self.stack.udp_mut().poll_event().is_some() {}
    }

    pub(super) fn watched(&self) -> Option<ConnId> {
        self.app.watched()
    }

    /// The connection that carries data away from here, while it is there.
    pub(super) fn info(&self, now: Instant) -> Option<Info> {
        self.stack.tcp().info(now, self.app.watched()?).ok()
    }
}

/// The secret of a host's stack, so that its ports and sequence numbers are the same every time.
fn secret(seed: u64, id: HostId) -> [u8; 32] {
    let mut secret = [0; 32];
    secret[..8].copy_from_slice(&seed.to_le_bytes());
    secret[8..16].copy_from_slice(&(id as u64).to_le_bytes());
    secret
}
