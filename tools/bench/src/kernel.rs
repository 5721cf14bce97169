//! The reference: the same services on kernel sockets. Echo, discard and chargen are as quick as
//! blocking threads make them; HTTP is the very service that ustack serves, on tokio's sockets.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use rustix::net::sockopt::set_tcp_congestion;
use ustack::service::http::{self, HttpConfig};
use ustack::service::{self, Limits};

use crate::during;
use crate::port::{CHARGEN, DISCARD, ECHO, HTTP};

/// Connections that are served at once, per service: a thread each, started beforehand.
const THREADS: usize = 80;

/// One read or write.
const BUFFER: usize = 256 << 10;

/// Serves on all addresses until it is killed. Who gets an answer from the echo service finds all
/// others there: it is the last to listen.
pub fn main(http_root: Option<&Path>) -> io::Result<()> {
    let http = listen(HTTP)?;
    serve(DISCARD, discard)?;
    serve(CHARGEN, chargen)?;
    serve(ECHO, echo)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve_http(http, http_root))
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
        .map_err(during(format_args!("listening on port {port}")))?;
    // Connections inherit it.
    set_tcp_congestion(&listener, "cubic")?;
    Ok(listener)
}

/// Threads accept by themselves: none is started for a connection.
fn serve(port: u16, talk: fn(&mut TcpStream) -> io::Result<()>) -> io::Result<()> {
    let listener = Arc::new(listen(port)?);
    for _ in 0..THREADS {
        let listener = Arc::clone(&listener);
        thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that leaves is no failure.
                let _ = stream.and_then(|mut stream| talk(&mut stream));
            }
        });
    }
    Ok(())
}

fn echo(stream: &mut TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            len => stream.write_all(&buffer[..len])?,
        }
    }
}

fn discard(stream: &mut TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    while stream.read(&mut buffer)? > 0 {}
    Ok(())
}

fn chargen(stream: &mut TcpStream) -> io::Result<()> {
    let buffer = vec![0; BUFFER];
    loop {
        stream.write_all(&buffer)?;
    }
}

/// As the program does it, on other sockets.
async fn serve_http(listener: TcpListener, root: Option<&Path>) -> io::Result<()> {
    let (_stopper, stop) = service::stop();
    let router = http::router(HttpConfig {
        connections: Arc::new(Vec::new),
        root: root.map(Path::to_owned),
    });
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    service::serve(
        "http",
        listener,
        Limits::default(),
        stop,
        move |io, _, stop| http::connection(io, router.clone(), stop),
    )
    .await;
    Ok(())
}
