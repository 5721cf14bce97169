//! TCP options between a script's names and their bytes.

use std::fmt::Write;
use std::format;
use std::string::String;
use std::vec::Vec;

use super::ast::{AccEcnField, TcpOption};

/// The magic number of TCP Fast Open in the experimental option (RFC 6994, RFC 7413 appendix).
const FAST_OPEN_MAGIC: [u8; 2] = [0xf9, 0x89];

/// Writes options as they stand, padded with end-of-list to a multiple of four.
pub fn encode(options: &[TcpOption]) -> Vec<u8> {
    let mut out = Vec::new();
    for option in options {
        let (kind, value) = match option {
            TcpOption::Eol => {
                out.push(0);
                continue;
            }
            TcpOption::Nop => {
                out.push(1);
                continue;
            }
            TcpOption::Mss(mss) => (2, mss.to_be_bytes().to_vec()),
            TcpOption::WindowScale(shift) => (3, Vec::from([*shift])),
            TcpOption::SackPermitted => (4, Vec::new()),
            TcpOption::Sack(blocks) => {
                let edges = blocks.iter().flat_map(|(l, r)| [*l, *r]);
                (5, edges.flat_map(u32::to_be_bytes).collect())
            }
            TcpOption::Timestamps { val, ecr } => {
                (8, [val.to_be_bytes(), ecr.to_be_bytes()].concat())
            }
            TcpOption::FastOpen(cookie) => (34, cookie.clone()),
            TcpOption::FastOpenExperimental(cookie) => {
                (254, [&FAST_OPEN_MAGIC[..], cookie].concat())
            }
            // `md5 valid` needs a key; a digest of zeroes stands for it.
            TcpOption::Md5(digest) if digest.is_empty() => (19, Vec::from([0; 16])),
            TcpOption::Md5(digest) => (19, digest.clone()),
            TcpOption::AccEcn(counters) => encode_accecn(counters),
            TcpOption::Other(kind, value) => (*kind, value.clone()),
        };
        out.push(kind);
        out.push(value.len() as u8 + 2);
        out.extend(value);
    }
    while !out.len().is_multiple_of(4) {
        out.push(0);
    }
    out
}

/// The order tells the kind: 172 starts with ECT(0), 174 with ECT(1).
fn encode_accecn(counters: &[(AccEcnField, u32)]) -> (u8, Vec<u8>) {
    let first = counters.first().map(|(field, _)| *field);
    let kind = if first == Some(AccEcnField::E1b) {
        174
    } else {
        172
    };
    let bytes = counters
        .iter()
        .flat_map(|(_, n)| n.to_be_bytes().into_iter().skip(1));
    (kind, bytes.collect())
}

/// Reads options; a malformed rest becomes an [`TcpOption::Other`] of kind 255.
pub fn decode(mut bytes: &[u8]) -> Vec<TcpOption> {
    let mut options = Vec::new();
    while let [kind, rest @ ..] = bytes {
        match (kind, rest) {
            (0, _) => {
                options.push(TcpOption::Eol);
                bytes = rest;
            }
            (1, _) => {
                options.push(TcpOption::Nop);
                bytes = rest;
            }
            (_, [len, ..]) if *len >= 2 && usize::from(*len) <= bytes.len() => {
                let (option, after) = bytes.split_at(usize::from(*len));
                options.push(decode_one(*kind, &option[2..]));
                bytes = after;
            }
            _ => {
                options.push(TcpOption::Other(255, bytes.to_vec()));
                break;
            }
        }
    }
    options
}

fn decode_one(kind: u8, value: &[u8]) -> TcpOption {
    let word = |at: usize| {
        let bytes = value
            .get(at..at + 4)
            .and_then(|bytes| bytes.try_into().ok());
        u32::from_be_bytes(bytes.unwrap_or([0; 4]))
    };
    match (kind, value) {
        (2, [a, b]) => TcpOption::Mss(u16::from_be_bytes([*a, *b])),
        (3, [shift]) => TcpOption::WindowScale(*shift),
        (4, []) => TcpOption::SackPermitted,
        (5, value) if value.len().is_multiple_of(8) => {
            let starts = (0..value.len()).step_by(8);
            TcpOption::Sack(starts.map(|at| (word(at), word(at + 4))).collect())
        }
        (8, [_, _, _, _, _, _, _, _]) => TcpOption::Timestamps {
            val: word(0),
            ecr: word(4),
        },
        (19, value) => TcpOption::Md5(value.to_vec()),
        (34, cookie) => TcpOption::FastOpen(cookie.to_vec()),
        (254, [0xf9, 0x89, cookie @ ..]) => TcpOption::FastOpenExperimental(cookie.to_vec()),
        (172 | 174, value) if value.len().is_multiple_of(3) => decode_accecn(kind, value),
        _ => TcpOption::Other(kind, value.to_vec()),
    }
}

fn decode_accecn(kind: u8, value: &[u8]) -> TcpOption {
    use AccEcnField::{Ceb, E0b, E1b};
    let order = if kind == 172 {
        [E0b, Ceb, E1b]
    } else {
        [E1b, Ceb, E0b]
    };
    let counters = value
        .chunks(3)
        .zip(order)
        .map(|(b, field)| (field, u32::from_be_bytes([0, b[0], b[1], b[2]])));
    TcpOption::AccEcn(counters.collect())
}

/// Writes options as a script does, without the angle brackets.
pub fn describe(options: &[TcpOption]) -> String {
    let hex = |bytes: &[u8]| {
        bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    };
    let describe = |option: &TcpOption| match option {
        TcpOption::Eol => String::from("eol"),
        TcpOption::Nop => String::from("nop"),
        TcpOption::Mss(mss) => format!("mss {mss}"),
        TcpOption::WindowScale(shift) => format!("wscale {shift}"),
        TcpOption::SackPermitted => String::from("sackOK"),
        TcpOption::Sack(blocks) => {
            let blocks = blocks.iter().map(|(l, r)| format!(" {l}:{r}"));
            format!("sack{}", blocks.collect::<String>())
        }
        TcpOption::Timestamps { val, ecr } => format!("TS val {val} ecr {ecr}"),
        TcpOption::FastOpen(cookie) => format!("FO {}", hex(cookie)).trim_end().into(),
        TcpOption::FastOpenExperimental(cookie) => {
            format!("FOEXP {}", hex(cookie)).trim_end().into()
        }
        TcpOption::Md5(digest) if digest.is_empty() => String::from("md5 valid"),
        TcpOption::Md5(digest) => format!("md5 {}", hex(digest)),
        TcpOption::AccEcn(counters) => {
            let name = |field: &AccEcnField| match field {
                AccEcnField::E0b => "e0b",
                AccEcnField::Ceb => "ceb",
                AccEcnField::E1b => "e1b",
            };
            let counters = counters.iter().map(|(f, n)| format!(" {} {n}", name(f)));
            format!("ECN{}", counters.collect::<String>())
        }
        TcpOption::Other(kind, value) => format!("kind {kind} {}", hex(value)).trim_end().into(),
    };
    options.iter().map(describe).collect::<Vec<_>>().join(",")
}
