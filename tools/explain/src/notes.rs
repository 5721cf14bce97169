//! What could not be told, and why.

use crate::conversation::{Began, Conversation};
use crate::words::ENDS;

/// All notes of a conversation.
pub(crate) fn notes(one: &Conversation) -> Vec<String> {
    let mut notes: Vec<String> = of_capture(one).into_iter().flatten().collect();
    notes.extend((0..2).filter_map(|side| of_direction(one, side)));
    notes.extend(of_memory(one).into_iter().flatten());
    notes
}

/// What the capture does not show.
fn of_capture(one: &Conversation) -> [Option<String>; 4] {
    let missed: u64 = one.sides.iter().map(|side| side.flight.missed).sum();
    let supers: u64 = one.sides.iter().map(|side| side.supers).sum();
    let began = match one.began {
        Began::Syn => None,
        Began::SynAck => Some(
            "the capture begins with the server's SYN: the client's was not recorded".to_owned(),
        ),
        Began::Middle => Some(
            "the capture begins in the middle: who connected is a guess, and windows may be larger \
             than they look, as their scale is unknown"
                .to_owned(),
        ),
    };
    let (cut, packets) = (one.cut, one.packets);
    [
        began,
        (cut > 0).then(|| {
            format!(
                "{cut} of {packets} packets were recorded in part: checksums and the rules of the \
                 wire are not judged"
            )
        }),
        (missed > 0).then(|| {
            format!(
                "{missed} bytes arrived that the capture does not have: it missed packets, and the \
                 rules of the wire are not judged"
            )
        }),
        (supers > 0).then(|| {
            format!(
                "{supers} packets are larger than any wire's: the capture was made between a stack \
                 and a device that cuts or joins segments"
            )
        }),
    ]
}

/// One direction may not have been recorded.
fn of_direction(one: &Conversation, side: usize) -> Option<String> {
    let (own, peer) = (&one.sides[side], &one.sides[1 - side]);
    let is_half = peer.segments == 0 && own.segments > u64::from(own.syn_count);
    is_half.then(|| {
        format!(
            "nothing of the {} was recorded: half of the story is missing, and the rules of the \
             wire are not judged",
            ENDS[1 - side]
        )
    })
}

/// What was too much.
fn of_memory(one: &Conversation) -> [Option<String>; 4] {
    let forgotten: u64 = one.sides.iter().map(|side| side.flight.forgotten).sum();
    let uncounted = one.sides.iter();
    let uncounted = uncounted.map(|side| side.repeats.uncounted + side.window.uncounted);
    let uncounted: usize = uncounted.sum();
    [
        (forgotten > 0).then(|| {
            format!(
                "{forgotten} ranges on their way were forgotten to save memory: losses among them \
                 are not told"
            )
        }),
        (one.rules.stopped && one.cut == 0).then(|| {
            "memory was scarce: the rules of the wire were judged only at the beginning".to_owned()
        }),
        one.was_dropped
            .then(|| "told before its end, to make room for others".to_owned()),
        (uncounted > 0)
            .then(|| format!("{uncounted} more losses and closed windows are only counted")),
    ]
}
