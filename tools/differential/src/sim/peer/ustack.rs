//! A host with the stack under test.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use ustack::Config;
use ustack::device::{Caps, Frame, Offload, TxBatch, gso};
use ustack::testing::VirtualHost;
use ustack_tcp::time::Instant;
use ustack_tcp::{
    CloseReason, CongestionAlgorithm, ConnId, EcnMode, Event, FlowKey, Keepalive, ListenOptions,
    ListenerId, LossDetection, Read, SocketError, SocketOptions,
};

use super::{Got, Peer, Phase, Place, Socket};
use crate::report::Ended;
use crate::sim::settings::{Congestion, Ecn, Pacing, Settings};

/// A listener's keep-alive: a RST that was lost is noticed within a minute.
const KEEPALIVE: Keepalive = Keepalive {
    idle: Duration::from_secs(20),
    interval: Duration::from_secs(5),
    count: 8,
};

#[derive(Debug)]
pub(super) struct Host {
    stack: VirtualHost,
    place: Place,
    options: SocketOptions,
    backlog: u16,
    listener: Option<ListenerId>,
    sockets: Vec<(ConnId, Phase)>,
    numbers: HashMap<ConnId, Socket>,
    tx: TxBatch,
    next: Option<Instant>,
}

impl Host {
    pub(super) fn new(place: Place, settings: &Settings) -> io::Result<Self> {
        let mut secret = [0; 32];
        secret[..8].copy_from_slice(&place.secret.to_le_bytes());
        let prefix = if place.local.is_ipv4() { 24 } else { 64 };
        let config = Config::new()
            .address(place.local, prefix)
            .tcp(tcp_config(settings))
            .seed(secret);
        let caps = if settings.offload {
            Caps::offload(settings.mtu)
        } else {
            Caps::plain(settings.mtu)
        };
        Ok(Self {
            stack: VirtualHost::new(config, caps)?,
            options: SocketOptions {
                keepalive: place.keepalive.then_some(KEEPALIVE),
                ..options(settings)
            },
            place,
            backlog: settings.backlog,
            listener: None,
            sockets: Vec::new(),
            numbers: HashMap::new(),
            tx: TxBatch::new(),
            next: None,
        })
    }

    fn number(&mut self, id: ConnId, phase: Phase) -> Socket {
        self.sockets.push((id, phase));
        self.numbers.insert(id, self.sockets.len() - 1);
        self.sockets.len() - 1
    }

    fn on_events(&mut self) {
        while let Some(event) = self.stack.tcp_mut().poll_event() {
            let (id, phase) = match event {
                Event::Connected(id) => (id, Phase::Open),
                Event::Closed(id, reason) => (id, Phase::Failed(ended(reason))),
                _ => continue,
            };
            if let Some(&number) = self.numbers.get(&id)
                && let (_, known @ Phase::Opening) = &mut self.sockets[number]
            {
                *known = phase;
            }
        }
        while self.stack.udp_mut().poll_event().is_some() {}
    }

    fn id(&self, socket: Socket) -> ConnId {
        self.sockets[socket].0
    }
}

impl Peer for Host {
    fn listen(&mut self, port: u16, _most: usize) {
        let options = ListenOptions {
            backlog: self.backlog,
            socket: self.options,
            ..ListenOptions::new(SocketAddr::new(self.place.local, port))
        };
        let listener = self.stack.tcp_mut().listen(options);
        self.listener = Some(listener.expect("the only listener of the port"));
    }

    fn close_listener(&mut self, now: Instant) {
        if let Some(listener) = self.listener.take() {
            self.stack.tcp_mut().close_listener(now, listener);
            self.next = Some(now);
        }
    }

    fn connect(&mut self, now: Instant, local: u16, remote: u16) -> Result<Socket, Ended> {
        let flow = FlowKey {
            local: SocketAddr::new(self.place.local, local),
            remote: SocketAddr::new(self.place.remote, remote),
        };
        let connected = self.stack.tcp_mut().connect(now, flow, self.options);
        let (id, _) = connected.map_err(|_| Ended::InUse)?;
        Ok(self.number(id, Phase::Opening))
    }

    fn accept(&mut self) -> Option<(Socket, u16)> {
        let (id, flow) = self.stack.tcp_mut().accept(self.listener?)?;
        Some((self.number(id, Phase::Open), flow.remote.port()))
    }

    fn phase(&mut self, socket: Socket) -> Phase {
        self.on_events();
        self.sockets[socket].1
    }

    fn write(&mut self, now: Instant, socket: Socket, data: &Bytes) -> Result<usize, Ended> {
        let id = self.id(socket);
        self.stack.tcp_mut().write(now, id, data).map_err(failed)
    }

    fn read(&mut self, now: Instant, socket: Socket, most: usize) -> Got {
        let id = self.id(socket);
        match self.stack.tcp_mut().read(now, id, most) {
            Ok(Read::Data(data)) => Got::Data(data),
            Ok(Read::Eof) => Got::End(Ended::Eof),
            Ok(Read::Empty) => Got::Nothing,
            Err(error) => Got::End(failed(error)),
        }
    }

