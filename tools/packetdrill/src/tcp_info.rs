//! The fields of Linux's `struct tcp_info`, by the names that `%{ … }%` code gives them.

/// Name, offset, size in bytes.
const FIELDS: &[(&str, usize, usize)] = &[
    ("state", 0, 1),
    ("ca_state", 1, 1),
    ("retransmits", 2, 1),
    ("probes", 3, 1),
    ("backoff", 4, 1),
    ("options", 5, 1),
    ("rto", 8, 4),
    ("ato", 12, 4),
    ("snd_mss", 16, 4),
    ("rcv_mss", 20, 4),
    ("unacked", 24, 4),
    ("sacked", 28, 4),
    ("lost", 32, 4),
    ("retrans", 36, 4),
    ("fackets", 40, 4),
    ("last_data_sent", 44, 4),
    ("last_ack_sent", 48, 4),
    ("last_data_recv", 52, 4),
    ("last_ack_recv", 56, 4),
    ("pmtu", 60, 4),
    ("rcv_ssthresh", 64, 4),
    ("rtt", 68, 4),
    ("rttvar", 72, 4),
    ("snd_ssthresh", 76, 4),
    ("snd_cwnd", 80, 4),
    ("advmss", 84, 4),
    ("reordering", 88, 4),
    ("rcv_rtt", 92, 4),
    ("rcv_space", 96, 4),
    ("total_retrans", 100, 4),
    ("pacing_rate", 104, 8),
    ("max_pacing_rate", 112, 8),
    ("bytes_acked", 120, 8),
    ("bytes_received", 128, 8),
    ("segs_out", 136, 4),
    ("segs_in", 140, 4),
    ("notsent_bytes", 144, 4),
    ("min_rtt", 148, 4),
    ("data_segs_in", 152, 4),
    ("data_segs_out", 156, 4),
    ("delivery_rate", 160, 8),
    ("busy_time", 168, 8),
    ("rwnd_limited", 176, 8),
    ("sndbuf_limited", 184, 8),
    ("delivered", 192, 4),
    ("delivered_ce", 196, 4),
    ("bytes_sent", 200, 8),
    ("bytes_retrans", 208, 8),
    ("dsack_dups", 216, 4),
    ("reord_seen", 220, 4),
    ("rcv_ooopack", 224, 4),
    ("snd_wnd", 228, 4),
    ("rcv_wnd", 232, 4),
    ("rehash", 236, 4),
    ("total_rto", 240, 2),
    ("total_rto_recoveries", 242, 2),
    ("total_rto_time", 244, 4),
    ("received_ce", 248, 4),
    ("delivered_e1_bytes", 252, 4),
    ("delivered_e0_bytes", 256, 4),
    ("delivered_ce_bytes", 260, 4),
    ("received_e1_bytes", 264, 4),
    ("received_e0_bytes", 268, 4),
    ("received_ce_bytes", 272, 4),
];

/// The largest structure this knows.
pub(crate) const LEN: usize = 280;

/// The value of `tcpi_…` in `info`, if the structure is long enough to have it.
pub(crate) fn field(info: &[u8], name: &str) -> Option<i64> {
    let name = name.strip_prefix("tcpi_")?;
    match name {
        "snd_wscale" => return info.get(6).map(|byte| i64::from(byte & 15)),
        "rcv_wscale" => return info.get(6).map(|byte| i64::from(byte >> 4)),
        "delivery_rate_app_limited" => return info.get(7).map(|byte| i64::from(byte & 1)),
        "fastopen_client_fail" => return info.get(7).map(|byte| i64::from(byte >> 1 & 3)),
        _ => {}
    }
    let (_, at, len) = FIELDS.iter().find(|(n, ..)| *n == name)?;
    let bytes = info.get(*at..at + len)?;
    let mut value = [0; 8];
    value[..*len].copy_from_slice(bytes);
    Some(i64::from_le_bytes(value))
}

/// The numbers of `SO_MEMINFO`, in their order.
const MEMORY: [&str; 9] = [
    "RMEM_ALLOC",
    "RCVBUF",
    "WMEM_ALLOC",
    "SNDBUF",
    "FWD_ALLOC",
    "WMEM_QUEUED",
    "OPTMEM",
    "BACKLOG",
    "DROPS",
];

/// The value of `SK_MEMINFO_…`.
pub(crate) fn memory(info: &[u8], name: &str) -> Option<i64> {
    let name = name.strip_prefix("SK_MEMINFO_")?;
    let at = 4 * MEMORY.iter().position(|known| *known == name)?;
    let bytes = info.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_ne_bytes(bytes).into())
}
