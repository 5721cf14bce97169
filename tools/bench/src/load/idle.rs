//! Connections that are open and say nothing.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{PATIENCE, print};
use crate::{during, figures};

/// Descriptors of the process besides the connections.
const SPARE: u64 = 20;

pub(super) fn run(
    address: SocketAddr,
    count: u32,
    from: Option<Ipv4Addr>,
    hold: Duration,
) -> io::Result<()> {
    allow_files(u64::from(count) + SPARE)?;
    let begin = Instant::now();
    let mut held = Vec::with_capacity(count as usize);
    for number in 0..count {
        let stream = open(address, from).map_err(during(format_args!("connection {number}")))?;
        held.push(stream);
    }
    print(&figures([
        ("connections", held.len() as f64),
        ("opening_s", begin.elapsed().as_secs_f64()),
    ]))?;
    wait_for_end_of_input(hold);
    Ok(())
}

/// Raises the limit of open files as far as needed.
fn allow_files(files: u64) -> io::Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= files) {
        return Ok(());
    }
    if maximum.is_some_and(|maximum| maximum < files) {
        return Err(io::Error::other(format!(
            "{files} open files are needed and at most {} allowed; open fewer connections per process",
            maximum.unwrap_or(0)
        )));
    }
    let current = Some(files);
    Ok(setrlimit(Resource::Nofile, Rlimit { current, maximum })?)
}

fn open(address: SocketAddr, from: Option<Ipv4Addr>) -> io::Result<TcpStream> {
    let mut stream = match from {
        None => TcpStream::connect_timeout(&address, PATIENCE)?,
        Some(from) => connect_from(address, from)?,
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut answer = [0; 4];
    stream.write_all(b"ping")?;
    stream.read_exact(&mut answer)?;
    Ok(stream)
}

/// The port is chosen when the destination is known: bound before, each would be taken for all
/// destinations.
fn connect_from(address: SocketAddr, from: Ipv4Addr) -> io::Result<TcpStream> {
    let socket: OwnedFd = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    setsockopt(&socket, IpBindAddressNoPort, &true)?;
    bind(&socket, &SocketAddrV4::new(from, 0))?;
    connect(&socket, &address)?;
    Ok(socket.into())
}

fn wait_for_end_of_input(at_most: Duration) {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        let _ = sender.send(());
    });
    let _ = receiver.recv_timeout(at_most);
}
