//! Datagrams at a rate, and the highest rate at which none is lost.

use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{UdpGroSegment, UdpGsoSegment};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv, sockopt};
use rustix::thread::set_current_timer_slack;

use super::search::Search;
use super::{PATIENCE, PacedArgs};
use crate::datagrams::{Order, QUESTION, SIZE};
use crate::{Figures, figures};

/// Datagrams that one call hands over at most: what fits an IP packet.
const MAX_BURST: u64 = 50;

/// How far bursts are apart, where the rate allows.
const BURST_INTERVAL: f64 = 50e-6;

/// What the socket may hold: our own pauses must not lose anything.
const RECEIVE_BUFFER: usize = 64 << 20;

/// How much of a pause is caught up with at once; after a longer one the rest follows later, as a
/// burst is not what was asked for.
const CATCH_UP: Duration = Duration::from_millis(1);

/// When nothing came for so long, nothing more will.
const SILENCE: Duration = Duration::from_millis(150);

/// Where the search begins, and where it ends.
const START: f64 = 20_000.0;
const BOUNDS: (f64, f64) = (50.0, 20_000_000.0);

/// A rate that failed is tried once more, as the machine may have paused.
const TRIES: u32 = 2;

/// When the search is over, a rate so much higher is tried, so often: what failed may have been an
/// accident, and then the search goes on above it.
const DOUBTFUL: f64 = 1.3;
const DOUBTS: u32 = 3;

/// Which way the datagrams go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Echo,
    Up,
    Down,
}

/// Whoever sends kept to a rate if it reached this share of it: the machine may have paused.
const ON_TIME: f64 = 0.6;

/// What came of one rate.
#[derive(Clone, Copy, Debug)]
struct Trial {
    sent: u64,
    arrived: u64,
    /// Whether whoever sent kept to the rate.
    on_time: bool,
    /// The rate that it reached, pauses included.
    reached: f64,
    /// Lost in this program's own receive buffer.
    overflowed: u64,
}

impl Trial {
    fn works(&self) -> bool {
        self.on_time && self.arrived == self.sent
    }
}

pub(super) fn run(args: &PacedArgs, way: Way) -> io::Result<Figures> {
    set_current_timer_slack(std::num::NonZeroU64::new(1))?;
    let client = Client::new(args)?;
    let seconds = args.time.seconds;
    if let Some(rate) = args.rate {
        let trial = client.trial(way, rate, seconds)?;
        return Ok(figures([
            ("sent", trial.sent as f64),
            ("arrived", trial.arrived as f64),
            ("reached_per_s", trial.reached),
            ("overflowed", trial.overflowed as f64),
        ]));
    }
    let (mut trials, mut late) = (0.0, 0.0);
    let mut reached = |rate, seconds| -> io::Result<Option<f64>> {
        for _ in 0..TRIES {
            let trial = client.trial(way, rate, seconds)?;
            trials += 1.0;
            late = f64::from(u8::from(!trial.on_time));
            if trial.works() {
                return Ok(Some(trial.reached));
            }
        }
        Ok(None)
    };
    let mut search = Search::new(START, BOUNDS);
    let mut doubts = DOUBTS;
    loop {
        let rate = match (search.next(), search.highest()) {
            (Some(rate), _) => rate,
            (None, Some(highest)) if doubts > 0 => {
                doubts -= 1;
                highest * DOUBTFUL
            }
            (None, _) => break,
        };
        let worked = reached(rate, seconds / 3.0)?.is_some();
        search.on_trial(rate, worked);
    }
    // What worked for a moment has to work for long.
    let mut rate = search.highest().unwrap_or(BOUNDS.0);
    let highest = loop {
        if let Some(highest) = reached(rate, seconds)? {
            break highest;
        }
        rate *= 0.93;
        if rate < BOUNDS.0 {
            return Err(io::Error::other("datagrams are lost at any rate"));
        }
    };
    Ok(figures([
        ("datagrams_per_s", highest),
        ("gbit_per_s", highest * SIZE as f64 * 8.0 / 1e9),
        ("trials", trials),
        ("ended_by_lateness", late),
    ]))
}

struct Client {
    socket: UdpSocket,
    payload: Vec<u8>,
    buffer: RefCell<Vec<u8>>,
    burst: u64,
}

