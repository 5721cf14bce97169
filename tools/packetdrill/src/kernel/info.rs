//! `TCP_INFO`: Linux's `struct tcp_info`, byte for byte.

use std::time::Duration;

use ustack::tcp::{CaState, Info, State};

use super::file::{Phase, TcpSocket};
use super::{Fd, Kernel, Result};

/// `TCP_MSS_DEFAULT`: of a socket without a connection.
const DEFAULT_MSS: u32 = 536;

/// `TCP_INFINITE_SSTHRESH`, in segments.
const INFINITE: u32 = 0x7fff_ffff;

/// Length of the structure as of Linux 6.18.
const LEN: usize = 280;

impl Kernel {
    /// `TCP_MAXSEG` as `getsockopt` tells it.
    pub(super) fn max_segment(&self, socket: &TcpSocket) -> i32 {
        let set = socket.options.max_segment.map(u32::from);
        let is_idle = matches!(socket.phase, Phase::Idle | Phase::Listening(_));
        let info = socket.conn().and_then(|id| self.info_of(id));
        match (set, info) {
            (Some(set), _) if is_idle => set as i32,
            (_, Some(info)) if info.snd_mss > 0 => info.snd_mss as i32,
            _ => DEFAULT_MSS as i32,
        }
    }

    fn info_of(&self, id: ustack::tcp::ConnId) -> Option<Info> {
        self.host.tcp().info(self.now, id).ok()
    }

    /// A connection from inside.
    pub fn info(&self, fd: Fd) -> Result<Info> {
        let socket = self.files.tcp(fd)?;
        let info = socket.conn().and_then(|id| self.info_of(id));
        Ok(info.unwrap_or_default())
    }

    /// The bytes of `struct tcp_info`.
    pub(super) fn tcp_info(&self, fd: Fd) -> Result<Vec<u8>> {
        let is_listening = matches!(self.files.tcp(fd)?.phase, Phase::Listening(_));
        let mut info = self.info(fd)?;
        if is_listening {
            info.state = Some(State::Listen);
        }
        Ok(Fields::of(&info).0)
    }
}

/// The structure under construction.
struct Fields(Vec<u8>);

impl Fields {
    fn of(info: &Info) -> Self {
        let mut fields = Self(vec![0; LEN]);
        let options = u8::from(info.timestamps)
            | u8::from(info.sack) << 1
            | u8::from(info.window_scale != (0, 0)) << 2
            | u8::from(info.ecn) << 3
            | u8::from(info.ecn_seen) << 4
            | u8::from(info.syn_data) << 5;
        let (snd_scale, rcv_scale) = info.window_scale;
        let bytes = [
            state(info.state),
            ca_state(info.ca_state),
            info.retransmits,
            info.probes,
            info.backoff,
            options,
            snd_scale & 0xf | rcv_scale << 4,
        ];
        fields.0[..bytes.len()].copy_from_slice(&bytes);
        fields.segments(info);
        fields.times(info);
        fields.0[7] = u8::from(info.delivery_rate_app_limited);
        fields.u64(104, info.pacing_rate.unwrap_or(u64::MAX));
        fields.u64(112, info.max_pacing_rate.unwrap_or(u64::MAX));
        fields.u64(160, info.delivery_rate.unwrap_or(0));
        fields.u64(168, info.busy_time.as_micros() as u64);
        fields.u64(176, info.rwnd_limited.as_micros() as u64);
        fields.u64(184, info.sndbuf_limited.as_micros() as u64);
        fields.u32(
            240,
            info.total_rto.min(0xffff) | info.total_rto_recoveries.min(0xffff) << 16,
        );
        fields.u32(244, info.total_rto_time.as_millis() as u32);
        fields.u64(120, info.bytes_acked);
        fields.u64(128, info.bytes_received);
        fields.u32(144, info.notsent_bytes);
        fields.u32(228, info.snd_wnd);
        fields.u32(232, info.rcv_wnd);
        fields.counts(info);
        fields
    }

    fn segments(&mut self, info: &Info) {
        let mss = info.snd_mss.max(1);
        let ssthresh = info.snd_ssthresh.map_or(INFINITE, |bytes| bytes / mss);
        self.u32(16, info.snd_mss);
        self.u32(20, info.rcv_mss);
        self.u32(24, info.unacked);
        self.u32(28, info.sacked);
        self.u32(32, info.lost);
        self.u32(36, info.retrans);
        self.u32(60, info.pmtu.into());
        self.u32(76, ssthresh);
        self.u32(80, info.snd_cwnd / mss);
        self.u32(84, info.advmss);
        self.u32(88, info.reordering);
        self.u32(100, info.total_retrans as u32);
    }

    fn counts(&mut self, info: &Info) {
        self.u32(64, info.rcv_ssthresh);
        self.u32(96, info.rcv_space);
        self.u32(136, info.segs_out as u32);
        self.u32(140, info.segs_in as u32);
        self.u32(152, info.data_segs_in as u32);
        self.u32(156, info.data_segs_out as u32);
        self.u32(192, info.delivered as u32 + 1); // Linux counts the SYN in
        self.u32(196, info.delivered_ce as u32);
        self.u64(200, info.bytes_sent);
        self.u64(208, info.bytes_retrans);
        self.u32(216, info.dsack_dups as u32);
        self.u32(220, info.reord_seen);
        self.u32(224, info.rcv_ooopack as u32);
    }

    fn times(&mut self, info: &Info) {
        let micros = |time: Duration| time.as_micros() as u32;
        let millis = |time: Duration| time.as_millis() as u32;
        self.u32(8, micros(info.rto));
        self.u32(12, micros(info.ato));
        self.u32(44, info.last_data_sent.map_or(0, millis));
        self.u32(52, info.last_data_recv.map_or(0, millis));
        self.u32(56, millis(info.last_ack_recv));
        self.u32(68, info.rtt.map_or(0, micros));
        self.u32(72, micros(info.rttvar));
        self.u32(92, info.rcv_rtt.map_or(0, micros));
        self.u32(148, info.min_rtt.map_or(u32::MAX, micros));
    }

    fn u32(&mut self, at: usize, value: u32) {
        self.0[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }

    fn u64(&mut self, at: usize, value: u64) {
        self.0[at..at + 8].copy_from_slice(&value.to_ne_bytes());
    }
}

/// Linux's numbers.
const fn state(state: Option<State>) -> u8 {
    match state {
        Some(State::Established) => 1,
        Some(State::SynSent) => 2,
        Some(State::SynReceived) => 3,
        Some(State::FinWait1) => 4,
        Some(State::FinWait2) => 5,
        Some(State::TimeWait) => 6,
        Some(State::CloseWait) => 8,
        Some(State::LastAck) => 9,
        Some(State::Listen) => 10,
        Some(State::Closing) => 11,
        _ => 7,
    }
}

const fn ca_state(state: CaState) -> u8 {
    match state {
        CaState::Disorder => 1,
        CaState::Cwr => 2,
        CaState::Recovery => 3,
        CaState::Loss => 4,
        _ => 0,
    }
}
