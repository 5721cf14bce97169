//! Words as bytes.

use crate::connection::State;
use crate::error::{CloseReason, Dropped};

use super::super::{AckWhy, Evidence, Phase, Timer, Why};

/// One of a few words, as a byte.
pub(super) trait Code: Sized {
    fn code(self) -> u8;
    fn of(code: u8) -> Option<Self>;
}

/// A code for each variant; one that is left out here does not compile.
macro_rules! codes {
    ($($kind:ident: $($variant:ident),+;)+) => {
        $(impl Code for $kind {
            #[inline]
            fn code(self) -> u8 {
                match self {
                    $(Self::$variant => Self::$variant as u8,)+
                }
            }

            fn of(code: u8) -> Option<Self> {
                let all = [$(Self::$variant),+];
                all.into_iter().find(|one| *one as u8 == code)
            }
        })+
    };
}

codes! {
    State: Closed, Listen, SynSent, SynReceived, Established, FinWait1, FinWait2, CloseWait,
        Closing, LastAck, TimeWait;
    Phase: SlowStart, Avoidance, Recovery, Loss;
    Evidence: Rack, Sack, DuplicateAcks, Timeout;
    CloseReason: Finished, Reset, Refused, TimedOut, Unreachable, Aborted;
    Dropped: OutOfWindow, BlindReset, BadReset, BlindSyn, BadAck, NoAck, StaleTimestamp,
        NoTimestamp, Reset, NoSocket, BadFlags, BadAddress, BacklogFull, RateLimited, NoMemory;
    AckWhy: Data, Delayed, OutOfOrder, GapFilled, OutOfWindow, Challenge, WindowUpdate, Fin,
        BeyondWindow, Report, Opened, Asked;
}

#[inline]
pub(super) fn why_code(why: Why) -> [u8; 2] {
    match why {
        Why::Syn => [0, 0],
        Why::SynAck => [1, 0],
        Why::SynAgain => [2, 0],
        Why::NewData => [3, 0],
        Why::TailProbeNew => [4, 0],
        Why::TailProbeAgain => [5, 0],
        Why::SpuriousTimeoutTest => [6, 0],
        Why::MtuProbe => [7, 0],
        Why::FastRetransmit => [8, 0],
        Why::TimeoutRetransmit(count) => [9, count],
        Why::PathMtuRetransmit => [10, 0],
        Why::HoleRetransmit => [11, 0],
        Why::WindowProbe => [12, 0],
        Why::KeepAlive => [13, 0],
        Why::Ack(why) => [14, why.code()],
        Why::Reset => [15, 0],
        Why::Reply => [16, 0],
    }
}

pub(super) fn why([code, more]: [u8; 2]) -> Option<Why> {
    Some(match code {
        0 => Why::Syn,
        1 => Why::SynAck,
        2 => Why::SynAgain,
        3 => Why::NewData,
        4 => Why::TailProbeNew,
        5 => Why::TailProbeAgain,
        6 => Why::SpuriousTimeoutTest,
        7 => Why::MtuProbe,
        8 => Why::FastRetransmit,
        9 => Why::TimeoutRetransmit(more),
        10 => Why::PathMtuRetransmit,
        11 => Why::HoleRetransmit,
        12 => Why::WindowProbe,
        13 => Why::KeepAlive,
        14 => Why::Ack(AckWhy::of(more)?),
        15 => Why::Reset,
        16 => Why::Reply,
        _ => return None,
    })
}

pub(super) fn timer_code(timer: Timer) -> [u8; 2] {
    match timer {
        Timer::Handshake => [0, 0],
        Timer::Retransmission(count) => [1, count],
        Timer::TailProbe => [2, 0],
        Timer::Persist(count) => [3, count],
        Timer::Reordering => [4, 0],
        Timer::DelayedAck => [5, 0],
        Timer::KeepAlive => [6, 0],
        Timer::Patience => [7, 0],
        Timer::Linger => [8, 0],
    }
}

pub(super) fn timer([code, count]: [u8; 2]) -> Option<Timer> {
    Some(match code {
        0 => Timer::Handshake,
        1 => Timer::Retransmission(count),
        2 => Timer::TailProbe,
        3 => Timer::Persist(count),
        4 => Timer::Reordering,
        5 => Timer::DelayedAck,
        6 => Timer::KeepAlive,
        7 => Timer::Patience,
        8 => Timer::Linger,
        _ => return None,
    })
}
