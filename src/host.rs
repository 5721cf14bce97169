//! What the lock of a shard guards: the protocols of one host, and who waits for them.
//!
//! The packet loop brings frames and time, applications bring calls; both end in
//! [`Host::on_events`], which turns the core's events into wakers.

mod input;
mod memory;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::Waker;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use ustack_tcp::memory::Budget;
use ustack_tcp::time::Instant;
use ustack_tcp::{CloseReason, Event, SocketOptions, Tcp, Verdict};
use ustack_udp::Udp;

use crate::batch::TxBatch;
use crate::clock::RunningClock;
use crate::config::Config;
use crate::device::Caps;
use crate::error;
use crate::huge_pages;
use crate::ip::{Echo, Ip, IpConfig, directed_broadcasts};
use crate::metrics::{DeviceStats, Stats, TcpStats};
use crate::observe::{Events, Notes};
use crate::pool::ChunkPool;
use crate::shards::{Handed, Inbox, Place};
use crate::socket::roomy;
use crate::wakers::{HeldSyn, Phase, Side, Sockets, Waiters};

pub(crate) use memory::LEASES;
use memory::Memory;

/// Echo requests for other hosts that wait for the application; more are forgotten.
const MAX_FOREIGN_ECHOS: usize = 64;

/// A shard as applications and other shards reach it, on cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Shared {
    pub(crate) host: Mutex<Host>,
    /// The driver's task.
    pub(crate) driver: AtomicWaker,
    /// What other shards hand over.
    pub(crate) inbox: Inbox,
    pub(crate) clock: RunningClock,
    /// What applications write is copied to.
    pub(crate) pool: Mutex<ChunkPool>,
}

impl Shared {
    /// One call of an application: `f` under the lock, then the wakers that it earned. The driver
    /// is woken only when it has something new to do.
    pub(crate) fn call<R>(&self, f: impl FnOnce(&mut Host, Instant) -> R) -> R {
        let now = self.clock.now();
        let mut wake = Vec::new();
        let mut host = self.host.lock();
        let now = host.stamp(now);
        let was_ready = host.has_ready();
        let result = f(&mut host, now);
        host.on_events(now, &mut wake);
        let is_ready = host.has_ready() && !was_ready;
        let is_sooner = host
            .poll_timeout()
            .is_some_and(|at| host.armed.is_none_or(|armed| at < armed));
        let discarded = std::mem::take(&mut host.sockets.discarded);
        drop(host);
        drop(discarded);
        if is_ready || is_sooner {
            self.driver.wake();
        }
        wake.into_iter().for_each(Waker::wake);
        result
    }
}

/// How far the end of a stack has come.
#[derive(Clone, Debug)]
pub(crate) enum Ending {
    /// Not at all.
    Running,
    /// No new connection; the living ones say FIN, and are reset at `deadline`.
    Closing { deadline: Instant },
    /// The deadline has passed: what lived was reset.
    Aborted,
    /// The driver is gone, for this reason.
    Gone(Arc<str>),
}

/// TCP, UDP and IP of one shard with their sockets.
#[derive(Debug)]
pub(crate) struct Host {
    /// Which shard this is.
    pub(crate) place: Place,
    pub(crate) tcp: Tcp,
    pub(crate) udp: Udp,
    pub(crate) ip: Ip,
    pub(crate) sockets: Sockets,
    pub(crate) ending: Ending,
    /// When the driver's timer falls due.
    pub(crate) armed: Option<Instant>,
    pub(crate) device: DeviceStats,
    /// Echo requests for other hosts, and who relays them.
    pub(crate) echos: VecDeque<Echo>,
    pub(crate) echo_waiters: Waiters,
    /// What sockets start with.
    pub(crate) options: SocketOptions,
    pub(crate) ephemeral_ports: (u16, u16),
    /// What a connection can be opened with at most.
    pub(crate) send_buffer_initial: u32,
    pub(crate) transparent: bool,
    /// What is another shard's, and whose.
    pub(crate) outbox: Vec<(usize, Handed)>,
    dropped: BTreeMap<ustack_tcp::Dropped, u64>,
    incoming_overflow: u64,
    /// What is not TCP's of the budget of memory, if there is one.
    memory: Option<Memory>,
    /// What is observed, if anybody wants to know.
    notes: Option<Box<Notes>>,
    /// Who hears of it besides the device.
    pub(crate) events: Option<Arc<dyn Events>>,
    /// The latest time seen: applications read the clock on threads of their own.
    now: Instant,
}

