//! What the endpoint counts.

/// Segments counted, under their SNMP names where those exist (RFC 4022).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// `tcpActiveOpens`.
    pub active_opens: u64,
    /// `tcpPassiveOpens`.
    pub passive_opens: u64,
    /// `tcpAttemptFails`.
    pub attempt_fails: u64,
    /// `tcpEstabResets`.
    pub estab_resets: u64,
    /// `tcpInSegs`: super-segments count once.
    pub in_segs: u64,
    /// `tcpOutRsts`: resets for segments that belong to nobody.
    pub out_rsts: u64,
    /// SYNs dropped because the backlog was full (`ListenOverflows`).
    pub listen_overflows: u64,
    /// Answers dropped because too many were waiting.
    pub replies_dropped: u64,
    /// Segments that were dropped, for whatever reason.
    pub dropped: u64,
}