impl Client {
    fn new(args: &PacedArgs) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect(args.address)?;
        // Without root the machine's limit holds; what it costs is told as `overflowed`.
        sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER)
            .or_else(|_| sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER))?;
        if !args.single {
            setsockopt(&socket, UdpGsoSegment, &(SIZE as i32))?;
            setsockopt(&socket, UdpGroSegment, &true)?;
        }
        Ok(Self {
            socket,
            payload: vec![0x55; SIZE * MAX_BURST as usize],
            buffer: RefCell::new(vec![0; 64 << 10]),
            burst: if args.single { 1 } else { MAX_BURST },
        })
    }

    fn trial(&self, way: Way, rate: f64, seconds: f64) -> io::Result<Trial> {
        self.drain_until_quiet()?;
        let order = Order {
            count: (rate * seconds).ceil() as u64,
            per_second: rate.ceil() as u64,
        };
        let before = own_overflow()?;
        let (arrived, took) = match way {
            Way::Echo => {
                let (arrived, took) = self.send(order)?;
                let arrived = arrived + self.receive(order.count - arrived)?.0;
                (arrived, took)
            }
            Way::Up => {
                let counted = self.ask()?;
                let (_, took) = self.send(order)?;
                let arrived = self.ask_until(counted + order.count)? - counted;
                (arrived, took)
            }
            Way::Down => {
                self.socket.send(&order.to_bytes())?;
                self.receive(order.count)?
            }
        };
        let reached = order.count as f64 / took.as_secs_f64().max(1e-9);
        Ok(Trial {
            sent: order.count,
            arrived,
            on_time: reached >= ON_TIME * order.per_second as f64,
            reached: reached.min(order.per_second as f64),
            overflowed: own_overflow()?.saturating_sub(before),
        })
    }

    /// Sends all at the ordered rate, and counts what comes meanwhile. Also how long it took.
    fn send(&self, order: Order) -> io::Result<(u64, Duration)> {
        let burst = (order.per_second as f64 * BURST_INTERVAL) as u64;
        let burst = burst.clamp(1, self.burst);
        let begin = Instant::now();
        let (mut sent, mut arrived, mut pauses) = (0, 0, Duration::ZERO);
        while sent < order.count {
            let elapsed = begin.elapsed().saturating_sub(pauses);
            let late = elapsed.saturating_sub(Duration::from_nanos(order.due_at(sent + 1)));
            let pause = late.saturating_sub(CATCH_UP);
            pauses += pause;
            let now = elapsed.saturating_sub(pause).as_nanos() as u64;
            let mut due = order.due(now).saturating_sub(sent);
            while due > 0 {
                let together = due.min(self.burst);
                self.socket
                    .send(&self.payload[..together as usize * SIZE])?;
                sent += together;
                due -= together;
            }
            arrived += self.receive_ready()?;
            let next = Duration::from_nanos(order.due_at((sent + burst).min(order.count)));
            let wait = (next + pauses).saturating_sub(begin.elapsed());
            if sent < order.count && !wait.is_zero() {
                self.wait(wait)?;
            }
        }
        Ok((arrived, begin.elapsed()))
    }

    /// Takes `expected` datagrams, or what comes until it stays silent. Also how long after the
    /// begin the last one came.
    fn receive(&self, expected: u64) -> io::Result<(u64, Duration)> {
        let begin = Instant::now();
        let (mut arrived, mut last) = (0, Duration::ZERO);
        while arrived < expected && begin.elapsed() < last + SILENCE {
            if self.wait(SILENCE)? {
                arrived += self.receive_ready()?;
                last = begin.elapsed();
            }
        }
        Ok((arrived, last))
    }

    /// Takes what is there. Several may come as one, so bytes are counted.
    fn receive_ready(&self) -> io::Result<u64> {
        let mut buffer = self.buffer.borrow_mut();
        let mut bytes = 0;
        loop {
            match recv(&self.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((len, _)) => bytes += len,
                Err(Errno::AGAIN) => return Ok(bytes.div_ceil(SIZE) as u64),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits until something is there; whether it is.
    fn wait(&self, at_most: Duration) -> io::Result<bool> {
        let timeout = Timespec {
            tv_sec: at_most.as_secs() as i64,
            tv_nsec: at_most.subsec_nanos().into(),
        };
        let mut descriptors = [PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN)];
        Ok(poll(&mut descriptors, Some(&timeout))? > 0)
    }

    fn drain_until_quiet(&self) -> io::Result<()> {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            self.receive_ready()?;
            if !self.wait(SILENCE / 3)? {
                break;
            }
        }
        Ok(())
    }

    /// What the stack has counted so far.
    fn ask(&self) -> io::Result<u64> {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            self.socket.send(QUESTION)?;
            if !self.wait(SILENCE)? {
                continue;
            }
            let mut answer = [0; 8];
            if self.socket.recv(&mut answer)? == answer.len() {
                return Ok(u64::from_be_bytes(answer));
            }
        }
        Err(io::Error::other(
            "port 9 does not tell how many datagrams it counted",
        ))
    }

    /// Asks until the count is reached, or no longer grows.
    fn ask_until(&self, expected: u64) -> io::Result<u64> {
        let mut last = self.ask()?;
        while last < expected {
            self.wait(SILENCE / 3)?;
            let count = self.ask()?;
            if count == last {
                break;
            }
            last = count;
        }
        Ok(last)
    }
}

/// Datagrams that this machine's sockets dropped as their buffers were full (`RcvbufErrors`).
fn own_overflow() -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/net/snmp")?;
    let no_count = || io::Error::other("/proc/net/snmp has no RcvbufErrors");
    rcvbuf_errors(&text).ok_or_else(no_count)
}

fn rcvbuf_errors(snmp: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, values) = (lines.next()?, lines.next()?);
    let mut pairs = names.split(' ').zip(values.split(' '));
    let (_, value) = pairs.find(|(name, _)| *name == "RcvbufErrors")?;
    value.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_count_is_found_by_name() {
        let text = "Ip: Forwarding\nIp: 1\nUdp: InDatagrams InErrors RcvbufErrors\nUdp: 10 2 7\n\
                    UdpLite: InDatagrams\nUdpLite: 0\n";
        assert_eq!(rcvbuf_errors(text), Some(7));
        assert_eq!(rcvbuf_errors("Udp: InDatagrams\nUdp: 1\n"), None);
    }
}
