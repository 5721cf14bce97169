//! What happened, in order.

use serde::Serialize;

use crate::conversation::{Began, Conversation, Reset};
use crate::growth::Stop;
use crate::moment::Moment;
use crate::repeats::{Cause, Episode, Proof};
use crate::side::Offer;
use crate::words::{ENDS, bytes, clock, list, many, time, times};

/// What a phase is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// SYNs, and what was agreed on.
    Handshake,
    /// The amount on its way grows from its first burst until something stops it.
    SlowStart,
    /// Something is sent again.
    Recovery,
    /// The receiver's window is closed.
    ZeroWindow,
    /// Nobody has anything to say.
    Pause,
    /// A router or host refuses a packet.
    Icmp,
    /// FIN or RST.
    Closing,
}

/// A part of the conversation.
#[derive(Clone, Debug, Serialize)]
pub struct Phase {
    /// What it is.
    pub kind: Kind,
    /// Its beginning.
    pub began: Moment,
    /// Its end, if it has a length and came to one.
    pub ended: Option<Moment>,
    /// A sentence.
    pub text: String,
}

/// All phases of a conversation, by their beginnings.
pub(crate) fn phases(one: &Conversation) -> Vec<Phase> {
    let mut phases = vec![handshake(one)];
    for side in 0..2 {
        phases.extend(slow_start(one, side));
        let episodes = one.sides[side].repeats.episodes.iter();
        phases.extend(episodes.map(|episode| recovery(side, episode)));
        phases.extend(zero_windows(one, side));
    }
    phases.extend(one.pauses.iter().map(|pause| Phase {
        kind: Kind::Pause,
        began: pause.began,
        ended: Some(pause.ended),
        text: format!("idle for {}", time(pause.ended.since(pause.began))),
    }));
    phases.extend(icmp(one));
    phases.extend(closing(one));
    let is_handshake = |phase: &Phase| phase.kind == Kind::Handshake;
    phases.sort_by_key(|phase| (!is_handshake(phase), phase.began.packet));
    phases
}

fn handshake(one: &Conversation) -> Phase {
    let [client, server] = &one.sides;
    let mut parts = Vec::new();
    let offers = [(client, "SYN"), (server, "SYN,ACK")];
    for (side, name) in offers {
        if let Some(offer) = &side.offer {
            let again = side.syn_count.saturating_sub(1);
            let again = match again {
                0 => String::new(),
                count => format!(" (sent {} more)", many_times(count)),
            };
            parts.push(format!("{name}{again} with {}", describe_offer(offer)));
        }
    }
    let both = client.offer.as_ref().zip(server.offer.as_ref());
    if let Some((ours, theirs)) = both {
        parts.push(format!("agreed: {}", agreed(ours, theirs)));
    }
    let round_trip = one.round_trip().filter(|_| one.established.is_some());
    parts.extend(round_trip.map(|rtt| format!("fastest round trip {}", time(rtt))));
    if parts.is_empty() {
        parts.push("not recorded".to_owned());
    } else if one.established.is_none() && one.began == Began::Syn {
        parts.push("never completed".to_owned());
    }
    Phase {
        kind: Kind::Handshake,
        began: one.first,
        ended: one.established,
        text: format!("handshake: {}", parts.join("; ")),
    }
}

fn many_times(count: u32) -> String {
    match count {
        1 => "once".to_owned(),
        count => format!("{count} times"),
    }
}

fn describe_offer(offer: &Offer) -> String {
    let mut parts = Vec::new();
    parts.extend(offer.mss.map(|mss| format!("MSS {mss}")));
    parts.extend(
        offer
            .window_scale
            .map(|scale| format!("window scale {scale}")),
    );
    let named = [
        (offer.sack, "SACK"),
        (offer.timestamps, "timestamps"),
        (offer.ecn, "ECN"),
    ];
    parts.extend(
        named
            .iter()
            .filter(|(has, _)| *has)
            .map(|(_, name)| (*name).to_owned()),
    );
    if offer.data > 0 {
        parts.push(format!("{} of data", bytes(offer.data as u64)));
    }
    if parts.is_empty() {
        return "no options".to_owned();
    }
    parts.join(", ")
}

fn agreed(ours: &Offer, theirs: &Offer) -> String {
    let named = [
        (
            ours.window_scale.is_some() && theirs.window_scale.is_some(),
            "window scaling",
        ),
        (ours.sack && theirs.sack, "SACK"),
        (ours.timestamps && theirs.timestamps, "timestamps"),
        (ours.ecn && theirs.ecn, "ECN"),
    ];
    let taken = named.iter().filter(|(both, _)| *both);
    let taken: Vec<String> = taken.map(|(_, name)| (*name).to_owned()).collect();
    if taken.is_empty() {
        return "nothing but TCP itself".to_owned();
    }
    list(&taken)
}

fn slow_start(one: &Conversation, side: usize) -> Option<Phase> {
    let growth = &one.sides[side].growth;
    // One burst is no growth.
    let began = growth.began.filter(|_| growth.peak > growth.initial)?;
    let end = match growth.stopped {
        Some((Stop::Loss, _)) => "until something was sent again",
        Some((Stop::Mark, _)) => "until the path was marked as congested",
        Some((Stop::Window, _)) => "until it filled the window",
        None => "and nothing stopped it",
    };
    Some(Phase {
        kind: Kind::SlowStart,
        began,
        ended: growth.stopped.map(|(_, at)| at),
        text: format!(
            "slow start: the {}'s bytes on their way grow from {} to {}, {end}",
            ENDS[side],
            bytes(growth.initial),
            bytes(growth.peak)
        ),
    })
}

