//! What is done with a stack under test, and what comes out of it.

use std::fmt;
use std::io::{self, BufRead as _, BufReader};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use link::namespace::ip;

use crate::arena::{Arena, CLIENT_CPU, DEVICE, pinned};
use crate::port::{CHARGEN, DISCARD, ECHO, HTTP};
use crate::subject::Programs;
use crate::{Figures, STACK, during, figures};

/// The file that HTTP serves, and its length in bytes.
pub const FILE: (&str, usize) = ("1k.bin", 1024);

/// Seconds of 64 flows at least, unless it is a short try: fairness takes its time.
const FLOWS_SECONDS: f64 = 10.0;

/// Idle connections that one client process holds: it may not have more files.
const IDLE_PER_PROCESS: u32 = 16_000;

/// What an idle stack is given before it is looked at, and for how long it is looked at.
const SETTLE: Duration = Duration::from_secs(3);
const WATCH: Duration = Duration::from_secs(10);

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Bytes to the stack.
    Up {
        /// Connections at once.
        flows: u16,
    },
    /// Bytes from the stack.
    Down {
        /// Connections at once.
        flows: u16,
    },
    /// 64 bytes there and back.
    RoundTrips,
    /// Connections opened, used once and closed by a reset.
    ConnectRst,
    /// The same, closed by FIN.
    ConnectFin,
    /// `wrk` with 64 connections asking for a file of 1 KiB.
    Http,
    /// The highest rate of datagrams there and back.
    UdpEcho {
        /// Handed to the kernel one by one, or several together.
        send: Send,
    },
    /// The highest rate of datagrams to the stack.
    UdpUp {
        /// Handed to the kernel one by one, or several together.
        send: Send,
    },
    /// The highest rate of datagrams from the stack.
    UdpDown,
    /// Connections that say nothing.
    Idle {
        /// How many.
        connections: u32,
    },
}

/// How a client hands datagrams to its kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Send {
    /// One by one, as most programs do.
    Single,
    /// Several in one call (`UDP_SEGMENT`), which stay together as far as the device.
    Joined,
}

/// What came out: the figures, and the text where the program that was run wrote one.
#[derive(Clone, Debug, Default)]
pub struct Result {
    /// The figures.
    pub figures: Figures,
    /// The client's own words, where it speaks no JSON.
    pub raw: Option<String>,
}

impl fmt::Display for Send {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Single => " --single",
            Self::Joined => "",
        })
    }
}

impl Work {
    /// The client's command line, its program left out where it is this one.
    pub fn client(self, seconds: f64) -> Vec<String> {
        // Datagrams are sent at many rates, at each for a moment.
        let each = (seconds * 1000.0 / 3.0).round().max(50.0) / 1000.0;
        let long = if seconds < 1.0 {
            seconds
        } else {
            seconds.max(FLOWS_SECONDS)
        };
        let text = match self {
            Self::Up { flows: 1 } => format!("load up {STACK}:{DISCARD} --seconds {seconds}"),
            Self::Down { flows: 1 } => format!("load down {STACK}:{CHARGEN} --seconds {seconds}"),
            Self::Up { flows } => {
                format!("load up {STACK}:{DISCARD} --seconds {long} --flows {flows}")
            }
            Self::Down { flows } => {
                format!("load down {STACK}:{CHARGEN} --seconds {long} --flows {flows}")
            }
            Self::RoundTrips => format!("load rr {STACK}:{ECHO} --seconds {seconds}"),
            Self::ConnectRst => {
                format!("load conn {STACK}:{ECHO} --close rst --seconds {seconds}")
            }
            Self::ConnectFin => {
                format!("load conn {STACK}:{ECHO} --close fin --seconds {seconds}")
            }
            Self::Http => {
                let seconds = seconds.ceil();
                format!(
                    "wrk -t1 -c64 -d{seconds}s --latency http://{STACK}:{HTTP}/{}",
                    FILE.0
                )
            }
            Self::UdpEcho { send } => {
                format!("load udp-echo {STACK}:{ECHO}{send} --seconds {each}")
            }
            Self::UdpUp { send } => {
                format!("load udp-up {STACK}:{DISCARD}{send} --seconds {each}")
            }
            Self::UdpDown => format!("load udp-down {STACK}:{CHARGEN} --seconds {each}"),
            Self::Idle { connections } => {
                format!("load idle {STACK}:{ECHO} --count {connections}")
            }
        };
        text.split(' ').map(str::to_owned).collect()
    }

