//! `ustack replay`: the stack in the place of one end of recorded conversations.

use std::io::{self, Write as _};
use std::net::IpAddr;
use std::process::ExitCode;

use bytes::Bytes;
use replay::capture::{Capture, CaptureError};
use replay::conversation::Role;
use replay::review::{self, Outcome, Replayed, Review};
use replay::talks::{self, Kind, Talk, Talks};
use replay::{Host, Violation, capture};
use ustack::batch::{Frame, TxBatch};
use ustack::device::{Caps, Offload};
use ustack::tcp::time::Instant;
use ustack::tcp::{self, Tcp};
use ustack::testing::VirtualHost;
use ustack::udp::Udp;

use super::args::ReplayArgs;
use super::args::reading::End;
use super::error::{Error, ExitStatus, reason};

/// Secrets of the stack are the same each time, so that a replay can be repeated.
const SEED: [u8; 32] = [0x5a; 32];

/// Conversations that a list shows; the rest is counted.
const LISTED: usize = 20;
/// Damaged packets that are named; the rest is counted.
const NAMED: usize = 3;

/// Replays what the arguments choose. Exit codes: 0 no divergence, 1 a divergence or a broken
/// rule, 2 nothing that could be replayed.
pub(crate) fn main(args: &ReplayArgs) -> Result<ExitCode, Error> {
    let capture = capture::read_all(&args.file).map_err(|error| unreadable(&error))?;
    let found = talks::talks_of(&capture);
    let talks = (1..).zip(&found.talks);
    let chosen: Vec<_> = talks.filter(|&(n, talk)| args.chooses(n, talk)).collect();
    if chosen.is_empty() {
        return Err(nothing_to_replay(args, &capture, &found));
    }
    let mut summary = Summary::default();
    let notes = describe_gaps(&capture) + &describe_damage(&found);
    let result = print(&notes).and_then(|()| {
        chosen.iter().try_for_each(|&(number, talk)| {
            let review = review::review::<Stack>(talk, args.roles(talk));
            summary.add(&review);
            print(&describe(number, talk, &review, args))
        })
    });
    let result = result.and_then(|()| print(&summary.describe()));
    match result {
        // `ustack replay FILE | head` is no failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::new(
            ExitStatus::Other,
            format!("cannot print the result: {}", reason(&error)),
        )),
        _ => Ok(summary.exit_code()),
    }
}

impl ReplayArgs {
    fn chooses(&self, number: usize, talk: &Talk) -> bool {
        self.conversation.is_none_or(|chosen| chosen == number)
            && self.port.is_none_or(|port| talk.is_of_port(port))
            && self.host.is_none_or(|host| talk.is_of_host(host))
    }

    /// The ends to play: both, unless one is chosen. Who asks over UDP and ICMP is no part of the
    /// stack.
    fn roles(&self, talk: &Talk) -> &'static [Role] {
        match (self.end, talk.kind) {
            (Some(End::Server), _) | (None, Kind::Datagrams) => &[Role::Server],
            (Some(End::Client), _) => &[Role::Client],
            (None, Kind::Tcp) => &[Role::Server, Role::Client],
        }
    }
}

/// How many conversations came to what.
#[derive(Default)]
struct Summary {
    all: usize,
    diverged: usize,
    unusable: usize,
    /// In how many an end broke a rule.
    broken: usize,
}

impl Summary {
    fn add(&mut self, review: &Review) {
        self.all += 1;
        self.broken += usize::from(!review.broken.is_empty());
        let outcomes = || review.replays.iter().map(|replayed| &replayed.outcome);
        let is_unusable = |outcome: &Outcome| matches!(outcome, Outcome::Unusable(_));
        if outcomes().any(|outcome| matches!(outcome, Outcome::Diverges(_) | Outcome::Differs(_))) {
            self.diverged += 1;
        } else if outcomes().all(is_unusable) {
            self.unusable += 1;
        }
    }

    fn describe(&self) -> String {
        let Self {
            all,
            diverged,
            unusable,
            broken,
        } = self;
        if *all < 2 {
            return String::new();
        }
        let agreed = all - diverged - unusable;
        format!(
            "{all} conversations: {agreed} without a divergence that matters, {diverged} with one, \
             {unusable} that cannot be replayed, {broken} with a broken rule\n"
        )
    }

    fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self { diverged: 1.., .. } | Self { broken: 1.., .. } => 1,
            Self { all, unusable, .. } if all == unusable => 2,
            _ => 0,
        })
    }
}

fn print(text: &str) -> io::Result<()> {
    io::stdout().lock().write_all(text.as_bytes())
}

fn refused(message: String) -> Error {
    Error::new(ExitStatus::Usage, message)
}

fn unreadable(error: &CaptureError) -> Error {
    match error {
        CaptureError::Io { path, source } => refused(format!(
            "cannot read {}: {}",
            path.display(),
            reason(source)
        )),
        other => refused(other.to_string()),
    }
}

fn nothing_to_replay(args: &ReplayArgs, capture: &Capture, found: &Talks) -> Error {
    let file = args.file.display();
    if capture.packets.is_empty() {
        return refused(format!("{file} holds no IP packet"));
    }
    if found.talks.is_empty() {
        let message = format!("{file} holds no conversation over TCP, UDP or ICMP");
        return refused(message).hint(describe_gaps(capture) + &describe_damage(found));
    }
    let talks = (1..).zip(&found.talks).take(LISTED);
    let mut lines: Vec<String> = talks
        .map(|(number, talk)| format!("{number}  {}", review::describe_packets(talk)))
        .collect();
    if found.talks.len() > LISTED {
        lines.push(format!("… {} in all", found.talks.len()));
    }
    let message = format!("{file} holds no conversation like this, but these:");
    refused(message).hint(lines.join("\n"))
}

