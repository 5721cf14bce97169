//! Ten megabytes each way at once with smoltcp at the other end, under virtual time.

use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use smoltcp::iface::{Config as IfaceConfig, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::socket::tcp;
use smoltcp::time::Instant as SmolInstant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};
use ustack::device::memory::{self, MemoryDevice};
use ustack::device::{Caps, Device, Frame, Impair, ImpairSpec, Offload};
use ustack::{Clock, Config, Stack, TcpListener, TcpStream};

const LENGTH: usize = 10_000_000;
const MTU: u16 = 1500;
const CAPS: Caps = Caps {
    mtu: MTU,
    tx_checksum: false,
    tso: false,
    uso: false,
};
const OURS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const THEIRS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const PORT: u16 = 4000;
const CLEAN: &str = "delay=1ms";
const LOSSY: &str = "delay=1ms,loss=2%,seed=77";

#[tokio::test(start_paused = true)]
async fn smoltcp_is_the_client_on_a_clean_link() {
    smoltcp_connects(CLEAN, Duration::from_secs(10)).await;
}

#[tokio::test(start_paused = true)]
async fn smoltcp_is_the_server_on_a_clean_link() {
    smoltcp_listens(CLEAN, Duration::from_secs(10)).await;
}

#[tokio::test(start_paused = true)]
async fn smoltcp_is_the_client_with_two_percent_lost() {
    smoltcp_connects(LOSSY, Duration::from_secs(600)).await;
}

#[tokio::test(start_paused = true)]
async fn smoltcp_is_the_server_with_two_percent_lost() {
    smoltcp_listens(LOSSY, Duration::from_secs(600)).await;
}

async fn smoltcp_connects(link: &str, limit: Duration) {
    let (stack, peer) = hosts(link);
    let listener = TcpListener::bind(&stack, (OURS, PORT).into()).expect("a free port");
    let accepted = async { listener.accept().await.expect("a connection").0 };
    let connect = |interface: &mut Interface, socket: &mut tcp::Socket<'_>| {
        let remote = (IpAddress::Ipv4(OURS), PORT);
        socket
            .connect(interface.context(), remote, 50_000)
            .expect("a closed socket");
    };
    let ours = async { exchange(accepted.await).await };
    both(ours, peer.run(connect), limit).await;
}

async fn smoltcp_listens(link: &str, limit: Duration) {
    let (stack, peer) = hosts(link);
    let remote = SocketAddr::from((THEIRS, PORT));
    let ours = async {
        exchange(
            TcpStream::connect(&stack, remote)
                .await
                .expect("a listener"),
        )
        .await
    };
    let listen = |_: &mut Interface, socket: &mut tcp::Socket<'_>| {
        socket.listen(PORT).expect("a closed socket");
    };
    both(ours, peer.run(listen), limit).await;
}

/// Runs both ends to their end, in bounded virtual time, and compares what they received.
async fn both(
    ours: impl Future<Output = Vec<u8>>,
    theirs: impl Future<Output = Vec<u8>>,
    limit: Duration,
) {
    let started = Instant::now();
    let ended = timeout(limit, async { tokio::join!(ours, theirs) }).await;
    let (ours, theirs) = ended.unwrap_or_else(|_| panic!("not done after {limit:?}"));
    println!("{:?} of virtual time", started.elapsed());
    assert!(
        ours == pattern(2),
        "what smoltcp sent: {} bytes",
        ours.len()
    );
    assert!(
        theirs == pattern(1),
        "what ustack sent: {} bytes",
        theirs.len()
    );
}

/// ustack's half: sends pattern 1 and closes its direction; returns all it received.
async fn exchange(stream: TcpStream) -> Vec<u8> {
    let (mut read, mut write) = stream.into_split();
    let send = async {
        write.write_all(&pattern(1)).await.expect("a peer");
        write.shutdown().await.expect("a peer");
    };
    let mut received = Vec::new();
    let receive = read.read_to_end(&mut received);
    let ((), end) = tokio::join!(send, receive);
    end.expect("an orderly end");
    received
}

fn pattern(seed: u64) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    (0..LENGTH).map(|_| rng.u8(..)).collect()
}