fn recovery(side: usize, episode: &Episode) -> Phase {
    let (from, to) = episode.range;
    let noticed = match (episode.cause, episode.signal) {
        (Cause::Signal, Some(signal)) => format!(
            "after SACK or duplicate acknowledgments from packet {} on",
            signal.packet
        ),
        (Cause::Signal, None) => "after a partial acknowledgment".to_owned(),
        (Cause::Timeout, _) => format!("as its timer ran out after {}", time(episode.waited)),
        (Cause::Probe, _) => format!("as a probe of the tail after {}", time(episode.waited)),
        (Cause::AfterTimeout, _) => "after a timeout".to_owned(),
        (Cause::TooBig, _) => "after an ICMP error that calls it too big".to_owned(),
    };
    let counts = [
        (episode.signals, "by SACK or duplicate acknowledgments"),
        (episode.timeouts, "by timeout"),
        (episode.probes, "as a probe"),
        (episode.after_timeout, "in slow start after the timeout"),
        (episode.too_big, "by ICMP error"),
    ];
    let counts: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, how)| format!("{count} {how}"))
        .collect();
    let mended = match episode.ended {
        Some(end) => format!("mended after {}", time(end.since(episode.began))),
        None => "never mended".to_owned(),
    };
    let needless = match (episode.needless(), episode.proof) {
        (0, _) | (_, None) => String::new(),
        (count, Some((proof, at))) => {
            format!(
                "; {count} needless, as packet {} shows ({})",
                at.packet,
                shown_by(proof)
            )
        }
    };
    Phase {
        kind: Kind::Recovery,
        began: episode.began,
        ended: episode.ended,
        text: format!(
            "the {} repeats {from}..{to} of packet {}, {noticed}; {} in all, {}; {mended}{needless}",
            ENDS[side],
            episode.sent.packet,
            many(episode.segments(), "segment"),
            list(&counts),
        ),
    }
}

/// What a proof is, in words.
pub(crate) fn shown_by(proof: Proof) -> &'static str {
    match proof {
        Proof::DuplicateSack => "its D-SACK reports the bytes as received twice",
        Proof::Timestamp => "it echoes the first transmission's timestamp",
        Proof::Acknowledged => "they had been acknowledged",
    }
}

fn zero_windows(one: &Conversation, side: usize) -> impl Iterator<Item = Phase> {
    let closed = one.sides[side].window.closed.iter();
    closed.map(move |closed| {
        let end = match closed.ended {
            Some(end) => format!("it opens after {}", time(end.since(closed.began))),
            None => "it never opens".to_owned(),
        };
        let probes = match closed.probes {
            0 => "nobody asks".to_owned(),
            count => format!("probed {}", times(count)),
        };
        Phase {
            kind: Kind::ZeroWindow,
            began: closed.began,
            ended: closed.ended,
            text: format!("the {} closes its window; {probes}; {end}", ENDS[side]),
        }
    })
}

fn icmp(one: &Conversation) -> impl Iterator<Item = Phase> {
    // A burst of packets gets a burst of errors.
    let is_first = |index: &usize| {
        let error = &one.icmp[*index];
        let mut before = one.icmp[..*index].iter();
        !before.any(|other| {
            (other.about, other.kind, other.mtu) == (error.about, error.kind, error.mtu)
        })
    };
    (0..one.icmp.len()).filter(is_first).map(|index| {
        let error = &one.icmp[index];
        let (kind, code) = error.kind;
        let mtu = error
            .mtu
            .map(|mtu| format!(", which names an MTU of {mtu}"));
        let version = if error.is_v6 { "ICMPv6" } else { "ICMP" };
        Phase {
            kind: Kind::Icmp,
            began: error.now,
            ended: None,
            text: format!(
                "{version} error {kind}/{code} about packets of the {}{}",
                ENDS[error.about],
                mtu.unwrap_or_default()
            ),
        }
    })
}

fn closing(one: &Conversation) -> Vec<Phase> {
    let mut fins: Vec<(usize, Moment)> = (0..2)
        .filter_map(|side| Some((side, one.sides[side].fin?)))
        .collect();
    fins.sort_by_key(|(_, at)| at.packet);
    let mut phases: Vec<Phase> = Vec::new();
    if let Some(&(side, at)) = fins.first() {
        let other = match fins.get(1) {
            Some(&(other, then)) => format!(
                "the {} closes in packet {}, after {}",
                ENDS[other],
                then.packet,
                time(then.since(at))
            ),
            None => format!("the {} never does", ENDS[1 - side]),
        };
        phases.push(Phase {
            kind: Kind::Closing,
            began: at,
            ended: fins.get(1).map(|(_, at)| *at),
            text: format!(
                "the {} closes first (FIN in packet {}); {other}",
                ENDS[side], at.packet
            ),
        });
    }
    phases.extend(one.resets.first().map(|reset| Phase {
        kind: Kind::Closing,
        began: reset.now,
        ended: None,
        text: describe_reset(one, reset),
    }));
    if phases.is_empty() {
        phases.push(Phase {
            kind: Kind::Closing,
            began: one.last,
            ended: None,
            text: "nobody closes as long as the capture lasts".to_owned(),
        });
    }
    phases
}

fn describe_reset(one: &Conversation, reset: &Reset) -> String {
    let more = one.reset_count.saturating_sub(1);
    let more = match more {
        0 => String::new(),
        count => format!(", and {} more", many(count, "RST")),
    };
    format!(
        "RST from the {}'s address in packet {} at {}{more}",
        ENDS[reset.by],
        reset.now.packet,
        clock(reset.now.at)
    )
}
