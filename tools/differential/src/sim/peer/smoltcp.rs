//! A host with smoltcp.

use std::cell::Cell;
use std::collections::{HashSet, VecDeque};
use std::fmt;

use bytes::Bytes;
use referee::packet::{self, Checksums};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::socket::AnySocket as _;
use smoltcp::socket::tcp::{self, CongestionControl, State};
use smoltcp::time::{Duration, Instant as SmolInstant};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, IpListenEndpoint};
use ustack_tcp::time::Instant;

use super::{Got, Peer, Phase, Place, Socket};
use crate::report::Ended;
use crate::sim::settings::{Congestion, Settings};

/// How long a peer may be silent where dead connections are to be found: longer than a few of its
/// longest timeouts.
const TIMEOUT: Duration = Duration::from_secs(400);
/// How often it is asked.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// Buffers, where the settings say nothing.
const BUFFER: u32 = 64 << 10;
/// How often a host is polled at one moment before it has to wait for the next one.
const POLLS: u32 = 1_000;

thread_local! {
    /// What smoltcp's timestamps are made from: its callback gets no argument.
    static MILLIS: Cell<u32> = const { Cell::new(0) };
}

pub(super) struct Host {
    interface: Interface,
    cable: Cable,
    set: SocketSet<'static>,
    sockets: Vec<Entry>,
    place: Place,
    settings: Settings,
    port: u16,
    next: Option<Instant>,
    /// When it was polled last, and how often in vain.
    polled: (Instant, u32),
    /// Connections that a RST came for: smoltcp does not say why one is gone.
    resets: HashSet<(u16, u16)>,
}

/// A socket, until smoltcp has forgotten its connection.
#[derive(Debug)]
struct Entry {
    handle: Option<SocketHandle>,
    /// A listener's that has no connection yet, or whose connection was not yet handed out.
    waits: bool,
    /// It was open, as far as the application knows.
    opened: bool,
    /// The application has let go of it.
    released: bool,
    /// Its port and the peer's, once they are known.
    ports: Option<(u16, u16)>,
    /// What a connection in TIME-WAIT held: smoltcp throws unread bytes and the end away when that
    /// is over (RFC 9293 §3.9.1.3 lets the user have them), so its applications take them before.
    kept: Option<Bytes>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("sockets", &self.sockets)
            .finish_non_exhaustive()
    }
}

impl Host {
    pub(super) fn new(place: Place, settings: &Settings, begin: Instant) -> Self {
        let mut cable = Cable {
            mtu: settings.mtu.into(),
            rx: VecDeque::new(),
            tx: Vec::new(),
        };
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = place.secret;
        let mut interface = Interface::new(config, &mut cable, smol(begin));
        let prefix = if place.local.is_ipv4() { 24 } else { 64 };
        interface.update_ip_addrs(|addresses| {
            let address = IpCidr::new(place.local.into(), prefix);
            addresses.push(address).expect("room for one address");
        });
        Self {
            interface,
            cable,
            set: SocketSet::new(Vec::new()),
            sockets: Vec::new(),
            place,
            settings: settings.clone(),
            port: 0,
            next: None,
            polled: (begin, 0),
            resets: HashSet::new(),
        }
    }

    fn new_socket(&self) -> tcp::Socket<'static> {
        let buffer = |size: Option<u32>| {
            let size = size.unwrap_or(BUFFER) as usize;
            tcp::SocketBuffer::new(vec![0; size])
        };
        let receive = buffer(self.settings.recv_buffer);
        let mut socket = tcp::Socket::new(receive, buffer(self.settings.send_buffer));
        socket.set_congestion_control(match self.settings.congestion {
            Congestion::Reno => CongestionControl::Reno,
            Congestion::Cubic => CongestionControl::Cubic,
            Congestion::Bbr => CongestionControl::None,
        });
        socket.set_nagle_enabled(self.settings.nagle);
        if !self.settings.delayed_ack {
            socket.set_ack_delay(None);
        }
        if self.settings.timestamps {
            socket.set_tsval_generator(Some(|| MILLIS.get()));
        }
        if self.place.keepalive {
            socket.set_keep_alive(Some(KEEPALIVE));
            socket.set_timeout(Some(TIMEOUT));
        }
        socket
    }

    fn add(&mut self, socket: tcp::Socket<'static>, waits: bool) -> Socket {
        let handle = Some(self.set.add(socket));
        self.sockets.push(Entry {
            handle,
            waits,
            opened: false,
            released: false,
            ports: None,
            kept: None,
        });
        self.sockets.len() - 1
    }

    fn socket(&mut self, socket: Socket) -> Option<&mut tcp::Socket<'static>> {
        Some(self.set.get_mut(self.sockets[socket].handle?))
    }

    /// How a connection ended that is gone without an end.
    fn ended(&self, socket: Socket) -> Ended {
        let was_reset = |ports| self.resets.contains(&ports);
        if self.sockets[socket].ports.is_some_and(was_reset) {
            Ended::Reset
        } else {
            Ended::TimedOut
        }
    }

    fn poll(&mut self, now: Instant) {
        MILLIS.set((now.as_millis() as u32).max(1));
        self.interface
            .poll(smol(now), &mut self.cable, &mut self.set);
        for entry in &mut self.sockets {
            keep(entry, &mut self.set);
            reap(entry, &mut self.set);
        }
    }

    /// When it wants to be polled, but not for ever at the same moment.
    fn wanted(&mut self, now: Instant) -> Option<Instant> {
        let at = self.interface.poll_at(smol(now), &self.set)?;
        let at = Instant::from_micros(u64::try_from(at.total_micros()).unwrap_or(0));
        if at > now {
            return Some(at);
        }
        self.polled = match self.polled {
            (then, count) if then == now => (now, count + 1),
            _ => (now, 1),
        };
        let step = if self.polled.1 > POLLS { 1_000 } else { 0 };
        Some(now + std::time::Duration::from_micros(step))
    }
}

