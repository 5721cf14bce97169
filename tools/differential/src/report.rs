//! What the application at each end of a connection saw, and whether both can be true.

use std::time::Duration;

use crate::script::{End, Flow, Program};

/// How a connection ended for the application at one end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ended {
    /// Not at all: it was still at work when the time was up.
    #[default]
    Unfinished,
    /// It read everything up to the peer's FIN.
    Eof,
    /// The peer reset the connection.
    Reset,
    /// The peer did not want the connection.
    Refused,
    /// The stack gave up for want of answers.
    TimedOut,
    /// It reset the connection itself.
    Aborted,
    /// It let go of the connection before it had read all, as its program says.
    LetGo,
    /// Its ports were still in use by a connection before it.
    InUse,
    /// There never was a connection: the other end gave up before.
    NeverOpened,
}

/// What the application at one end of a connection saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndReport {
    /// Bytes that the stack took.
    pub written: u64,
    /// It ended its direction, by `shutdown` or by `close`, before anything else ended it.
    pub finished: bool,
    /// How a write or `shutdown` failed.
    pub write_error: Option<Ended>,
    /// Bytes that it read.
    pub read: u64,
    /// The first byte that was not the one that was written.
    pub difference: Option<u64>,
    /// How the reader's side ended.
    pub ended: Ended,
    /// It reset the connection, however its reader had ended before.
    pub aborted: bool,
    /// Its stack had longer for what was left to send when the application let go than stacks keep
    /// such a connection for ([`ORPHAN_LIMIT`]).
    pub outlived: bool,
    /// What it sent last, and all that it had sent for long, never reached the peer.
    pub in_vain: bool,
}

/// How long a stack tries to deliver what an application has left behind without an answer: Linux's
/// `tcp_orphan_retries` come to 100 s, and so do ours.
pub const ORPHAN_LIMIT: Duration = Duration::from_secs(99);

/// What the way between the ends may do to a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Packets may be lost: a RST may never arrive, and its receiver hears of the end by
    /// keep-alive.
    pub loses: bool,
    /// The ports are those of a connection that may be in TIME-WAIT.
    pub reuses_ports: bool,
    /// Both ends probe a silent peer, and give up when it does not answer: where packets are lost,
    /// all probes may be.
    pub keepalive: bool,
    /// A listener may have more connections than room for those that nobody has accepted.
    pub crowded: bool,
}

/// What is wrong with what both ends saw, in words.
pub fn check_flow(flow: &Flow, reports: &[EndReport; 2], faults: Faults) -> Vec<String> {
    let mut wrong = Vec::new();
    if faults.reuses_ports && reports.iter().any(|report| report.ended == Ended::InUse) {
        return wrong; // it never was
    }
    let is_broken_off = flow.programs.iter().any(Program::resets);
    // Where all that one end said for long was lost, it gave up, and the other may never hear of it.
    let is_cut_off = faults.loses && reports.iter().any(|report| report.in_vain)
        || (faults.loses || faults.crowded) && never_opened(reports);
    for end in End::BOTH {
        let (ours, theirs) = (&reports[end as usize], &reports[end.peer() as usize]);
        let mut found = check_bytes(ours, theirs);
        if is_cut_off {
            wrong.extend(found.into_iter().map(|what| format!("end {end:?} {what}")));
            continue;
        }
        found.extend(check_ending(ours, theirs, is_broken_off, faults));
        let planned = flow.programs[end as usize].written();
        let short = (!is_broken_off && ours.written != planned)
            .then(|| format!("wrote {} of {planned} bytes", ours.written));
        let found = found.into_iter().chain(short);
        wrong.extend(found.map(|what| format!("end {end:?} {what}")));
    }
    wrong
}

/// The handshake came to nothing, or to something at one end only: SYNs, their answers or the last ACK
/// were lost, or a listener had no room for as long as it asked.
fn never_opened(reports: &[EndReport; 2]) -> bool {
    let failed = [
        Ended::NeverOpened,
        Ended::TimedOut,
        Ended::Refused,
        Ended::Reset,
    ];
    reports
        .iter()
        .all(|report| report.read == 0 && failed.contains(&report.ended))
        && reports
            .iter()
            .any(|report| report.written == 0 && report.ended != Ended::Reset)
}

fn check_bytes(ours: &EndReport, theirs: &EndReport) -> Vec<String> {
    let mut wrong = Vec::new();
    if let Some(at) = ours.difference {
        wrong.push(format!("read another byte at {at} than was written"));
    }
    if ours.read > theirs.written {
        wrong.push(format!(
            "read {} bytes of {} written",
            ours.read, theirs.written
        ));
    }
    wrong
}

fn check_ending(
    ours: &EndReport,
    theirs: &EndReport,
    is_broken_off: bool,
    faults: Faults,
) -> Vec<String> {
    let mut wrong = Vec::new();
    match ours.ended {
        Ended::Unfinished => wrong.push(format!(
            "is not done: it has written {} bytes and read {} of {}",
            ours.written, ours.read, theirs.written
        )),
        Ended::Eof if !theirs.finished => wrong.push("read an end that nobody wrote".into()),
        Ended::Eof if ours.read != theirs.written => wrong.push(format!(
            "read the end after {} bytes of {}",
            ours.read, theirs.written
        )),
        Ended::Eof | Ended::Aborted | Ended::LetGo => {}
        ended => {
            if !explains(theirs, ended, is_broken_off, faults) {
                wrong.push(format!(
                    "ended by {ended:?}, the other by {:?}",
                    theirs.ended
                ));
            }
        }
    }
    if let Some(error) = ours.write_error
        && !explains(theirs, error, is_broken_off, faults)
    {
        wrong.push(format!(
            "could not write: {error:?}, the other ended by {:?}",
            theirs.ended
        ));
    }
    wrong
}

