//! ustack as the sender.

use std::io;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use tokio::time::interval;
use ustack::device::tun::{self, TunOptions};
use ustack::{Config, Stack, TcpListener, TcpStream};
use ustack_tcp::{CaState, CongestionAlgorithm};

use super::cell::Algorithm;
use super::sender::{GATEWAY, Order, PORT, STACK, SenderStats, TICK};

pub(super) fn send(order: &Order<'_>) -> io::Result<SenderStats> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(order))
}

async fn serve(order: &Order<'_>) -> io::Result<SenderStats> {
    let options = TunOptions {
        name: "ustack0".to_owned(),
        host_addresses: vec![(IpAddr::V4(GATEWAY), 24)],
        ..TunOptions::default()
    };
    let opened = tun::open(&options).map_err(|error| io::Error::other(error.to_string()))?;
    let mut config = Config::new()
        .address(STACK, 24)
        .congestion(match order.algorithm {
            Algorithm::Cubic => CongestionAlgorithm::Cubic,
            Algorithm::Reno => CongestionAlgorithm::Reno,
        });
    config.tcp.pacing = order.pacing.unwrap_or(config.tcp.pacing);
    let (stack, driver) = Stack::new(config, opened.tun)?;
    let driver = tokio::spawn(driver);
    let local = SocketAddr::from((STACK, PORT));
    let listener = TcpListener::bind(&stack, local)?;
    let _ = order.ready.send(local);
    let mut tick = interval(TICK);
    let mut stream = loop {
        tokio::select! {
            accepted = listener.accept() => break accepted?.0,
            // The receiver may have given up.
            _ = tick.tick() => if order.is_over() {
                return Ok(SenderStats::default());
            }
        }
    };
    let mut seen = Seen::default();
    let bytes = Bytes::from(vec![b'u'; 64 << 10]);
    let mut chunk = bytes.clone();
    while !order.is_over() {
        tokio::select! {
            _ = tick.tick() => seen.look(&stream)?,
            written = stream.write_chunk(&mut chunk) => {
                if written.is_err() {
                    break;
                }
                if chunk.is_empty() {
                    chunk = bytes.clone();
                }
            }
        }
    }
    seen.look(&stream)?;
    driver.abort();
    Ok(seen.stats)
}

/// What [`TcpStream::info`] has told so far. It does not count timeouts: each is seen as it begins.
#[derive(Default)]
struct Seen {
    stats: SenderStats,
    backoff: u8,
    in_loss: bool,
}

impl Seen {
    fn look(&mut self, stream: &TcpStream) -> io::Result<()> {
        let info = stream.info()?;
        let in_loss = info.ca_state == CaState::Loss;
        let again = info.backoff.saturating_sub(self.backoff);
        let new = u64::from(again).max(u64::from(in_loss && !self.in_loss));
        (self.in_loss, self.backoff) = (in_loss, info.backoff);
        self.stats = SenderStats {
            retransmits: Some(info.total_retrans),
            timeouts: Some(self.stats.timeouts.unwrap_or(0) + new),
            dsacks: Some(info.dsack_dups),
        };
        Ok(())
    }
}
