//! What Linux tells of a connection in `struct tcp_info`, under its names and in its units.

use core::time::Duration;

use crate::connection::State;

/// `tcpi_ca_state`: where the sender stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CaState {
    /// `TCP_CA_Open`: nothing unusual.
    #[default]
    Open,
    /// `TCP_CA_Disorder`: SACKs or duplicates have come, nothing counts as lost yet.
    Disorder,
    /// `TCP_CA_CWR`: the window is being reduced for ECN.
    Cwr,
    /// `TCP_CA_Recovery`: losses that ACKs showed are being repaired.
    Recovery,
    /// `TCP_CA_Loss`: losses that a timeout showed are being repaired.
    Loss,
}

/// A connection from inside (`TCP_INFO`). Counts of segments are in units of `snd_mss`.
///
/// What `struct tcp_info` has besides says nothing here: `tcpi_fackets` and `tcpi_last_ack_sent` are
/// 0 on Linux, too; there is no flow label to choose anew (`tcpi_rehash`), and no Accurate ECN.
/// What became of Fast Open (`tcpi_fastopen_client_fail`) only counters tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Info {
    /// RFC 9293 state.
    pub state: Option<State>,
    /// Where the sender stands.
    pub ca_state: CaState,
    /// Timeouts in a row.
    pub retransmits: u8,
    /// Unanswered probes of a closed window or of an idle peer.
    pub probes: u8,
    /// Doublings of the RTO, or of the interval between probes.
    pub backoff: u8,
    /// Timestamps are in use (`TCPI_OPT_TIMESTAMPS`).
    pub timestamps: bool,
    /// SACK is in use (`TCPI_OPT_SACK`).
    pub sack: bool,
    /// ECN is in use (`TCPI_OPT_ECN`).
    pub ecn: bool,
    /// A packet came that was marked ECN-capable or congested (`TCPI_OPT_ECN_SEEN`).
    pub ecn_seen: bool,
    /// The SYN carried data, and they were taken (`TCPI_OPT_SYN_DATA`).
    pub syn_data: bool,
    /// The shift of the peer's window field, and of ours.
    pub window_scale: (u8, u8),
    /// The retransmission timeout, backed off.
    pub rto: Duration,
    /// How long an ACK may be delayed.
    pub ato: Duration,
    /// Payload of a full segment, in bytes.
    pub snd_mss: u32,
    /// The largest segment that the peer has sent, in bytes, as far as it is known.
    pub rcv_mss: u32,
    /// The MSS that we have offered.
    pub advmss: u32,
    /// Segments sent and not yet acknowledged.
    pub unacked: u32,
    /// Of these, how many SACK has reported.
    pub sacked: u32,
    /// Of these, how many were judged lost, be they on their way again or not.
    pub lost: u32,
    /// Of these, how many are on their way again.
    pub retrans: u32,
    /// The largest distance over which segments have overtaken others, 3 at least.
    pub reordering: u32,
    /// Since data was last sent.
    pub last_data_sent: Option<Duration>,
    /// Since data was last received.
    pub last_data_recv: Option<Duration>,
    /// Since anything was last received that was acceptable.
    pub last_ack_recv: Duration,
    /// The path MTU in use, in bytes of IP packet.
    pub pmtu: u16,
    /// SRTT, once it is known.
    pub rtt: Option<Duration>,
    /// RTTVAR.
    pub rttvar: Duration,
    /// The smallest round trip seen lately.
    pub min_rtt: Option<Duration>,
    /// Slow start threshold in bytes; `None` before the first reduction.
    pub snd_ssthresh: Option<u32>,
    /// Congestion window in bytes.
    pub snd_cwnd: u32,
    /// The peer's window in bytes.
    pub snd_wnd: u32,
    /// Our window in bytes.
    pub rcv_wnd: u32,
    /// The size of the receive buffer in bytes: what the window may grow to.
    pub rcv_ssthresh: u32,
    /// The receiver's estimate of the round trip, once it is known.
    pub rcv_rtt: Option<Duration>,
    /// Bytes that the reader took in the last round trip measured.
    pub rcv_space: u32,
    /// Segments sent again so far.
    pub total_retrans: u64,
    /// Bytes that the peer has acknowledged so far.
    pub bytes_acked: u64,
    /// Bytes received in order so far.
    pub bytes_received: u64,
    /// Bytes per second at which data leaves; `None`: it is not paced (`tcpi_pacing_rate`).
    pub pacing_rate: Option<u64>,
    /// Bytes per second at which the application lets data leave at most
    /// (`tcpi_max_pacing_rate`).
    pub max_pacing_rate: Option<u64>,
    /// Bytes per second by which data was delivered last, where the congestion controller has the
    /// connection measure that (`tcpi_delivery_rate`).
    pub delivery_rate: Option<u64>,
    /// [`delivery_rate`](Self::delivery_rate) was limited by the application
    /// (`tcpi_delivery_rate_app_limited`).
    pub delivery_rate_app_limited: bool,
    /// How long something has been unacknowledged, all in all (`tcpi_busy_time`).
    pub busy_time: Duration,
    /// How long data waited for the peer's window (`tcpi_rwnd_limited`).
    pub rwnd_limited: Duration,
    /// How long a writer waited for room while all it had written was on its way
    /// (`tcpi_sndbuf_limited`).
    pub sndbuf_limited: Duration,
    /// Bytes written and not yet sent.
    pub notsent_bytes: u32,
    /// Segments received, super-segments counted as what they were on the wire.
    pub segs_in: u64,
    /// Segments sent.
    pub segs_out: u64,
    /// Those with text.
    pub data_segs_in: u64,
    /// Those with text.
    pub data_segs_out: u64,
    /// Bytes sent, those sent again included.
    pub bytes_sent: u64,
    /// Bytes sent again.
    pub bytes_retrans: u64,
    /// Segments that have arrived, by ACK or SACK.
    pub delivered: u64,
    /// Those whose ACK bore ECE.
    pub delivered_ce: u64,
    /// D-SACK blocks received.
    pub dsack_dups: u64,
    /// ACKs that showed segments to have overtaken others.
    pub reord_seen: u32,
    /// Segments received above a gap.
    pub rcv_ooopack: u64,
    /// Retransmission timeouts.
    pub total_rto: u32,
    /// Of these, the first ones since SND.UNA had moved.
    pub total_rto_recoveries: u32,
    /// How long it took SND.UNA to move after those, all in all.
    pub total_rto_time: Duration,
}
