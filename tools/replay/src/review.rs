//! One conversation of a capture, replayed and judged in words.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use referee::Violation;

use crate::conversation::{Conversation, Direction, Role};
use crate::datagram;
use crate::dialogue::Dialogue;
use crate::divergence::{Divergence, Error};
use crate::host::Host;
use crate::inject;
use crate::judge;
use crate::packet::{self, FIN, RST, SYN, TcpPacket};
use crate::ports;
use crate::services::Services;
use crate::stream::{self, Plan, Report};
use crate::talks::{Kind, Talk};

/// Kind of the Fast Open option (RFC 7413 §4.1.1).
const FAST_OPEN: u8 = 34;

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

/// A conversation, replayed and judged.
#[derive(Clone, Debug)]
pub struct Review {
    /// What it was, line by line.
    pub about: Vec<String>,
    /// Rules that the recorded ends broke, each end's first packet of each rule.
    pub broken: Vec<Violation>,
    /// What the replay came to, for each end that the stack played.
    pub replays: Vec<Replayed>,
}

/// What a replay came to.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// The end that the stack played.
    pub role: Role,
    /// Whether the stack did as recorded.
    pub outcome: Outcome,
    /// What was said, recorded and replayed, for conversations over TCP.
    pub dialogue: Option<Dialogue>,
}

/// Replays a conversation with the stack in the place of each of these ends, and judges both
/// recorded ends.
pub fn review<H: Host>(talk: &Talk, roles: &[Role]) -> Review {
    let moved = between_hosts(talk);
    let gap = judge::find_gap(talk);
    let mut about = vec![describe_packets(talk)];
    let mut replays = Vec::new();
    for &role in roles {
        let talk = moved.as_deref().map_err(Clone::clone);
        let result = match &gap {
            Some(reason) => Err(reason.clone()),
            None => talk.and_then(|talk| replay::<H>(talk, role)),
        };
        let (lines, outcome, dialogue) =
            result.unwrap_or_else(|reason| (Vec::new(), Outcome::Unusable(reason), None));
        if about.len() == 1 {
            about.extend(lines);
        }
        replays.push(Replayed {
            role,
            outcome,
            dialogue,
        });
    }
    Review {
        about,
        broken: judge::broken_rules(talk, gap.is_some()),
        replays,
    }
}

/// What the conversation was, what its replay came to, and what was said. An error is why it
/// cannot be replayed.
type Result = std::result::Result<(Vec<String>, Outcome, Option<Dialogue>), String>;

fn replay<H: Host>(talk: &Talk, role: Role) -> Result {
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
        _ if !is_answered => {
            Err("the server never answered, there is nothing to compare".to_owned())
        }
        Role::Server if is_refused => Ok(replay_closed::<H>(talk)),
        _ => replay_stream::<H>(talk, role),
    }
}

fn replay_stream<H: Host>(talk: &Talk, role: Role) -> Result {
    let conversation = Conversation::first(&talk.packets, role)?;
    check_open(&conversation, role)?;
    let plan = Plan::new(role);
    let result = stream::replay_conversation::<H>(conversation.clone(), &plan);
    let (outcome, dialogue) = match result {
        Ok(report) => (
            Outcome::Agrees(describe_report(&report, &conversation)),
            report.dialogue,
        ),
        Err(Error::Unusable(reason)) => return Err(reason),
        Err(Error::Diverged(diverged)) => (Outcome::Diverges(diverged.0), diverged.1),
    };
    Ok((
        describe_ends(&conversation, role),
        outcome,
        Some(dialogue.beside(&conversation)),
    ))
}

/// Scanners open with what no application can ask for, and Fast Open needs a secret of the recorded
/// ends.
fn check_open(conversation: &Conversation, role: Role) -> std::result::Result<(), String> {
    let said = &conversation.said;
    let Some(syn) = said.first().map(|said| &said.tcp) else {
        return Ok(());
    };
    let is_fast = !syn.payload.is_empty() && syn.options.unknown.contains(&FAST_OPEN);
    let is_taken = || {
        let mut answers = said.iter().filter(|said| said.tcp.source != syn.source);
        answers.any(|said| said.tcp.has(SYN) && said.ack > Some(1))
    };
    let what = match role {
        Role::Server if is_fast && is_taken() => {
            "brings a Fast Open cookie that only the recorded server can check"
        }
        Role::Client if is_fast => "brings a Fast Open cookie, and the stack has none",
        Role::Client if !syn.payload.is_empty() => {
            "carries data without Fast Open, which no application asks for"
        }
        Role::Client if syn.source.port() == 0 => {
            "comes from port 0, which no application asks for"
        }
        Role::Client if syn.has(FIN) => "carries FIN, which no application asks for",
        _ => return Ok(()),
    };
    Err(format!("its SYN {what}"))
}

