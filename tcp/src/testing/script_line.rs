//! The lines of a script: what they look like, and how a segment is written as one.
//!
//! ```text
//! +.010 < S  0:0(0) win 65535 <mss 1460,sackOK,wscale 7>    # arrives 10 ms later
//! +0    > S. 0:0(0) ack 1 <...>                             # must leave now
//! +0    write(1000)                                         # the application's call
//! ```
//!
//! Numbers are relative to the two ISNs. Options are compared only where a line names them.

use std::fmt::Write;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use core::num::NonZeroU16;

use crate::segment::{
    FastOpen, Flags, Options, SackBlock, Segment, SegmentOptions, SynOptions, Timestamps,
};
use crate::seq::{WindowScale, WireSeq, WireWindow};
use crate::time::Duration;

use super::pattern;

/// One line, parsed.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// Its number in the script, from 1.
    pub(super) number: usize,
    /// Time since the line before.
    pub(super) after: Duration,
    pub(super) action: Action,
}

#[derive(Clone, Debug)]
pub(super) enum Action {
    /// `<`: a segment arrives.
    In(String),
    /// `>`: this segment must leave.
    Out(String),
    /// A call of the application, and what it must return.
    Call {
        name: String,
        argument: String,
        result: Option<String>,
    },
}

/// What the numbers of a script are relative to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Base {
    pub(super) peer_isn: WireSeq,
    pub(super) our_isn: WireSeq,
    /// The first TSval we sent.
    pub(super) our_ts: u32,
}

pub(super) fn parse(script: &str) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    for (index, text) in script.lines().enumerate() {
        let text = text.split('#').next().unwrap_or_default().trim();
        if text.is_empty() || text.starts_with("//") {
            continue;
        }
        let line = parse_line(index + 1, text)
            .map_err(|why| format!("line {}: {why}: {text}", index + 1))?;
        lines.push(line);
    }
    Ok(lines)
}

fn parse_line(number: usize, text: &str) -> Result<Line, String> {
    let (after, rest) = text
        .split_once(char::is_whitespace)
        .ok_or("a time and an action, please")?;
    let after = after
        .strip_prefix('+')
        .ok_or("times are relative: +0, +.040")?;
    let seconds: f64 = format!("0{after}").parse().map_err(|_| "not a time")?;
    let rest = rest.trim();
    let action = if let Some(segment) = rest.strip_prefix('<') {
        Action::In(segment.trim().to_string())
    } else if let Some(segment) = rest.strip_prefix('>') {
        Action::Out(segment.trim().to_string())
    } else {
        let (call, result) = match rest.split_once('=') {
            Some((call, result)) => (call, Some(result.trim().to_string())),
            None => (rest, None),
        };
        let (name, argument) = call.split_once('(').ok_or("neither <, > nor a call")?;
        let argument = argument.trim().trim_end_matches(')').trim().to_string();
        Action::Call {
            name: name.trim().to_string(),
            argument,
            result,
        }
    };
    Ok(Line {
        number,
        after: Duration::from_secs_f64(seconds),
        action,
    })
}

/// Builds the segment that an `In` line describes.
pub(super) fn segment(text: &str, base: &Base) -> Result<Segment, String> {
    let (head, options) = match text.split_once('<') {
        Some((head, options)) => (head, options.trim_end_matches('>')),
        None => (text, ""),
    };
    let mut words = head.split_whitespace();
    let flags = parse_flags(words.next().ok_or("flags, please")?)?;
    let range = words.next().ok_or("a range such as 1:1001(1000), please")?;
    let (start, rest) = range.split_once(':').ok_or("a range has a colon")?;
    let len = rest
        .split_once('(')
        .and_then(|(_, len)| len.strip_suffix(')'));
    let start: u32 = parse_number(start)?;
    let len: usize = len
        .ok_or("a range ends with its length")?
        .parse()
        .map_err(|_| "not a length")?;
    let (mut ack, mut window) = (None, 65_535);
    while let Some(word) = words.next() {
        let value = words.next().ok_or("a word without a value")?;
        match word {
            "ack" => ack = Some(parse_number(value)?),
            "win" => window = value.parse().map_err(|_| "not a window")?,
            other => return Err(format!("unknown word {other}")),
        }
    }
    let flags = if ack.is_some() {
        flags | Flags::ACK
    } else {
        flags
    };
    let payload = pattern(u64::from(start.wrapping_sub(1)), len);
    Ok(Segment {
        seq: base.peer_isn.wrapping_add(start),
        ack: base.our_isn.wrapping_add(ack.unwrap_or(0)),
        window: WireWindow(window),
        flags,
        options: parse_options(options, flags.contains(Flags::SYN), base)?,
        urgent: 0,
        mss: NonZeroU16::new(len as u16).unwrap_or(NonZeroU16::MIN),
        payload,
    })
}

fn parse_number(text: &str) -> Result<u32, String> {
    text.parse::<i64>()
        .map(|n| n as u32)
        .map_err(|_| format!("{text} is not a number"))
}

fn parse_flags(text: &str) -> Result<Flags, String> {
    text.chars().try_fold(Flags::NONE, |flags, letter| {
        Ok(flags
            | match letter {
                'S' => Flags::SYN,
                'F' => Flags::FIN,
                'R' => Flags::RST,
                'P' => Flags::PSH,
                'U' => Flags::URG,
                'E' => Flags::ECE,
                'W' => Flags::CWR,
                '.' => Flags::ACK,
                '-' => Flags::NONE,
                other => return Err(format!("unknown flag {other}")),
            })
    })
}

