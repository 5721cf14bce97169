//! Names of the C headers that scripts use, as Linux numbers them.

/// A table of names, most of them `libc`'s own.
macro_rules! names {
    ($($name:ident)*; $($other:ident = $value:expr,)*) => {
        &[$((stringify!($name), libc::$name as i64),)* $((stringify!($other), $value),)*]
    };
}

const NAMES: &[(&str, i64)] = names! {
    AF_INET AF_INET6 AF_UNSPEC PF_INET PF_INET6
    SOCK_STREAM SOCK_DGRAM SOCK_RAW SOCK_NONBLOCK SOCK_CLOEXEC
    IPPROTO_IP IPPROTO_IPV6 IPPROTO_TCP IPPROTO_UDP IPPROTO_ICMP IPPROTO_ICMPV6
    SOL_SOCKET SOL_IP SOL_IPV6 SOL_TCP SOL_UDP
    SO_ACCEPTCONN SO_BROADCAST SO_DEBUG SO_DOMAIN SO_DONTROUTE SO_ERROR SO_KEEPALIVE SO_LINGER
    SO_MARK SO_OOBINLINE SO_PRIORITY SO_PROTOCOL SO_RCVBUF SO_RCVLOWAT SO_RCVTIMEO SO_REUSEADDR
    SO_REUSEPORT SO_SNDBUF SO_SNDLOWAT SO_SNDTIMEO SO_TIMESTAMP SO_TIMESTAMPING SO_TYPE SO_ZEROCOPY
    SO_MAX_PACING_RATE SO_RCVBUFFORCE SO_SNDBUFFORCE SO_BUSY_POLL SO_INCOMING_CPU SO_MEMINFO
    SO_BINDTODEVICE SO_TXTIME
    IP_TOS IP_TTL IP_MTU IP_MTU_DISCOVER IP_RECVERR IP_RECVTTL IP_RECVTOS IP_PKTINFO IP_FREEBIND
    IP_BIND_ADDRESS_NO_PORT IP_TRANSPARENT IP_OPTIONS
    IP_PMTUDISC_DO IP_PMTUDISC_DONT IP_PMTUDISC_WANT IP_PMTUDISC_PROBE
    IPV6_V6ONLY IPV6_TCLASS IPV6_UNICAST_HOPS IPV6_MTU IPV6_MTU_DISCOVER IPV6_RECVERR
    IPV6_RECVTCLASS IPV6_HOPLIMIT IPV6_RECVHOPLIMIT IPV6_FREEBIND
    TCP_NODELAY TCP_MAXSEG TCP_CORK TCP_KEEPIDLE TCP_KEEPINTVL TCP_KEEPCNT TCP_SYNCNT TCP_LINGER2
    TCP_DEFER_ACCEPT TCP_WINDOW_CLAMP TCP_INFO TCP_QUICKACK TCP_CONGESTION TCP_MD5SIG
    TCP_USER_TIMEOUT TCP_FASTOPEN TCP_TIMESTAMP TCP_NOTSENT_LOWAT TCP_CC_INFO TCP_SAVE_SYN
    TCP_SAVED_SYN TCP_FASTOPEN_CONNECT TCP_ULP TCP_FASTOPEN_KEY TCP_FASTOPEN_NO_COOKIE
    TCP_ZEROCOPY_RECEIVE TCP_INQ TCP_CM_INQ
    MSG_PEEK MSG_OOB MSG_TRUNC MSG_CTRUNC MSG_DONTWAIT MSG_WAITALL MSG_NOSIGNAL MSG_MORE MSG_EOR
    MSG_FASTOPEN MSG_ERRQUEUE MSG_ZEROCOPY MSG_CMSG_CLOEXEC MSG_DONTROUTE MSG_CONFIRM
    SHUT_RD SHUT_WR SHUT_RDWR
    F_GETFL F_SETFL F_GETFD F_SETFD O_RDONLY O_WRONLY O_RDWR O_NONBLOCK O_NDELAY O_CLOEXEC O_CREAT
    FD_CLOEXEC
    FIONREAD TIOCOUTQ TIOCINQ FIONBIO
    POLLIN POLLPRI POLLOUT POLLERR POLLHUP POLLNVAL POLLRDNORM POLLRDBAND POLLWRNORM POLLWRBAND
    POLLRDHUP
    EPOLLIN EPOLLPRI EPOLLOUT EPOLLERR EPOLLHUP EPOLLRDHUP EPOLLET EPOLLONESHOT EPOLLEXCLUSIVE
    EPOLLRDNORM EPOLLRDBAND EPOLLWRNORM EPOLLWRBAND EPOLL_CTL_ADD EPOLL_CTL_MOD EPOLL_CTL_DEL
    EPOLL_CLOEXEC SPLICE_F_MOVE SPLICE_F_NONBLOCK SPLICE_F_MORE
    INADDR_ANY INADDR_LOOPBACK
    SCM_TIMESTAMPING
    EPERM ENOENT EINTR EIO EBADF EAGAIN EWOULDBLOCK ENOMEM EACCES EFAULT EBUSY EEXIST EINVAL ENFILE
    EMFILE ENOSPC EPIPE ENOTSOCK EDESTADDRREQ EMSGSIZE EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT
    ESOCKTNOSUPPORT EOPNOTSUPP ENOTSUP EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL ENETDOWN
    ENETUNREACH ENETRESET ECONNABORTED ECONNRESET ENOBUFS EISCONN ENOTCONN ETIMEDOUT ECONNREFUSED
    EHOSTDOWN EHOSTUNREACH EALREADY EINPROGRESS EPROTO ENOMSG ENOTTY ENOSYS ENODEV ENXIO
    ;
    NULL = 0,
    SIOCINQ = libc::FIONREAD as i64,
    SIOCOUTQ = libc::TIOCOUTQ as i64,
    SIOCOUTQNSD = 0x894b,
    IP_MTU_DISC = 10,
    TCP_TX_DELAY = 37,
    TCP_COOKIE_TRANSACTIONS = 15,
    TCP_THIN_LINEAR_TIMEOUTS = 16,
    TCP_THIN_DUPACK = 17,
    TCP_QUEUE_SEQ = 21,
    TCP_REPAIR = 19,
    TCP_RTO_MAX_MS = 44,
    TCP_RTO_MIN_US = 45,
    TCP_DELACK_MAX_US = 46,
    IPTOS_LOWDELAY = 0x10,
    IPTOS_THROUGHPUT = 0x08,
    IPTOS_RELIABILITY = 0x04,
    IPTOS_DSCP_CS0 = 0x00,
    IPTOS_DSCP_CS1 = 0x20,
    IPTOS_DSCP_CS2 = 0x40,
    IPTOS_DSCP_CS3 = 0x60,
    IPTOS_DSCP_CS4 = 0x80,
    IPTOS_DSCP_CS5 = 0xa0,
    IPTOS_DSCP_CS6 = 0xc0,
    IPTOS_DSCP_CS7 = 0xe0,
    SO_EE_ORIGIN_NONE = 0,
    SO_EE_ORIGIN_LOCAL = 1,
    SO_EE_ORIGIN_ICMP = 2,
    SO_EE_ORIGIN_ICMP6 = 3,
    SO_EE_ORIGIN_TIMESTAMPING = 4,
    SO_EE_ORIGIN_ZEROCOPY = 5,
    SO_EE_CODE_ZEROCOPY_COPIED = 1,
    SCM_TSTAMP_SND = 0,
    SCM_TSTAMP_SCHED = 1,
    SCM_TSTAMP_ACK = 2,
    SOF_TIMESTAMPING_TX_HARDWARE = 1,
    SOF_TIMESTAMPING_TX_SOFTWARE = 2,
    SOF_TIMESTAMPING_RX_SOFTWARE = 8,
    SOF_TIMESTAMPING_SOFTWARE = 16,
    SOF_TIMESTAMPING_OPT_ID = 128,
    SOF_TIMESTAMPING_TX_SCHED = 256,
    SOF_TIMESTAMPING_TX_ACK = 512,
    SOF_TIMESTAMPING_OPT_CMSG = 1024,
    SOF_TIMESTAMPING_OPT_TSONLY = 2048,
    SOF_TIMESTAMPING_OPT_STATS = 4096,
    TCP_FASTOPEN_CLIENT = 1,
};

