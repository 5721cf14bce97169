//! What the recorded ends did wrong, and whether the capture holds enough to say so.

use referee::{Options, Referee, Rule, View, Violation};

use crate::conversation::{Conversation, Direction, Role};
use crate::packet::{self, ACK, RST, SYN};
use crate::talks::{Kind, Talk};

/// Which packets of a conversation are certainly missing in the capture, in a sentence.
pub(crate) fn find_gap(talk: &Talk) -> Option<String> {
    if talk.kind == Kind::Datagrams {
        return None;
    }
    find_silence(talk).or_else(|| {
        let conversation = Conversation::first(&talk.packets, Role::Server).ok()?;
        let Conversation {
            said, ours, theirs, ..
        } = &conversation;
        let held = |of: &Direction| 1 + of.stream.len() as u64;
        let beyond = said.iter().find(|said| {
            let direction = if said.ours { ours } else { theirs };
            let is_after_fin = direction.fin.is_some_and(|fin| fin < said.seq);
            !said.tcp.has(RST) && said.seq > held(direction) + u64::from(is_after_fin)
        })?;
        Some(format!(
            "the capture misses packets: bytes before packet {} were never recorded; record again \
             with a larger buffer (tcpdump -B)",
            beyond.number
        ))
    })
}

/// An end that must have spoken, and of which there is no packet.
fn find_silence(talk: &Talk) -> Option<String> {
    let segments = talk.packets.iter();
    let mut segments = segments.filter_map(|packet| packet::tcp(&packet.data).ok().flatten());
    let first = segments.next()?;
    let (mut goes_on, mut is_answered) = (false, false);
    for tcp in segments {
        is_answered |= tcp.source != first.source;
        goes_on |= tcp.has(ACK) && !tcp.has(SYN | RST);
    }
    let end = match (first.has(SYN) && !first.has(RST), first.has(ACK)) {
        _ if is_answered || !goes_on => return None,
        (true, false) => "client",
        (true, true) => "server",
        _ => return None,
    };
    Some(format!(
        "only packets of the {end} were recorded; record both directions"
    ))
}

/// What the recorded ends did that nobody may do, as far as one can tell from where it was
/// recorded: each end's first packet against each rule. Where the capture misses packets, what a
/// packet says of others proves nothing.
pub(crate) fn broken_rules(talk: &Talk, misses_packets: bool) -> Vec<Violation> {
    let options = Options {
        offload: talk.is_offloaded,
    };
    let mut referee = Referee::new(View::Point { near: Vec::new() }, options);
    for packet in &talk.packets {
        referee.on_seen(packet.number, packet.time, &packet.data, packet.lost);
    }
    let mut first: Vec<Violation> = Vec::new();
    for violation in referee.take_violations() {
        let is_certain = match violation.rule {
            Rule::OtherBytes => !talk.is_cut, // else zeros stand for bytes
            rule => !misses_packets || is_of_one_packet(rule),
        };
        let is_known = first.iter().any(|known| {
            (known.rule, known.flow.source) == (violation.rule, violation.flow.source)
        });
        if is_certain && !is_known {
            first.push(violation);
        }
    }
    first
}

/// Whether a packet alone shows that this rule was broken.
const fn is_of_one_packet(rule: Rule) -> bool {
    matches!(
        rule,
        Rule::Malformed
            | Rule::Checksum
            | Rule::OptionMalformed
            | Rule::ReservedBits
            | Rule::Flags
            | Rule::SynOption
            | Rule::WindowScaleTooLarge
    )
}
