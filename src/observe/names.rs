//! Words for what was observed, the same in logs and in comments.

use ustack_tcp::observe::{AckWhy, Evidence, Phase, Timer, Why};
use ustack_tcp::{CloseReason, Dropped, Flags};

pub(super) const fn why(why: Why) -> &'static str {
    match why {
        Why::Syn => "SYN",
        Why::SynAck => "SYN,ACK",
        Why::SynAgain => "SYN again",
        Why::NewData => "new data",
        Why::TailProbeNew | Why::TailProbeAgain => "tail probe",
        Why::SpuriousTimeoutTest => "spurious timeout test",
        Why::MtuProbe => "MTU probe",
        Why::FastRetransmit => "fast retransmit",
        Why::TimeoutRetransmit(_) => "timeout retransmit",
        Why::PathMtuRetransmit => "path MTU retransmit",
        Why::HoleRetransmit => "hole retransmit",
        Why::WindowProbe => "window probe",
        Why::KeepAlive => "keep-alive",
        Why::Reset => "reset",
        Why::Reply => "reply",
        Why::Ack(why) => ack(why),
        _ => "other",
    }
}

const fn ack(why: AckWhy) -> &'static str {
    match why {
        AckWhy::Data => "ACK: data",
        AckWhy::Delayed => "ACK: delayed",
        AckWhy::OutOfOrder => "ACK: out of order",
        AckWhy::GapFilled => "ACK: gap filled",
        AckWhy::OutOfWindow => "ACK: out of window",
        AckWhy::Challenge => "ACK: challenge",
        AckWhy::WindowUpdate => "ACK: window update",
        AckWhy::Fin => "ACK: FIN",
        AckWhy::BeyondWindow => "ACK: beyond window",
        AckWhy::Report => "ACK: report",
        AckWhy::Opened => "ACK: opened",
        AckWhy::Asked => "ACK: asked",
        _ => "ACK: other",
    }
}

pub(super) const fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::SlowStart => "slow start",
        Phase::Avoidance => "avoidance",
        Phase::Recovery => "recovery",
        Phase::Loss => "loss",
        _ => "other",
    }
}

/// A timer's name, and how often it has fired in a row.
pub(super) const fn timer(timer: Timer) -> (&'static str, Option<u8>) {
    match timer {
        Timer::Handshake => ("handshake", None),
        Timer::Retransmission(count) => ("retransmission", Some(count)),
        Timer::TailProbe => ("tail probe", None),
        Timer::Persist(count) => ("persist", Some(count)),
        Timer::Reordering => ("reordering", None),
        Timer::DelayedAck => ("delayed ACK", None),
        Timer::KeepAlive => ("keep-alive", None),
        Timer::Patience => ("patience", None),
        Timer::Linger => ("linger", None),
        _ => ("other", None),
    }
}

pub(super) const fn evidence(evidence: Evidence) -> &'static str {
    match evidence {
        Evidence::Rack => "RACK",
        Evidence::Sack => "SACK",
        Evidence::DuplicateAcks => "duplicate ACKs",
        Evidence::Timeout => "timeout",
        _ => "other",
    }
}

pub(super) const fn dropped(reason: Dropped) -> &'static str {
    match reason {
        Dropped::OutOfWindow => "out of window",
        Dropped::BlindReset => "blind reset",
        Dropped::BadReset => "bad reset",
        Dropped::BlindSyn => "blind SYN",
        Dropped::BadAck => "bad ACK",
        Dropped::NoAck => "no ACK",
        Dropped::StaleTimestamp => "stale timestamp",
        Dropped::NoTimestamp => "no timestamp",
        Dropped::Reset => "reset",
        Dropped::NoSocket => "no socket",
        Dropped::BadFlags => "bad flags",
        Dropped::BadAddress => "bad address",
        Dropped::BacklogFull => "backlog full",
        Dropped::RateLimited => "rate limited",
        Dropped::NoMemory => "no memory",
        _ => "other",
    }
}

pub(super) const fn close(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Finished => "finished",
        CloseReason::Reset => "reset by peer",
        CloseReason::Refused => "refused",
        CloseReason::TimedOut => "timed out",
        CloseReason::Unreachable => "unreachable",
        CloseReason::Aborted => "aborted",
        _ => "other",
    }
}

/// One letter for each control bit that is set.
pub(super) fn flags(flags: Flags) -> impl Iterator<Item = char> {
    let letters = [
        (Flags::SYN, 'S'),
        (Flags::FIN, 'F'),
        (Flags::RST, 'R'),
        (Flags::PSH, 'P'),
        (Flags::ACK, 'A'),
        (Flags::URG, 'U'),
        (Flags::ECE, 'E'),
        (Flags::CWR, 'C'),
    ];
    letters
        .into_iter()
        .filter(move |(flag, _)| flags.contains(*flag))
        .map(|(_, letter)| letter)
}
