//! The link at work: packets of one device go through the model and out of the other, in real time.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant as Clock};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use ustack::device::impair::{ImpairSpec, Lane, LaneCounters};
use ustack_tcp::time::Instant;

use crate::{during, priority};

/// Packets read from one side before the other one has its turn.
const BATCH: usize = 32;
/// How long a request to stop may go unnoticed.
const LONGEST_WAIT: Duration = Duration::from_millis(100);
/// What counts as late.
const LATE: Duration = Duration::from_millis(1);

/// What to make of the packets in each direction.
#[derive(Clone, Debug, Default)]
pub struct Specs {
    /// From A to B.
    pub ab: ImpairSpec,
    /// From B to A.
    pub ba: ImpairSpec,
}

/// How punctual a link was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lateness {
    /// Times that packets were due.
    pub turns: u64,
    /// Those that were served more than a millisecond late.
    pub late: u64,
    /// The worst of all.
    pub worst: Duration,
}

impl Lateness {
    fn note(&mut self, by: Duration) {
        self.turns += 1;
        self.late += u64::from(by > LATE);
        self.worst = self.worst.max(by);
    }

    /// The share of turns that were late.
    pub fn share(&self) -> f64 {
        self.late as f64 / self.turns.max(1) as f64
    }
}

/// What a link did.
#[derive(Debug, Default)]
pub struct Report {
    /// How punctual it was.
    pub lateness: Lateness,
    /// Packets that a device did not take.
    pub refused: u64,
    /// What happened from A to B, and from B to A.
    pub lanes: [Arc<LaneCounters>; 2],
    /// What was asked for, with the seeds in use.
    pub specs: Specs,
    /// Whether it ran with real-time priority.
    pub real_time: bool,
}

/// A link that runs on a thread of its own until it is stopped.
#[derive(Debug)]
pub struct Joint {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Report>>,
}

impl Joint {
    /// Joins two devices. `real_time` asks for real-time priority and does without where it is
    /// refused; the report says so.
    pub fn start(ends: [OwnedFd; 2], specs: Specs, real_time: bool) -> io::Result<Self> {
        for end in &ends {
            let flags = fcntl_getfl(end).map_err(during("reading flags of a device"))?;
            fcntl_setfl(end, flags | OFlags::NONBLOCK).map_err(during("setting a device"))?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("link".into())
            .spawn(move || run(&ends, specs, real_time, &seen))?;
        Ok(Self { stop, thread })
    }

    /// Ends the link and says what it did.
    pub fn stop(self) -> io::Result<Report> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.join();
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Whether it has ended by itself, because a device is gone.
    pub fn is_over(&self) -> bool {
        self.thread.is_finished()
    }
}

fn run(
    ends: &[OwnedFd; 2],
    specs: Specs,
    real_time: bool,
    stop: &AtomicBool,
) -> io::Result<Report> {
    let real_time = real_time && priority::become_real_time(priority::LINK).is_ok();
    priority::without_timer_slack()?;
    let mut turn = Turn {
        ends,
        lanes: [Lane::new(specs.ab, 0), Lane::new(specs.ba, 1)],
        started: Clock::now(),
        buffer: vec![0; usize::from(u16::MAX)],
        lateness: Lateness::default(),
        refused: 0,
    };
    while !stop.load(Ordering::Relaxed) {
        let more = turn.take_in()?;
        turn.pass_on()?;
        if !more {
            turn.wait()?;
        }
    }
    let [ab, ba] = &turn.lanes;
    Ok(Report {
        lateness: turn.lateness,
        refused: turn.refused,
        specs: Specs {
            ab: ab.spec().clone(),
            ba: ba.spec().clone(),
        },
        lanes: [Arc::clone(ab.counters()), Arc::clone(ba.counters())],
        real_time,
    })
}

struct Turn<'a> {
    ends: &'a [OwnedFd; 2],
    lanes: [Lane; 2],
    started: Clock,
    buffer: Vec<u8>,
    lateness: Lateness,
    refused: u64,
}

