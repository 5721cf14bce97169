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
use tokio::net::{TcpListener, TcpSocket};
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
        set_socket_keepalive(&socket, true)?;
        set_tcp_keepidle(&socket, KEEPALIVE.idle)?;
        set_tcp_keepintvl(&socket, KEEPALIVE.interval)?;
        set_tcp_keepcnt(&socket, KEEPALIVE.count.into())?;
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
    type Socket = tokio::net::TcpStream;

    async fn connect(
        &self,
        local: u16,
        remote: SocketAddr,
        data: Option<Bytes>,
    ) -> io::Result<(Self::Socket, u64)> {
        let socket = Self::socket(&self.setting, local)?;
        let Some(data) = data else {
            return Ok((socket.connect(remote).await?, 0));
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
