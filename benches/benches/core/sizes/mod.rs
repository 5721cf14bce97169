//! Bytes per connection: idle ones through the whole stack, with the `TcpStream` held, and those in
//! TIME-WAIT.

mod idle;
mod time_wait;

use std::io;

use core_bench::allocator;

const HELP: &str = "\
Bytes per idle connection and per TIME-WAIT record.

    cargo bench -p core-bench -- sizes [CONNECTIONS]...

    CONNECTIONS   how many there are at the same time [10000 100000 1000000]
";

/// What an idle established connection may cost (IPv4), and a record in TIME-WAIT.
const BAR_IDLE: f64 = 640.0;
const BAR_TIME_WAIT_V4: f64 = 96.0;
const BAR_TIME_WAIT_V6: f64 = 128.0;

/// What stays allocated, per connection, and the most that ever was in all.
struct Size {
    bytes: f64,
    peak: usize,
}

pub(crate) fn main(arguments: &[String]) -> io::Result<bool> {
    let numbers: Result<Vec<u32>, _> = arguments.iter().map(|number| number.parse()).collect();
    let mut numbers = numbers.map_err(|_| io::Error::other(HELP))?;
    if numbers.is_empty() {
        numbers = vec![10_000, 100_000, 1_000_000];
    }
    allocator::start();
    println!(
        "{:24} {:>11} {:>10} {:>8} {:>12}",
        "", "connections", "bytes each", "bar", "peak, MB"
    );
    for &connections in &numbers {
        let size = idle::measure(connections);
        print("idle, with its TcpStream", connections, &size, BAR_IDLE);
    }
    for (name, bar, is_v6) in [
        ("TIME-WAIT, IPv4", BAR_TIME_WAIT_V4, false),
        ("TIME-WAIT, IPv6", BAR_TIME_WAIT_V6, true),
    ] {
        for &connections in &numbers {
            let size = time_wait::measure(connections, is_v6);
            print(name, connections, &size, bar);
        }
    }
    Ok(true)
}

fn print(name: &str, connections: u32, size: &Size, bar: f64) {
    let verdict = if size.bytes <= bar { "" } else { "  above" };
    println!(
        "{name:24} {connections:>11} {:>10.1} {bar:>8.0} {:>12.1}{verdict}",
        size.bytes,
        size.peak as f64 / 1e6,
    );
}

/// What `make` leaves allocated, per connection.
fn measure<T>(connections: u32, make: impl FnOnce() -> T) -> Size {
    let before = allocator::counts().live;
    allocator::restart_peak();
    let made = make();
    let after = allocator::counts();
    drop(made);
    Size {
        bytes: (after.live - before) as f64 / f64::from(connections),
        peak: after.peak - before,
    }
}
