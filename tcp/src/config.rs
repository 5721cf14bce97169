//! Settings of the endpoint and of single connections, named after their RFC or Linux sysctl.

use alloc::boxed::Box;
use core::num::NonZeroU64;
use core::time::Duration;

use crate::congestion::{CongestionController, Setup};

/// Which congestion controller a connection runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CongestionAlgorithm {
    /// NewReno (RFC 5681, RFC 6582).
    Reno,
    /// CUBIC (RFC 9438).
    #[default]
    Cubic,
    /// BBR version 3 (draft-ietf-ccwg-bbr), for links whose losses are not congestion.
    Bbr,
    /// One that the library does not have; see [`congestion`](crate::congestion).
    Custom(CustomCongestion),
}

impl CongestionAlgorithm {
    /// What Linux calls it (`TCP_CONGESTION`).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reno => "reno",
            Self::Cubic => "cubic",
            Self::Bbr => "bbr",
            Self::Custom(custom) => custom.name,
        }
    }
}

/// How to make a congestion controller of one's own.
#[derive(Clone, Copy, Debug)]
pub struct CustomCongestion {
    /// What it is called; two of the same name count as the same algorithm.
    pub name: &'static str,
    /// Makes the controller of one connection.
    pub make: fn(&Setup) -> Box<dyn CongestionController + Send>,
}

impl PartialEq for CustomCongestion {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for CustomCongestion {}

/// Whether connections use explicit congestion notification (RFC 3168, `tcp_ecn`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EcnMode {
    /// Never.
    Off,
    /// When the peer asks for it.
    #[default]
    Passive,
    /// Ask for it, too; a peer that does not answer such a SYN is asked without.
    On,
}

/// How losses are detected with a peer that sends SACK.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LossDetection {
    /// By time, with probes of the tail and proportional rate reduction (RFC 8985, RFC 9937).
    #[default]
    Rack,
    /// By counting what was SACKed above (RFC 6675).
    Rfc6675,
}

/// When data is spread over the round trip instead of leaving as fast as window and ACKs allow.
///
/// A controller with a rate of its own (BBR) and a connection with
/// [`SocketOptions::max_pacing_rate`] are paced in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pacing {
    /// Never.
    Off,
    /// In slow start, at twice the window per round trip.
    #[default]
    SlowStart,
    /// Always; beyond slow start at 1.2 times the window per round trip.
    On,
}

/// Hears of a piece of memory: its first address and its bytes. See [`Config::on_large_memory`].
pub type LargeMemory = fn(start: *const u8, bytes: usize);

