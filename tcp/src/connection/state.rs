//! The states of RFC 9293 §3.3.2 and the table of what leads where.

use core::fmt;

/// The eleven states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// No connection.
    Closed,
    /// Waiting for a SYN.
    Listen,
    /// SYN sent.
    SynSent,
    /// SYN received, ours sent.
    SynReceived,
    /// Open.
    Established,
    /// FIN sent, not yet acknowledged.
    FinWait1,
    /// FIN acknowledged, waiting for the peer's.
    FinWait2,
    /// FIN received; the application has not closed yet.
    CloseWait,
    /// Both FINs crossed, ours not yet acknowledged.
    Closing,
    /// FIN received and sent, ours not yet acknowledged.
    LastAck,
    /// Waiting for old segments to die.
    TimeWait,
}

/// What moves a connection on, once it is open.
#[expect(clippy::enum_variant_names, reason = "all three are about FIN")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edge {
    /// Our FIN went out.
    FinSent,
    /// The peer acknowledged our FIN.
    FinAcked,
    /// The peer's FIN arrived in order.
    FinReceived,
}

impl State {
    /// Figure 5 of RFC 9293 §3.3.2, past the handshake. `None` means a bug of ours, never bad
    /// input.
    pub(crate) const fn after(self, edge: Edge) -> Option<Self> {
        Some(match (self, edge) {
            (Self::Established, Edge::FinSent) => Self::FinWait1,
            (Self::Established, Edge::FinReceived) => Self::CloseWait,
            (Self::FinWait1, Edge::FinAcked) => Self::FinWait2,
            (Self::FinWait1, Edge::FinReceived) => Self::Closing,
            (Self::FinWait2, Edge::FinReceived) | (Self::Closing, Edge::FinAcked) => Self::TimeWait,
            (Self::CloseWait, Edge::FinSent) => Self::LastAck,
            (Self::LastAck, Edge::FinAcked) => Self::Closed,
            _ => return None,
        })
    }

    /// Whether the peer may still send bytes.
    pub(crate) const fn receives(self) -> bool {
        matches!(self, Self::Established | Self::FinWait1 | Self::FinWait2)
    }

    /// Whether bytes and FIN of ours may still have to be sent or sent again.
    pub(crate) const fn sends(self) -> bool {
        matches!(
            self,
            Self::Established | Self::CloseWait | Self::FinWait1 | Self::Closing | Self::LastAck
        )
    }
}

impl State {
    /// Its name in RFC 9293.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "CLOSED",
            Self::Listen => "LISTEN",
            Self::SynSent => "SYN-SENT",
            Self::SynReceived => "SYN-RECEIVED",
            Self::Established => "ESTABLISHED",
            Self::FinWait1 => "FIN-WAIT-1",
            Self::FinWait2 => "FIN-WAIT-2",
            Self::CloseWait => "CLOSE-WAIT",
            Self::Closing => "CLOSING",
            Self::LastAck => "LAST-ACK",
            Self::TimeWait => "TIME-WAIT",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn the_table_is_figure_5() {
        use State::*;
        let states = [
            Closed,
            Listen,
            SynSent,
            SynReceived,
            Established,
            FinWait1,
            FinWait2,
            CloseWait,
            Closing,
            LastAck,
            TimeWait,
        ];
        let arcs: Vec<_> = states
            .into_iter()
            .flat_map(|from| {
                [Edge::FinSent, Edge::FinAcked, Edge::FinReceived]
                    .into_iter()
                    .filter_map(move |edge| Some((from, edge, from.after(edge)?)))
            })
            .collect();
        assert_eq!(
            arcs,
            [
                (Established, Edge::FinSent, FinWait1),
                (Established, Edge::FinReceived, CloseWait),
                (FinWait1, Edge::FinAcked, FinWait2),
                (FinWait1, Edge::FinReceived, Closing),
                (FinWait2, Edge::FinReceived, TimeWait),
                (CloseWait, Edge::FinSent, LastAck),
                (Closing, Edge::FinAcked, TimeWait),
                (LastAck, Edge::FinAcked, Closed),
            ]
        );
    }
}
