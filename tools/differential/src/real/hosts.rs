//! The two stacks as an application sees them.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use nix::sys::socket::{setsockopt, sockopt};
use rustix::net::sockopt::{
    set_socket_keepalive, set_tcp_keepcnt, set_tcp_keepidle, set_tcp_keepintvl, set_tcp_nodelay,
    set_tcp_quickack,
};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::sleep;
use ustack::{ConnectOptions, Stack};

use super::play::Socket;
use super::run::LOOK;
use super::setting::{KEEPALIVE, KernelOption, Setting};
use crate::PORT;

/// A host that connects and listens.
pub(super) trait Host {
    /// Its connections.
    type Socket: Socket;

    /// Opens a connection; of `data` as many bytes as it says are on their way then.
    async fn connect(
        &self,
        local: u16,
        remote: SocketAddr,
        data: Option<Bytes>,
    ) -> io::Result<(Self::Socket, u64)>;

    /// The next connection to [`PORT`], and who opened it.
    async fn accept(&self) -> io::Result<(Self::Socket, SocketAddr)>;

    /// Its address, with a port.
    fn at(&self, port: u16) -> SocketAddr;
}

/// ustack's end.
pub(super) struct Ustack {
    stack: Stack,
    listener: ustack::TcpListener,
}

impl Ustack {
    pub(super) fn listen(stack: &Stack, setting: &Setting) -> io::Result<Self> {
        let address = (setting.addresses()[1], PORT).into();
        Ok(Self {
            stack: stack.clone(),
            listener: ustack::TcpListener::bind(stack, address)?,
        })
    }
}

impl Host for Ustack {
    type Socket = ustack::TcpStream;

    async fn connect(
        &self,
        local: u16,
        remote: SocketAddr,
        data: Option<Bytes>,
    ) -> io::Result<(Self::Socket, u64)> {
        let mut options = ConnectOptions::new().local(self.at(local));
        let length = data.as_ref().map_or(0, Bytes::len) as u64;
        options.fast_open = data;
        let stream = Self::Socket::connect_with(&self.stack, remote, options).await?;
        Ok((stream, length))
    }

    async fn accept(&self) -> io::Result<(Self::Socket, SocketAddr)> {
        self.listener.accept().await
    }

    fn at(&self, port: u16) -> SocketAddr {
        (self.listener.local_addr().ip(), port).into()
    }
}

/// The kernel's end, in the network namespace of the calling thread.
pub(super) struct Kernel {
    setting: Setting,
    listener: TcpListener,
}

impl Kernel {
    pub(super) fn listen(setting: &Setting) -> io::Result<Self> {
        let socket = Self::socket(setting, PORT)?;
        Ok(Self {
            setting: setting.clone(),
            listener: socket.listen(1024)?,
        })
    }

    /// A socket with all options, which connections inherit from their listener.
    fn socket(setting: &Setting, port: u16) -> io::Result<TcpSocket> {
        let local = SocketAddr::from((setting.addresses()[0], port));
        let socket = if local.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        socket.set_reuseaddr(true)?;
        set_keepalive(&socket)?;
        for option in &setting.kernel {
            match *option {
                KernelOption::Nodelay => set_tcp_nodelay(&socket, true)?,
                KernelOption::Quickack => set_tcp_quickack(&socket, true)?,
                KernelOption::Rcvbuf(bytes) => socket.set_recv_buffer_size(bytes)?,
                KernelOption::Sndbuf(bytes) => socket.set_send_buffer_size(bytes)?,
                KernelOption::Maxseg(bytes) => {
                    setsockopt(&socket, sockopt::TcpMaxSeg, &u32::from(bytes))?;
                }
            }
        }
        socket.bind(local)?;
        Ok(socket)
    }
}

impl Host for Kernel {
    type Socket = TcpStream;

    async fn connect(
        &self,
        local: u16,
        remote: SocketAddr,
        data: Option<Bytes>,
    ) -> io::Result<(Self::Socket, u64)> {
        let socket = Self::socket(&self.setting, local)?;
        let Some(data) = data else {
            let stream = socket.connect(remote).await?;
            start_keepalive(&stream)?;
            return Ok((stream, 0));
        };
        setsockopt(&socket, sockopt::TcpFastOpenConnect, &true)?;
        let mut stream = socket.connect(remote).await?;
        // Goes with the SYN, once there is a cookie.
        let taken = stream.write(&data).await?;
        // `shutdown` would delete the connection while it is in SYN-SENT (RFC 9293 §3.10.4), and
        // the socket is writable all the time.
        while stream.peer_addr().is_err() {
            if let Some(error) = stream.take_error()? {
                return Err(error);
            }
            sleep(LOOK).await;
        }
        Ok((stream, taken as u64))
    }

    async fn accept(&self) -> io::Result<(Self::Socket, SocketAddr)> {
        self.listener.accept().await
    }

    fn at(&self, port: u16) -> SocketAddr {
        (self.setting.addresses()[0], port).into()
    }
}

fn set_keepalive(socket: &TcpSocket) -> io::Result<()> {
    set_socket_keepalive(socket, true)?;
    set_tcp_keepidle(socket, KEEPALIVE.idle)?;
    set_tcp_keepintvl(socket, KEEPALIVE.interval)?;
    Ok(set_tcp_keepcnt(socket, KEEPALIVE.count.into())?)
}

/// Starts the timer of keep-alives again: Linux starts none when an opening was simultaneous, and
/// who only reads would never learn of a RST that was lost.
fn start_keepalive(stream: &TcpStream) -> io::Result<()> {
    Ok(set_tcp_keepidle(stream, KEEPALIVE.idle)?)
}

#[cfg(test)]
mod tests {
    use super::super::leftovers::kernel_sockets;
    use super::*;

    /// `timer_active` of `/proc/net/tcp`: keep-alives.
    const KEEPALIVE_TIMER: &str = "02";

    #[tokio::test]
    async fn keepalives_are_sent_after_a_simultaneous_opening() -> io::Result<()> {
        let socket = TcpSocket::new_v4()?;
        set_keepalive(&socket)?;
        socket.bind(([127, 0, 0, 1], 0).into())?;
        let itself = socket.local_addr()?;
        // A socket that connects to itself receives a SYN while its own is on its way.
        let stream = socket.connect(itself).await?;
        start_keepalive(&stream)?;
        let port = format!(":{:04X}", itself.port());
        let sockets = kernel_sockets()?;
        let timers: Vec<_> = sockets
            .iter()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|fields| fields[1].ends_with(&port))
            .map(|fields| fields[5].split_once(':').map(|(active, _)| active))
            .collect();
        assert_eq!(timers, [Some(KEEPALIVE_TIMER)]);
        Ok(())
    }
}