/// Whether how the other end ended is a reason for ours to have ended this way.
fn explains(theirs: &EndReport, ours: Ended, is_broken_off: bool, faults: Faults) -> bool {
    if faults.loses && ours == Ended::Reset && theirs.outlived {
        return true;
    }
    let gave_up = theirs.ended == Ended::TimedOut || theirs.write_error == Some(Ended::TimedOut);
    let unprobed = faults.loses && faults.keepalive && gave_up;
    if unprobed && matches!(ours, Ended::TimedOut | Ended::Reset) {
        return true;
    }
    if !is_broken_off {
        return false;
    }
    let broke_off = theirs.aborted || matches!(theirs.ended, Ended::Aborted | Ended::LetGo);
    match ours {
        Ended::Reset | Ended::Refused | Ended::NeverOpened => broke_off || gave_up,
        Ended::TimedOut => broke_off && faults.loses,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(text: &str) -> Flow {
        text.parse().expect("a flow")
    }

    const SENT_ALL: EndReport = EndReport {
        written: 10,
        finished: true,
        write_error: None,
        read: 0,
        difference: None,
        ended: Ended::Eof,
        aborted: false,
        outlived: false,
        in_vain: false,
    };
    const GOT_ALL: EndReport = EndReport {
        written: 0,
        read: 10,
        ..SENT_ALL
    };

    #[test]
    fn only_what_both_ends_can_have_seen_is_right() {
        let orderly = flow("A>B at 0ms; A: w10 f | e; B: f | e");
        let lossy = Faults {
            loses: true,
            ..Faults::default()
        };
        assert!(check_flow(&orderly, &[SENT_ALL, GOT_ALL], lossy).is_empty());
        let wrong = |report: EndReport, words: &str| {
            let found = check_flow(&orderly, &[SENT_ALL, report], lossy);
            assert!(found.iter().any(|what| what.contains(words)), "{found:?}");
        };
        wrong(EndReport { read: 9, ..GOT_ALL }, "after 9 bytes of 10");
        wrong(
            EndReport {
                read: 11,
                ..GOT_ALL
            },
            "read 11 bytes of 10",
        );
        wrong(
            EndReport {
                difference: Some(3),
                ..GOT_ALL
            },
            "another byte at 3",
        );
        wrong(
            EndReport {
                ended: Ended::Reset,
                ..GOT_ALL
            },
            "ended by Reset",
        );
        wrong(
            EndReport {
                ended: Ended::Unfinished,
                ..GOT_ALL
            },
            "is not done",
        );
        wrong(
            EndReport {
                finished: false,
                ..GOT_ALL
            },
            "nobody wrote",
        );
        wrong(
            EndReport {
                write_error: Some(Ended::Reset),
                ..GOT_ALL
            },
            "could not write",
        );
        let short = EndReport {
            written: 9,
            ..SENT_ALL
        };
        assert!(
            !check_flow(&orderly, &[short, EndReport { read: 9, ..GOT_ALL }], lossy).is_empty()
        );
    }

    #[test]
    fn who_hears_nothing_may_give_up() {
        let orderly = flow("A>B at 0ms; A: w10 f | e; B: f | e");
        let lossy = Faults {
            loses: true,
            ..Faults::default()
        };
        let cut_off = EndReport {
            ended: Ended::TimedOut,
            in_vain: true,
            ..SENT_ALL
        };
        let waits = EndReport {
            read: 4,
            ended: Ended::Unfinished,
            ..GOT_ALL
        };
        assert!(check_flow(&orderly, &[cut_off, waits], lossy).is_empty());
        assert!(!check_flow(&orderly, &[cut_off, waits], Faults::default()).is_empty());
        let heard = EndReport {
            in_vain: false,
            ..cut_off
        };
        assert!(!check_flow(&orderly, &[heard, waits], lossy).is_empty());
    }

    #[test]
    fn a_reset_needs_somebody_who_broke_off() {
        let broken = flow("A>B at 0ms; A: w10 x | e; B: f | e");
        let aborted = EndReport {
            ended: Ended::Aborted,
            finished: false,
            ..SENT_ALL
        };
        let clean = Faults::default();
        let ended = |ended| EndReport {
            read: 4,
            ended,
            ..GOT_ALL
        };
        assert!(check_flow(&broken, &[aborted, ended(Ended::Reset)], clean).is_empty());
        assert!(!check_flow(&broken, &[aborted, ended(Ended::Eof)], clean).is_empty());
        assert!(!check_flow(&broken, &[aborted, ended(Ended::TimedOut)], clean).is_empty());
        let lossy = Faults {
            loses: true,
            ..clean
        };
        assert!(check_flow(&broken, &[aborted, ended(Ended::TimedOut)], lossy).is_empty());
        assert!(!check_flow(&broken, &[ended(Ended::Reset), SENT_ALL], clean).is_empty());
    }
}
