//! All counters of a stack as one table: what to show, export or document without naming each.

use ustack_tcp::Dropped::{
    BacklogFull, BadAck, BadAddress, BadFlags, BadReset, BlindReset, BlindSyn, NoAck, NoMemory,
    NoSocket, NoTimestamp, OutOfWindow, RateLimited, Reset, StaleTimestamp,
};

use super::Stats;

/// One line of [`TABLE`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Row {
    /// `Ip`, `IpExt`, `Icmp`, `Udp`, `Tcp` or `TcpExt`: what Linux counts, too (`/proc/net/snmp`,
    /// `/proc/net/netstat`), under its name. A group in small letters is ours.
    pub group: &'static str,
    /// Linux's name, or ours in small letters, with its unit if it is not a number of things.
    pub name: &'static str,
    /// One line about it.
    pub help: &'static str,
    /// How to read it.
    pub kind: Kind,
    read: fn(&Stats) -> u64,
}

/// How to read a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only ever rises.
    Counter,
    /// It is as it is now.
    Gauge,
}

impl Row {
    /// Whether group and name are Linux's.
    pub fn is_linux(&self) -> bool {
        self.group
            .starts_with(|first: char| first.is_ascii_uppercase())
    }

    /// The value in `stats`.
    pub fn value(&self, stats: &Stats) -> u64 {
        (self.read)(stats)
    }
}

macro_rules! table {
    ($stats:ident: $($group:ident { $($name:ident $kind:ident $read:expr, $help:literal;)* })*) => {
        /// Everything that [`Stats`] holds, by group, in the order in which it is to be shown.
        pub const TABLE: &[Row] = &[$($(Row {
            group: stringify!($group),
            name: stringify!($name),
            help: $help,
            kind: Kind::$kind,
            read: |$stats| $read,
        },)*)*];
    };
}