/// Settings of all connections of a [`Tcp`](crate::Tcp).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The device's MTU, in bytes of IP packet; decides the MSS we offer (MUST-67).
    pub mtu: u16,
    /// The device cuts super-segments, so one transmission may carry up to 64 KiB.
    pub tso: bool,
    /// Where the device does not, IP does: one transmission may carry a few segments. For congestion
    /// control they leave one by one.
    pub gso: bool,
    /// Congestion control for connections that do not choose (`tcp_congestion_control`).
    pub congestion: CongestionAlgorithm,
    /// Leave the initial slow start when round trips grow (HyStart++, RFC 9406).
    pub hystart: bool,
    /// When data is spread over the round trip.
    pub pacing: Pacing,
    /// Loss detection (`tcp_recovery`).
    pub loss_detection: LossDetection,
    /// Largest receive buffer that autotuning reaches, in bytes (`tcp_rmem[2]`).
    pub recv_buffer_max: u32,
    /// Receive buffer at the start, in bytes (`tcp_rmem[1]`).
    pub recv_buffer_initial: u32,
    /// Largest send buffer that autotuning reaches, in bytes (`tcp_wmem[2]`).
    pub send_buffer_max: u32,
    /// Send buffer at the start, in bytes (`tcp_wmem[1]`).
    pub send_buffer_initial: u32,
    /// RTO floor (RFC 6298 §2.4 says 1 s; Linux and this stack 200 ms).
    pub rto_min: Duration,
    /// The least that four times RTTVAR adds to the RTO: G of RFC 6298 §2.3. 200 ms, as Linux's
    /// `tcp_rto_min`: on a steady path RTTVAR decays to nothing, and the first queue that a repair
    /// meets would be a timeout.
    pub rto_granularity: Duration,
    /// Time in TIME-WAIT, 2 MSL (MUST-13).
    pub time_wait: Duration,
    /// How long an orphan stays in FIN-WAIT-2 (`tcp_fin_timeout`).
    pub fin_timeout: Duration,
    /// Retransmissions of data before giving up (`tcp_retries2`).
    pub retries: u8,
    /// Retransmissions of SYN before giving up (`tcp_syn_retries`; one more than Linux, for
    /// three minutes at least, MUST-23).
    pub syn_retries: u8,
    /// Retransmissions of SYN,ACK before giving up (`tcp_synack_retries`).
    pub synack_retries: u8,
    /// Memory of all buffers together, in bytes (`tcp_mem`), from [`Budget::MIN`] on; `None`: each
    /// connection's limits are all there are. See [`memory`](crate::memory), and
    /// [`Tcp::share_budget`](crate::Tcp::share_budget) for several endpoints.
    ///
    /// [`Budget::MIN`]: crate::memory::Budget::MIN
    pub memory: Option<usize>,
    /// Hears of each piece of memory of 256 KiB and more that a table takes, before it is used: the owner
    /// may ask its system for huge pages there. The first comes with the 65,537th connection at rest.
    pub on_large_memory: Option<LargeMemory>,
    /// Connections in all states but TIME-WAIT together.
    pub max_connections: usize,
    /// First and last ephemeral port (`ip_local_port_range`).
    pub ephemeral_ports: (u16, u16),
    /// Modulus and remainder: ephemeral ports are those that leave this remainder, so that
    /// endpoints that share their addresses never choose the same one.
    pub port_class: (u16, u16),
    /// Explicit congestion notification (`tcp_ecn`).
    pub ecn: EcnMode,
    /// Answer SYNs without keeping state when a listener's backlog is full (`tcp_syncookies`);
    /// off: the oldest handshake makes room.
    pub syn_cookies: bool,
    /// Passive handshakes under way, over all listeners (`tcp_max_syn_backlog`).
    pub max_syn_backlog: usize,
    /// Records of connections in TIME-WAIT; the oldest makes room (`tcp_max_tw_buckets`).
    pub max_tw_buckets: usize,
    /// Connections that no application holds any more and that are not yet in TIME-WAIT; one more
    /// is reset (`tcp_max_orphans`).
    pub max_orphans: usize,
    /// Ignore RST in TIME-WAIT (RFC 1337, `tcp_rfc1337`).
    pub rfc1337: bool,
    /// Find out by probes how large packets may be, and leave paths on which large ones vanish
    /// (RFC 4821, `tcp_mtu_probing`).
    pub mtu_probing: bool,
    /// The key of Fast Open cookies, for servers that share an address (`tcp_fastopen_key`);
    /// `None`: a secret one that changes every hour.
    pub fast_open_key: Option<[u8; 16]>,
    /// Challenge ACKs per connection in five seconds (RFC 5961 §7; `tcp_challenge_ack_limit`,
    /// which counts for the whole host and so tells one peer of another: BL-6).
    pub challenge_ack_limit: u16,
    /// Data segments at the start of a connection that are acknowledged at once, each by its own
    /// ACK, so that the peer's slow start does not wait for delayed ones. 0, the default: RFC 5681
    /// §4.2 from the first byte on. Linux has up to 16.
    pub quick_acks: u8,
    /// The least time before the tail is probed, whatever the round trip (RFC 8985 §7.2 has none;
    /// Linux two ticks): a host in user space may be kept from its ACKs by others for a while.
    pub min_probe: Duration,
    /// What is added to the probe's time for a lone segment, whose ACK may be delayed (RFC 8985
    /// §7.2: TLP.max_ack_delay); Linux 200 ms.
    pub max_ack_delay: Duration,
    /// Offer and accept timestamps (RFC 7323, `tcp_timestamps`).
    pub timestamps: bool,
    /// Drops segments without a timestamp once both ends agreed on timestamps, as RFC 7323 §3.2
    /// says (TS-8); off: takes them, as Linux does.
    pub timestamps_required: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mtu: 1500,
            tso: false,
            gso: false,
            congestion: CongestionAlgorithm::default(),
            hystart: true,
            pacing: Pacing::default(),
            loss_detection: LossDetection::default(),
            recv_buffer_max: 16 << 20,
            recv_buffer_initial: 128 << 10,
            send_buffer_max: 16 << 20,
            send_buffer_initial: 128 << 10,
            rto_min: Duration::from_millis(200),
            rto_granularity: Duration::from_millis(200),
            time_wait: Duration::from_secs(60),
            fin_timeout: Duration::from_secs(60),
            retries: 15,
            syn_retries: 7,
            synack_retries: 5,
            memory: None,
            on_large_memory: None,
            max_connections: 1 << 20,
            ephemeral_ports: (1024, 65535),
            port_class: (1, 0),
            ecn: EcnMode::default(),
            syn_cookies: true,
            max_syn_backlog: 4096,
            max_tw_buckets: 1 << 18,
            max_orphans: 1 << 16,
            rfc1337: true,
            mtu_probing: true,
            fast_open_key: None,
            challenge_ack_limit: 10,
            quick_acks: 0,
            min_probe: Duration::from_millis(20),
            max_ack_delay: Duration::from_millis(50),
            timestamps: true,
            timestamps_required: true,
        }
    }
}

