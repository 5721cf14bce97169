//! `ustack replay`: the stack in the place of one end of recorded conversations.

use std::io::{self, Write as _};
use std::net::IpAddr;
use std::process::ExitCode;

use bytes::Bytes;
use replay::capture::{Capture, CaptureError};
use replay::conversation::Role;
use replay::review::{self, Outcome, Review};
use replay::talks::{self, Talk, Talks};
use replay::{Host, capture};
use ustack::batch::{Frame, TxBatch};
use ustack::device::{Caps, Offload};
use ustack::tcp::time::Instant;
use ustack::tcp::{self, Tcp};
use ustack::testing::VirtualHost;
use ustack::udp::Udp;

use super::args::{End, ReplayArgs};
use super::error::{Error, ExitStatus, reason};

/// Secrets of the stack are the same each time, so that a replay can be repeated.
const SEED: [u8; 32] = [0x5a; 32];

/// Conversations and damaged packets that a list shows; the rest is counted.
const LISTED: usize = 20;

/// Replays what the arguments choose. Exit codes: 0 no divergence, 1 a divergence or a broken
/// rule, 2 nothing that could be replayed.
pub(crate) fn main(args: &ReplayArgs) -> Result<ExitCode, Error> {
    let capture = capture::read_all(&args.file).map_err(|error| unreadable(&error))?;
    let found = talks::talks_of(&capture);
    let talks = (1..).zip(&found.talks);
    let chosen: Vec<_> = talks.filter(|&(n, talk)| args.chooses(n, talk)).collect();
    if chosen.is_empty() {
        return Err(nothing_to_replay(args, capture.packets.len(), &found));
    }
    let role = match args.end {
        End::Server => Role::Server,
        End::Client => Role::Client,
    };
    let mut summary = Summary::default();
    let notes = describe_gaps(&capture) + &describe_damage(&found);
    let result = print(&notes).and_then(|()| {
        chosen.iter().try_for_each(|&(number, talk)| {
            let review = review::review::<Stack>(talk, role);
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
        match review.outcome {
            Outcome::Agrees(_) => {}
            Outcome::Diverges(_) | Outcome::Differs(_) => self.diverged += 1,
            Outcome::Unusable(_) => self.unusable += 1,
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

fn nothing_to_replay(args: &ReplayArgs, packets: usize, found: &Talks) -> Error {
    let file = args.file.display();
    if packets == 0 {
        return refused(format!("{file} holds no IP packet"));
    }
    if found.talks.is_empty() {
        let message = format!("{file} holds no conversation over TCP, UDP or ICMP");
        return refused(message).hint(describe_damage(found));
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
    if let Some(CaptureError::Format { after, .. }) = &capture.breaks_off {
        lines.push(format!("the file breaks off after packet {after}\n"));
    }
    if let Some(first) = capture.cut.first() {
        let count = capture.cut.len();
        lines.push(format!(
            "{count} packets were recorded in part, packet {first} is the first; zeros stand for the \
             rest (record with tcpdump -s 0)\n"
        ));
    }
    lines.concat()
}

fn describe_damage(found: &Talks) -> String {
    let damaged = found.damaged.iter().take(LISTED);
    let mut lines: Vec<String> = damaged
        .map(|(number, reason)| format!("packet {number} is left out: {reason}\n"))
        .collect();
    if found.damaged.len() > LISTED {
        let count = found.damaged.len();
        lines.push(format!("… {count} packets are left out in all\n"));
    }
    lines.concat()
}

fn describe(number: usize, talk: &Talk, review: &Review, args: &ReplayArgs) -> String {
    let number = number.to_string();
    let indent = " ".repeat(number.len() + 2);
    let mut lines = review.about.clone();
    let end = match args.end {
        End::Server => "server",
        End::Client => "client",
    };
    lines.extend(review.broken.iter().map(|violation| {
        let by = if violation.flow.source == talk.client {
            "client"
        } else {
            "server"
        };
        let (rule, packet, what) = (violation.rule, violation.packet, &violation.what);
        format!(
            "RULE BROKEN by the {by} in packet {packet}: {rule}: {what} ({})",
            rule.source()
        )
    }));
    match &review.outcome {
        Outcome::Agrees(how) => lines.extend([
            format!("ustack as the {end}: {how}"),
            "no divergence that matters".to_owned(),
        ]),
        Outcome::Diverges(divergence) => lines.extend([
            format!(
                "DIVERGENCE at packet {}, {:.3} s ({})",
                divergence.packet,
                divergence.at.as_secs_f64(),
                divergence.source
            ),
            format!("  the recorded {end} {}", divergence.recorded),
            format!("  ustack {}", divergence.ours),
        ]),
        Outcome::Differs(how) => lines.push(format!("DIVERGENCE: {how}")),
        Outcome::Unusable(why) => lines.push(format!("cannot be replayed: {why}")),
    }
    if let Some(dialogue) = review.dialogue.as_ref().filter(|_| args.show) {
        lines.extend(dialogue.to_string().lines().map(str::to_owned));
    }
    let mut text = format!("{number}  {}\n", lines.remove(0));
    for line in lines {
        text += &indent;
        text += &line;
        text.push('\n');
    }
    text
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