impl Host {
    /// The shards of a host have one seed: its flows have the same sequence numbers and cookies at
    /// each of them.
    pub(crate) fn new(
        config: Config,
        caps: Caps,
        seed: [u8; 32],
        place: Place,
        budget: Option<&Arc<Budget>>,
    ) -> Self {
        let ephemeral_ports = config.tcp.ephemeral_ports;
        let send_buffer_initial = config.tcp.send_buffer_initial;
        let mut tcp = config.tcp;
        (tcp.mtu, tcp.tso, tcp.gso) = (caps.mtu, caps.tso, true);
        tcp.on_large_memory = tcp.on_large_memory.or(Some(huge_pages::ask));
        let (remainder, modulus) = place.class();
        tcp.port_class = (modulus, remainder);
        let udp = ustack_udp::Config {
            addresses: config.addresses.iter().map(|&(ip, _)| ip).collect(),
            broadcasts: directed_broadcasts(&config.addresses).collect(),
            mtu: caps.mtu,
            port_class: tcp.port_class,
            limited: budget.is_some(),
            ..ustack_udp::Config::default()
        };
        let ip = IpConfig {
            addresses: config.addresses,
            transparent: config.transparent,
            shard: place.class(),
            ..IpConfig::default()
        };
        let mut tcp = Tcp::new(tcp, derive(&seed, 1));
        if let Some(budget) = budget {
            tcp.share_budget(budget);
        }
        let mut host = Self {
            place,
            tcp,
            udp: Udp::new(udp, derive(&seed, 2)),
            ip: Ip::new(ip, caps, derive(&seed, 3)),
            sockets: Sockets::default(),
            ending: Ending::Running,
            armed: None,
            device: DeviceStats::default(),
            echos: VecDeque::new(),
            echo_waiters: Waiters::default(),
            options: roomy(config.socket),
            ephemeral_ports,
            send_buffer_initial,
            transparent: config.transparent,
            outbox: Vec::new(),
            dropped: BTreeMap::new(),
            incoming_overflow: 0,
            memory: budget.map(Memory::new),
            notes: None,
            events: config.events,
            now: Instant::ZERO,
        };
        host.settle_memory(Instant::ZERO);
        host
    }

    /// `now`, unless somebody has seen a later time already.
    pub(crate) fn stamp(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        self.now
    }

    pub(crate) fn on_timeout(&mut self, now: Instant) {
        self.tcp.on_timeout(now);
        self.ip.on_timeout(now);
        if let Ending::Closing { deadline } = self.ending
            && deadline <= now
        {
            self.abort_all(now);
        }
    }

