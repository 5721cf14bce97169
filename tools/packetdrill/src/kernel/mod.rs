//! ustack as an operating system: descriptors and system calls on virtual time.
//!
//! A [`Kernel`] is one host with the whole stack, the very code that runs behind a device. Time
//! stands still until [`Kernel::advance_to`]; packets go in with [`Kernel::inject`] and come out,
//! with the instant they left, of [`Kernel::pop_sent`].
//!
//! System calls never block: what Linux would wait for is `EAGAIN` or `EINPROGRESS`, whatever
//! `O_NONBLOCK` says. A caller that plays a blocking program wraps the call in [`Blocking`] and
//! asks again whenever something has changed. Errors are Linux's numbers.

mod blocking;
mod egress;
mod epoll;
mod events;
mod fastopen;
mod file;
mod info;
mod io;
mod ioctl;
mod options;
mod packet;
mod pipe;
mod poll;
mod socket;
mod sockopt;
mod sysctl;
mod udp;
mod zerocopy;

use std::collections::{HashMap, VecDeque};
use std::io::Error;
use std::net::SocketAddr;
use std::num::NonZeroU16;

use ustack::Config;
use ustack::batch::{Gso, GsoKind, Offload, TxBatch};
use ustack::device::Caps;
use ustack::tcp::time::Instant;
use ustack::tcp::{CloseReason, ConnId};
use ustack::testing::VirtualHost;

pub use self::blocking::{Blocking, Call, Reply};
pub use self::epoll::EpollEvent;
pub use self::io::{Control, Data, Message, Received, Recv};
pub use self::ioctl::{SIOCINQ, SIOCOUTQ, SIOCOUTQNSD};
pub use self::options::{Family, Options};
pub use self::poll::PollFd;

use self::egress::Egress;
use self::file::Files;

/// A file descriptor.
pub type Fd = i32;

/// A Linux error number.
pub type Errno = i32;

/// What a system call comes back with.
pub type Result<T> = std::result::Result<T, Errno>;

/// The clock starts here, so that nothing happens at its very beginning.
const START: Instant = Instant::from_millis(1_000);

/// Connections that ended before anybody accepted them; the oldest records are forgotten.
const MAX_ENDED: usize = 4096;

/// Turns after which a host that always has something to send is taken for mad.
const MAX_TURNS: usize = 10_000;

/// One host on virtual time.
#[derive(Debug)]
pub struct Kernel {
    host: VirtualHost,
    now: Instant,
    files: Files,
    by_conn: HashMap<ConnId, Fd>,
    /// How connections ended that no descriptor stands for yet.
    ended: HashMap<ConnId, CloseReason>,
    sent: VecDeque<(Instant, Vec<u8>)>,
    egress: Egress,
    options: Options,
    pipes: pipe::Pipes,
    sysctls: sysctl::Sysctls,
    /// Counts what happened, for whoever waits.
    changes: u64,
    tx: TxBatch,
}

impl Kernel {
    /// A host with nothing open. Errors are those of [`ustack::Stack::new`]: addresses or an MTU
    /// that cannot work.
    pub fn new(options: &Options) -> std::result::Result<Self, Error> {
        Ok(Self {
            host: host(options)?,
            now: START,
            files: Files::default(),
            by_conn: HashMap::new(),
            ended: HashMap::new(),
            sent: VecDeque::new(),
            egress: Egress::new(options.tso),
            options: options.clone(),
            pipes: pipe::Pipes::default(),
            sysctls: sysctl::Sysctls::default(),
            changes: 0,
            tx: TxBatch::new(),
        })
    }

    /// The time.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Moves the clock to `at`; every timer on the way fires at its own instant.
    pub fn advance_to(&mut self, at: Instant) {
        while let Some(deadline) = self.next_deadline()
            && deadline <= at
        {
            self.fire(deadline);
        }
        self.now = self.now.max(at);
    }

