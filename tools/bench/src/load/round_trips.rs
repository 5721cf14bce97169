//! One message there and back at a time.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use super::{RoundTripArgs, connect, percentile};
use crate::{Figures, figures};

/// How long a datagram may take before it counts as lost.
const LOST_AFTER: Duration = Duration::from_millis(500);

pub(super) fn tcp(args: &RoundTripArgs) -> io::Result<Figures> {
    let mut stream = connect(args.address)?;
    stream.set_nodelay(true)?;
    let (request, mut answer) = (vec![1; args.size.into()], vec![0; args.size.into()]);
    measure(args.time.duration(), || {
        stream.write_all(&request)?;
        stream.read_exact(&mut answer)?;
        Ok(true)
    })
}

pub(super) fn udp(args: &RoundTripArgs) -> io::Result<Figures> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(args.address)?;
    socket.set_read_timeout(Some(LOST_AFTER))?;
    let (request, mut answer) = (vec![1; args.size.into()], vec![0; args.size.into()]);
    measure(args.time.duration(), || {
        socket.send(&request)?;
        match socket.recv(&mut answer) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    })
}

/// Repeats `exchange`, which says whether an answer came, and tells how long each one took.
fn measure(time: Duration, mut exchange: impl FnMut() -> io::Result<bool>) -> io::Result<Figures> {
    let mut nanos = Vec::with_capacity(1 << 20);
    let mut lost = 0_u64;
    let begin = Instant::now();
    while begin.elapsed() < time {
        let sent = Instant::now();
        if exchange()? {
            nanos.push(sent.elapsed().as_nanos() as u64);
        } else {
            lost += 1;
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    nanos.sort_unstable();
    let micros = |share| percentile(&nanos, share) / 1000.0;
    if nanos.is_empty() {
        return Err(io::Error::other("no answer came"));
    }
    Ok(figures([
        ("round_trips_per_s", nanos.len() as f64 / seconds),
        ("p50_us", micros(0.5)),
        ("p99_us", micros(0.99)),
        ("p999_us", micros(0.999)),
        ("lost", lost as f64),
    ]))
}
