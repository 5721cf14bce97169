//! The option area of a segment.

use std::ops::Range;

use crate::packet::Malformed;
use crate::rule::Rule;

/// The options a segment carries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TcpOptions {
    /// Maximum segment size.
    pub mss: Option<u16>,
    /// Window scale.
    pub window_scale: Option<u8>,
    /// SACK permitted.
    pub sack_permitted: bool,
    /// TSval, TSecr.
    pub timestamps: Option<(u32, u32)>,
    /// SACK blocks, first one first.
    pub sack: Vec<(u32, u32)>,
    /// Kinds of which this reader knows only the number.
    pub unknown: Vec<u8>,
}

/// Options of a TCP header: kind, and where the value lies in the option area.
pub fn walk_options(area: &[u8]) -> Result<Vec<(u8, Range<usize>)>, Malformed> {
    match walk(area) {
        (_, Some(malformed)) => Err(malformed),
        (found, None) => Ok(found),
    }
}

/// The options up to where they cannot be read, and why not.
fn walk(area: &[u8]) -> (Vec<(u8, Range<usize>)>, Option<Malformed>) {
    let malformed = |what: String| Some(Malformed::new(Rule::OptionMalformed, what));
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&kind) = area.get(at) {
        match kind {
            0 if area[at..].iter().any(|&byte| byte != 0) => {
                return (found, malformed("padding of other than zeros".to_owned()));
            }
            0 => break,
            1 => at += 1,
            _ => {
                let length = area.get(at + 1).copied().unwrap_or(0) as usize;
                if length < 2 || at + length > area.len() {
                    return (
                        found,
                        malformed(format!("option {kind} has length {length}")),
                    );
                }
                found.push((kind, at + 2..at + length));
                at += length;
            }
        }
    }
    (found, None)
}

/// The options, without those that are malformed; the first fault found.
pub(crate) fn read(area: &[u8]) -> (TcpOptions, Option<Malformed>) {
    let mut options = TcpOptions::default();
    let (found, mut fault) = walk(area);
    for (kind, range) in found {
        let value = &area[range];
        match (kind, value.len()) {
            (2, 2) => options.mss = Some(u16::from_be_bytes([value[0], value[1]])),
            (3, 1) => options.window_scale = Some(value[0]),
            (4, 0) => options.sack_permitted = true,
            (5, length) if length > 0 && length % 8 == 0 => {
                options.sack = (value.chunks_exact(8))
                    .map(|block| (number(&block[..4]), number(&block[4..])))
                    .collect();
            }
            (8, 8) => options.timestamps = Some((number(&value[..4]), number(&value[4..]))),
            (2..=5 | 8, length) => {
                let what = format!("option {kind} of {length} value bytes");
                fault.get_or_insert(Malformed::new(Rule::OptionMalformed, what));
            }
            _ => options.unknown.push(kind),
        }
    }
    (options, fault)
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum, &byte| sum << 8 | byte as u32)
}