    /// Whether the client is this program.
    fn is_own(self) -> bool {
        self != Self::Http
    }

    /// Does it, next to a stack that answers.
    pub fn run(self, arena: &Arena, programs: &Programs, seconds: f64) -> io::Result<Result> {
        let dropped = arena.tx_dropped();
        let mut result = match self {
            Self::Idle { connections } => Result {
                figures: hold_idle(arena, programs, connections)?,
                raw: None,
            },
            _ => self.run_client(programs, seconds)?,
        };
        let dropped = arena.tx_dropped() - dropped;
        let more = figures([
            ("tx_dropped", dropped as f64),
            ("peak_mb", arena.memory("VmHWM")? as f64 / 1e6),
        ]);
        result.figures.extend(more);
        Ok(result)
    }

    fn run_client(self, programs: &Programs, seconds: f64) -> io::Result<Result> {
        // The client ends by itself; should it not, it must not keep the machine for ever.
        let limit = format!("{}", seconds * 20.0 + 60.0);
        let mut command: Vec<String> = ["timeout", &limit].map(str::to_owned).to_vec();
        if self.is_own() {
            command.push(programs.bench.display().to_string());
        }
        command.extend(self.client(seconds));
        let Output {
            status,
            stdout,
            stderr,
        } = pinned(CLIENT_CPU, &command).output()?;
        let (text, errors) = (
            String::from_utf8_lossy(&stdout),
            String::from_utf8_lossy(&stderr),
        );
        let fail = |why: &str| {
            let words = format!("{}{}", errors.trim(), text.trim());
            io::Error::other(format!("the client failed ({status}){why}: {words}"))
        };
        if !status.success() {
            return Err(fail(""));
        }
        if self == Self::Http {
            let figures = wrk_figures(&text).ok_or_else(|| fail(", its text is unknown"))?;
            let raw = Some(text.trim().to_owned());
            return Ok(Result { figures, raw });
        }
        let figures = serde_json::from_str(text.trim()).map_err(|_| fail(""))?;
        Ok(Result { figures, raw: None })
    }
}

/// Reads what `wrk --latency` prints.
fn wrk_figures(text: &str) -> Option<Figures> {
    let after = |label: &str| {
        let mut lines = text.lines().map(str::trim);
        lines
            .find_map(|line| line.strip_prefix(label))
            .map(str::trim)
    };
    let rate = after("Requests/sec:")?.parse().ok()?;
    let failed: u64 = after("Non-2xx or 3xx responses:").map_or(Some(0), |n| n.parse().ok())?;
    let errors = after("Socket errors:").map_or(0, |line| {
        let numbers = line.split(|c: char| !c.is_ascii_digit());
        numbers
            .filter_map(|number| number.parse::<u64>().ok())
            .sum()
    });
    let mut all = figures([
        ("requests_per_s", rate),
        ("failed", (failed + errors) as f64),
    ]);
    for (label, name) in [("50%", "p50_us"), ("99%", "p99_us")] {
        if let Some(micros) = after(label).and_then(micros) {
            all.insert(name.to_owned(), micros);
        }
    }
    Some(all)
}

/// Reads `713.00us`, `1.20ms`, `2.00s`.
fn micros(text: &str) -> Option<f64> {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6)];
    units.iter().find_map(|(unit, factor)| {
        let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
        Some(number * factor)
    })
}