/// Names of `%{ … }%` code, from `linux/tcp.h`.
const CODE_NAMES: &[(&str, i64)] = &[
    ("TCPI_OPT_TIMESTAMPS", 1),
    ("TCPI_OPT_SACK", 2),
    ("TCPI_OPT_WSCALE", 4),
    ("TCPI_OPT_ECN", 8),
    ("TCPI_OPT_ECN_SEEN", 16),
    ("TCPI_OPT_SYN_DATA", 32),
    ("TCP_CA_Open", 0),
    ("TCP_CA_Disorder", 1),
    ("TCP_CA_CWR", 2),
    ("TCP_CA_Recovery", 3),
    ("TCP_CA_Loss", 4),
    ("TCP_INFINITE_SSTHRESH", 0x7fff_ffff),
    ("True", 1),
    ("False", 0),
    ("None", 0),
];

/// The states of a connection, with the numbers of `net/tcp_states.h`.
const STATES: [(&str, i64); 12] = [
    ("ESTABLISHED", 1),
    ("SYN_SENT", 2),
    ("SYN_RECV", 3),
    ("FIN_WAIT1", 4),
    ("FIN_WAIT2", 5),
    ("TIME_WAIT", 6),
    ("CLOSE", 7),
    ("CLOSE_WAIT", 8),
    ("LAST_ACK", 9),
    ("LISTEN", 10),
    ("CLOSING", 11),
    ("NEW_SYN_RECV", 12),
];