fn tcp_sockets<'a>(set: &'a SocketSet<'static>) -> impl Iterator<Item = &'a tcp::Socket<'static>> {
    set.iter()
        .filter_map(|(_, socket)| tcp::Socket::downcast(socket))
}

/// Takes what a connection in TIME-WAIT holds.
fn keep(entry: &mut Entry, set: &mut SocketSet<'static>) {
    let Some(handle) = entry
        .handle
        .filter(|_| !entry.waits && entry.kept.is_none())
    else {
        return;
    };
    let socket = set.get_mut::<tcp::Socket<'_>>(handle);
    if socket.state() == State::TimeWait {
        let mut data = vec![0; socket.recv_queue()];
        let read = socket.recv_slice(&mut data).unwrap_or(0);
        data.truncate(read);
        entry.kept = Some(data.into());
    }
}

/// Lets go of what nobody uses any more. Bytes that came for nobody reset their connection.
fn reap(entry: &mut Entry, set: &mut SocketSet<'static>) {
    let Some(handle) = entry.handle.filter(|_| entry.released) else {
        return;
    };
    let socket = set.get_mut::<tcp::Socket<'_>>(handle);
    if socket.recv_queue() > 0 && socket.state() != State::Closed {
        socket.abort();
    }
    if socket.state() == State::Closed && socket.remote_endpoint().is_none() {
        set.remove(handle);
        entry.handle = None;
    }
}

impl Peer for Host {
    fn listen(&mut self, port: u16, most: usize) {
        self.port = port;
        for _ in 0..most {
            let mut socket = self.new_socket();
            let endpoint = IpListenEndpoint {
                addr: Some(self.place.local.into()),
                port,
            };
            socket.listen(endpoint).expect("a fresh socket");
            self.add(socket, true);
        }
    }

    fn close_listener(&mut self, now: Instant) {
        for entry in self.sockets.iter_mut().filter(|entry| entry.waits) {
            entry.waits = false;
            entry.released = true;
            if let Some(handle) = entry.handle {
                self.set.get_mut::<tcp::Socket<'_>>(handle).abort();
            }
            reap(entry, &mut self.set);
        }
        self.next = Some(now);
    }

    fn connect(&mut self, _now: Instant, local: u16, remote: u16) -> Result<Socket, Ended> {
        let busy = tcp_sockets(&self.set).any(|socket| {
            let endpoint = socket.local_endpoint();
            endpoint.is_some_and(|endpoint| endpoint.port == local)
        });
        if busy {
            return Err(Ended::InUse);
        }
        let mut socket = self.new_socket();
        let remote = (IpAddress::from(self.place.remote), remote);
        let connected = socket.connect(self.interface.context(), remote, local);
        connected.expect("a fresh socket and an address");
        let number = self.add(socket, false);
        let ports = (local, remote.1);
        self.sockets[number].ports = Some(ports);
        self.resets.remove(&ports);
        Ok(number)
    }

    fn accept(&mut self) -> Option<(Socket, u16)> {
        let set = &self.set;
        self.sockets
            .iter_mut()
            .enumerate()
            .find_map(|(number, entry)| {
                let socket = set.get::<tcp::Socket<'_>>(entry.handle.filter(|_| entry.waits)?);
                let is_open = !matches!(
                    socket.state(),
                    State::Listen | State::SynReceived | State::Closed
                );
                let remote = socket.remote_endpoint().filter(|_| is_open)?;
                entry.waits = false;
                entry.opened = true;
                entry.ports = Some((self.port, remote.port));
                Some((number, remote.port))
            })
    }

