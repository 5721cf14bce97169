//! A connection's variables in a few lines, for who has to find out what went wrong.

use core::fmt;

use crate::congestion::CongestionController;

use super::Connection;

/// The variables of RFC 9293 §3.3.1 and those around them, without a byte of what was sent.
pub(super) struct Variables<'a>(pub(super) &'a Connection);

impl fmt::Display for Variables<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let conn = self.0;
        writeln!(f, "{} {:?} orphan {}", conn.state, conn.flow, conn.orphan)?;
        self.send(f)?;
        self.receive(f)?;
        let (cwnd, ssthresh) = (conn.cc.cwnd(), conn.cc.ssthresh());
        writeln!(f, "cwnd {cwnd} ssthresh {ssthresh} now {}", conn.cwnd())?;
        writeln!(f, "{:?}\n{:?}\n{:?}", conn.recovery, conn.rtt, conn.acks)?;
        writeln!(f, "{:?}\n{:?}", conn.timers, conn.ecn)?;
        write!(f, "{:?}", conn.options)
    }
}

impl Variables<'_> {
    fn send(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (snd, flight) = (&self.0.snd, &self.0.snd.flight);
        let text = snd.buffer.start()..snd.buffer.end();
        write!(f, "snd: una {:?} nxt {:?} text {text:?}", snd.una, snd.nxt)?;
        write!(f, " fin {:?} up {:?} mss {}", snd.fin, snd.up, snd.mss)?;
        write!(f, " wnd {} max {}", snd.wnd, snd.max_wnd)?;
        writeln!(f, " wl1 {:?} wl2 {:?}", snd.wl1, snd.wl2)?;
        write!(f, "buffer: {} of {}", snd.buffer.charged(), snd.capacity)?;
        write!(f, " blocked {}", self.0.write_blocked)?;
        writeln!(f, " pushed {:?} small {:?}", snd.pushed, snd.small_end)?;
        write!(
            f,
            "flight: {} in {} records",
            flight.outstanding(),
            flight.len()
        )?;
        write!(f, " sacked {} lost {}", flight.sacked(), flight.lost())?;
        write!(f, " resent {} twice {}", flight.resent(), flight.twice())?;
        writeln!(f, " by duplicates {}", flight.dup_acked())
    }

    fn receive(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rcv, store) = (&self.0.rcv, &self.0.rcv.reassembler);
        write!(f, "rcv: reader {:?} nxt {:?}", rcv.reader(), rcv.nxt())?;
        write!(f, " end {:?} right {:?}", store.end(), rcv.window.right())?;
        write!(f, " fin {:?} received {}", rcv.fin, rcv.fin_received)?;
        writeln!(f, " up {:?} gap {:?}", rcv.urgent, store.out_of_order())?;
        write!(f, "buffer: {} of {}", store.charged(), rcv.window.buffer())?;
        writeln!(f, " blocked {}", self.0.read_blocked)
    }
}