/// The value of a name in a call's arguments.
pub(crate) fn value(name: &str) -> Option<i64> {
    NAMES
        .iter()
        .find(|(n, _)| *n == name)
        .map(|(_, value)| *value)
}

/// The value of a name in `%{ … }%`.
pub(crate) fn code_value(name: &str) -> Option<i64> {
    let state = name
        .strip_prefix("TCPI_")
        .or_else(|| name.strip_prefix("TCP_"))
        .map(canonical_state);
    let in_states = |state| STATES.iter().find(|(n, _)| *n == state).map(|(_, v)| *v);
    CODE_NAMES
        .iter()
        .find(|(n, _)| *n == name)
        .map(|(_, value)| *value)
        .or_else(|| state.and_then(in_states))
        .or_else(|| value(name))
}

/// The number of a state, by any of the names that scripts, RFC 9293 or FreeBSD give it.
pub(crate) fn state_value(name: &str) -> Option<i64> {
    let name = name.replace('-', "_");
    let name = canonical_state(&name);
    STATES.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
}

fn canonical_state(name: &str) -> &str {
    match name {
        "SYN_RECEIVED" | "SYN_RCVD" => "SYN_RECV",
        "FIN_WAIT_1" => "FIN_WAIT1",
        "FIN_WAIT_2" => "FIN_WAIT2",
        "CLOSED" => "CLOSE",
        other => other,
    }
}

/// The name of an error number.
pub(crate) fn errno_name(errno: i32) -> String {
    NAMES
        .iter()
        .find(|(name, value)| {
            name.starts_with('E') && !name.starts_with("EPOLL") && *value == i64::from(errno)
        })
        .map_or_else(|| format!("error {errno}"), |(name, _)| (*name).to_string())
}