    /// When [`Host::on_timeout`] wants to be called next.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let ending = match self.ending {
            Ending::Closing { deadline } => Some(deadline),
            _ => None,
        };
        let memory = self.memory.as_ref().and_then(Memory::retry_at);
        let deadlines = [
            self.tcp.poll_timeout(),
            self.ip.poll_timeout(),
            memory,
            ending,
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Whether [`Host::poll_transmit`] or the loopback has something to do.
    pub(crate) fn has_ready(&self) -> bool {
        self.tcp.has_ready() || self.udp.has_ready() || self.ip.has_ready()
    }

    /// Takes notes from now on.
    pub(crate) fn observe(&mut self) {
        self.tcp.observe(true);
        self.notes.get_or_insert_default();
    }

    /// Half a turn is over: what was noted goes to the device with the frames.
    pub(crate) fn hand_notes(&mut self, tx: &mut TxBatch) {
        if let Some(notes) = &mut self.notes {
            notes.hand_over(&mut self.tcp, tx);
        }
    }

    /// ACKs and data of every flow on the ready list, datagrams, ICMP.
    pub(crate) fn poll_transmit(&mut self, now: Instant, tx: &mut TxBatch) {
        if let Some(notes) = &mut self.notes {
            notes.on_call(&self.tcp);
            tx.keep_pushes();
        }
        self.tcp.poll_transmit(now, &mut self.ip.output(now, tx));
        if let Some(notes) = &mut self.notes {
            notes.on_sent(&self.tcp, tx);
        }
        self.poll_transmit_datagrams(now, tx);
    }

    /// Datagrams and ICMP.
    pub(crate) fn poll_transmit_datagrams(&mut self, now: Instant, tx: &mut TxBatch) {
        if self.udp.has_ready() {
            self.udp.poll_transmit(&mut self.ip.output(now, tx));
        }
        self.ip.poll_transmit(now, tx);
        self.settle_memory(now);
    }

    /// Turns the core's events into wakers, to be woken once the lock is released.
    pub(crate) fn on_events(&mut self, now: Instant, wake: &mut Vec<Waker>) {
        self.settle_memory(now);
        while let Some(event) = self.tcp.poll_event() {
            self.on_tcp_event(now, event, wake);
        }
        while let Some(event) = self.udp.poll_event() {
            let (id, is_read) = match event {
                ustack_udp::Event::Readable(id) => (id, true),
                ustack_udp::Event::Writable(id) => (id, false),
                _ => continue,
            };
            if let Some(slot) = self.sockets.udp.get_mut(&id) {
                let waiters = if is_read {
                    &mut slot.readers
                } else {
                    &mut slot.writers
                };
                waiters.wake(wake);
            }
        }
        while let Some(id) = self.ip.poll_readable_ping() {
            if let Some(waiters) = self.sockets.ping.get_mut(&id) {
                waiters.wake(wake);
            }
        }
        if !self.echos.is_empty() {
            self.echo_waiters.wake(wake);
        }
    }

    /// Whether a connection has this port of ours. Looks at all of them.
    pub(crate) fn is_port_busy(&self, port: u16) -> bool {
        let mut connections = self.tcp.connections();
        connections.any(|connection| connection.flow.local.port() == port)
    }

    fn on_tcp_event(&mut self, now: Instant, event: Event, wake: &mut Vec<Waker>) {
        match event {
            Event::Accepted(listener) => self.on_accepted(now, listener, wake),
            Event::Incoming {
                listener,
                conn,
                flow,
                seq,
            } => {
                let slot = self.sockets.listeners.get_mut(&listener);
                let waiters = slot.and_then(|slot| Some((slot.hold.as_mut()?, &mut slot.waiters)));
                match waiters {
                    Some((hold, waiters)) if !hold.refusing && hold.has_room() => {
                        hold.queue.push_back(HeldSyn { conn, flow, seq });
                        waiters.wake(wake);
                    }
                    Some((hold, _)) if !hold.refusing => {
                        self.incoming_overflow += 1;
                        self.tcp.decide(now, conn, Verdict::Drop);
                    }
                    _ => {
                        self.tcp.decide(now, conn, Verdict::Refuse);
                    }
                }
            }
            Event::Connected(id) => self.sockets.enter(id, Phase::Open, wake),
            Event::Readable(id) | Event::Urgent(id) => {
                self.sockets.wake(id, Side::Read, wake);
            }
            Event::Writable(id) => self.sockets.wake(id, Side::Write, wake),
            Event::Closed(id, reason) => self.sockets.enter(id, Phase::Closed(reason), wake),
            _ => {}
        }
    }

    /// A plain listener's connections wait in the core; those of a listener that holds SYNs have
    /// somebody waiting for exactly them.
    fn on_accepted(
        &mut self,
        now: Instant,
        listener: ustack_tcp::ListenerId,
        wake: &mut Vec<Waker>,
    ) {
        let Some(slot) = self.sockets.listeners.get_mut(&listener) else {
            return;
        };
        if slot.hold.is_none() {
            return slot.waiters.wake(wake);
        }
        while let Some((id, _)) = self.tcp.accept(listener) {
            if self.sockets.conn_mut(id).is_some() {
                self.sockets.enter(id, Phase::Open, wake);
            } else {
                self.tcp.abort(now, id);
                self.tcp.release(now, id);
            }
        }
    }

    /// Why no call can succeed any more.
    pub(crate) fn check_alive(&self) -> io::Result<()> {
        match &self.ending {
            Ending::Gone(why) => Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                Arc::clone(why).to_string(),
            )),
            _ => Ok(()),
        }
    }

    /// Why nothing new can begin any more.
    pub(crate) fn check_running(&self) -> io::Result<()> {
        self.check_alive()?;
        match self.ending {
            Ending::Running => Ok(()),
            _ => Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the stack is shutting down",
            )),
        }
    }

    /// The first step of a shutdown: no listener takes anything any more, every connection says
    /// FIN after what it has queued. A second one may be sooner.
    pub(crate) fn begin_shutdown(&mut self, now: Instant, deadline: Instant) -> Vec<Waker> {
        let mut wake = Vec::new();
        match &mut self.ending {
            Ending::Running => {}
            Ending::Closing { deadline: first } => {
                *first = deadline.min(*first);
                return wake;
            }
            _ => return wake,
        }
        self.ending = Ending::Closing { deadline };
        for (&id, slot) in &mut self.sockets.listeners {
            for syn in slot.hold.iter_mut().flat_map(|hold| hold.queue.drain(..)) {
                self.tcp.decide(now, syn.conn, Verdict::Refuse);
            }
            self.tcp.close_listener(now, id);
        }
        self.sockets.wake_listeners(&mut wake);
        for id in self.live_connections().collect::<Vec<_>>() {
            let _ = self.tcp.shutdown(now, id); // one that is not open has nothing to finish
        }
        wake
    }

    fn abort_all(&mut self, now: Instant) {
        self.ending = Ending::Aborted;
        for id in self.live_connections().collect::<Vec<_>>() {
            self.tcp.abort(now, id);
        }
    }

    fn live_connections(&self) -> impl Iterator<Item = ustack_tcp::ConnId> {
        let all = self.tcp.connections();
        all.filter(|summary| {
            summary.state != ustack_tcp::State::Closed
                && summary.state != ustack_tcp::State::TimeWait
        })
        .map(|summary| summary.id)
    }

    /// Whether a shutdown has nothing left to wait for.
    pub(crate) fn is_shut_down(&self) -> bool {
        let lives = || self.live_connections().next().is_some();
        match self.ending {
            Ending::Closing { .. } => !self.has_ready() && !lives(),
            Ending::Aborted => !self.has_ready(),
            _ => false,
        }
    }

    /// Whether the deadline of a shutdown has passed.
    pub(crate) const fn is_aborted(&self) -> bool {
        matches!(self.ending, Ending::Aborted)
    }

    /// The driver ends: nothing will ever happen again, and everybody hears of it.
    pub(crate) fn end(&mut self, why: impl Into<Arc<str>>, wake: &mut Vec<Waker>) {
        if !matches!(self.ending, Ending::Gone(_)) {
            self.ending = Ending::Gone(why.into());
        }
        self.echo_waiters.wake(wake);
        self.sockets.wake_all(wake);
    }

    /// How a connection that never opened ended.
    pub(crate) fn phase(&mut self, id: ustack_tcp::ConnId) -> Phase {
        let slot = self.sockets.conn_mut(id);
        slot.map_or(Phase::Closed(CloseReason::Aborted), |slot| slot.phase)
    }

    /// Whether a socket may have `local` as its address.
    pub(crate) fn check_local(&self, local: IpAddr, transparent: bool) -> io::Result<()> {
        if transparent && !self.transparent {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a transparent socket needs a stack with Config::transparent",
            ));
        }
        if transparent || local.is_unspecified() || self.ip.is_local(local) {
            return Ok(());
        }
        Err(error::addr_not_available(format!(
            "{local} is no address of this stack: use one of Config::addresses, or a transparent socket"
        )))
    }

    /// Where a connection to `remote` comes from, the port left to the core unless given.
    pub(crate) fn source_for(
        &self,
        remote: SocketAddr,
        local: Option<SocketAddr>,
    ) -> io::Result<SocketAddr> {
        let port = local.map_or(0, |local| local.port());
        if let Some(local) = local
            && !local.ip().is_unspecified()
        {
            if local.is_ipv4() != remote.is_ipv4() {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("{remote} cannot be reached from {local}: one is IPv4, one IPv6"),
                ));
            }
            self.check_local(local.ip(), self.transparent)?;
            return Ok(local);
        }
        let ip = self.ip.source_for(remote.ip()).ok_or_else(|| {
            let family = if remote.is_ipv4() { "IPv4" } else { "IPv6" };
            error::addr_not_available(format!(
                "{remote} cannot be reached: this stack has no {family} address"
            ))
        })?;
        Ok(SocketAddr::new(ip, port))
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            tcp: TcpStats {
                connections: self.tcp.connection_count(),
                counters: *self.tcp.counters(),
                dropped: self.dropped.clone(),
                incoming_overflow: self.incoming_overflow,
            },
            udp: *self.udp.counters(),
            ip: *self.ip.counters(),
            memory: self.memory_stats(),
            device: self.device,
        }
    }
}

/// One secret for each part of the host, out of the stack's.
fn derive(seed: &[u8; 32], part: u8) -> [u8; 32] {
    use sha2::{Digest, Sha256};
    Sha256::new()
        .chain_update(seed)
        .chain_update([part])
        .finalize()
        .into()
}
