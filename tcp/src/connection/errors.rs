//! Errors that do not end a connection, and how the application learns of them (RFC 9293 §3.9.1.8).

use crate::error::{CloseReason, IcmpError, SocketError};

use super::Connection;

impl Connection {
    /// ICMP reports trouble. Whatever RFC 1122 calls it, it does not end an open connection
    /// (MUST-56, RFC 5927 §5.2).
    pub(crate) const fn on_soft_error(&mut self, error: IcmpError) {
        self.soft_error = Some(error);
        self.path_trouble = true;
    }

    /// What `SO_ERROR` tells, each once: an abnormal end, or else the last soft error (MUST-47). Who
    /// does not ask is not told (SHLD-20).
    pub(crate) fn take_error(&mut self) -> Option<SocketError> {
        let abnormal = self
            .close_reason
            .filter(|&reason| !matches!(reason, CloseReason::Finished | CloseReason::Aborted));
        if let Some(reason) = abnormal
            && !self.end_told
        {
            self.end_told = true;
            return Some(SocketError::Closed(reason));
        }
        self.soft_error.take().map(SocketError::Icmp)
    }
}
