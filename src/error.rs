//! What the core's errors are to an application: the [`ErrorKind`] that a kernel socket gives.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;

use ustack_tcp::{CloseReason, ConnectError, FlowKey, IcmpError, ListenError, SocketError};

/// A connection ended in this way.
pub(crate) fn closed(reason: CloseReason, flow: &FlowKey) -> Error {
    let kind = match reason {
        CloseReason::Finished => ErrorKind::NotConnected,
        CloseReason::Reset => ErrorKind::ConnectionReset,
        CloseReason::Refused => ErrorKind::ConnectionRefused,
        CloseReason::TimedOut => ErrorKind::TimedOut,
        CloseReason::Unreachable => ErrorKind::HostUnreachable,
        CloseReason::Aborted => ErrorKind::ConnectionAborted,
        _ => ErrorKind::Other,
    };
    Error::new(kind, format!("{}: connection {reason}", flow.remote))
}

/// A call on a connection failed.
pub(crate) fn socket(error: SocketError, flow: &FlowKey) -> Error {
    match error {
        SocketError::Closed(reason) => closed(reason, flow),
        SocketError::NotFound | SocketError::NotConnected => {
            Error::new(ErrorKind::NotConnected, "not connected")
        }
        SocketError::BrokenPipe => broken_pipe(),
        SocketError::Icmp(error) => icmp(error, flow),
        _ => Error::other(format!("{error:?}")),
    }
}

/// More data for a Fast Open than the send buffer takes at the start.
pub(crate) fn too_much_to_open_with(room: u32) -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        format!("a connection begins with {room} bytes at most: write the rest later"),
    )
}

/// ICMP reported trouble that did not end the connection.
fn icmp(error: IcmpError, flow: &FlowKey) -> Error {
    let kind = match error {
        IcmpError::NetUnreachable => ErrorKind::NetworkUnreachable,
        IcmpError::HostUnreachable | IcmpError::Prohibited | IcmpError::TimeExceeded => {
            ErrorKind::HostUnreachable
        }
        IcmpError::PortUnreachable => ErrorKind::ConnectionRefused,
        _ => ErrorKind::Other,
    };
    Error::new(kind, format!("{}: {error}", flow.remote))
}

pub(crate) fn broken_pipe() -> Error {
    Error::new(
        ErrorKind::BrokenPipe,
        "this end has finished writing, or the connection is closed",
    )
}

pub(crate) fn listen(error: ListenError, local: SocketAddr) -> Error {
    match error {
        ListenError::AddrInUse => addr_in_use(local),
        _ => Error::other(format!("{local}: {error:?}")),
    }
}

pub(crate) fn addr_in_use(local: SocketAddr) -> Error {
    Error::new(
        ErrorKind::AddrInUse,
        format!("{local} is taken by another socket: close it or choose another port"),
    )
}

pub(crate) fn addr_not_available(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::AddrNotAvailable, message.into())
}

pub(crate) fn connect(error: ConnectError, remote: SocketAddr) -> Error {
    match error {
        ConnectError::AddrInUse => Error::new(
            ErrorKind::AddrInUse,
            format!("a connection from that port to {remote} exists already"),
        ),
        ConnectError::AddrNotAvailable => {
            addr_not_available(format!("no ephemeral port is free towards {remote}"))
        }
        ConnectError::InvalidRemote => Error::new(
            ErrorKind::InvalidInput,
            format!("{remote} is no address of a TCP peer"),
        ),
        ConnectError::TooManyConnections => Error::new(
            ErrorKind::QuotaExceeded,
            "as many connections exist as Config::tcp.max_connections allows",
        ),
        _ => Error::other(format!("{remote}: {error:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_the_kernels_kind() {
        let flow = FlowKey {
            local: ([10, 0, 0, 1], 1).into(),
            remote: ([10, 0, 0, 2], 80).into(),
        };
        let kinds = [
            (CloseReason::Reset, ErrorKind::ConnectionReset),
            (CloseReason::Refused, ErrorKind::ConnectionRefused),
            (CloseReason::TimedOut, ErrorKind::TimedOut),
            (CloseReason::Unreachable, ErrorKind::HostUnreachable),
            (CloseReason::Aborted, ErrorKind::ConnectionAborted),
        ];
        for (reason, kind) in kinds {
            let error = socket(SocketError::Closed(reason), &flow);
            assert_eq!(error.kind(), kind);
            assert!(error.to_string().starts_with("10.0.0.2:80"), "{error}");
        }
        assert_eq!(
            socket(SocketError::BrokenPipe, &flow).kind(),
            ErrorKind::BrokenPipe
        );
    }
}
