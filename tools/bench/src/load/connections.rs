//! Connect, one round trip, close: a connection's whole life, again and again.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;

use super::Close;
use crate::{Figures, figures};

const PATIENCE: Duration = Duration::from_secs(2);

/// After so many failures there is nothing to measure.
const MAX_ERRORS: u64 = 100;

pub(super) fn run(address: SocketAddr, time: Duration, close: Close) -> io::Result<Figures> {
    let (mut done, mut errors) = (0_u64, 0_u64);
    let begin = Instant::now();
    while begin.elapsed() < time {
        match one(address, close) {
            Ok(()) => done += 1,
            Err(error) if errors + 1 < MAX_ERRORS => {
                if errors == 0 {
                    eprintln!("load: connection {done}: {error}");
                }
                errors += 1;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(figures([
        (
            "connections_per_s",
            done as f64 / begin.elapsed().as_secs_f64(),
        ),
        ("errors", errors as f64),
    ]))
}

fn one(address: SocketAddr, close: Close) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut answer = [0; 16];
    stream.write_all(b"0123456789abcdef")?;
    stream.read_exact(&mut answer)?;
    match close {
        Close::Rst => set_socket_linger(&stream, Some(Duration::ZERO))?,
        Close::Fin => {}
        Close::FinWait => {
            stream.shutdown(Shutdown::Write)?;
            if stream.read(&mut answer)? != 0 {
                return Err(io::Error::other("more bytes came than were sent"));
            }
        }
    }
    Ok(())
}