/// What of the file is not there.
fn describe_gaps(capture: &Capture) -> String {
    let mut lines = Vec::new();
    if let Some(error) = &capture.breaks_off {
        lines.push(match error {
            CaptureError::Format { after, reason, .. } => {
                format!("the file is damaged after packet {after}, what comes before is replayed: {reason}\n")
            }
            other => format!("{other}\n"),
        });
    }
    if let Some(first) = capture.cut.first() {
        let count = capture.cut.len();
        lines.push(format!(
            "{count} packets were recorded in part, packet {first} is the first; zeros stand for the \
             rest (tcpdump -s 0 records all)\n"
        ));
    }
    lines.concat()
}

fn describe_damage(found: &Talks) -> String {
    let damaged = found.damaged.iter().take(NAMED);
    let mut lines: Vec<String> = damaged
        .map(|(number, reason)| format!("packet {number} is left out: {reason}\n"))
        .collect();
    if found.damaged.len() > NAMED {
        let count = found.damaged.len();
        lines.push(format!("… {count} packets are left out in all\n"));
    }
    lines.concat()
}

fn describe(number: usize, talk: &Talk, review: &Review, args: &ReplayArgs) -> String {
    let mut lines = review.about.clone();
    let broken = review.broken.iter();
    lines.extend(broken.map(|violation| describe_violation(talk, violation)));
    match &review.replays[..] {
        [one, other] if is_same_reason(one, other) => lines.extend(describe_reason(one)),
        replays => {
            for replayed in replays {
                lines.extend(describe_outcome(replayed));
                let dialogue = replayed.dialogue.as_ref().filter(|_| args.show);
                let dialogue = dialogue.map(ToString::to_string).unwrap_or_default();
                lines.extend(dialogue.lines().map(str::to_owned));
            }
        }
    }
    let number = number.to_string();
    let indent = " ".repeat(number.len() + 2);
    format!("{number}  {}\n", lines.join(&format!("\n{indent}")))
}

fn describe_violation(talk: &Talk, violation: &Violation) -> String {
    let by = if violation.flow.source == talk.client {
        Role::Client
    } else {
        Role::Server
    };
    let (by, rule, packet, what) = (name(by), violation.rule, violation.packet, &violation.what);
    format!(
        "RULE BROKEN by the {by} in packet {packet}: {rule}: {what} ({})",
        rule.source()
    )
}

/// Neither end can be played, and for one reason.
fn is_same_reason(one: &Replayed, other: &Replayed) -> bool {
    let reason = describe_reason(one);
    reason.is_some() && reason == describe_reason(other)
}

fn describe_reason(replayed: &Replayed) -> Option<String> {
    match &replayed.outcome {
        Outcome::Unusable(why) => Some(format!("cannot be replayed: {why}")),
        _ => None,
    }
}

fn describe_outcome(replayed: &Replayed) -> Vec<String> {
    let end = name(replayed.role);
    let role = format!("ustack as the {end}:");
    match &replayed.outcome {
        Outcome::Agrees(how) => vec![format!("{role} no divergence that matters: {how}")],
        Outcome::Diverges(divergence) => vec![
            format!(
                "{role} DIVERGENCE at packet {}, {:.3} s ({})",
                divergence.packet,
                divergence.at.as_secs_f64(),
                divergence.source
            ),
            format!("  the recorded {end} {}", divergence.recorded),
            format!("  ustack {}", divergence.ours),
        ],
        Outcome::Differs(how) => vec![format!("{role} DIVERGENCE: {how}")],
        Outcome::Unusable(why) => vec![format!("{role} cannot be replayed: {why}")],
    }
}

const fn name(role: Role) -> &'static str {
    match role {
        Role::Server => "server",
        Role::Client => "client",
    }
}

/// The stack behind a plain device, as the replay drives it.
struct Stack(VirtualHost);

impl Host for Stack {
    fn new(address: IpAddr, mtu: u16, tcp: tcp::Config) -> Result<Self, String> {
        let prefix = if address.is_ipv4() { 32 } else { 128 };
        let config = ustack::Config::new()
            .address(address, prefix)
            .tcp(tcp)
            .seed(SEED);
        let host = VirtualHost::new(config, Caps::plain(mtu)).map_err(|error| error.to_string())?;
        Ok(Self(host))
    }

    fn on_packet(&mut self, now: Instant, data: Bytes) {
        let offload = Offload::default();
        self.0.on_received(now, Frame { data, offload });
    }

    fn on_timeout(&mut self, now: Instant) {
        self.0.on_timeout(now);
    }

    fn poll_transmit(&mut self, now: Instant) -> Vec<Bytes> {
        let (mut tx, mut packets) = (TxBatch::new(), Vec::new());
        loop {
            self.0.poll_transmit(now, &mut tx);
            if tx.is_empty() {
                return packets;
            }
            packets.extend(tx.iter().map(|frame| frame.to_frame().data));
            tx.clear();
        }
    }

    fn tcp(&mut self) -> &mut Tcp {
        self.0.tcp_mut()
    }

    fn udp(&mut self) -> &mut Udp {
        self.0.udp_mut()
    }
}