fn parse_options(text: &str, syn: bool, base: &Base) -> Result<Options, String> {
    let (mut handshake, mut rest) = (SynOptions::default(), SegmentOptions::default());
    for option in text
        .split(',')
        .map(str::trim)
        .filter(|option| !option.is_empty())
    {
        let words: Vec<&str> = option.split_whitespace().collect();
        match words.as_slice() {
            ["nop" | "eol"] => {}
            ["mss", mss] => handshake.mss = Some(mss.parse().map_err(|_| "not an MSS")?),
            ["wscale", shift] => {
                let shift = shift.parse().map_err(|_| "not a shift")?;
                handshake.window_scale = Some(WindowScale::new(shift));
            }
            ["sackOK"] => handshake.sack_permitted = true,
            ["TS", "val", val, "ecr", ecr] => {
                let tsecr = parse_number(ecr)?;
                let tsecr = if tsecr == 0 {
                    0
                } else {
                    base.our_ts.wrapping_add(tsecr)
                };
                rest.timestamps = Some(Timestamps {
                    tsval: parse_number(val)?,
                    tsecr,
                });
            }
            ["sack", blocks @ ..] => {
                for block in blocks {
                    let (left, right) = block.split_once(':').ok_or("a block has a colon")?;
                    let number =
                        |n| Ok::<WireSeq, String>(base.our_isn.wrapping_add(parse_number(n)?));
                    rest.sack.push(SackBlock {
                        left: number(left)?,
                        right: number(right)?,
                    });
                }
            }
            _ => return Err(format!("unknown option {option}")),
        }
    }
    Ok(if syn {
        Options::Syn(SynOptions {
            timestamps: rest.timestamps,
            ..handshake
        })
    } else {
        Options::Segment(rest)
    })
}

/// Writes a segment of ours as a line would, with window and options.
pub(super) fn describe(sent: &Segment, base: &Base) -> String {
    let mut flags = String::new();
    for (flag, letter) in [
        (Flags::SYN, 'S'),
        (Flags::FIN, 'F'),
        (Flags::RST, 'R'),
        (Flags::PSH, 'P'),
        (Flags::ACK, '.'),
    ] {
        if sent.has(flag) {
            flags.push(letter);
        }
    }
    let start = sent.seq.0.wrapping_sub(base.our_isn.0) as i32;
    let len = sent.payload.len() as i32;
    let mut text = format!("{flags} {start}:{}({len})", start + len);
    if sent.has(Flags::ACK) {
        let _ = write!(
            text,
            " ack {}",
            sent.ack.0.wrapping_sub(base.peer_isn.0) as i32
        );
    }
    let _ = write!(text, " win {}", sent.window.0);
    let options = describe_options(&sent.options, base);
    if !options.is_empty() {
        let _ = write!(text, " <{}>", options.join(","));
    }
    text
}

fn describe_options(options: &Options, base: &Base) -> Vec<String> {
    let mut list = Vec::new();
    let timestamps = |ts: Timestamps| {
        format!(
            "TS val {} ecr {}",
            ts.tsval.wrapping_sub(base.our_ts),
            ts.tsecr
        )
    };
    match options {
        Options::Syn(SynOptions {
            mss,
            window_scale,
            sack_permitted,
            timestamps: ts,
            fast_open,
        }) => {
            list.extend(mss.map(|mss| format!("mss {mss}")));
            list.extend(sack_permitted.then(|| "sackOK".to_string()));
            list.extend(ts.map(timestamps));
            list.extend(window_scale.map(|scale| format!("wscale {}", scale.shift())));
            let hex = |byte: &u8| format!("{byte:02x}");
            let cookie = |option: FastOpen| option.cookie().iter().map(hex).collect::<String>();
            list.extend(fast_open.map(|option| format!("FO {}", cookie(option))));
        }
        Options::Segment(SegmentOptions {
            timestamps: ts,
            sack,
        }) => {
            list.extend(ts.map(timestamps));
            if !sack.is_empty() {
                let number = |n: WireSeq| n.0.wrapping_sub(base.peer_isn.0) as i32;
                let block = |b: &SackBlock| format!(" {}:{}", number(b.left), number(b.right));
                list.push(format!(
                    "sack{}",
                    sack.iter().map(block).collect::<String>()
                ));
            }
        }
    }
    list
}

/// Whether a segment is what an `Out` line asks for: window and options only where it names them.
pub(super) fn matches(expected: &str, sent: &str) -> bool {
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (expected, sent) = (squeeze(expected), squeeze(sent));
    let (head, options) = expected.split_once('<').unwrap_or((&expected, ""));
    let (sent_head, sent_options) = sent.split_once('<').unwrap_or((&sent, ""));
    let (head, sent_head) = (head.trim(), sent_head.trim());
    let head_equal = if head.contains(" win ") {
        head == sent_head
    } else {
        Some(head) == sent_head.split(" win ").next()
    };
    let unnamed = options.is_empty() || options.trim_end_matches('>') == "...";
    head_equal && (unnamed || options == sent_options)
}
