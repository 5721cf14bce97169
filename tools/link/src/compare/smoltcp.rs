//! smoltcp as the sender.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;

use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::{Medium, TunTapInterface, wait};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{HardwareAddress, IpCidr};

use super::cell::Algorithm;
use super::sender::{GATEWAY, Order, PORT, STACK, SenderStats, TICK};
use crate::during;
use crate::namespace::ip;

const DEVICE: &str = "smoltcp0";
/// As much as the kernel gives a sender by default (`tcp_wmem`).
const SEND_BUFFER: usize = 4 << 20;
const RECV_BUFFER: usize = 64 << 10;

pub(super) fn send(order: &Order<'_>) -> io::Result<SenderStats> {
    let mut device =
        TunTapInterface::new(DEVICE, Medium::Ip).map_err(during("making smoltcp's device"))?;
    ip(&format!("address add {GATEWAY}/24 dev {DEVICE}"))?;
    ip(&format!("link set {DEVICE} up txqueuelen 10000"))?;
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = 7;
    let mut interface = Interface::new(config, &mut device, Instant::now());
    interface.update_ip_addrs(|addresses| {
        // An empty list has room.
        let _ = addresses.push(IpCidr::new(STACK.into(), 24));
    });
    // The way back to the receiver.
    let routed = interface.routes_mut().add_default_ipv4_route(GATEWAY);
    routed.map_err(|_| io::Error::other("smoltcp takes no route"))?;
    let buffer = |size| SocketBuffer::new(vec![0; size]);
    let mut socket = Socket::new(buffer(RECV_BUFFER), buffer(SEND_BUFFER));
    socket.set_congestion_control(match order.algorithm {
        Algorithm::Cubic => CongestionControl::Cubic,
        Algorithm::Reno => CongestionControl::Reno,
    });
    socket.set_nagle_enabled(false);
    let listening = socket.listen(PORT);
    listening.map_err(|_| io::Error::other("smoltcp does not listen"))?;
    let mut sockets = SocketSet::new(Vec::new());
    let handle = sockets.add(socket);
    let _ = order.ready.send(SocketAddr::from((STACK, PORT)));
    let chunk = vec![b'u'; 64 << 10];
    while !order.is_over() {
        let now = Instant::now();
        interface.poll(now, &mut device, &mut sockets);
        let socket = sockets.get_mut::<Socket<'_>>(handle);
        while socket.can_send() {
            let sent = socket.send_slice(&chunk);
            sent.map_err(|_| io::Error::other("smoltcp does not send"))?;
        }
        let now = Instant::now();
        interface.poll(now, &mut device, &mut sockets);
        let longest = Duration::from_micros(TICK.as_micros() as u64);
        let delay = interface.poll_delay(now, &sockets).unwrap_or(longest);
        if delay > Duration::ZERO {
            wait(device.as_raw_fd(), Some(delay.min(longest)))?;
        }
    }
    Ok(SenderStats::default())
}
