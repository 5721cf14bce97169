//! `struct tcp_info` as JSON: the kernel's names without `tcpi_`, in the kernel's units.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use ustack_tcp::{CaState, Info, State};

/// `struct tcp_info` of `linux/tcp.h`. Times are microseconds, those that begin with `last_` and
/// `total_rto_time` milliseconds; counts of what is in flight and of the window are segments of
/// `snd_mss`; what is
/// not known is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(
    missing_docs,
    reason = "the names are documented by the kernel, units above"
)]
pub struct TcpInfo {
    pub state: u8,
    pub ca_state: u8,
    pub retransmits: u8,
    pub probes: u8,
    pub backoff: u8,
    /// Bits `TCPI_OPT_…`: 1 timestamps, 2 SACK, 4 window scale, 8 ECN, 16 ECN seen, 32 SYN data.
    pub options: u8,
    pub snd_wscale: u8,
    pub rcv_wscale: u8,
    pub delivery_rate_app_limited: bool,
    pub rto: u64,
    pub ato: u64,
    pub snd_mss: u32,
    pub rcv_mss: u32,
    pub unacked: u32,
    pub sacked: u32,
    pub lost: u32,
    pub retrans: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_data_sent: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_data_recv: Option<u64>,
    pub last_ack_recv: u64,
    pub pmtu: u16,
    pub rcv_ssthresh: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt: Option<u64>,
    pub rttvar: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snd_ssthresh: Option<u32>,
    pub snd_cwnd: u32,
    pub advmss: u32,
    pub reordering: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rcv_rtt: Option<u64>,
    pub rcv_space: u32,
    pub total_retrans: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pacing_rate: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_pacing_rate: Option<u64>,
    pub bytes_acked: u64,
    pub bytes_received: u64,
    pub segs_out: u64,
    pub segs_in: u64,
    pub notsent_bytes: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_rtt: Option<u64>,
    pub data_segs_in: u64,
    pub data_segs_out: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_rate: Option<u64>,
    pub busy_time: u64,
    pub rwnd_limited: u64,
    pub sndbuf_limited: u64,
    pub delivered: u64,
    pub delivered_ce: u64,
    pub bytes_sent: u64,
    pub bytes_retrans: u64,
    pub dsack_dups: u64,
    pub reord_seen: u32,
    pub rcv_ooopack: u64,
    pub snd_wnd: u32,
    pub rcv_wnd: u32,
    pub total_rto: u32,
    pub total_rto_recoveries: u32,
    /// In milliseconds.
    pub total_rto_time: u64,
}

impl TcpInfo {
    /// `state`, since a connection knows its own only once its handshake is over.
    pub(super) fn new(info: &Info, state: State) -> Self {
        let mss = info.snd_mss.max(1);
        Self {
            state: linux_state(state),
            ca_state: linux_ca_state(info.ca_state),
            retransmits: info.retransmits,
            probes: info.probes,
            backoff: info.backoff,
            options: options(info),
            snd_wscale: info.window_scale.0,
            rcv_wscale: info.window_scale.1,
            delivery_rate_app_limited: info.delivery_rate_app_limited,
            snd_mss: info.snd_mss,
            rcv_mss: info.rcv_mss,
            unacked: info.unacked,
            sacked: info.sacked,
            lost: info.lost,
            retrans: info.retrans,
            pmtu: info.pmtu,
            rcv_ssthresh: info.rcv_ssthresh,
            snd_ssthresh: info.snd_ssthresh.map(|bytes| bytes / mss),
            snd_cwnd: info.snd_cwnd / mss,
            advmss: info.advmss,
            reordering: info.reordering,
            rcv_space: info.rcv_space,
            total_retrans: info.total_retrans,
            pacing_rate: info.pacing_rate,
            max_pacing_rate: info.max_pacing_rate,
            bytes_acked: info.bytes_acked,
            bytes_received: info.bytes_received,
            segs_out: info.segs_out,
            segs_in: info.segs_in,
            notsent_bytes: info.notsent_bytes,
            data_segs_in: info.data_segs_in,
            data_segs_out: info.data_segs_out,
            delivery_rate: info.delivery_rate,
            delivered: info.delivered,
            delivered_ce: info.delivered_ce,
            bytes_sent: info.bytes_sent,
            bytes_retrans: info.bytes_retrans,
            dsack_dups: info.dsack_dups,
            reord_seen: info.reord_seen,
            rcv_ooopack: info.rcv_ooopack,
            snd_wnd: info.snd_wnd,
            rcv_wnd: info.rcv_wnd,
            total_rto: info.total_rto,
            total_rto_recoveries: info.total_rto_recoveries,
            ..Self::times(info)
        }
    }

