//! What the referee says of the wire.

use std::time::Duration;

use bytes::Bytes;
use referee::{Options, Referee, Rule, View, Violation};

use super::run::Outcome;
use super::setting::Setting;
use super::tap::Place;

/// A run that was kept from a processor for longer says nothing of when its timers fire.
const PUNCTUAL: Duration = Duration::from_millis(100);
/// The rules that are about time.
const TIMED: &[Rule] = &[Rule::AckDelayed, Rule::BackOff, Rule::RetransmittedEarly];

/// Rules that were broken on the wire.
#[derive(Debug, Default)]
pub struct Violations {
    /// Those that nobody can explain. Packets are numbered from 1, as in the capture.
    pub broken: Vec<Violation>,
    /// Why the others are none.
    pub explained: Vec<&'static str>,
    /// How many were left out since the run was late itself.
    pub excused: usize,
}

/// Judges what passed the taps.
///
/// Of ustack everything is known: what it sent and what reached it, and when. The kernel's packets
/// wait in the device's queue for a while: what it had seen when it sent them is not known exactly,
/// so it is judged as from a capture at its device.
pub fn judge(setting: &Setting, outcome: &Outcome) -> Violations {
    let [kernel, ustack] = setting.addresses();
    let near = vec![kernel];
    let mut of_ustack = Referee::new(View::Ends, Options::default());
    let mut of_kernel = Referee::new(View::Point { near }, Options::default());
    let mut last = Duration::ZERO;
    for (number, passage) in (1..).zip(&outcome.wire.passages) {
        let (at, packet) = (passage.at, &passage.packet);
        last = at;
        if passage.sent {
            of_ustack.on_sent(number, at, packet);
        } else {
            of_ustack.on_delivered(number, at, packet);
        }
        if passage.place == Place::Kernel {
            of_kernel.on_seen(number, at, packet, false);
        }
    }
    of_ustack.finish(last);
    of_kernel.finish(last);
    let late = outcome.stalled > PUNCTUAL;
    let mut violations = Violations::default();
    for (mut referee, end) in [(of_ustack, ustack), (of_kernel, kernel)] {
        let mut found = referee.take_violations();
        found.retain(|violation| violation.flow.source.ip() == end);
        for violation in found {
            if late && TIMED.contains(&violation.rule) {
                violations.excused += 1;
            } else if let Some(why) = explained(setting, outcome, &violation) {
                violations.explained.push(why);
            } else {
                violations.broken.push(violation);
            }
        }
    }
    violations
}

/// Why a violation is none, or one that is known: all that the two stacks may differ in.
fn explained(setting: &Setting, outcome: &Outcome, violation: &Violation) -> Option<&'static str> {
    if violation.flow.source.ip() == setting.addresses()[0] {
        return of_linux(setting, outcome, violation);
    }
    let passage = &outcome.wire.passages[violation.packet - 1];
    match violation.rule {
        Rule::AfterReset | Rule::AcknowledgedAgain if passage.blurred => {
            Some("sent before the last of a batch was looked at")
        }
        Rule::RetransmittedEarly if setting.sysctls.contains(&("tcp_sack", "0")) => {
            Some("duplicate ACKs of what was repeated in vain count as well (RFC 6582 §4.1)")
        }
        _ => None,
    }
}

/// Whether a packet offers no window.
fn is_closed(packet: &Bytes) -> bool {
    let tcp = referee::packet::tcp(packet).ok().flatten();
    tcp.is_some_and(|tcp| tcp.window == 0)
}

/// What Linux does otherwise than the rule says.
fn of_linux(setting: &Setting, outcome: &Outcome, violation: &Violation) -> Option<&'static str> {
    let packet = &outcome.wire.passages[violation.packet - 1].packet;
    let switch = |name, value| setting.sysctls.contains(&(name, value));
    match violation.rule {
        Rule::WindowShrunk if switch("tcp_shrink_window", "1") => {
            Some("it was told to (tcp_shrink_window; RFC 9293 §3.8.6: SHOULD NOT)")
        }
        Rule::WindowShrunk if is_closed(packet) => {
            Some("it had to drop what its buffer's memory did not suffice for (ICSK_ACK_NOMEM)")
        }
        Rule::WindowShrunk if switch("tcp_syncookies", "2") => {
            Some("with SYN cookies it forgets the window of its SYN,ACK (RFC 4987 §3.6)")
        }
        Rule::EchoUnseen => Some(
            "TSecr of a RST without ACK is not zero, and that of a SYN,ACK that answers a crossing \
             SYN is (RFC 7323 §3.2)",
        ),
        Rule::SackFalse => Some(
            "the block that encloses a D-SACK block may be acknowledged as a whole (RFC 2883 §4)",
        ),
        Rule::MssExceeded if switch("tcp_syncookies", "2") => {
            Some("its SYN cookies know no MSS below 536 (RFC 4987 §3.6)")
        }
        _ => None,
    }
}