/// Opens connections from several processes and addresses, and watches the stack while nobody says
/// anything.
fn hold_idle(arena: &Arena, programs: &Programs, connections: u32) -> io::Result<Figures> {
    thread::sleep(SETTLE);
    let before = arena.memory("VmRSS")?;
    let begin = Instant::now();
    let mut clients = Vec::new();
    let mut open = 0;
    for number in 0..connections.div_ceil(IDLE_PER_PROCESS) {
        let count = (connections - open).min(IDLE_PER_PROCESS);
        clients.push(IdleClient::start(programs, number as u8, count)?);
        open += count;
    }
    let opening = begin.elapsed();
    thread::sleep(SETTLE);
    let after = arena.memory("VmRSS")?;
    let (begin, used) = (Instant::now(), arena.cpu_time()?);
    thread::sleep(WATCH);
    let used = arena.cpu_time()?.saturating_sub(used).as_secs_f64();
    let share = used / begin.elapsed().as_secs_f64();
    drop(clients);
    Ok(figures([
        ("connections", f64::from(connections)),
        ("opening_s", opening.as_secs_f64()),
        ("rss_before_mb", before as f64 / 1e6),
        ("rss_after_mb", after as f64 / 1e6),
        (
            "bytes_per_connection",
            after.saturating_sub(before) as f64 / f64::from(connections),
        ),
        ("idle_cpu_percent", share * 100.0),
    ]))
}

/// A process that holds connections until it is dropped.
struct IdleClient(Child);

impl IdleClient {
    fn start(programs: &Programs, number: u8, count: u32) -> io::Result<Self> {
        let from = Ipv4Addr::new(10, 77, 0, 100 + number);
        ip(&format!("addr add {from}/24 dev {DEVICE}"))?;
        let mut command = vec![programs.bench.display().to_string()];
        command.extend(Work::Idle { connections: count }.client(0.0));
        command.extend(["--from".to_owned(), from.to_string()]);
        let mut command: Command = pinned(CLIENT_CPU, command);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut client = Self(child.spawn()?);
        let mut line = String::new();
        let output = client.0.stdout.as_mut().expect("it was asked for");
        BufReader::new(output).read_line(&mut line)?;
        let opened: Figures = serde_json::from_str(&line)
            .map_err(during("a client could not open its connections"))?;
        if opened.get("connections") != Some(&f64::from(count)) {
            return Err(io::Error::other(format!(
                "{opened:?} instead of {count} connections"
            )));
        }
        Ok(client)
    }
}

impl Drop for IdleClient {
    fn drop(&mut self) {
        // The end of its input is the end of it; should it not hear, it dies with this thread.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRK: &str = "Running 1s test @ http://10.77.0.2:80/1k.bin
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   713.10us  103.48us   1.77ms   71.20%
    Req/Sec    89.61k     2.37k   93.13k    60.00%
  Latency Distribution
     50%  713.00us
     75%  780.00us
     90%    0.85ms
     99%    1.05ms
  89200 requests in 1.00s, 106.34MB read
  Socket errors: connect 0, read 1, write 2, timeout 0
  Non-2xx or 3xx responses: 4
Requests/sec:  88971.30
Transfer/sec:    106.06MB
";

    #[test]
    fn what_wrk_prints_is_read() {
        let figures = wrk_figures(WRK).expect("wrk's text");
        assert_eq!(figures["requests_per_s"], 88_971.3);
        assert_eq!(figures["failed"], 7.0);
        assert_eq!(figures["p50_us"], 713.0);
        assert_eq!(figures["p99_us"], 1050.0);
        assert!(wrk_figures("unable to connect").is_none());
    }

    #[test]
    fn sixty_four_flows_take_ten_seconds_unless_it_is_a_short_try() {
        let seconds = |work: Work, seconds| {
            let line = work.client(seconds);
            let at = line
                .iter()
                .position(|word| word == "--seconds")
                .expect("seconds");
            line[at + 1].parse::<f64>().expect("a number")
        };
        assert_eq!(seconds(Work::Up { flows: 1 }, 3.0), 3.0);
        assert_eq!(seconds(Work::Up { flows: 64 }, 1.0), 10.0);
        assert_eq!(seconds(Work::Down { flows: 64 }, 20.0), 20.0);
        assert_eq!(seconds(Work::Down { flows: 64 }, 0.3), 0.3);
    }
}
