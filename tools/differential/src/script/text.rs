//! Scripts as text, one line for each connection, so that a case can be kept and read.
//!
//! ```text
//! A>B at 0ms; A: w1000 a500 f | e; B: w500/10/2ms f | r100 z50ms e/100
//! ```
//!
//! `A>B`, `B>A`: who connects to whom; `A=B`: both at once. `at 5ms` or `after 0`. For each end what
//! the writer does, `|`, what the reader does:
//!
//! | | |
//! |---|---|
//! | `w1000`, `w1000/10`, `w1000/10/2ms` | write 1000 bytes; 10 in each call; 2 ms between calls |
//! | `a500` | wait until the reader has 500 bytes in all |
//! | `r1000`, `r1000/10`, `r1000/10/2ms` | read 1000 bytes |
//! | `e`, `e/10`, `e/10/2ms` | read to the end |
//! | `z50ms` | wait (`us`, `ms`, `s`) |
//! | `f` | end this direction |
//! | `x` | reset |

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{End, Flow, Opener, Pieces, Program, ReceiveOp, Script, SendOp, Start};

/// Why a text is not a script.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScriptParseError {
    /// A word that nothing begins with.
    #[error("`{0}` is not a step: see the table in the description of scripts")]
    Step(String),
    /// A line without its three parts.
    #[error("`{0}`: a connection is written as `A>B at 0ms; A: w10 f | e; B: f | e`")]
    Line(String),
    /// What cannot be played.
    #[error("{0}")]
    Senseless(String),
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.flows.iter().try_for_each(|flow| writeln!(f, "{flow}"))
    }
}

impl FromStr for Script {
    type Err = ScriptParseError;

    fn from_str(text: &str) -> Result<Self, ScriptParseError> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let flows = lines.map(str::parse).collect::<Result<_, _>>()?;
        let script = Self { flows };
        script.check().map_err(ScriptParseError::Senseless)?;
        Ok(script)
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.opener {
            Opener::One(End::A) => "A>B",
            Opener::One(End::B) => "B>A",
            Opener::Both => "A=B",
        })?;
        match self.start {
            Start::At(time) => write!(f, " at {}", Time(time))?,
            Start::After(flow) => write!(f, " after {flow}")?,
        }
        let [a, b] = &self.programs;
        write!(f, "; A:{a}; B:{b}")
    }
}

impl FromStr for Flow {
    type Err = ScriptParseError;

    fn from_str(line: &str) -> Result<Self, ScriptParseError> {
        let wrong = || ScriptParseError::Line(line.to_owned());
        let mut parts = line.split(';').map(str::trim);
        let (Some(head), Some(a), Some(b), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        let words: Vec<_> = head.split_whitespace().collect();
        let [who, how, when] = words[..] else {
            return Err(wrong());
        };
        let opener = match who {
            "A>B" => Opener::One(End::A),
            "B>A" => Opener::One(End::B),
            "A=B" => Opener::Both,
            _ => return Err(wrong()),
        };
        let start = match how {
            "at" => Start::At(time(when).ok_or_else(wrong)?),
            "after" => Start::After(when.parse().map_err(|_| wrong())?),
            _ => return Err(wrong()),
        };
        let a = a.strip_prefix("A:").ok_or_else(wrong)?.parse()?;
        let b = b.strip_prefix("B:").ok_or_else(wrong)?.parse()?;
        Ok(Self {
            opener,
            start,
            programs: [a, b],
        })
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.send.iter().try_for_each(|op| match *op {
            SendOp::Write(size, pieces) => write!(f, " w{size}{pieces}"),
            SendOp::Wait(time) => write!(f, " z{}", Time(time)),
            SendOp::Await(size) => write!(f, " a{size}"),
            SendOp::Shutdown => f.write_str(" f"),
            SendOp::Abort => f.write_str(" x"),
        })?;
        f.write_str(" |")?;
        self.receive.iter().try_for_each(|op| match *op {
            ReceiveOp::Read(size, pieces) => write!(f, " r{size}{pieces}"),
            ReceiveOp::ReadToEnd(pieces) => write!(f, " e{pieces}"),
            ReceiveOp::Pause(time) => write!(f, " z{}", Time(time)),
            ReceiveOp::Abort => f.write_str(" x"),
        })
    }
}

impl FromStr for Program {
    type Err = ScriptParseError;

