//! The receiving end: this machine's kernel, read by a thread that does nothing else.

use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::{during, priority};

const BUFFER: usize = 1 << 20;
/// A connection that is not there by then is none: its SYN went missing four times in a row.
const PATIENCE: Duration = Duration::from_secs(20);

/// Connects and reads for this long; returns the bytes that came, counted from the connection on.
pub fn receive(from: SocketAddr, duration: Duration, real_time: bool) -> io::Result<u64> {
    if real_time {
        // Where it is refused, the link's report says so.
        let _ = priority::become_real_time(priority::END);
    }
    let mut stream = TcpStream::connect_timeout(&from, PATIENCE)
        .map_err(during(format_args!("connecting to {from}")))?;
    let end = Instant::now() + duration;
    let mut buffer = vec![0; BUFFER];
    let mut received = 0;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(received);
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer) {
            Ok(0) => return Err(io::Error::other("the sender ended too early")),
            Ok(length) => received += length as u64,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
}
