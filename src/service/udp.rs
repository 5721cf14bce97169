//! The datagram halves of echo and discard.

use std::io;

use tracing::debug;

use super::Stop;
use crate::UdpSocket;

/// Services that answer whatever they get. Two of them, made to talk to each other by a forged
/// source address, would never stop (RFC 862 and RFC 864 say nothing against it).
const CHATTY_PORTS: [u16; 5] = [7, 13, 17, 19, 37];

/// Sends every datagram back to where it came from, from the address it was sent to.
pub async fn udp_echo(socket: UdpSocket, stop: Stop) -> io::Result<()> {
    let mut stop = stop;
    loop {
        let datagram = tokio::select! {
            () = stop.requested() => return Ok(()),
            datagram = socket.recv_datagram() => datagram?,
        };
        if CHATTY_PORTS.contains(&datagram.remote.port()) {
            continue;
        }
        let (local, remote) = (datagram.local, datagram.remote);
        if let Err(error) = socket
            .send_datagram(Some(local), Some(remote), datagram.data)
            .await
        {
            debug!(%remote, %error, "no echo");
        }
    }
}

/// Takes datagrams in and forgets them, so that nobody hears of a closed port.
pub async fn udp_discard(socket: UdpSocket, stop: Stop) -> io::Result<()> {
    let mut stop = stop;
    loop {
        tokio::select! {
            () = stop.requested() => return Ok(()),
            datagram = socket.recv_datagram() => drop(datagram?),
        }
    }
}