    fn phase(&mut self, socket: Socket) -> Phase {
        let opened = self.sockets[socket].opened;
        let state = self
            .socket(socket)
            .map_or(State::Closed, |socket| socket.state());
        match state {
            _ if opened => Phase::Open,
            State::SynSent | State::SynReceived | State::Listen => Phase::Opening,
            State::Closed if self.ended(socket) == Ended::Reset => Phase::Failed(Ended::Refused),
            State::Closed => Phase::Failed(Ended::TimedOut),
            _ => {
                self.sockets[socket].opened = true;
                Phase::Open
            }
        }
    }

    fn write(&mut self, now: Instant, socket: Socket, data: &Bytes) -> Result<usize, Ended> {
        self.next = Some(now);
        let ended = self.ended(socket);
        let socket = self.socket(socket).ok_or(ended)?;
        socket.send_slice(data).map_err(|_| ended)
    }

    fn read(&mut self, now: Instant, socket: Socket, most: usize) -> Got {
        self.next = Some(now);
        if let Some(kept) = &mut self.sockets[socket].kept {
            let data = kept.split_to(most.min(kept.len()));
            return if data.is_empty() {
                Got::End(Ended::Eof)
            } else {
                Got::Data(data)
            };
        }
        let ended = self.ended(socket);
        let Some(socket) = self.socket(socket) else {
            return Got::End(ended);
        };
        let mut data = vec![0; most.min(socket.recv_queue())];
        match socket.recv_slice(&mut data) {
            Ok(0) => Got::Nothing,
            Ok(size) => {
                data.truncate(size);
                Got::Data(data.into())
            }
            Err(tcp::RecvError::Finished) => Got::End(Ended::Eof),
            Err(tcp::RecvError::InvalidState) => Got::End(ended),
        }
    }

    fn shutdown(&mut self, now: Instant, socket: Socket) -> Result<(), Ended> {
        self.next = Some(now);
        let ended = self.ended(socket);
        let socket = self.socket(socket).ok_or(ended)?;
        if socket.state() == State::Closed {
            return Err(ended);
        }
        socket.close();
        Ok(())
    }

    fn abort(&mut self, now: Instant, socket: Socket) {
        self.next = Some(now);
        if let Some(socket) = self.socket(socket) {
            socket.abort();
        }
        self.sockets[socket].released = true;
    }

    fn release(&mut self, now: Instant, socket: Socket) {
        self.next = Some(now);
        if let Some(socket) = self.socket(socket) {
            socket.close();
        }
        self.sockets[socket].released = true;
        reap(&mut self.sockets[socket], &mut self.set);
    }

    fn on_packet(&mut self, now: Instant, data: Bytes) {
        if let Ok(Some(segment)) = packet::read(&data, Checksums::Whole)
            && segment.has(packet::RST)
        {
            let ports = (segment.destination.port(), segment.source.port());
            self.resets.insert(ports);
        }
        self.cable.rx.push_back(data);
        self.next = Some(now);
    }

    fn turn_in(&mut self, now: Instant) {
        self.poll(now);
    }

    fn turn_out(&mut self, now: Instant, out: &mut Vec<Vec<u8>>) {
        self.poll(now);
        out.append(&mut self.cable.tx);
        self.next = self.wanted(now);
    }

    fn next(&self) -> Option<Instant> {
        self.next
    }

    fn leftovers(&self) -> Vec<String> {
        tcp_sockets(&self.set)
            .map(|socket| format!("a socket in {}", socket.state()))
            .take(5)
            .collect()
    }
}

fn smol(now: Instant) -> SmolInstant {
    SmolInstant::from_micros(now.as_micros() as i64)
}

/// smoltcp's view of its end of the link.
struct Cable {
    mtu: usize,
    rx: VecDeque<Bytes>,
    tx: Vec<Vec<u8>>,
}

struct Received(Bytes);

struct Sent<'a>(&'a mut Vec<Vec<u8>>);

impl phy::Device for Cable {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sent<'a>;

    fn receive(&mut self, _now: SmolInstant) -> Option<(Received, Sent<'_>)> {
        let packet = self.rx.pop_front()?;
        Some((Received(packet), Sent(&mut self.tx)))
    }

    fn transmit(&mut self, _now: SmolInstant) -> Option<Sent<'_>> {
        Some(Sent(&mut self.tx))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }
}

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, body: F) -> R {
        body(&self.0)
    }
}

impl phy::TxToken for Sent<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, body: F) -> R {
        let mut packet = vec![0; length];
        let result = body(&mut packet);
        self.0.push(packet);
        result
    }
}
