//! What the applications do: one script for both ends.

mod generate;
mod text;

use std::time::Duration;

pub use self::generate::Shape;
pub use self::text::ScriptParseError;

/// One of the two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum End {
    /// The first one.
    A = 0,
    /// The other.
    B = 1,
}

impl End {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// The other end.
    pub const fn peer(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// What the applications of both hosts do: connections, and what each end does with its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// The connections.
    pub flows: Vec<Flow>,
}

/// One connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Who connects.
    pub opener: Opener,
    /// When it begins.
    pub start: Start,
    /// What the application does at each end, by [`End`].
    pub programs: [Program; 2],
}

/// Who connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opener {
    /// This end; the other one listens.
    One(End),
    /// Both at once (RFC 9293 §3.5, figure 7).
    Both,
}

/// When a connection begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// This long after the beginning.
    At(Duration),
    /// When this other connection, of a lower number, is over for the applications of both ends.
    /// If the same end opens both, they have the same ports ([`Script::ports`]).
    After(usize),
}

/// Where the listener of each host listens.
pub const PORT: u16 = 4_000;

/// Connections of a script at most.
pub const MAX_FLOWS: usize = 10_000;

/// The ports of a connection: the opener's, and that of the other end. Where both open, those of A
/// and of B.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Of the one that connects.
    pub opener: u16,
    /// Of the other one.
    pub other: u16,
}

/// What the application does with its end of a connection once it is open: it plays both lists at
/// the same time, each in order, and lets go of the connection (`close`) after both. A writer whose
/// list is through ends its direction by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// What the writer does.
    pub send: Vec<SendOp>,
    /// What the reader does.
    pub receive: Vec<ReceiveOp>,
}

/// How bytes are written or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pieces {
    /// Bytes of one call at most; `None`: as many as there are.
    pub size: Option<u32>,
    /// Time between calls.
    pub gap: Duration,
}

impl Pieces {
    /// All at once.
    pub const WHOLE: Self = Self {
        size: None,
        gap: Duration::ZERO,
    };
}

/// A step of the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendOp {
    /// Writes so many bytes of the connection's [`Pattern`](crate::Pattern).
    Write(u64, Pieces),
    /// Does nothing for this long.
    Wait(Duration),
    /// Waits until the reader has read so many bytes in all, or is through with its list.
    Await(u64),
    /// Ends this direction (`shutdown(SHUT_WR)`); no write follows.
    Shutdown,
    /// Ends the connection with a RST; nothing follows, in either list.
    Abort,
}

/// A step of the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiveOp {
    /// Reads so many bytes, or as many as there are before the end.
    Read(u64, Pieces),
    /// Reads up to the end: EOF, reset, or whatever it is.
    ReadToEnd(Pieces),
    /// Reads nothing for this long.
    Pause(Duration),
    /// Ends the connection with a RST; nothing follows, in either list.
    Abort,
}

impl Program {
    /// Bytes that it writes when nobody stops it.
    pub fn written(&self) -> u64 {
        let sizes = self.send.iter().map(|op| match *op {
            SendOp::Write(size, _) => size,
            _ => 0,
        });
        sizes.sum()
    }

    /// Whether it resets the connection, by itself or by letting go of it too early.
    pub fn resets(&self) -> bool {
        let aborts = self.send.contains(&SendOp::Abort) || self.receive.contains(&ReceiveOp::Abort);
        aborts || !self.reads_to_end()
    }

    /// Whether it reads everything that comes.
    pub fn reads_to_end(&self) -> bool {
        let mut ops = self.receive.iter();
        ops.any(|op| matches!(op, ReceiveOp::ReadToEnd(_)))
    }

    /// How long it takes at least: its waits, added up.
    pub fn waits(&self) -> Duration {
        let send = self.send.iter().map(|op| match *op {
            SendOp::Write(size, pieces) => pieces.time(size),
            SendOp::Wait(time) => time,
            _ => Duration::ZERO,
        });
        let receive = self.receive.iter().map(|op| match *op {
            ReceiveOp::Read(size, pieces) => pieces.time(size),
            ReceiveOp::Pause(time) => time,
            _ => Duration::ZERO,
        });
        send.chain(receive).sum()
    }
}