/// A ustack with a running driver, and smoltcp behind the other end of its device.
fn hosts(link: &str) -> (Stack, Smoltcp) {
    let (here, there) = memory::pair(CAPS);
    let spec: ImpairSpec = link.parse().expect("a spec");
    let device = Impair::new(here, Some(spec.clone()), Some(spec));
    let config = Config::new()
        .address(OURS, 24)
        .clock(Clock::Tokio)
        .seed([7; 32]);
    let (stack, driver) = Stack::new(config, device).expect("settings that work");
    tokio::spawn(driver);
    (stack, Smoltcp::new(there))
}

/// A smoltcp host with one TCP socket.
struct Smoltcp {
    started: Instant,
    interface: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    device: Cable,
}

impl Smoltcp {
    fn new(device: MemoryDevice) -> Self {
        let mut device = Cable(device);
        let mut config = IfaceConfig::new(HardwareAddress::Ip);
        config.random_seed = 7;
        let mut interface = Interface::new(config, &mut device, SmolInstant::ZERO);
        interface.update_ip_addrs(|addresses| {
            let address = IpCidr::new(IpAddress::Ipv4(THEIRS), 24);
            addresses.push(address).expect("room for one");
        });
        let buffer = || tcp::SocketBuffer::new(vec![0; 256 << 10]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_congestion_control(tcp::CongestionControl::Reno);
        let mut sockets = SocketSet::new(Vec::new());
        let socket = sockets.add(socket);
        Self {
            started: Instant::now(),
            interface,
            sockets,
            socket,
            device,
        }
    }

    /// Sends pattern 2 and closes its direction; returns all it received before the peer's end.
    async fn run(mut self, open: impl FnOnce(&mut Interface, &mut tcp::Socket<'_>)) -> Vec<u8> {
        let mut unsent = &pattern(2)[..];
        let mut received = Vec::with_capacity(LENGTH);
        let socket = self.sockets.get_mut(self.socket);
        open(&mut self.interface, socket);
        loop {
            let now = SmolInstant::from_micros(self.started.elapsed().as_micros() as i64);
            self.interface
                .poll(now, &mut self.device, &mut self.sockets);
            let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.socket);
            if socket.can_send() && !unsent.is_empty() {
                let taken = socket.send_slice(unsent).expect("it can send");
                unsent = &unsent[taken..];
                if unsent.is_empty() {
                    socket.close();
                }
            }
            while socket.can_recv() {
                let take = |bytes: &mut [u8]| {
                    received.extend_from_slice(bytes);
                    (bytes.len(), ())
                };
                socket.recv(take).expect("it can receive");
            }
            if matches!(socket.state(), tcp::State::TimeWait | tcp::State::Closed) {
                return received;
            }
            self.interface
                .poll(now, &mut self.device, &mut self.sockets);
            let wait = self.interface.poll_delay(now, &self.sockets);
            let arrived = poll_fn(|cx| self.device.0.poll_recv_ready(cx));
            match wait.map(Duration::from) {
                Some(Duration::ZERO) => tokio::task::yield_now().await,
                Some(wait) => drop(timeout(wait, arrived).await),
                None => drop(arrived.await),
            }
        }
    }
}

/// smoltcp's view of a device in memory.
struct Cable(MemoryDevice);

struct Received(Frame);

struct Sent<'a>(&'a MemoryDevice);

impl phy::Device for Cable {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sent<'a>;

    fn receive(&mut self, _now: SmolInstant) -> Option<(Received, Sent<'_>)> {
        let frame = self.0.pop()?;
        Some((Received(frame), Sent(&self.0)))
    }

    fn transmit(&mut self, _now: SmolInstant) -> Option<Sent<'_>> {
        Some(Sent(&self.0))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU.into();
        capabilities
    }
}

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, body: F) -> R {
        body(&self.0.data)
    }
}

impl phy::TxToken for Sent<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, body: F) -> R {
        let mut packet = vec![0; length];
        let result = body(&mut packet);
        self.0.push(Frame {
            data: packet.into(),
            offload: Offload::default(),
        });
        result
    }
}
