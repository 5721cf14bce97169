//! ipstack as the stack under test: peer-ipstack IFNAME MTU
//!
//! TCP 7 echoes, 9 discards, 19 sends; UDP echoes on every port.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};

const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const IFF_TUN_NO_PI: i16 = 0x1001;

struct Tun(AsyncFd<OwnedFd>);

impl Tun {
    fn open(name: &str) -> Self {
        let mut request = [0_u8; 40];
        request[..name.len()].copy_from_slice(name.as_bytes());
        request[16..18].copy_from_slice(&IFF_TUN_NO_PI.to_ne_bytes());
        // SAFETY: the path ends with NUL, and the request is as long as `struct ifreq`.
        let fd = unsafe {
            let fd = libc::open(c"/dev/net/tun".as_ptr(), libc::O_RDWR | libc::O_NONBLOCK);
            assert!(fd >= 0, "/dev/net/tun: {}", io::Error::last_os_error());
            let set = libc::ioctl(fd, TUNSETIFF, request.as_mut_ptr());
            assert_eq!(set, 0, "{name}: {}", io::Error::last_os_error());
            OwnedFd::from_raw_fd(fd)
        };
        // SAFETY: the descriptor is owned, and stays what it is.
        let registered = unsafe { AsyncFd::register(fd) };
        Self(registered.expect("a descriptor that epoll takes"))
    }
}

impl AsyncRead for Tun {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            let room = buf.initialize_unfilled();
            let fd = guard.get_inner().as_raw_fd();
            // SAFETY: the buffer is as long as is said.
            let len = unsafe { libc::read(fd, room.as_mut_ptr().cast(), room.len()) };
            if len >= 0 {
                buf.advance(len as usize);
                return Poll::Ready(Ok(()));
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::WouldBlock {
                return Poll::Ready(Err(error));
            }
            guard.clear_ready();
        }
    }
}

impl AsyncWrite for Tun {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        // SAFETY: the data are as long as is said.
        let len = unsafe { libc::write(self.0.as_raw_fd(), data.as_ptr().cast(), data.len()) };
        Poll::Ready(if len < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(len as usize)
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, name, mtu] = &arguments[..] else {
        panic!("usage: peer-ipstack IFNAME MTU");
    };
    let mtu: u16 = mtu.parse().expect("an MTU");
    let mut config = ipstack::IpStackConfig::default();
    config.mtu(mtu).expect("an MTU that it takes");
    let mut tcp = ipstack::TcpConfig::default();
    tcp.options = Some(vec![ipstack::TcpOptions::MaximumSegmentSize(mtu - 40)]);
    tcp.max_unacked_bytes = 256 * 1024;
    config.with_tcp_config(tcp);
    let mut stack = ipstack::IpStack::new(config, Tun::open(name));
    loop {
        match stack.accept().await.expect("the device lives") {
            ipstack::IpStackStream::Tcp(stream) => {
                let port = stream.peer_addr().port();
                tokio::spawn(peers::serve(stream, port));
            }
            ipstack::IpStackStream::Udp(mut stream) => {
                tokio::spawn(async move {
                    let mut buffer = vec![0; 64 << 10];
                    while let Ok(len @ 1..) = stream.read(&mut buffer).await {
                        if stream.write_all(&buffer[..len]).await.is_err() {
                            break;
                        }
                    }
                });
            }
            _ => {}
        }
    }
}
