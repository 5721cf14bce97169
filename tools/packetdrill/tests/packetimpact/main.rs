//! Behaviours that gVisor's packetimpact suite looks for, as tests of our own: a host whose
//! programs make system calls, and a peer that is packets only; on virtual time, over IPv4 and
//! IPv6 where the behaviour has both.
//!
//! One test per target of that suite, under its name:
//!
//! | behaviour | test |
//! |---|---|
//! | FIN-WAIT-2 of an orphan ends after `TCP_LINGER2` | `linger::fin_wait2_timeout` |
//! | identifications of packets that may be cut differ | `ip::ipv4_id_uniqueness` |
//! | no datagram from a group's address is delivered | `udp::udp_discard_mcast_source_addr` |
//! | a socket bound to any address hears unicasts | `udp::udp_any_addr_recv_unicast` |
//! | ICMP errors reach the datagram socket that sent, by every call | `udp::udp_icmp_error_propagation` |
//! | a window that shrinks to nothing is probed | `window::tcp_window_shrink` |
//! | zero-window probes: when, which, and what ends them | `window::tcp_zero_window_probe` |
//! | zero-window probes back off and keep the connection | `window::tcp_zero_window_probe_retransmit` |
//! | the user timeout counts while probing | `window::tcp_zero_window_probe_usertimeout` |
//! | retransmissions back off | `loss::tcp_retransmits` |
//! | segments outside the window are answered | `window::tcp_outside_the_window` |
//! | closing a listener resets what it has not accepted | `opening::tcp_noaccept_close_rst` |
//! | segments around the window's size; ACKs ride on data | `window::tcp_send_window_sizes_piggyback` |
//! | unacceptable numbers are answered in every state | `closing::tcp_unacc_seq_ack` |
//! | old timestamps are answered and dropped | `loss::tcp_paws_mechanism` |
//! | the user timeout ends a silent connection | `closing::tcp_user_timeout` |
//! | the receive window closes, and opens by whole segments | `window::tcp_zero_receive_window` |
//! | calls wait in SYN-SENT, and end with it | `opening::tcp_queue_send_recv_in_syn_sent` |
//! | a reset ends SYN-SENT | `opening::tcp_synsent_reset` |
//! | a reset ends SYN-RECEIVED | `opening::tcp_synrcvd_reset` |
//! | ICMP unreachable, all codes, before and after opening | `backlog::tcp_network_unreachable` |
//! | a cork holds small writes until a segment is full | `window::tcp_cork_mss` |
//! | the window of the handshake's ACK holds | `opening::tcp_handshake_window_size` |
//! | a reset in TIME-WAIT, by `tcp_rfc1337` | `closing::tcp_timewait_reset` |
//! | a full accept queue, and room again | `backlog::tcp_listen_backlog` |
//! | handshakes completed by a SYN cookie | `backlog::tcp_syncookie` |
//! | an ICMP error ends `connect` | `opening::tcp_connect_icmp_error` |
//! | an unknown next header is pointed at | `ip::icmpv6_param_problem` |
//! | unknown IPv6 options do as their type says | `ip::ipv6_unknown_options_action` |
//! | IPv4 reassembly: order, copies, overlaps | `ip::ipv4_fragment_reassembly` |
//! | IPv6 reassembly: order, copies, overlaps | `ip::ipv6_fragment_reassembly` |
//! | what is said about fragments | `ip::ipv6_fragment_icmp_error` |
//! | `SO_LINGER` | `linger::tcp_linger` |
//! | a receive buffer takes no more than it holds | `window::tcp_rcv_buf_space` |
//! | RACK and tail loss probes | `loss::tcp_rack` |
//! | `TCP_INFO` | `loss::tcp_info` |
//! | a FIN is sent again | `closing::tcp_fin_retransmission` |
//! | ICMP sockets, bound and sent everywhere | `tests/sockets/ping.rs`: `icmpv4_socket_send_recv` |
//! | ICMPv6 sockets, likewise | `tests/sockets/ping.rs`: `icmpv6_socket_send_recv` |
//! | UDP sockets, likewise | `udp::udp_socket_send_recv` |
//! | only the right ACK completes a handshake | `opening::tcp_acceptable_ack_syn_rcvd` |
//!
//! Where the suite follows a kernel and not the RFC, or the host has no such thing, the test's own
//! comment says what holds here and why: groups and broadcasts (`udp_socket_send_recv`), DF
//! (`ipv4_id_uniqueness`), the very edge of the window (`tcp_outside_the_window`), text behind a FIN
//! (`tcp_unacc_seq_ack`), a buffer that shrinks (`tcp_rcv_buf_space`), half-open handshakes of a
//! listener that closes (`tcp_listen_backlog`). ICMP errors are told in three words (refused,
//! unreachable, timed out), not in Linux's nine.

mod backlog;
mod bench;
mod closing;
mod ip;
mod linger;
mod loss;
mod opening;
mod udp;
mod window;
