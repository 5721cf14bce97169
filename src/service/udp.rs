//! The datagram halves of echo and discard.

use std::collections::VecDeque;
use std::io;

use tracing::debug;
use ustack_udp::Datagram;

use super::Stop;
use crate::UdpSocket;

/// Services that answer whatever they get. Two of them, made to talk to each other by a forged
/// source address, would never stop (RFC 862 and RFC 864 say nothing against it).
const CHATTY_PORTS: [u16; 5] = [7, 13, 17, 19, 37];

/// What one call takes in: as much as a turn of the device brings.
const BATCH: usize = 64;

/// Sends every datagram back to where it came from, from the address it was sent to. What came
/// together leaves together.
pub async fn udp_echo(socket: UdpSocket, stop: Stop) -> io::Result<()> {
    let mut stop = stop;
    let (mut datagrams, mut replies) = (Vec::new(), VecDeque::new());
    loop {
        tokio::select! {
            () = stop.requested() => return Ok(()),
            received = socket.recv_many(&mut datagrams, BATCH) => received?,
        };
        let is_quiet = |datagram: &Datagram| !CHATTY_PORTS.contains(&datagram.remote.port());
        let datagrams = datagrams.drain(..).filter(is_quiet);
        replies.extend(datagrams.map(Datagram::into_reply));
        while !replies.is_empty() {
            if let Err(error) = socket.send_many(&mut replies).await {
                debug!(%error, "no echo");
            }
        }
    }
}

/// Takes datagrams in and forgets them, so that nobody hears of a closed port.
pub async fn udp_discard(socket: UdpSocket, stop: Stop) -> io::Result<()> {
    let mut stop = stop;
    let mut datagrams = Vec::new();
    loop {
        tokio::select! {
            () = stop.requested() => return Ok(()),
            received = socket.recv_many(&mut datagrams, BATCH) => received?,
        };
        datagrams.clear();
    }
}