    /// When the next timer fires; `None`: without a packet or a call nothing will ever happen.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.host.poll_timeout()
    }

    /// Moves the clock to the next timer, but not beyond `limit`; false when there is none.
    pub fn advance_to_next(&mut self, limit: Instant) -> bool {
        match self.next_deadline() {
            Some(deadline) if deadline <= limit => {
                self.fire(deadline);
                true
            }
            _ => false,
        }
    }

    fn fire(&mut self, deadline: Instant) {
        self.now = self.now.max(deadline);
        self.host.on_timeout(self.now);
        self.turn();
    }

    /// A packet arrives now: complete, from its IP header on.
    pub fn inject(&mut self, packet: &[u8]) {
        self.host.on_frame(self.now, packet);
        self.turn();
    }

    /// A packet arrives, and nothing leaves before [`Kernel::flush`]: whoever waits for a handshake
    /// with data in hand comes first, as on Linux, so that its data carry the ACK.
    pub fn inject_held(&mut self, packet: &[u8]) {
        self.host.on_frame(self.now, packet);
        self.collect_events();
    }

    /// What is to be sent is sent.
    pub fn flush(&mut self) {
        self.turn();
    }

    /// A packet arrives that a device put together from several (GRO), each but the last with so
    /// many bytes of payload.
    pub fn inject_merged(&mut self, packet: &[u8], header_len: u16, size: NonZeroU16) {
        let kind = match packet.first().map(|byte| byte >> 4) {
            Some(6) => GsoKind::TcpV6,
            _ => GsoKind::TcpV4,
        };
        let gso = Gso {
            kind,
            header_len,
            size,
        };
        let offload = Offload {
            gso: Some(gso),
            ..Offload::default()
        };
        self.host.on_offloaded_frame(self.now, packet, offload);
        self.turn();
    }

    /// The oldest packet sent and not yet taken, with the instant it left.
    pub fn pop_sent(&mut self) -> Option<(Instant, Vec<u8>)> {
        self.sent.pop_front()
    }

    /// Whether [`Kernel::pop_sent`] has a packet.
    pub fn has_sent(&self) -> bool {
        !self.sent.is_empty()
    }

    /// A number that grows whenever something happened that a blocked call may wait for.
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    /// The host, to look into.
    pub const fn host(&self) -> &VirtualHost {
        &self.host
    }

    /// After anything happened: what is to be sent is sent, and who waits hears of it.
    fn turn(&mut self) {
        self.changes += 1;
        self.egress.begin_turn();
        for _ in 0..MAX_TURNS {
            self.collect_events();
            if !self.host.has_ready() {
                break;
            }
            self.host.poll_transmit(self.now, &mut self.tx);
            self.egress.take(&mut self.tx);
        }
        self.end_turn();
    }

    /// What this turn has sent leaves.
    fn end_turn(&mut self) {
        let (host, now, most) = (&self.host, self.now, self.sysctls.min_tso_segs);
        self.egress.flush(now, &mut self.sent, |tcp, packet| {
            let flow = tcp.flow_key(packet);
            let mut all = host.tcp().connections();
            let info = all
                .find(|conn| conn.flow == flow)
                .and_then(|conn| host.tcp().info(now, conn.id).ok());
            // At least two bursts fit the window (`tcp_cwnd_test`).
            info.map_or(most, |info| {
                (info.snd_cwnd / info.snd_mss.max(1) / 2).clamp(1, most)
            })
        });
    }

    /// Where a call that names no address comes from.
    fn source_for(&self, remote: SocketAddr) -> Result<SocketAddr> {
        let ip = self.host.source_for(remote.ip()).ok_or(libc::ENETUNREACH)?;
        Ok(SocketAddr::new(ip, 0))
    }
}

fn host(options: &Options) -> std::result::Result<VirtualHost, Error> {
    let mut config = Config::new()
        .tcp(options.tcp.clone())
        .socket(options.socket)
        .seed(options.seed);
    config.addresses.clone_from(&options.addresses);
    let caps = Caps {
        tso: options.tso,
        ..Caps::plain(options.mtu)
    };
    VirtualHost::new(config, caps)
}

#[cfg(test)]
mod tests;