    fn shutdown(&mut self, now: Instant, socket: Socket) -> Result<(), Ended> {
        let id = self.id(socket);
        self.stack.tcp_mut().shutdown(now, id).map_err(failed)
    }

    fn abort(&mut self, now: Instant, socket: Socket) {
        let id = self.id(socket);
        self.stack.tcp_mut().abort(now, id);
        self.stack.tcp_mut().release(now, id);
    }

    fn release(&mut self, now: Instant, socket: Socket) {
        let id = self.id(socket);
        self.stack.tcp_mut().release(now, id);
    }

    fn on_packet(&mut self, now: Instant, packet: Bytes) {
        let frame = Frame {
            data: packet,
            offload: Offload::default(),
        };
        self.stack.on_received(now, frame);
        self.next = Some(now);
    }

    fn turn_in(&mut self, now: Instant) {
        if self.stack.poll_timeout().is_some_and(|at| at <= now) {
            self.stack.on_timeout(now);
        }
        self.on_events();
    }

    fn turn_out(&mut self, now: Instant, out: &mut Vec<Vec<u8>>) {
        self.stack.poll_transmit(now, &mut self.tx);
        for frame in self.tx.iter() {
            let cut = gso::cut(&frame.to_frame(), |packet| out.push(packet));
            cut.expect("a host's own frames are well-formed");
        }
        self.tx.clear();
        self.next = self.stack.poll_timeout();
        if self.stack.has_ready() {
            self.next = Some(now);
        }
    }

    fn next(&self) -> Option<Instant> {
        self.next
    }

    fn leftovers(&self) -> Vec<String> {
        let tcp = self.stack.tcp();
        let connections = tcp.connections().map(|connection| {
            format!(
                "a connection from {} in {}",
                connection.flow.remote, connection.state
            )
        });
        let mut found: Vec<_> = connections.take(5).collect();
        let timers = tcp.timer_entries();
        if timers > 0 {
            found.push(format!("{timers} entries in the timer wheel"));
        }
        if let Some(at) = self.stack.poll_timeout() {
            found.push(format!("a deadline at {at:?}"));
        }
        if self.stack.has_ready() {
            found.push("something to send".into());
        }
        found
    }
}

fn tcp_config(settings: &Settings) -> ustack_tcp::Config {
    let mut config = ustack_tcp::Config::default();
    config.congestion = match settings.congestion {
        Congestion::Reno => CongestionAlgorithm::Reno,
        Congestion::Cubic => CongestionAlgorithm::Cubic,
        Congestion::Bbr => CongestionAlgorithm::Bbr,
    };
    config.timestamps = settings.timestamps;
    config.hystart = settings.hystart;
    config.pacing = match settings.pacing {
        Pacing::Off => ustack_tcp::Pacing::Off,
        Pacing::SlowStart => ustack_tcp::Pacing::SlowStart,
        Pacing::On => ustack_tcp::Pacing::On,
    };
    config.loss_detection = if settings.rack {
        LossDetection::Rack
    } else {
        LossDetection::Rfc6675
    };
    config.ecn = match settings.ecn {
        Ecn::Off => EcnMode::Off,
        Ecn::Passive => EcnMode::Passive,
        Ecn::On => EcnMode::On,
    };
    config.syn_cookies = settings.syn_cookies;
    config.quick_acks = settings.quick_acks;
    config.time_wait = Duration::from_secs(settings.time_wait);
    config.fin_timeout = Duration::from_secs(settings.fin_timeout);
    config.rfc1337 = settings.rfc1337;
    config.mtu_probing = settings.mtu_probing;
    config.rto_min = Duration::from_millis(settings.rto_min);
    config
}

fn options(settings: &Settings) -> SocketOptions {
    SocketOptions {
        nodelay: !settings.nagle,
        send_buffer: settings.send_buffer,
        recv_buffer: settings.recv_buffer,
        minshall: settings.minshall,
        max_pacing_rate: settings
            .max_pacing_rate
            .and_then(|rate| u64::from(rate).try_into().ok()),
        cork: settings.cork,
        max_segment: settings.max_segment,
        notsent_lowat: settings.notsent_lowat,
        quickack: !settings.delayed_ack,
        ..SocketOptions::default()
    }
}

fn ended(reason: CloseReason) -> Ended {
    match reason {
        CloseReason::Finished => Ended::Eof,
        CloseReason::Reset => Ended::Reset,
        CloseReason::Refused => Ended::Refused,
        CloseReason::Aborted => Ended::Aborted,
        _ => Ended::TimedOut,
    }
}

fn failed(error: SocketError) -> Ended {
    match error {
        SocketError::Closed(reason) => ended(reason),
        _ => Ended::Reset,
    }
}
