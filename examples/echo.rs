//! A host of one's own in thirty lines: TCP echo on 7, discard on 9, chargen on 19.
//!
//! `cargo build --release --example echo && sudo target/release/examples/echo`, then
//! `nc 10.77.0.2 7`.

use std::net::SocketAddr;

use bytes::Bytes;
use ustack::device::tun::{self, TunOptions};
use ustack::{Config, Stack, TcpListener, TcpStream};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = TunOptions {
        host_addresses: vec![([10, 77, 0, 1].into(), 24)],
        ..TunOptions::default()
    };
    let device = tun::open(&options)?.tun;
    let config = Config::new().address([10, 77, 0, 2], 24);
    let (stack, driver) = Stack::new(config, device)?;
    for port in [7, 9, 19] {
        let listener = TcpListener::bind(&stack, SocketAddr::from(([10, 77, 0, 2], port)))?;
        tokio::spawn(async move {
            while let Ok((stream, _peer)) = listener.accept().await {
                tokio::spawn(serve(port, stream));
            }
        });
    }
    Ok(driver.await?)
}

async fn serve(port: u16, mut stream: TcpStream) -> std::io::Result<()> {
    let letters = Bytes::from(vec![b'u'; 256 << 10]);
    loop {
        let mut chunk = match port {
            19 => letters.clone(),
            _ => match stream.read_chunk(256 << 10).await? {
                Some(chunk) => chunk,
                None => return Ok(()),
            },
        };
        while port != 9 && !chunk.is_empty() {
            stream.write_chunk(&mut chunk).await?;
        }
    }
}
