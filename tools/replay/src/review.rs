//! One conversation of a capture, replayed and judged in words.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use referee::{Options, Referee, Rule, View, Violation};

use crate::conversation::{Conversation, Direction, Role};
use crate::datagram;
use crate::dialogue::Dialogue;
use crate::divergence::{Divergence, Error};
use crate::host::Host;
use crate::inject;
use crate::packet::{self, RST, SYN, TcpPacket};
use crate::ports;
use crate::services::Services;
use crate::stream::{self, Plan, Report};
use crate::talks::{Kind, Talk};

/// What the replay of a conversation came to.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The stack served the other end as the recorded end did; how, in a sentence.
    Agrees(String),
    /// It did not.
    Diverges(Divergence),
    /// The answers of the stack are others than recorded, in a sentence.
    Differs(String),
    /// It cannot be replayed: why.
    Unusable(String),
}

/// A replayed conversation.
#[derive(Clone, Debug)]
pub struct Review {
    /// What it was, line by line.
    pub about: Vec<String>,
    /// What the replay came to.
    pub outcome: Outcome,
    /// Rules that the recorded ends broke, each end's first packet of each rule.
    pub broken: Vec<Violation>,
    /// What was said, recorded and replayed, for conversations over TCP.
    pub dialogue: Option<Dialogue>,
}

/// Replays a conversation with the stack in the place of one end, and judges both recorded ends.
pub fn review<H: Host>(talk: &Talk, role: Role) -> Review {
    let (mut about, broken) = (vec![describe_packets(talk)], broken_rules(talk));
    let replayed = between_hosts(talk).and_then(|talk| replay::<H>(&talk, role));
    let replayed = replayed.unwrap_or_else(|reason| Replayed {
        about: Vec::new(),
        outcome: Outcome::Unusable(reason),
        dialogue: None,
    });
    about.extend(replayed.about);
    Review {
        about,
        outcome: replayed.outcome,
        broken,
        dialogue: replayed.dialogue,
    }
}

/// What is left of a [`Review`] to the replay itself; an error is why it cannot be done.
struct Replayed {
    about: Vec<String>,
    outcome: Outcome,
    dialogue: Option<Dialogue>,
}

/// What the recorded ends did that nobody may do, as far as one can tell from where it was
/// recorded.
fn broken_rules(talk: &Talk) -> Vec<Violation> {
    let options = Options {
        offload: talk.is_offloaded,
    };
    let mut referee = Referee::new(View::Point { near: Vec::new() }, options);
    for packet in &talk.packets {
        referee.on_seen(packet.number, packet.time, &packet.data, packet.lost);
    }
    let mut first: Vec<Violation> = Vec::new();
    for violation in referee.take_violations() {
        if violation.rule == Rule::OtherBytes && talk.is_cut {
            continue; // they may be zeros that stand for bytes
        }
        let same = |known: &Violation| {
            (known.rule, known.flow.source) == (violation.rule, violation.flow.source)
        };
        if !first.iter().any(same) {
            first.push(violation);
        }
    }
    first
}

fn replay<H: Host>(talk: &Talk, role: Role) -> Result<Replayed, String> {
    if talk.kind == Kind::Datagrams {
        return replay_datagrams::<H>(talk, role);
    }
    let (mut is_answered, mut is_refused) = (false, true);
    for packet in &talk.packets {
        let tcp = packet::tcp(&packet.data)?.ok_or("no segment")?;
        if tcp.source == talk.server {
            is_answered = true;
            is_refused &= tcp.has(RST);
        }
    }
    match role {
        _ if !is_answered => Err("the server never answered".to_owned()),
        Role::Server if is_refused => Ok(replay_closed::<H>(talk)),
        _ => replay_stream::<H>(talk, role),
    }
}

fn replay_stream<H: Host>(talk: &Talk, role: Role) -> Result<Replayed, String> {
    let conversation = Conversation::first(&talk.packets, role)?;
    let plan = Plan::new(role);
    let result = stream::replay_conversation::<H>(conversation.clone(), &plan);
    let (outcome, dialogue) = match result {
        Ok(report) => (Outcome::Agrees(describe_report(&report)), report.dialogue),
        Err(Error::Unusable(reason)) => return Err(reason),
        Err(Error::Diverged(diverged)) => (Outcome::Diverges(diverged.0), diverged.1),
    };
    Ok(Replayed {
        about: describe_ends(&conversation, role),
        outcome,
        dialogue: Some(dialogue.beside(&conversation)),
    })
}

/// The conversation between two addresses of the documentation's networks (RFC 5737, RFC 3849) if
/// its own are of a kind that no packet between hosts has: of the loopback, or of one host to
/// itself.
fn between_hosts(talk: &Talk) -> Result<Cow<'_, Talk>, String> {
    let (client, server) = (talk.client.ip(), talk.server.ip());
    if client != server && !client.is_loopback() && !server.is_loopback() {
        return Ok(Cow::Borrowed(talk));
    }
    if talk.kind == Kind::Datagrams {
        return Err("UDP and ICMP of a host with itself".to_owned());
    }
    let ends: [IpAddr; 2] = if client.is_ipv4() {
        [[192, 0, 2, 1].into(), [192, 0, 2, 2].into()]
    } else {
        [1, 2].map(|host| [0x2001, 0xdb8, 0, 0, 0, 0, 0, host].into())
    };
    let mut moved = talk.clone();
    moved.client.set_ip(ends[0]);
    moved.server.set_ip(ends[1]);
    for packet in &mut moved.packets {
        let tcp = packet::tcp(&packet.data)?.ok_or("no segment")?;
        let from = usize::from(tcp.source != talk.client);
        packet.data = inject::readdress(&packet.data, ends[from], ends[1 - from])?;
    }
    Ok(Cow::Owned(moved))
}

