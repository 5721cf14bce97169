//! Works a stack through the kernel's own sockets. Every run is bounded in time and number, and
//! prints its [`Figures`] as one line of JSON.

mod bulk;
mod connections;
mod idle;
mod paced;
mod round_trips;
mod search;

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use rustix::net::sockopt;

use crate::{Figures, during};

/// How long a connection may take to open, and a read or write to return.
const PATIENCE: Duration = Duration::from_secs(5);

/// What to do with the stack.
#[derive(Clone, Debug, Subcommand)]
pub enum Load {
    /// Bulk upload: bytes per second in all, and of the slowest and the fastest flow
    Up(BulkArgs),
    /// Bulk download, the same
    Down(BulkArgs),
    /// Round trips on one connection
    Rr(RoundTripArgs),
    /// Round trips of datagrams
    UdpRr(RoundTripArgs),
    /// Connect, 16 bytes there and back, close; again and again
    Conn {
        /// Where to, port 7
        address: SocketAddr,
        /// How long
        #[command(flatten)]
        time: Seconds,
        /// How connections end
        #[arg(long, value_enum, default_value = "rst")]
        close: Close,
    },
    /// Open connections, one round trip on each, and hold them until standard input ends
    Idle {
        /// Where to, port 7
        address: SocketAddr,
        /// Connections
        #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
        count: u32,
        /// The address to connect from; one has ports for some 64,000 connections
        #[arg(long)]
        from: Option<Ipv4Addr>,
        /// Seconds to hold them at most
        #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=3600))]
        hold: u64,
    },
    /// The highest rate of 1200-byte datagrams that all come back, port 7
    UdpEcho(PacedArgs),
    /// The highest rate of 1200-byte datagrams that all arrive, port 9
    UdpUp(PacedArgs),
    /// The highest rate at which the stack can send 1200-byte datagrams that all arrive, port 19
    UdpDown(PacedArgs),
}

/// How long.
#[derive(Clone, Copy, Debug, Args)]
pub struct Seconds {
    /// Seconds to measure
    #[arg(long, default_value_t = 3.0, value_parser = seconds)]
    pub seconds: f64,
}

/// For `up` and `down`.
#[derive(Clone, Debug, Args)]
pub struct BulkArgs {
    /// Where to: port 9 for `up`, 19 for `down`
    address: SocketAddr,
    #[command(flatten)]
    time: Seconds,
    /// Connections at once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    flows: u16,
}

/// For `rr` and `udp-rr`.
#[derive(Clone, Debug, Args)]
pub struct RoundTripArgs {
    /// Where to, port 7
    address: SocketAddr,
    #[command(flatten)]
    time: Seconds,
    /// Bytes each way
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1400))]
    size: u16,
}

/// For `udp-echo`, `udp-up` and `udp-down`.
#[derive(Clone, Debug, Args)]
pub struct PacedArgs {
    /// Where to
    address: SocketAddr,
    /// Seconds of the last run, which must be without loss; those before take a third of it
    #[command(flatten)]
    time: Seconds,
    /// Only this rate, in datagrams per second, instead of looking for the highest
    #[arg(long)]
    rate: Option<f64>,
    /// Hand datagrams to the kernel one by one (no UDP_SEGMENT)
    #[arg(long)]
    single: bool,
}

/// How a client ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Close {
    /// By a reset
    Rst,
    /// By FIN: `close`, without waiting for the other end's
    Fin,
    /// By FIN, and the other end's FIN is waited for
    FinWait,
}

/// Runs it and prints what came out.
pub fn main(load: &Load) -> io::Result<()> {
    let figures = match load {
        Load::Up(args) => bulk::run(args, bulk::Direction::Up)?,
        Load::Down(args) => bulk::run(args, bulk::Direction::Down)?,
        Load::Rr(args) => round_trips::tcp(args)?,
        Load::UdpRr(args) => round_trips::udp(args)?,
        Load::Conn {
            address,
            time,
            close,
        } => connections::run(*address, time.duration(), *close)?,
        Load::Idle {
            address,
            count,
            from,
            hold,
        } => return idle::run(*address, *count, *from, Duration::from_secs(*hold)),
        Load::UdpEcho(args) => paced::run(args, paced::Way::Echo)?,
        Load::UdpUp(args) => paced::run(args, paced::Way::Up)?,
        Load::UdpDown(args) => paced::run(args, paced::Way::Down)?,
    };
    print(&figures)
}

impl Seconds {
    fn duration(self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

/// Prints figures as a line of JSON.
fn print(figures: &Figures) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(figures)?)?;
    out.flush()
}

/// Reads a length of time that is neither nothing nor for ever.
pub fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.05..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected seconds between 0.05 and 600".to_owned()),
    }
}

/// A connection that gives up in time. Its congestion control is CUBIC whatever the machine
/// prefers, so that figures of different machines mean the same.
fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)
        .map_err(during(format_args!("connecting to {address}")))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    sockopt::set_tcp_congestion(&stream, "cubic")
        .map_err(during("choosing cubic (is the tcp_cubic module loaded?)"))?;
    Ok(stream)
}

/// The value below which a share of the sorted values lies.
fn percentile(sorted: &[u64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted
        .get((last as f64 * share) as usize)
        .map_or(f64::NAN, |&value| value as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_few_and_many() {
        let hundred: Vec<u64> = (0..=100).collect();
        assert_eq!(percentile(&hundred, 0.5), 50.0);
        assert_eq!(percentile(&hundred, 0.99), 99.0);
        assert_eq!(percentile(&[7], 0.99), 7.0);
        assert!(percentile(&[], 0.5).is_nan());
    }

    #[test]
    fn times_are_bounded() {
        assert_eq!(seconds("2.5"), Ok(2.5));
        for text in ["0", "-1", "601", "inf", "nan", "x"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