table! { stats:
    Tcp {
        ActiveOpens Counter stats.tcp.counters.active_opens, "connections begun from here";
        PassiveOpens Counter stats.tcp.counters.passive_opens, "connections that listeners had to accept";
        AttemptFails Counter stats.tcp.counters.attempt_fails, "handshakes that failed";
        EstabResets Counter stats.tcp.counters.estab_resets, "open connections that the peer reset";
        InSegs Counter stats.tcp.counters.in_segs, "segments received; what the device joined counts once";
        OutSegs Counter stats.tcp.counters.out_segs, "segments sent, as they are on the wire";
        RetransSegs Counter stats.tcp.counters.retrans_segs, "segments sent again";
        InErrs Counter stats.ip.tcp_in_errs + stats.ip.tcp_in_csum_errors, "segments that were none, or whose checksum was wrong";
        InCsumErrors Counter stats.ip.tcp_in_csum_errors, "segments whose checksum was wrong";
        OutRsts Counter stats.tcp.counters.out_rsts, "segments sent with RST";
    }
    TcpExt {
        SyncookiesSent Counter stats.tcp.counters.syncookies_sent, "SYNs answered with a cookie";
        SyncookiesRecv Counter stats.tcp.counters.syncookies_recv, "cookies that came back";
        SyncookiesFailed Counter stats.tcp.counters.syncookies_failed, "ACKs that held no cookie";
        ListenOverflows Counter stats.tcp.counters.listen_overflows, "SYNs and ACKs dropped since the accept queue was full";
        TCPReqQFullDrop Counter stats.tcp.counters.req_q_full_drop, "handshakes dropped for newer ones, and SYNs without room";
        TCPDeferAcceptDrop Counter stats.tcp.counters.defer_accept_drop, "ACKs that opened no connection for want of data";
        TW Counter stats.tcp.counters.time_waits, "connections that went through TIME-WAIT";
        TWRecycled Counter stats.tcp.counters.time_wait_recycled, "TIME-WAIT ended early for a new connection of its flow";
        TCPTimeWaitOverflow Counter stats.tcp.counters.time_wait_overflow, "TIME-WAIT ended early for want of room";
        PAWSEstab Counter stats.tcp.counters.dropped_for(StaleTimestamp), "segments dropped since their timestamp ran backwards";
        TCPSYNChallenge Counter stats.tcp.counters.dropped_for(BlindSyn), "SYNs inside open connections, challenged";
        TCPTimeouts Counter stats.tcp.counters.timeouts, "retransmission timeouts";
        TCPSynRetrans Counter stats.tcp.counters.syn_retrans, "SYNs and SYN,ACKs sent again";
        TCPLossProbes Counter stats.tcp.counters.loss_probes, "probes of a tail";
        TCPLossProbeRecovery Counter stats.tcp.counters.loss_probe_recoveries, "losses that such a probe repaired";
        TCPSackRecovery Counter stats.tcp.counters.sack_recoveries, "episodes of loss recovery by SACK";
        TCPRenoRecovery Counter stats.tcp.counters.reno_recoveries, "episodes of loss recovery without SACK";
        TCPDSACKRecv Counter stats.tcp.counters.dsacks_received, "D-SACK blocks received";
        TCPOFOQueue Counter stats.tcp.counters.out_of_order, "segments queued above a gap";
        TCPSACKReorder Counter stats.tcp.counters.reorderings, "ACKs that showed segments to have overtaken others";
        OfoPruned Counter stats.tcp.counters.ofo_pruned, "ranges above a gap dropped for want of memory";
        TCPOFODrop Counter stats.tcp.counters.ofo_drop, "segments above a gap dropped for want of memory";
        TCPRcvQDrop Counter stats.tcp.counters.rcv_q_drop, "segments in order dropped for want of memory";
        TCPRcvCollapsed Counter stats.tcp.counters.rcv_collapsed, "chunks copied together to save memory";
        TCPMemoryPressures Counter stats.tcp.counters.memory_pressures, "times that memory became short";
        TCPMemoryPressuresChrono Counter stats.tcp.counters.memory_pressures_chrono, "milliseconds for which memory was short";
        TCPWinProbe Counter stats.tcp.counters.window_probes, "probes of a closed window";
        TCPKeepAlive Counter stats.tcp.counters.keepalives, "probes of an idle peer";
        TCPAbortOnTimeout Counter stats.tcp.counters.abort_on_timeout, "open connections given up, as the peer answered no more";
        TCPAbortOnMemory Counter stats.tcp.counters.abort_on_memory, "connections reset on release, as there were too many orphans";
        TCPFastOpenActive Counter stats.tcp.counters.fast_open_active, "active opens whose SYN's data was taken";
        TCPFastOpenActiveFail Counter stats.tcp.counters.fast_open_active_fail, "active opens whose SYN's data was not taken";
        TCPFastOpenPassive Counter stats.tcp.counters.fast_open_passive, "passive opens by cookie";
        TCPFastOpenPassiveFail Counter stats.tcp.counters.fast_open_passive_fail, "SYNs with a wrong Fast Open cookie";
        TCPFastOpenListenOverflow Counter stats.tcp.counters.fast_open_listen_overflow, "SYNs with a good cookie beyond the listener's limit";
        TCPFastOpenCookieReqd Counter stats.tcp.counters.fast_open_cookie_reqd, "Fast Open cookies asked for and given";
    }
    tcp {
        connections Gauge stats.tcp.connections as u64, "connections that exist, TIME-WAIT left out";
        undos Counter stats.tcp.counters.undos, "reductions of the window taken back: nothing had been lost";
        replies_dropped Counter stats.tcp.counters.replies_dropped, "answers to nobody's segments beyond their queue";
        incoming_overflow Counter stats.tcp.incoming_overflow, "held SYNs forgotten: their listener held as many as it may";
        writers_starved Counter stats.tcp.counters.writers_starved, "writers with nothing queued that waited for memory";
        dropped Counter stats.tcp.counters.dropped, "segments that went no further, for whatever reason";
        dropped_out_of_window Counter stats.tcp.counters.dropped_for(OutOfWindow), "no byte in the window";
        dropped_blind_reset Counter stats.tcp.counters.dropped_for(BlindReset), "RST in the window but off RCV.NXT, challenged";
        dropped_bad_reset Counter stats.tcp.counters.dropped_for(BadReset), "RST outside the window";
        dropped_bad_ack Counter stats.tcp.counters.dropped_for(BadAck), "ACK of what was never sent, or far too old";
        dropped_no_ack Counter stats.tcp.counters.dropped_for(NoAck), "no ACK bit";
        dropped_no_timestamp Counter stats.tcp.counters.dropped_for(NoTimestamp), "no timestamp though agreed on";
        dropped_reset Counter stats.tcp.counters.dropped_for(Reset), "it reset its connection, as it may";
        dropped_no_socket Counter stats.tcp.counters.dropped_for(NoSocket), "no flow and no listener";
        dropped_bad_flags Counter stats.tcp.counters.dropped_for(BadFlags), "flags that no state accepts";
        dropped_bad_address Counter stats.tcp.counters.dropped_for(BadAddress), "an address that cannot open a connection";
        dropped_backlog_full Counter stats.tcp.counters.dropped_for(BacklogFull), "SYN or accept queue full";
        dropped_rate_limited Counter stats.tcp.counters.dropped_for(RateLimited), "its answer is over the limit of such answers";
        dropped_no_memory Counter stats.tcp.counters.dropped_for(NoMemory), "a SYN without memory for what would follow";
    }
    Udp {
        InDatagrams Counter stats.udp.in_datagrams, "datagrams queued for applications";
        NoPorts Counter stats.udp.no_ports, "datagrams to a port that nobody is bound to";
        InErrors Counter stats.ip.udp_in_errors + stats.ip.udp_in_csum_errors + stats.ip.udp_in_no_csum
            + stats.udp.rcvbuf_errors + stats.udp.mem_errors, "datagrams dropped for another reason";
        OutDatagrams Counter stats.udp.out_datagrams, "datagrams handed to IP";
        RcvbufErrors Counter stats.udp.rcvbuf_errors, "datagrams dropped since the socket's queue was full";
        SndbufErrors Counter stats.udp.sndbuf_errors, "datagrams refused since the socket's send queue was full";
        InCsumErrors Counter stats.ip.udp_in_csum_errors, "datagrams whose checksum was wrong";
        MemErrors Counter stats.udp.mem_errors, "datagrams dropped since all queues together had no memory left";
    }
    udp {
        in_no_csum Counter stats.ip.udp_in_no_csum, "datagrams without a checksum, over IPv6";
    }
    Ip {
        InReceives Counter stats.ip.in_receives, "frames received, from the device and from the loopback";
        InHdrErrors Counter stats.ip.in_hdr_errors + stats.ip.in_csum_errors, "packets with an impossible header or a wrong header checksum";
        InAddrErrors Counter stats.ip.in_addr_errors, "packets to nobody's address";
        InUnknownProtos Counter stats.ip.in_unknown_protos, "packets of a protocol that nobody here speaks";
        InDelivers Counter stats.ip.in_delivers, "packets handed to TCP, UDP or ICMP";
        OutRequests Counter stats.ip.out_requests, "packets handed to the device; a super-packet counts once";
        OutDiscards Counter stats.ip.out_discards, "packets given up on sending";
        ReasmReqds Counter stats.ip.reasm_reqds, "fragments received";
        ReasmOKs Counter stats.ip.reasm_oks, "datagrams put together";
        ReasmFails Counter stats.ip.reasm_fails, "datagrams given up: overlap, memory, time";
        ReasmTimeout Counter stats.ip.reasm_timeout, "of these, given up for time";
        FragOKs Counter stats.ip.frag_oks, "datagrams cut into fragments";
        FragFails Counter stats.ip.frag_fails, "datagrams too large for the path that must not be cut";
        FragCreates Counter stats.ip.frag_creates, "fragments made";
    }
    IpExt {
        InTruncatedPkts Counter stats.ip.in_truncated_pkts, "packets shorter than their header says";
        InCsumErrors Counter stats.ip.in_csum_errors, "packets whose header checksum was wrong";
    }
    ip {
        in_source_routes Counter stats.ip.in_source_routes, "source routes, refused";
        in_martians Counter stats.ip.in_martians, "packets from an address that none from outside has";
        in_multicast Counter stats.ip.in_mcast_pkts, "packets to a multicast or broadcast address, dropped";
        in_no_next_header Counter stats.ip.in_no_next_header, "packets that say that nothing follows";
        in_ext_hdr_errors Counter stats.ip.in_ext_hdr_errors, "IPv6 extension headers that forbid going on";
        reasm_held Counter stats.ip.reasm_held, "fragments kept until the rest arrives";
        reasm_drops Counter stats.ip.reasm_drops, "fragments that do not fit their datagram, or of one given up";
        path_mtu_updates Counter stats.ip.path_mtu_updates, "path MTUs lowered by ICMP";
        negative_advice Counter stats.ip.negative_advice, "times that TCP called a path dead";
    }
    Icmp {
        InMsgs Counter stats.ip.icmp_in_msgs + stats.ip.icmp_in_csum_errors, "messages received";
        InErrors Counter stats.ip.icmp_in_errors + stats.ip.icmp_in_csum_errors, "messages that were none, or whose checksum was wrong";
        InCsumErrors Counter stats.ip.icmp_in_csum_errors, "messages whose checksum was wrong";
        InEchos Counter stats.ip.icmp_in_echos, "echo requests answered";
        OutMsgs Counter stats.ip.icmp_out_msgs, "messages queued for sending";
        OutRateLimitGlobal Counter stats.ip.icmp_out_rate_limit_global, "errors not sent: over the limit of all together";
        OutRateLimitHost Counter stats.ip.icmp_out_rate_limit_host, "errors not sent: over the limit of one destination";
    }
    icmp {
        in_ignored Counter stats.ip.icmp_in_ignored, "messages that ask nothing of this host";
        in_unsolicited Counter stats.ip.icmp_in_unsolicited, "errors about something this host has not sent";
        echo_limited Counter stats.ip.icmp_echo_limited, "echo requests beyond the budget, replies that nobody reads";
    }
    memory {
        limit_bytes Gauge stats.memory.limit as u64, "what all buffers may take; 0 without a limit";
        used_bytes Gauge stats.memory.used as u64, "what they take";
        tcp_bytes Gauge stats.memory.tcp as u64, "of this, TCP's buffers";
        udp_bytes Gauge stats.memory.udp as u64, "of this, queues of UDP sockets";
        fragments_bytes Gauge stats.memory.fragments as u64, "of this, fragments under reassembly";
        shards_under_pressure Gauge stats.memory.shards_under_pressure as u64, "shards that are short of memory";
    }
    device {
        rx_frames Counter stats.device.rx_frames, "frames received; a super-segment counts once";
        rx_bytes Counter stats.device.rx_bytes, "bytes of IP packet received";
        rx_coalesced Counter stats.device.rx_coalesced, "segments taken with the one before them for one";
        tx_frames Counter stats.device.tx_frames, "frames handed to the device";
        tx_bytes Counter stats.device.tx_bytes, "bytes of IP packet handed to the device";
        tx_blocked Counter stats.device.tx_blocked, "turns after which the device would not take all";
        loopback_frames Counter stats.device.loopback_frames, "frames to the host's own addresses, which never saw the device";
        turns Counter stats.device.turns, "turns of the packet loop";
        busy_polls Counter stats.device.busy_polls, "times that a driver looked again instead of sleeping";
        handed_over Counter stats.device.handed_over, "packets handed over to another shard";
        handover_dropped Counter stats.device.handover_dropped, "packets that the other shard's queue did not take";
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_count_there_is_stands_in_the_table() {
        let source = include_str!("table.rs");
        let shown = format!("{:#?}", Stats::default());
        let mut fields = 0;
        for line in shown.lines() {
            if let Some(name) = line.trim().strip_suffix(": 0,") {
                assert!(source.contains(&format!(".{name}")), "{name} is missing");
                fields += 1;
            }
        }
        assert!(fields > 100, "{shown}");
        for reason in ustack_tcp::Dropped::ALL {
            let read = format!("dropped_for({reason:?})");
            assert!(source.contains(&read), "{reason:?} is missing");
        }
    }

    #[test]
    fn names_are_unique_and_written_as_their_group_is() {
        let names: BTreeSet<_> = TABLE.iter().map(|row| (row.group, row.name)).collect();
        assert_eq!(names.len(), TABLE.len());
        for row in TABLE {
            let is_upper = row
                .name
                .starts_with(|first: char| first.is_ascii_uppercase());
            assert_eq!(is_upper, row.is_linux(), "{row:?}");
            assert!(!row.help.ends_with('.'), "{row:?}");
        }
    }

    /// The names that are Linux's, if this is Linux as it is today.
    #[test]
    fn what_bears_a_name_of_linux_is_counted_there() {
        let linux: Vec<_> = ["/proc/net/snmp", "/proc/net/netstat"]
            .iter()
            .filter_map(|path| std::fs::read_to_string(path).ok())
            .collect();
        let linux = linux.join("\n");
        let known = |row: &&Row| {
            let head = format!("{}: ", row.group);
            let mut heads = linux.lines().filter(|line| line.starts_with(&head));
            heads.any(|line| line.split(' ').any(|word| word == row.name))
        };
        let missing: Vec<_> = TABLE
            .iter()
            .filter(|row| row.is_linux() && !known(row))
            .map(|row| (row.group, row.name))
            .collect();
        assert_eq!(missing, [], "in {linux}");
    }

    #[test]
    fn values_are_those_of_the_stats() {
        let mut stats = Stats::default();
        stats.tcp.counters.timeouts = 7;
        stats.device.rx_bytes = 9;
        let value = |group, name| {
            let mut rows = TABLE.iter();
            let row = rows.find(|row| (row.group, row.name) == (group, name));
            row.map(|row| row.value(&stats))
        };
        assert_eq!(value("TcpExt", "TCPTimeouts"), Some(7));
        assert_eq!(value("device", "rx_bytes"), Some(9));
        assert_eq!(value("tcp", "connections"), Some(0));
    }
}
