//! Looking into a connection: what waits in its buffers (`SIOCINQ`, `SIOCOUTQ`, `MSG_PEEK`), and
//! `TCP_INFO`.

use alloc::vec::Vec;

use crate::config::CongestionAlgorithm;
use crate::connection::State;
use crate::endpoint::{ConnId, Slot, Tcp};
use crate::error::SocketError;
use crate::info::Info;
use crate::segment::FlowKey;
use crate::time::Instant;

/// Bytes in the buffers of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queued {
    /// Received in order and not yet read (`SIOCINQ`).
    pub unread: u32,
    /// The peer's FIN has been received: nothing follows what is unread.
    pub fin_received: bool,
    /// Written and not yet acknowledged (`SIOCOUTQ`).
    pub unacked: u32,
    /// Written and not yet sent (`SIOCOUTQNSD`).
    pub unsent: u32,
}

impl Tcp {
    /// What waits in the buffers of a connection; nothing, while it opens or once it is gone.
    pub fn queued(&self, id: ConnId) -> Queued {
        match self.table.get(id) {
            Some(Slot::Connection(conn)) => conn.queued(),
            _ => Queued::default(),
        }
    }

    /// A connection from inside (`TCP_INFO`); of a handshake under way, its state and little more.
    pub fn info(&self, now: Instant, id: ConnId) -> Result<Info, SocketError> {
        let state = match self.table.get(id) {
            Some(Slot::Connection(conn)) => return Ok(conn.info(now, &self.config)),
            Some(Slot::Resting(flow, rest)) => {
                let record = self.dormitory.record(rest).ok_or(SocketError::NotFound)?;
                let conn = record.connection(flow.key(), &self.config);
                return Ok(conn.info(now, &self.config));
            }
            Some(Slot::SynSent(_)) => State::SynSent,
            Some(Slot::SynReceived(_)) => State::SynReceived,
            Some(Slot::TimeWait(..)) => State::TimeWait,
            None => return Err(SocketError::NotFound),
        };
        Ok(Info {
            state: Some(state),
            ..Info::default()
        })
    }

    /// The connection or handshake of a flow, as long as the flow is taken.
    pub fn find(&self, flow: &FlowKey) -> Option<ConnId> {
        self.table.lookup(flow)
    }

    /// Which algorithm controls a connection's window (`TCP_CONGESTION`).
    pub fn congestion(&self, id: ConnId) -> Option<CongestionAlgorithm> {
        let own = self.options(id).ok()?.congestion;
        Some(own.unwrap_or(self.config.congestion))
    }

    /// Copies unread bytes, at most `max`, and leaves them unread (`MSG_PEEK`).
    pub fn peek(&self, id: ConnId, max: usize) -> Vec<u8> {
        match self.table.get(id) {
            Some(Slot::Connection(conn)) => conn.peek(max),
            _ => Vec::new(),
        }
    }
}
