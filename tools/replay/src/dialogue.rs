//! What was said, segment by segment: by the recorded end that is replayed, by the recorded end
//! whose place the stack takes, and by the stack.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use crate::conversation::{Conversation, Role, Said};
use crate::packet::{ACK, CWR, ECE, FIN, RST, SYN, TcpPacket};

/// Lines kept; older ones are forgotten.
const LIMIT: usize = 100_000;

/// Who speaks in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// The recorded end that is replayed; the packet of the recording.
    Replayed(usize),
    /// The recorded end whose place the stack takes; the packet of the recording.
    Recorded(usize),
    /// The stack.
    Stack,
}

/// One segment.
#[derive(Clone, Debug)]
pub struct Line {
    /// When: of the recording for what was recorded, of the replay for the rest.
    pub at: Duration,
    /// By whom.
    pub speaker: Speaker,
    /// What, in relative numbers.
    pub text: String,
}

/// Everything that was said, in the order of time.
#[derive(Clone, Debug)]
pub struct Dialogue {
    lines: VecDeque<Line>,
    forgotten: usize,
    role: Role,
}

impl Dialogue {
    pub(crate) fn new(role: Role) -> Self {
        Self {
            lines: VecDeque::new(),
            forgotten: 0,
            role,
        }
    }

    pub(crate) fn push(&mut self, at: Duration, speaker: Speaker, text: String) {
        if self.lines.len() == LIMIT {
            self.lines.pop_front();
            self.forgotten += 1;
        }
        self.lines.push_back(Line { at, speaker, text });
    }

    /// All lines that are left.
    pub fn lines(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter()
    }

    /// The same with what the recorded end said whose place the stack took, each segment at its
    /// recorded time.
    pub fn beside(&self, conversation: &Conversation) -> Self {
        let mut lines: Vec<Line> = self.lines.iter().cloned().collect();
        let recorded = conversation.said.iter().filter(|said| said.ours);
        lines.extend(recorded.map(|said| Line {
            at: said.time,
            speaker: Speaker::Recorded(said.number),
            text: describe_said(said),
        }));
        lines.sort_by_key(|line| line.at);
        Self {
            lines: lines.into(),
            ..*self
        }
    }

    /// The last `count` lines.
    pub fn tail(&self, count: usize) -> Self {
        let skip = self.lines.len().saturating_sub(count);
        Self {
            lines: self.lines.iter().skip(skip).cloned().collect(),
            forgotten: 0,
            role: self.role,
        }
    }
}

impl fmt::Display for Dialogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (played, other) = match self.role {
            Role::Server => ("server", "client"),
            Role::Client => ("client", "server"),
        };
        if self.forgotten > 0 {
            writeln!(f, "({} earlier lines are left out)", self.forgotten)?;
        }
        for (index, line) in self.lines.iter().enumerate() {
            let (number, name, arrow) = match line.speaker {
                Speaker::Replayed(number) => (number.to_string(), other, "->"),
                Speaker::Recorded(number) => (number.to_string(), played, "<-"),
                Speaker::Stack => (String::new(), "ustack", "<="),
            };
            let at = line.at.as_secs_f64();
            let end = if index + 1 == self.lines.len() {
                ""
            } else {
                "\n"
            };
            write!(
                f,
                "{number:>6} {at:>11.6}  {name:<6} {arrow} {}{end}",
                line.text
            )?;
        }
        Ok(())
    }
}

fn describe_said(said: &Said) -> String {
    let lost = if said.lost { ", lost" } else { "" };
    format!("{}{lost}", describe(&said.tcp, said.seq, said.ack))
}

/// A segment in relative numbers, in tcpdump's words.
pub(crate) fn describe(tcp: &TcpPacket, seq: u64, ack: Option<u64>) -> String {
    let mut words = vec![flags(tcp.flags)];
    words.push(match tcp.payload.len() as u64 {
        0 => format!("seq {seq}"),
        length => format!("seq {seq}:{} ({length})", seq + length),
    });
    words.extend(ack.map(|ack| format!("ack {ack}")));
    words.push(format!("win {}", tcp.window));
    let options = &tcp.options;
    words.extend(options.mss.map(|mss| format!("mss {mss}")));
    let scale = options.window_scale;
    words.extend(scale.map(|scale| format!("wscale {scale}")));
    if options.sack_permitted {
        words.push("sackOK".to_owned());
    }
    if tcp.has(SYN) && options.timestamps.is_some() {
        words.push("TS".to_owned());
    }
    // The other direction's numbers are near its acknowledgment.
    let at = |wire: u32| ack.unwrap_or(0) as i64 + i64::from(wire.wrapping_sub(tcp.ack) as i32);
    let blocks = options.sack.iter();
    words.extend(blocks.map(|&(left, right)| format!("sack {}:{}", at(left), at(right))));
    words.join(" ")
}

/// The flags of a segment by name, ACK left out where it goes without saying.
pub(crate) fn flags(flags: u8) -> String {
    let names = [
        (SYN, "SYN"),
        (FIN, "FIN"),
        (RST, "RST"),
        (ECE, "ECE"),
        (CWR, "CWR"),
        (32, "URG"),
    ];
    let mut set: Vec<&str> = names
        .iter()
        .filter(|&&(bit, _)| flags & bit != 0)
        .map(|&(_, name)| name)
        .collect();
    if flags & ACK != 0 && (set.is_empty() || flags & (SYN | RST) != 0) {
        set.push("ACK");
    }
    if set.is_empty() {
        return "no flags".to_owned();
    }
    set.join(",")
}
