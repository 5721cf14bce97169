//! Bytes between a connection of the stack and one of the host.

use std::fmt;
use std::io;

use bytes::{Bytes as Chunk, BytesMut};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream as HostStream;
use tokio::net::tcp::{ReadHalf as HostReader, WriteHalf as HostWriter};

use crate::TcpStream;
use crate::socket::{ReadHalf, WriteHalf};

/// Most bytes moved at once, and all that a direction holds besides the sockets' own buffers.
const CHUNK: usize = 64 << 10;

/// Shorter reads are copied, so that they do not hold a whole [`CHUNK`] in the send buffer.
const COPY_BELOW: usize = CHUNK / 4;

/// Bytes moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bytes {
    /// From the client.
    pub(super) up: u64,
    /// To the client.
    pub(super) down: u64,
}

/// Whose connection failed, and how.
#[derive(Debug)]
pub(super) enum Failure {
    /// The stack's connection to the client.
    Client(io::Error),
    /// The host's connection to the destination.
    Upstream(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(error) => write!(f, "client: {error}"),
            Self::Upstream(error) => write!(f, "upstream: {error}"),
        }
    }
}

/// Moves bytes both ways until both directions have ended. The end of one is passed on at once, so
/// a half-closed connection stays half-closed. A failure ends both.
pub(super) async fn relay(
    client: &mut TcpStream,
    upstream: &mut HostStream,
    bytes: &mut Bytes,
) -> Result<(), Failure> {
    let Bytes { up, down } = bytes;
    let (from_client, to_client) = client.split();
    let (from_upstream, to_upstream) = upstream.split();
    tokio::try_join!(
        upward(from_client, to_upstream, up),
        downward(from_upstream, to_client, down),
    )?;
    Ok(())
}

async fn upward(
    mut client: ReadHalf<'_>,
    mut upstream: HostWriter<'_>,
    bytes: &mut u64,
) -> Result<(), Failure> {
    while let Some(chunk) = client.read_chunk(CHUNK).await.map_err(Failure::Client)? {
        upstream
            .write_all(&chunk)
            .await
            .map_err(Failure::Upstream)?;
        *bytes += chunk.len() as u64;
    }
    upstream.shutdown().await.map_err(Failure::Upstream)
}

async fn downward(
    upstream: HostReader<'_>,
    mut client: WriteHalf<'_>,
    bytes: &mut u64,
) -> Result<(), Failure> {
    while let Some(mut chunk) = read_chunk(&upstream).await.map_err(Failure::Upstream)? {
        *bytes += chunk.len() as u64;
        client
            .write_chunk(&mut chunk)
            .await
            .map_err(Failure::Client)?;
    }
    client.shutdown().await.map_err(Failure::Client)
}

/// What has arrived, up to [`CHUNK`] bytes; `None` at the end. Takes no memory while it waits.
async fn read_chunk(upstream: &HostReader<'_>) -> io::Result<Option<Chunk>> {
    loop {
        upstream.readable().await?;
        let mut buffer = BytesMut::with_capacity(CHUNK);
        match upstream.try_read_buf(&mut buffer) {
            Ok(0) => return Ok(None),
            Ok(len) if len < COPY_BELOW => return Ok(Some(Chunk::copy_from_slice(&buffer))),
            Ok(_) => return Ok(Some(buffer.freeze())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}