impl Turn<'_> {
    fn now(&self) -> Instant {
        let elapsed = self.started.elapsed().as_nanos();
        Instant::from_nanos(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }

    /// Reads what has come to both ends; true when there may be more.
    fn take_in(&mut self) -> io::Result<bool> {
        let mut more = false;
        for side in 0..2 {
            for taken in 1..=BATCH {
                let length = match rustix::io::read(&self.ends[side], &mut self.buffer[..]) {
                    Ok(length) => length,
                    Err(Errno::AGAIN | Errno::INTR) => break,
                    Err(errno) => return Err(during("reading from a device")(errno)),
                };
                let now = self.now();
                self.lanes[side].on_packet(now, self.buffer[..length].to_vec());
                more |= taken == BATCH;
            }
        }
        Ok(more)
    }

    /// Writes what is due to the other end, and answers to where the packet came from.
    fn pass_on(&mut self) -> io::Result<()> {
        for side in 0..2 {
            let now = self.now();
            if let Some(due) = self.lanes[side].next_due().filter(|&due| due <= now) {
                self.lateness.note(now - due);
            }
            while let Some(packet) = self.lanes[side].poll_due(now) {
                self.write(1 - side, &packet)?;
            }
            while let Some(answer) = self.lanes[side].poll_answer() {
                self.write(side, &answer)?;
            }
        }
        Ok(())
    }

    fn write(&mut self, side: usize, packet: &[u8]) -> io::Result<()> {
        match rustix::io::write(&self.ends[side], packet) {
            Ok(_) => Ok(()),
            Err(Errno::BADFD) => Err(during("writing to a device")(Errno::BADFD)),
            // The device is down, or the packet is damaged beyond what the kernel looks at.
            Err(_) => {
                self.refused += 1;
                Ok(())
            }
        }
    }

    /// Until something comes or falls due.
    fn wait(&self) -> io::Result<()> {
        let due = self.lanes.iter().filter_map(Lane::next_due).min();
        let wait = due.map_or(LONGEST_WAIT, |due| due - self.now());
        let wait = Timespec::try_from(wait.min(LONGEST_WAIT)).map_err(io::Error::other)?;
        let mut fds =
            [0, 1].map(|side| PollFd::from_borrowed_fd(self.ends[side].as_fd(), PollFlags::IN));
        match poll(&mut fds, Some(&wait)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(during("waiting for packets")(errno)),
        }
        let gone = fds
            .iter()
            .any(|fd| fd.revents().intersects(PollFlags::ERR | PollFlags::HUP));
        if gone {
            return Err(io::Error::other("a device of the link has gone"));
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let specs = [&self.specs.ab, &self.specs.ba];
        for ((name, lane), spec) in ["A to B", "B to A"].iter().zip(&self.lanes).zip(specs) {
            let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
            write!(f, "{name} ({spec}): {} packets", get(&lane.packets))?;
            for (count, what) in [
                (&lane.lost, "lost"),
                (&lane.overflowed, "beyond the queue"),
                (&lane.codel_dropped, "dropped by CoDel"),
                (&lane.marked, "marked"),
                (&lane.oversized, "too large"),
                (&lane.duplicated, "duplicated"),
                (&lane.corrupted, "corrupted"),
                (&lane.reordered, "reordered"),
            ] {
                if get(count) > 0 {
                    write!(f, ", {} {what}", get(count))?;
                }
            }
            writeln!(f, ", {} delivered", get(&lane.delivered))?;
        }
        let Lateness { turns, late, worst } = self.lateness;
        let priority = if self.real_time {
            "real-time priority"
        } else {
            "ordinary priority"
        };
        write!(
            f,
            "worst lateness {worst:.1?}, {late} of {turns} turns over 1 ms ({priority})"
        )?;
        if self.refused > 0 {
            write!(f, "; {} packets not taken by a device", self.refused)?;
        }
        Ok(())
    }
}