fn replay_closed<H: Host>(talk: &Talk) -> Replayed {
    let address = talk.server.ip();
    let result = ports::replay::<H>(&talk.packets, address, &[], Services::None);
    let outcome = match result.map(|report| (report.same, report.differences)) {
        Ok((same, differences)) => match (same, differences.first()) {
            (_, Some(difference)) => Outcome::Differs(difference.to_string()),
            (1, None) => Outcome::Agrees("refused with the recorded RST".to_owned()),
            (count, None) => Outcome::Agrees(format!("refused with the recorded {count} RST")),
        },
        Err(reason) => Outcome::Differs(reason),
    };
    Replayed {
        about: vec!["the port is closed".to_owned()],
        outcome,
        dialogue: None,
    }
}

fn replay_datagrams<H: Host>(talk: &Talk, role: Role) -> Result<Replayed, String> {
    if role == Role::Client {
        return Err("UDP and ICMP are replayed with the stack as the server only".to_owned());
    }
    if talk.is_cut {
        return Err("UDP and ICMP need whole packets".to_owned());
    }
    let address = talk.server.ip();
    let outcome = match datagram::replay::<H>(&talk.packets, address, Services::AsRecorded) {
        Ok(report) => {
            let count = report.messages.len();
            Outcome::Agrees(format!("answered with the recorded {count} messages"))
        }
        Err(reason) => Outcome::Differs(reason),
    };
    Ok(Replayed {
        about: Vec::new(),
        outcome,
        dialogue: None,
    })
}

/// Who, and how many packets over what time.
pub fn describe_packets(talk: &Talk) -> String {
    let (client, server) = (talk.client, talk.server);
    let who = match talk.kind {
        Kind::Tcp => format!("TCP {client} > {server}"),
        Kind::Datagrams => format!("UDP and ICMP {} > {}", client.ip(), server.ip()),
    };
    let (first, last) = (talk.packets.first(), talk.packets.last());
    let (Some(first), Some(last)) = (first, last) else {
        return who;
    };
    let time = last.time.saturating_sub(first.time).as_secs_f64();
    match talk.packets.len() {
        1 => format!("{who}: packet {}", first.number),
        count => format!(
            "{who}: {count} packets, {} to {}, {time:.3} s",
            first.number, last.number
        ),
    }
}

fn describe_ends(conversation: &Conversation, role: Role) -> Vec<String> {
    let Conversation {
        local,
        remote,
        ours,
        theirs,
        ..
    } = conversation;
    let (client, server) = match role {
        Role::Client => ((local, ours), (remote, theirs)),
        Role::Server => ((remote, theirs), (local, ours)),
    };
    let mut lines = Vec::new();
    for (name, (address, direction)) in [("client", client), ("server", server)] {
        lines.push(format!(
            "{name}: {}",
            describe_end(conversation, *address, direction)
        ));
    }
    lines
}

/// What one end sent in all.
fn describe_end(conversation: &Conversation, address: SocketAddr, direction: &Direction) -> String {
    let said = || {
        let said = conversation.said.iter();
        said.filter(|said| said.tcp.source == address)
    };
    let lost = said().filter(|said| said.lost).count();
    let mut words = vec![format!(
        "{} segments{}, {} bytes",
        said().count(),
        if lost > 0 {
            format!(" ({lost} lost)")
        } else {
            String::new()
        },
        direction.stream.len()
    )];
    if let Some(syn) = said().find(|said| said.tcp.has(SYN)) {
        words.push(format!("SYN with {}", describe_options(&syn.tcp)));
    }
    if let Some(fin) = direction.fin {
        let first = said().find(|said| said.end() > fin);
        words.extend(first.map(|said| format!("FIN in packet {}", said.number)));
    }
    if let Some(reset) = said().find(|said| said.tcp.has(RST)) {
        words.push(format!("RST in packet {}", reset.number));
    }
    words.join("; ")
}

fn describe_options(syn: &TcpPacket) -> String {
    let options = &syn.options;
    let mut names = Vec::new();
    names.extend(options.mss.map(|mss| format!("MSS {mss}")));
    names.extend(
        options
            .window_scale
            .map(|scale| format!("window scale {scale}")),
    );
    names.extend(options.sack_permitted.then(|| "SACK".to_owned()));
    names.extend(options.timestamps.map(|_| "timestamps".to_owned()));
    names.extend(options.unknown.iter().map(|kind| format!("option {kind}")));
    if names.is_empty() {
        return "no option".to_owned();
    }
    names.join(", ")
}

fn describe_report(report: &Report) -> String {
    let tally = &report.tally;
    let again = match tally.retransmissions {
        0 => String::new(),
        count => format!(", {count} of them repeated"),
    };
    let states: Vec<String> = report.states.iter().map(ToString::to_string).collect();
    format!(
        "{} segments{again}, and {} bytes received, all as recorded; {}",
        tally.segments,
        report.received,
        states.join(", ")
    )
}
