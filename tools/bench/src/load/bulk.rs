//! As many bytes as possible, one way.

use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;
use tokio::runtime;
use tokio::task::{self, LocalSet};

use super::{BulkArgs, connect};
use crate::{Figures, figures};

/// One read or write.
const BUFFER: usize = 256 << 10;

/// Slow start and cold caches are not measured.
const WARM_UP: Duration = Duration::from_millis(700);

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// We do.
    Up,
    /// The stack does.
    Down,
}

#[derive(Debug, Default)]
struct Flow {
    bytes: AtomicU64,
    ended: AtomicBool,
}

/// One thread serves all flows and has one buffer: as many threads as flows measure how fast the
/// kernel changes between them, and as many buffers push each other out of its CPU's cache.
pub(super) fn run(args: &BulkArgs, direction: Direction) -> io::Result<Figures> {
    let flows: Vec<Arc<Flow>> = (0..args.flows).map(|_| Arc::default()).collect();
    // Ends with the process, which ends as soon as the figures are printed.
    let (worked, address) = (flows.clone(), args.address);
    thread::spawn(move || {
        if let Err(error) = serve(&worked, address, direction) {
            eprintln!("load: {error}");
        }
        for flow in worked {
            flow.ended.store(true, Ordering::Relaxed);
        }
    });
    thread::sleep(WARM_UP);
    let begin = Instant::now();
    let before = counts(&flows);
    thread::sleep(args.time.duration());
    let seconds = begin.elapsed().as_secs_f64();
    let after = counts(&flows);
    let ended = flows
        .iter()
        .filter(|flow| flow.ended.load(Ordering::Relaxed));
    let ended = ended.count();
    let bytes: Vec<u64> = after.iter().zip(&before).map(|(a, b)| a - b).collect();
    let mut figures = rates(&bytes, seconds);
    figures.insert("flows_ended".to_owned(), ended as f64);
    if ended == flows.len() {
        return Err(io::Error::other(
            "all connections ended before the time was over",
        ));
    }
    Ok(figures)
}

fn counts(flows: &[Arc<Flow>]) -> Vec<u64> {
    flows
        .iter()
        .map(|flow| flow.bytes.load(Ordering::Relaxed))
        .collect()
}

/// What is to be said of the bytes that each flow moved.
fn rates(bytes: &[u64], seconds: f64) -> Figures {
    let gbit = |bytes: u64| bytes as f64 * 8.0 / seconds / 1e9;
    let total = bytes.iter().sum();
    let mean = gbit(total) / bytes.len() as f64;
    let slowest = gbit(bytes.iter().copied().min().unwrap_or(0));
    figures([
        ("gbit_per_s", gbit(total)),
        ("flows", bytes.len() as f64),
        ("flow_min_gbit_per_s", slowest),
        ("flow_mean_gbit_per_s", mean),
        (
            "flow_max_gbit_per_s",
            gbit(bytes.iter().copied().max().unwrap_or(0)),
        ),
        (
            "slowest_to_mean",
            if mean > 0.0 { slowest / mean } else { 0.0 },
        ),
    ])
}

/// Returns when all flows have ended.
fn serve(flows: &[Arc<Flow>], address: SocketAddr, direction: Direction) -> io::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
    let buffer = Rc::new(RefCell::new(vec![0; BUFFER]));
    let all = LocalSet::new();
    for flow in flows {
        let stream = connect(address)?;
        // What is unsent at the end would stay with the kernel for minutes: 4 MiB a flow, until after
        // some runs it is short of memory and gives nobody a buffer any more.
        set_socket_linger(&stream, Some(Duration::ZERO))?;
        let (flow, buffer) = (Arc::clone(flow), Rc::clone(&buffer));
        all.spawn_local(async move {
            if let Err(error) = work(stream, direction, &flow, &buffer).await {
                eprintln!("load: {error}");
            }
            flow.ended.store(true, Ordering::Relaxed);
        });
    }
    runtime.block_on(all);
    Ok(())
}

async fn work(
    stream: TcpStream,
    direction: Direction,
    flow: &Flow,
    buffer: &RefCell<Vec<u8>>,
) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let stream = tokio::net::TcpStream::from_std(stream)?;
    loop {
        let moved = match direction {
            Direction::Up => {
                stream.writable().await?;
                stream.try_write(&buffer.borrow())
            }
            Direction::Down => {
                stream.readable().await?;
                stream.try_read(&mut buffer.borrow_mut())
            }
        };
        match moved {
            Ok(0) => return Err(io::Error::other("the stack closed the connection")),
            Ok(moved) => {
                flow.bytes.fetch_add(moved as u64, Ordering::Relaxed);
                task::yield_now().await; // all have their turn
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_name_the_slowest_flow() {
        let figures = rates(&[250_000_000, 500_000_000, 750_000_000], 2.0);
        assert_eq!(figures["gbit_per_s"], 6.0);
        assert_eq!(figures["flow_min_gbit_per_s"], 1.0);
        assert_eq!(figures["flow_mean_gbit_per_s"], 2.0);
        assert_eq!(figures["flow_max_gbit_per_s"], 3.0);
        assert_eq!(figures["slowest_to_mean"], 0.5);
        assert_eq!(rates(&[0], 1.0)["slowest_to_mean"], 0.0);
    }
}