/// Keep-alive probing of an idle connection (RFC 9293 §3.8.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Idle time before the first probe (`TCP_KEEPIDLE`).
    pub idle: Duration,
    /// Time between probes (`TCP_KEEPINTVL`).
    pub interval: Duration,
    /// Unanswered probes before the connection is dropped (`TCP_KEEPCNT`).
    pub count: u8,
}

impl Default for Keepalive {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(7200),
            interval: Duration::from_secs(75),
            count: 9,
        }
    }
}

/// Options of one connection, or of all that a listener accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// Send small segments at once (`TCP_NODELAY`); off: Nagle (RFC 9293 §3.7.4).
    pub nodelay: bool,
    /// Keep-alive, off by default (MUST-25).
    pub keepalive: Option<Keepalive>,
    /// Give up when data stays unacknowledged this long (`TCP_USER_TIMEOUT`, RFC 5482).
    pub user_timeout: Option<Duration>,
    /// Congestion control, if not the endpoint's (`TCP_CONGESTION`).
    pub congestion: Option<CongestionAlgorithm>,
    /// A fixed receive buffer, in bytes (`SO_RCVBUF`); `None`: autotuned.
    pub recv_buffer: Option<u32>,
    /// A fixed send buffer, in bytes (`SO_SNDBUF`); `None`: autotuned.
    pub send_buffer: Option<u32>,
    /// TTL or hop limit (`IP_TTL`, `IPV6_UNICAST_HOPS`).
    pub ttl: Option<core::num::NonZeroU8>,
    /// DSCP, 0–63.
    pub dscp: u8,
    /// Nagle's algorithm in Minshall's variation: a small segment waits for the one before only
    /// if that was small, too. Off: it waits for everything outstanding (RFC 9293 §3.7.4).
    pub minshall: bool,
    /// Bytes per second at which data leaves at most (`SO_MAX_PACING_RATE`).
    pub max_pacing_rate: Option<NonZeroU64>,
    /// Send full segments only (`TCP_CORK`); bytes are held for 200 ms at most.
    pub cork: bool,
    /// The largest segment that is offered and sent, without options (`TCP_MAXSEG`).
    pub max_segment: Option<u16>,
    /// A writer has no room while this many bytes are queued and not sent
    /// (`TCP_NOTSENT_LOWAT`).
    pub notsent_lowat: Option<u32>,
    /// Hand a connection out only once data has come, or this time has passed
    /// (`TCP_DEFER_ACCEPT`; for a listener).
    pub defer_accept: Option<Duration>,
    /// Take data from SYNs with a Fast Open cookie, on at most this many connections whose
    /// handshake is not complete (`TCP_FASTOPEN`, RFC 7413; for a listener).
    pub fast_open: Option<u16>,
    /// How long it stays in FIN-WAIT-2 once released, if not [`Config::fin_timeout`]
    /// (`TCP_LINGER2`).
    pub linger2: Option<Duration>,
    /// Retransmissions of its SYN, if not [`Config::syn_retries`] (`TCP_SYNCNT`).
    pub syn_retries: Option<u8>,
    /// `SO_LINGER`: zero, and letting go of the connection resets it. Any other time changes
    /// nothing, since nothing here waits: what is queued is sent in any case.
    pub linger: Option<Duration>,
    /// Acknowledge every data segment at once (`TCP_QUICKACK`, which Linux forgets again after a
    /// while); off: delayed ACKs (RFC 5681 §4.2).
    pub quickack: bool,
}

impl SocketOptions {
    /// `user_timeout`; zero is none, as for `TCP_USER_TIMEOUT`.
    pub(crate) fn user_timeout(&self) -> Option<Duration> {
        self.user_timeout.filter(|limit| !limit.is_zero())
    }

    /// `mss`, or less where `TCP_MAXSEG` says so.
    pub(crate) fn clamp_mss(&self, mss: u16) -> u16 {
        self.max_segment.map_or(mss, |most| mss.min(most))
    }
}