impl Program {
    /// How long its reader takes for the rest of `coming` bytes.
    pub fn reads(&self, coming: u64) -> Duration {
        let times = self.receive.iter().map(|op| match op {
            ReceiveOp::ReadToEnd(pieces) => pieces.time(coming),
            _ => Duration::ZERO,
        });
        times.sum()
    }
}

impl Pieces {
    /// How long it takes to move so many bytes, if nothing but the gaps takes time.
    pub fn time(&self, bytes: u64) -> Duration {
        let calls = self
            .size
            .map_or(1, |size| bytes.div_ceil(u64::from(size.max(1))));
        self.gap
            .saturating_mul(calls.min(u64::from(u32::MAX)) as u32)
    }
}

impl Script {
    /// Bytes that all ends together write when nobody stops them.
    pub fn bytes(&self) -> u64 {
        let programs = self.flows.iter().flat_map(|flow| &flow.programs);
        programs.map(Program::written).sum()
    }

    /// The ports of a connection, all of them known before anything starts: an accepted connection
    /// is recognised by them.
    pub fn ports(&self, flow: usize) -> Ports {
        let first = self.first_of_ports(flow) as u16;
        match self.flows[flow].opener {
            Opener::One(_) => Ports {
                opener: 20_000 + first,
                other: PORT,
            },
            Opener::Both => Ports {
                opener: 30_000 + first,
                other: 40_000 + first,
            },
        }
    }

    /// The first connection with the same ports.
    fn first_of_ports(&self, flow: usize) -> usize {
        let here = &self.flows[flow];
        match here.start {
            Start::After(other)
                if here.opener == self.flows[other].opener && here.opener != Opener::Both =>
            {
                self.first_of_ports(other)
            }
            _ => flow,
        }
    }

    /// Whether the ports of a connection were those of another one before it.
    pub fn reuses_ports(&self, flow: usize) -> bool {
        self.first_of_ports(flow) != flow
    }

    /// Whether some end resets its connection.
    pub fn resets(&self) -> bool {
        let mut programs = self.flows.iter().flat_map(|flow| &flow.programs);
        programs.any(Program::resets)
    }

    /// What cannot be played, in words.
    pub fn check(&self) -> Result<(), String> {
        if self.flows.len() > MAX_FLOWS {
            return Err(format!(
                "{} connections: at most {MAX_FLOWS} have ports",
                self.flows.len()
            ));
        }
        for (index, flow) in self.flows.iter().enumerate() {
            if let Start::After(other) = flow.start
                && other >= index
            {
                return Err(format!(
                    "flow {index} begins after flow {other}: name one that stands before it"
                ));
            }
            for program in &flow.programs {
                let ended = program.send.iter().position(|op| *op == SendOp::Shutdown);
                let after = ended.map_or(&[][..], |at| &program.send[at + 1..]);
                if after.iter().any(|op| matches!(op, SendOp::Write(..))) {
                    return Err(format!(
                        "flow {index} writes after it has ended its direction"
                    ));
                }
            }
        }
        Ok(())
    }
}

impl Flow {
    /// Whether neither end waits for bytes that the other writes only after it has read some itself.
    pub fn comes_to_an_end(&self) -> bool {
        let (mut at, mut written) = ([0; 2], [0; 2]);
        let is_through = |at: [usize; 2], end: usize| at[end] == self.programs[end].send.len();
        loop {
            let before = at;
            for end in 0..2 {
                let waits = match self.programs[end].send.get(at[end]) {
                    Some(SendOp::Await(size)) => {
                        written[1 - end] < *size && !is_through(at, 1 - end)
                    }
                    Some(SendOp::Write(size, _)) => {
                        written[end] += size;
                        false
                    }
                    Some(_) => false,
                    None => true,
                };
                at[end] += usize::from(!waits);
            }
            if at == before {
                return is_through(at, 0) && is_through(at, 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_each_other_waits_for_ever() {
        let ends = |text: &str| text.parse::<Flow>().expect("a flow").comes_to_an_end();
        assert!(ends("A>B at 0ms; A: w5 a7 | e; B: a5 w7 | e"));
        assert!(ends("A>B at 0ms; A: a7 | e; B: w5 f | e"));
        assert!(!ends("A>B at 0ms; A: a7 w5 | e; B: a5 w7 | e"));
        let shape = Shape::default();
        for seed in 0..200 {
            let script = Script::generate(seed, &shape);
            assert!(
                script.flows.iter().all(Flow::comes_to_an_end),
                "seed {seed}"
            );
        }
    }
}