    /// All that is a time.
    fn times(info: &Info) -> Self {
        let micros = |time: Duration| time.as_micros() as u64;
        let millis = |time: Duration| time.as_millis() as u64;
        Self {
            rto: micros(info.rto),
            ato: micros(info.ato),
            last_data_sent: info.last_data_sent.map(millis),
            last_data_recv: info.last_data_recv.map(millis),
            last_ack_recv: millis(info.last_ack_recv),
            rtt: info.rtt.map(micros),
            rttvar: micros(info.rttvar),
            rcv_rtt: info.rcv_rtt.map(micros),
            min_rtt: info.min_rtt.map(micros),
            busy_time: micros(info.busy_time),
            rwnd_limited: micros(info.rwnd_limited),
            sndbuf_limited: micros(info.sndbuf_limited),
            total_rto_time: millis(info.total_rto_time),
            ..Self::default()
        }
    }
}

fn options(info: &Info) -> u8 {
    let bits = [
        info.timestamps,
        info.sack,
        info.window_scale != (0, 0),
        info.ecn,
        info.ecn_seen,
        info.syn_data,
    ];
    bits.into_iter()
        .enumerate()
        .map(|(bit, set)| u8::from(set) << bit)
        .sum()
}

/// `enum` of `net/tcp_states.h`.
const fn linux_state(state: State) -> u8 {
    match state {
        State::Established => 1,
        State::SynSent => 2,
        State::SynReceived => 3,
        State::FinWait1 => 4,
        State::FinWait2 => 5,
        State::TimeWait => 6,
        State::Closed => 7,
        State::CloseWait => 8,
        State::LastAck => 9,
        State::Listen => 10,
        State::Closing => 11,
    }
}

/// `enum tcp_ca_state`.
const fn linux_ca_state(state: CaState) -> u8 {
    match state {
        CaState::Disorder => 1,
        CaState::Cwr => 2,
        CaState::Recovery => 3,
        CaState::Loss => 4,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_units_are_the_kernels() {
        let mut info = Info::default();
        info.rtt = Some(Duration::from_micros(1500));
        info.rto = Duration::from_millis(201);
        info.last_data_sent = Some(Duration::from_millis(40));
        (info.snd_mss, info.snd_cwnd) = (1448, 14_480);
        info.snd_ssthresh = Some(2896);
        info.sack = true;
        info.window_scale = (7, 9);
        info.ca_state = CaState::Recovery;
        let json = serde_json::to_value(TcpInfo::new(&info, State::Established)).unwrap();
        for (name, value) in [
            ("state", 1),
            ("ca_state", 3),
            ("options", 6),
            ("snd_wscale", 7),
            ("rcv_wscale", 9),
            ("rtt", 1500),
            ("rto", 201_000),
            ("last_data_sent", 40),
            ("snd_cwnd", 10),
            ("snd_ssthresh", 2),
        ] {
            assert_eq!(json[name], value, "{name}");
        }
        assert!(json.get("min_rtt").is_none(), "it is not known");
        let back: TcpInfo = serde_json::from_value(json).unwrap();
        assert_eq!(back, TcpInfo::new(&info, State::Established));
    }

    /// `struct tcp_info` of Linux 6.12, without what says nothing here (see [`Info`]).
    #[test]
    fn every_field_of_the_kernels_is_there() {
        const KERNEL: &str = "state ca_state retransmits probes backoff options snd_wscale \
            rcv_wscale delivery_rate_app_limited rto ato snd_mss rcv_mss unacked sacked lost \
            retrans last_data_sent last_data_recv last_ack_recv pmtu rcv_ssthresh rtt rttvar \
            snd_ssthresh snd_cwnd advmss reordering rcv_rtt rcv_space total_retrans pacing_rate \
            max_pacing_rate bytes_acked bytes_received segs_out segs_in notsent_bytes min_rtt \
            data_segs_in data_segs_out delivery_rate busy_time rwnd_limited sndbuf_limited \
            delivered delivered_ce bytes_sent bytes_retrans dsack_dups reord_seen rcv_ooopack \
            snd_wnd rcv_wnd total_rto total_rto_recoveries total_rto_time";
        let some = Some(Duration::from_millis(1));
        let mut info = Info::default();
        (info.rtt, info.rcv_rtt, info.min_rtt) = (some, some, some);
        (info.last_data_sent, info.last_data_recv) = (some, some);
        (info.pacing_rate, info.max_pacing_rate) = (Some(1), Some(1));
        (info.delivery_rate, info.snd_ssthresh) = (Some(1), Some(1));
        let json = serde_json::to_value(TcpInfo::new(&info, State::Established)).unwrap();
        let ours = json.as_object().unwrap().keys().map(String::as_str);
        let ours: std::collections::BTreeSet<_> = ours.collect();
        assert_eq!(ours, KERNEL.split_whitespace().collect());
    }
}
