//! One run: two hosts, a link, a sender and the receiver, and what came of it.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use ustack_tcp::Pacing;

use super::cell::{Algorithm, Cell};
use super::receiver::receive;
use super::sender::{BEHIND, Order, Sender, SenderStats, send};
use crate::host::{self, forward, make_end};
use crate::joint::Joint;
use crate::namespace::{Namespace, ip};

/// A link that was late more often than this, in turns, spoils a run.
pub const MOST_LATE: f64 = 0.005;

/// What is to be run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Job {
    /// The path.
    pub cell: Cell,
    /// Who sends.
    pub sender: Sender,
    /// Which repeat: each has losses of its own, the same for all senders.
    pub repeat: u32,
    /// How long.
    pub duration: Duration,
    /// ustack's pacing, if not the default.
    pub pacing: Option<Pacing>,
    /// Real-time priority for link, sender and receiver.
    pub real_time: bool,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// The path.
    pub cell: Cell,
    /// Who sent.
    pub sender: Sender,
    /// Which repeat.
    pub repeat: u32,
    /// Mbit/s that the receiver's application has got.
    pub goodput: f64,
    /// The sender's own words.
    pub stats: SenderStats,
    /// Packets of data that the link lost as asked.
    pub lost: u64,
    /// Packets of data that its queue had no room for.
    pub overflowed: u64,
    /// The link's worst lateness in microseconds.
    pub worst_micros: u64,
    /// The share of turns in which it was more than a millisecond late.
    pub late: f64,
}

impl Outcome {
    /// Whether the link was too late too often for the run to count.
    pub fn is_spoiled(&self) -> bool {
        self.late > MOST_LATE
    }
}

/// Runs it, in namespaces of its own.
pub fn run(job: &Job) -> io::Result<Outcome> {
    let (near, far) = (Namespace::create()?, Namespace::create()?);
    let ends = [make_end(&near, host::A)?, make_end(&far, host::B)?];
    forward(&near)?;
    far.run(|| ip(&format!("route add {BEHIND} via {}", host::A.v4)))?;
    let seed = 1000 + u64::from(job.repeat);
    let link = Joint::start(ends, job.cell.specs(seed), job.real_time)?;
    let stop = AtomicBool::new(false);
    let (ready, listening) = channel();
    let order = Order {
        algorithm: job.cell.algorithm,
        pacing: job.pacing,
        real_time: job.real_time,
        ready,
        stop: &stop,
    };
    let (received, stats) = thread::scope(|scope| {
        // The order goes with the thread, so that `listening` ends when the sender does.
        let host = &near;
        let sender = scope.spawn(move || host.run(|| send(job.sender, &order)));
        let received = match listening.recv() {
            Ok(address) => far.run(|| receive(address, job.duration, job.real_time)),
            // The sender says why.
            Err(_) => Ok(0),
        };
        stop.store(true, Ordering::Relaxed);
        let sent = sender.join();
        let sent = sent.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (received, sent)
    });
    let report = link.stop()?;
    let stats = stats?;
    let goodput = received? as f64 * 8.0 / job.duration.as_secs_f64() / 1e6;
    let data = &report.lanes[0];
    Ok(Outcome {
        cell: job.cell,
        sender: job.sender,
        repeat: job.repeat,
        goodput,
        stats,
        lost: data.lost.load(Ordering::Relaxed),
        overflowed: data.overflowed.load(Ordering::Relaxed),
        worst_micros: report.lateness.worst.as_micros() as u64,
        late: report.lateness.share(),
    })
}

/// The first line of a file of outcomes.
pub const HEADER: &str = "rate,rtt,loss,reorder,algorithm,sender,repeat,goodput,\
    retransmits,timeouts,dsacks,lost,overflowed,worst_us,late";

/// A line of it.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cell {
            rate,
            rtt,
            loss,
            reorder,
            algorithm,
        } = self.cell;
        write!(f, "{rate},{rtt},{loss},{reorder},{},", algorithm.name())?;
        write!(f, "{},{},{:.3}", self.sender, self.repeat, self.goodput)?;
        let SenderStats {
            retransmits,
            timeouts,
            dsacks,
        } = self.stats;
        for count in [retransmits, timeouts, dsacks] {
            write!(
                f,
                ",{}",
                count.map_or(String::new(), |count| count.to_string())
            )?;
        }
        let (lost, overflowed) = (self.lost, self.overflowed);
        write!(
            f,
            ",{lost},{overflowed},{},{:.6}",
            self.worst_micros, self.late
        )
    }
}

impl FromStr for Outcome {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let fields: Vec<_> = line.split(',').collect();
        let [
            rate,
            rtt,
            loss,
            reorder,
            algorithm,
            sender,
            repeat,
            goodput,
            rest @ ..,
        ] = &fields[..]
        else {
            return Err(format!("`{line}` has too few fields"));
        };
        let &[retransmits, timeouts, dsacks, lost, overflowed, worst, late] = rest else {
            return Err(format!(
                "`{line}` has not {} fields",
                HEADER.split(',').count()
            ));
        };
        let cell = Cell {
            rate: field(rate)?,
            rtt: field(rtt)?,
            loss: field(loss)?,
            reorder: field(reorder)?,
            algorithm: <Algorithm as clap::ValueEnum>::from_str(algorithm, true)?,
        };
        Ok(Self {
            cell,
            sender: <Sender as clap::ValueEnum>::from_str(sender, true)?,
            repeat: field(repeat)?,
            goodput: field(goodput)?,
            stats: SenderStats {
                retransmits: retransmits.parse().ok(),
                timeouts: timeouts.parse().ok(),
                dsacks: dsacks.parse().ok(),
            },
            lost: field(lost)?,
            overflowed: field(overflowed)?,
            worst_micros: field(worst)?,
            late: field(late)?,
        })
    }
}

fn field<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is not a number"))
}
