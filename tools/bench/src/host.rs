//! ustack the library as a host: for what the program does not tell. Its datagram services count
//! and send at a rate, and its echo service takes any number of connections.

use std::io;
use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use ustack::device::tun::{DeviceKind, TunOptions, open};
use ustack::service::{self, Limits};
use ustack::{Config, Stack, TcpListener, UdpSocket};

use crate::datagrams::{Order, QUESTION, SIZE};
use crate::port::{CHARGEN, DISCARD, ECHO};
use crate::{KERNEL, MTU, STACK};

/// As many as anybody opens here, and as long as it takes.
const LIMITS: Limits = Limits {
    connections: 1 << 21,
    idle: Duration::from_secs(3600),
};

/// Sleeps between bursts, as the probe does.
const REST: Duration = Duration::from_micros(50);

static PAYLOAD: [u8; SIZE * BURST as usize] = [0x55; SIZE * BURST as usize];

/// Serves on a device of this name until it is killed.
pub fn main(name: &str, offload: bool) -> io::Result<()> {
    let opened = open(&TunOptions {
        name: name.to_owned(),
        kind: if offload {
            DeviceKind::Offload
        } else {
            DeviceKind::Plain
        },
        mtu: Some(MTU.into()),
        host_addresses: vec![(KERNEL.into(), 24)],
        stack_addresses: vec![STACK.into()],
        ..TunOptions::default()
    })
    .map_err(|error| io::Error::other(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (stack, driver) = Stack::new(Config::new().address(STACK, 24), opened.tun)?;
        let (_stopper, stop) = service::stop();
        // All listen before the driver takes the first packet.
        let any = |port| (Ipv4Addr::UNSPECIFIED, port).into();
        let echo = TcpListener::bind(&stack, any(ECHO))?;
        tokio::spawn(service::serve(
            "echo",
            echo,
            LIMITS,
            stop.clone(),
            |io, _, stop| service::echo(io, stop),
        ));
        let bind = |port| UdpSocket::bind(&stack, any(port));
        tokio::spawn(service::udp_echo(bind(ECHO)?, stop));
        tokio::spawn(count(bind(DISCARD)?));
        tokio::spawn(send(bind(CHARGEN)?));
        driver.await
    })
}

/// What one call takes in.
const BATCH: usize = 64;

/// Datagrams that leave together at most: what fits an IP packet.
const BURST: u64 = 50;

/// Counts datagrams and tells how many there were.
async fn count(socket: UdpSocket) -> io::Result<()> {
    let mut counted = 0_u64;
    let mut datagrams = Vec::new();
    loop {
        socket.recv_many(&mut datagrams, BATCH).await?;
        for datagram in datagrams.drain(..) {
            if &datagram.data[..] == QUESTION {
                let answer = counted.to_be_bytes();
                socket.send_to(&answer, datagram.remote).await?;
            } else {
                counted += datagram.wire_datagrams();
            }
        }
    }
}

/// Sends what is ordered, at the rate that is ordered.
async fn send(socket: UdpSocket) -> io::Result<()> {
    let payload = Bytes::from_static(&PAYLOAD);
    let mut rest = Rest::new()?;
    loop {
        let datagram = socket.recv_datagram().await?;
        let Some(order) = Order::from_bytes(&datagram.data) else {
            continue;
        };
        let mut message = datagram.into_reply();
        message.segment_size = NonZeroU16::new(SIZE as u16);
        let (begin, mut sent) = (Instant::now(), 0);
        while sent < order.count {
            let due = order.due(begin.elapsed().as_nanos() as u64);
            while sent < due {
                let now = (due - sent).min(BURST);
                message.data = payload.slice(..SIZE * now as usize);
                socket.send_message(&message).await?;
                sent += now;
            }
            rest.wait(REST).await?;
        }
    }
}

/// Sleeps of microseconds. Tokio's timers round up to a millisecond, in which the receiver would
/// idle, to be handed megabytes at once then.
struct Rest(pipe::Receiver);

impl Rest {
    fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self(pipe::Receiver::from_owned_fd_unchecked(timer)?))
    }

    async fn wait(&mut self, time: Duration) -> io::Result<()> {
        let spec = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec {
                tv_sec: time.as_secs() as i64,
                tv_nsec: time.subsec_nanos().into(),
            },
        };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &spec)?;
        self.0.read_u64().await.map(drop) // how often it ran out
    }
}
