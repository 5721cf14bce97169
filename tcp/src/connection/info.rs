//! [`Connection::info`]: a connection from inside.

use crate::config::Config;
use crate::congestion::CongestionController;
use crate::info::{CaState, Info};
use crate::recovery::Phase;
use crate::time::Instant;

use super::{Connection, header_overhead};

impl Connection {
    /// What `TCP_INFO` tells.
    pub(crate) fn info(&self, now: Instant, config: &Config) -> Info {
        let (snd, flight) = (&self.snd, &self.snd.flight);
        let segments = |bytes: u32| bytes.div_ceil(snd.mss);
        let offered = config
            .mtu
            .saturating_sub(header_overhead(self.flow.remote_ip()));
        let ca_state = match self.recovery.phase() {
            Phase::Loss(_) => CaState::Loss,
            Phase::Recovery(_) => CaState::Recovery,
            Phase::Open if flight.sacked() + flight.dup_acked() > 0 => CaState::Disorder,
            Phase::Open => CaState::Open,
        };
        Info {
            state: Some(self.state),
            ca_state,
            retransmits: self.timers.retransmits,
            probes: self.timers.persist_backoff.max(self.keepalive_probes),
            backoff: self.rtt.backoff_count().max(self.timers.persist_backoff),
            timestamps: self.timestamps.is_some(),
            sack: self.sack,
            window_scale: (snd.scale.shift(), self.rcv.window.scale().shift()),
            rto: self.rtt.backed_off_rto(),
            snd_mss: snd.mss,
            advmss: self.options.clamp_mss(offered).into(),
            unacked: segments(flight.outstanding()),
            sacked: segments(flight.sacked() + flight.dup_acked()),
            lost: segments(flight.lost() + flight.resent()),
            retrans: segments(flight.resent() + flight.twice()),
            reordering: self.recovery.reordering(),
            last_data_sent: snd.last_sent.map(|at| now - at),
            last_ack_recv: now - self.last_received,
            pmtu: self.path_mtu,
            rtt: self.rtt.srtt(),
            rttvar: self.rtt.rttvar(),
            min_rtt: self.rtt.min_rtt(),
            snd_ssthresh: Some(self.cc.ssthresh()).filter(|&bytes| bytes < u32::MAX / 2),
            snd_cwnd: self.cwnd(),
            snd_wnd: snd.wnd,
            total_retrans: self.total_retrans,
            bytes_acked: self.bytes_acked,
            bytes_received: self.bytes_received,
            notsent_bytes: snd.unsent(),
            ..Info::default()
        }
    }
}