    fn from_str(text: &str) -> Result<Self, ScriptParseError> {
        let (send, receive) = text
            .split_once('|')
            .ok_or_else(|| ScriptParseError::Line(text.to_owned()))?;
        let send = send.split_whitespace().map(|word| {
            let found = send_op(word);
            found.ok_or_else(|| ScriptParseError::Step(word.to_owned()))
        });
        let receive = receive.split_whitespace().map(|word| {
            let found = receive_op(word);
            found.ok_or_else(|| ScriptParseError::Step(word.to_owned()))
        });
        Ok(Self {
            send: send.collect::<Result<_, _>>()?,
            receive: receive.collect::<Result<_, _>>()?,
        })
    }
}

fn send_op(word: &str) -> Option<SendOp> {
    let rest = word.get(1..)?;
    Some(match word.as_bytes()[0] {
        b'w' => {
            let (size, pieces) = sized(rest)?;
            SendOp::Write(size, pieces)
        }
        b'z' => SendOp::Wait(time(rest)?),
        b'a' => SendOp::Await(rest.parse().ok()?),
        b'f' if rest.is_empty() => SendOp::Shutdown,
        b'x' if rest.is_empty() => SendOp::Abort,
        _ => return None,
    })
}

fn receive_op(word: &str) -> Option<ReceiveOp> {
    let rest = word.get(1..)?;
    Some(match word.as_bytes()[0] {
        b'r' => {
            let (size, pieces) = sized(rest)?;
            ReceiveOp::Read(size, pieces)
        }
        b'e' if rest.is_empty() => ReceiveOp::ReadToEnd(Pieces::WHOLE),
        b'e' => ReceiveOp::ReadToEnd(pieces(rest.strip_prefix('/')?)?),
        b'z' => ReceiveOp::Pause(time(rest)?),
        b'x' if rest.is_empty() => ReceiveOp::Abort,
        _ => return None,
    })
}

fn sized(text: &str) -> Option<(u64, Pieces)> {
    match text.split_once('/') {
        Some((size, rest)) => Some((size.parse().ok()?, pieces(rest)?)),
        None => Some((text.parse().ok()?, Pieces::WHOLE)),
    }
}

fn pieces(text: &str) -> Option<Pieces> {
    let (size, gap) = match text.split_once('/') {
        Some((size, gap)) => (size, time(gap)?),
        None => (text, Duration::ZERO),
    };
    let size = match size {
        "" => None,
        size => Some(size.parse().ok().filter(|&size| size > 0)?),
    };
    Some(Pieces { size, gap })
}

impl fmt::Display for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.size, self.gap) {
            (None, Duration::ZERO) => Ok(()),
            (Some(size), Duration::ZERO) => write!(f, "/{size}"),
            (Some(size), gap) => write!(f, "/{size}/{}", Time(gap)),
            (None, gap) => write!(f, "//{}", Time(gap)),
        }
    }
}

/// A time in the largest unit that keeps it whole, down to microseconds.
struct Time(Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        match micros {
            _ if micros > 0 && micros.is_multiple_of(1_000_000) => {
                write!(f, "{}s", micros / 1_000_000)
            }
            _ if micros.is_multiple_of(1_000) => write!(f, "{}ms", micros / 1_000),
            _ => write!(f, "{micros}us"),
        }
    }
}

fn time(text: &str) -> Option<Duration> {
    // Ten hours, so that sums stay far from what a clock can hold.
    const MOST: u64 = 36_000_000_000;
    let units = [("us", 1), ("ms", 1_000), ("s", 1_000_000)];
    let (number, factor) = units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))?;
    let number: u64 = number.parse().ok()?;
    let micros = number
        .checked_mul(factor)
        .filter(|&micros| micros <= MOST)?;
    Some(Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::Shape;

    #[test]
    fn a_script_reads_back_as_it_was_written() {
        for seed in 0..2_000 {
            let script = Script::generate(seed, &Shape::default());
            let text = script.to_string();
            assert_eq!(text.parse(), Ok(script), "{text}");
        }
    }

    #[test]
    fn every_step_has_a_letter() {
        let text = "A=B at 5ms; A: w10 w9/3 w8/2/1ms w7//1s z20us a500 f | r1 e; B: x | r5/2 z1s e/9/4ms x\n\
                    B>A after 0; A: | ; B: f | e\n";
        let script: Script = text.parse().expect("a script");
        let again = script.to_string();
        assert_eq!(again, text.replace("| ;", "|;"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let cases = [
            ("A>B at 0ms; A: q | e; B: f | e", "`q` is not a step"),
            ("A>B at 0ms; A: w10 f | e", "a connection is written as"),
            ("A>B at 0; A: f | e; B: f | e", "a connection is written as"),
            ("A>B after 0; A: f | e; B: f | e", "stands before"),
            ("A>B at 0ms; A: f w1 | e; B: f | e", "after it has ended"),
            ("A>B at 0ms; A: w5/0 | e; B: f | e", "not a step"),
            ("A>B at 0ms; A: é | e; B: f | e", "not a step"),
        ];
        for (text, words) in cases {
            let error = text.parse::<Script>().expect_err(words);
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