/// The conversation between two addresses of the documentation's networks (RFC 5737, RFC 3849) if
/// its own are of a kind that no packet between hosts has: of the loopback, or of one host to
/// itself.
fn between_hosts(talk: &Talk) -> std::result::Result<Cow<'_, Talk>, String> {
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

fn replay_closed<H: Host>(talk: &Talk) -> (Vec<String>, Outcome, Option<Dialogue>) {
    let address = talk.server.ip();
    let result = ports::replay::<H>(&talk.packets, address, &[], Services::None);
    let outcome = match result.map(|report| (report.same, report.differences)) {
        Ok((same, differences)) => match differences.first() {
            Some(difference) => Outcome::Differs(difference.to_string()),
            None => Outcome::Agrees(format!(
                "it refused with {}, as recorded",
                count(same, "RST")
            )),
        },
        Err(reason) => Outcome::Differs(reason),
    };
    (vec!["the port is closed".to_owned()], outcome, None)
}

fn replay_datagrams<H: Host>(talk: &Talk, role: Role) -> Result {
    if role == Role::Client {
        let reason = "UDP and ICMP are replayed with the stack as the server only (--as server)";
        return Err(reason.to_owned());
    }
    if talk.is_cut {
        return Err("UDP and ICMP need whole packets; record with tcpdump -s 0".to_owned());
    }
    let address = talk.server.ip();
    let outcome = match datagram::replay::<H>(&talk.packets, address, Services::AsRecorded) {
        Ok(report) => {
            let messages = count(report.messages.len(), "message");
            Outcome::Agrees(format!("it answered with {messages}, as recorded"))
        }
        Err(reason) => Outcome::Differs(reason),
    };
    Ok((Vec::new(), outcome, None))
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
        "{}{}, {}",
        count(said().count(), "segment"),
        if lost > 0 {
            format!(" ({lost} lost)")
        } else {
            String::new()
        },
        count(direction.stream.len(), "byte")
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

/// What the stack did as recorded.
fn describe_report(report: &Report, conversation: &Conversation) -> String {
    let Conversation { ours, theirs, .. } = conversation;
    let tally = &report.tally;
    let is_cut = ours.reset || theirs.reset;
    let sent = describe_stream(
        describe_bytes(report.sent.min(ours.stream.len()), ours),
        ours.fin.is_some() && report.sent > ours.stream.len(),
        tally.reset,
    );
    let received = describe_stream(
        describe_bytes(report.received, theirs),
        theirs.fin.is_some() && !is_cut,
        theirs.reset,
    );
    let again = match tally.retransmissions {
        0 => String::new(),
        count => format!(" ({count} repeated)"),
    };
    let segments = count(tally.segments, "segment");
    let states: Vec<String> = report.states.iter().map(ToString::to_string).collect();
    format!(
        "it sent {sent} in {segments}{again} and received {received}, as recorded; {}",
        states.join(", ")
    )
}

fn describe_stream(bytes: Option<String>, fin: bool, reset: bool) -> String {
    let fin = fin.then(|| "FIN".to_owned());
    let reset = reset.then(|| "RST".to_owned());
    let words: Vec<String> = [bytes, fin, reset].into_iter().flatten().collect();
    if words.is_empty() {
        return "nothing".to_owned();
    }
    words.join(" and ")
}

/// How many of the bytes that an end said, if it said any.
fn describe_bytes(bytes: usize, of: &Direction) -> Option<String> {
    let all = of.stream.len();
    match all {
        0 => None,
        _ if all == bytes => Some(count(all, "byte")),
        _ => Some(format!("{bytes} of {}", count(all, "byte"))),
    }
}

fn count(count: usize, what: &str) -> String {
    match count {
        0 => format!("no {what}"),
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}
