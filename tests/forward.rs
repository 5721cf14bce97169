//! Forwarding: a client's stack, a forwarder's stack, a memory device between them, and addresses
//! of this test's own network namespace as the rest of the world.

mod common;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener as HostListener, TcpStream as HostStream, UdpSocket as HostSocket};
use tokio::time::timeout;
use ustack::device::{Caps, memory};
use ustack::service::forward::{ForwardConfig, ForwardCounters, Forwarder, Rules};
use ustack::service::{Stopper, stop};
use ustack::{Config, Stack, TcpStream, UdpSocket};

use common::{Test, ip};

/// An address of the outside.
const OUTSIDE: &str = "192.0.2.10";
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const STACK: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const SOON: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    common::main(vec![
        test(
            "bytes_pass_both_ways_and_a_half_close_stays_one",
            bytes_pass_both_ways_and_a_half_close_stays_one,
        ),
        test(
            "a_refused_upstream_refuses_the_client",
            a_refused_upstream_refuses_the_client,
        ),
        test(
            "an_unreachable_upstream_is_told_by_icmp",
            an_unreachable_upstream_is_told_by_icmp,
        ),
        test(
            "what_the_rules_forbid_is_refused_without_asking",
            what_the_rules_forbid_is_refused_without_asking,
        ),
        test(
            "a_reset_upstream_resets_the_client",
            a_reset_upstream_resets_the_client,
        ),
        test(
            "a_reset_client_resets_the_upstream",
            a_reset_client_resets_the_upstream,
        ),
        test(
            "a_client_port_has_one_mapping_whoever_it_talks_to",
            a_client_port_has_one_mapping_whoever_it_talks_to,
        ),
        test(
            "a_closed_port_is_told_to_the_client",
            a_closed_port_is_told_to_the_client,
        ),
        test(
            "the_stacks_address_stands_for_the_hosts_resolver",
            the_stacks_address_stands_for_the_hosts_resolver,
        ),
    ])
}

/// A test in a namespace that has [`OUTSIDE`], bounded in time.
fn test<F: Future<Output = ()>>(name: &str, body: impl FnOnce() -> F + Send + 'static) -> Test {
    Test::new(name, move || {
        ip(&format!("address add {OUTSIDE}/32 dev lo"));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async { timeout(SOON, body()).await.expect("done in time") });
    })
    .needs(&["ip"])
}

struct World {
    client: Stack,
    counters: Arc<ForwardCounters>,
    _stopper: Stopper,
}

/// Must run inside a runtime.
fn world(change: impl FnOnce(&mut ForwardConfig)) -> World {
    let (here, there) = memory::pair(Caps {
        mtu: 1500,
        tx_checksum: false,
        tso: false,
        uso: false,
    });
    let (client, driver) = Stack::new(Config::new().address(CLIENT, 24), here).unwrap();
    tokio::spawn(driver);
    let config = Config::new().address(STACK, 24).transparent(true);
    let (stack, driver) = Stack::new(config, there).unwrap();
    tokio::spawn(driver);
    let own = "10.77.0.0/24".parse().unwrap();
    let mut config = ForwardConfig::new(Rules::new(vec![], vec![own]));
    change(&mut config);
    let forwarder = Forwarder::bind(&stack, config).unwrap();
    let counters = forwarder.counters();
    let (stopper, stop) = stop();
    tokio::spawn(forwarder.run(stop));
    World {
        client,
        counters,
        _stopper: stopper,
    }
}

async fn listener() -> (HostListener, SocketAddr) {
    let listener = HostListener::bind((OUTSIDE, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A relayed connection: the client's end and the server's.
async fn connected(world: &World) -> (TcpStream, HostStream) {
    let (listener, address) = listener().await;
    let (client, server) = tokio::join!(
        TcpStream::connect(&world.client, address),
        listener.accept()
    );
    let client = client.unwrap();
    assert_eq!(client.peer_addr(), address);
    (client, server.unwrap().0)
}

async fn bytes_pass_both_ways_and_a_half_close_stays_one() {
    let world = world(|_| {});
    let exchange = async {
        let (mut client, mut server) = connected(&world).await;
        let sent: Vec<u8> = (0..1_000_000_u32).map(|byte| (byte % 251) as u8).collect();
        let expected = sent.clone();
        let writing = async {
            client.write_all(&sent).await.unwrap();
            client.shutdown().await.unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            answer
        };
        let serving = async {
            let mut received = Vec::new();
            server.read_to_end(&mut received).await.unwrap();
            assert_eq!(received.len(), expected.len());
            assert!(received == expected);
            server.write_all(b"after the end").await.unwrap();
            drop(server);
        };
        assert_eq!(tokio::join!(writing, serving).0, b"after the end");
    };
    timeout(SOON, exchange).await.unwrap();
}

async fn a_refused_upstream_refuses_the_client() {
    let world = world(|_| {});
    let (listener, address) = listener().await;
    drop(listener);
    let connecting = timeout(SOON, TcpStream::connect(&world.client, address));
    let error = connecting.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(world.counters.stats().tcp_refused, 1);
}

async fn an_unreachable_upstream_is_told_by_icmp() {
    // Nothing answers for an address of a documentation prefix within this time.
    let world = world(|config| config.connect_timeout = Duration::from_millis(1));
    let address = "192.0.2.1:80".parse().unwrap();
    let connecting = timeout(SOON, TcpStream::connect(&world.client, address));
    let error = connecting.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HostUnreachable);
    assert_eq!(world.counters.stats().tcp_unreachable, 1);
}

async fn what_the_rules_forbid_is_refused_without_asking() {
    let world =
        world(|config| config.rules = Rules::new(vec![], vec!["192.0.2.0/24".parse().unwrap()]));
    let (listener, address) = listener().await;
    let connecting = timeout(SOON, TcpStream::connect(&world.client, address));
    let error = connecting.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(world.counters.stats().prohibited, 1);
    assert!(
        timeout(Duration::from_millis(1), listener.accept())
            .await
            .is_err()
    );
}

async fn a_reset_upstream_resets_the_client() {
    let world = world(|_| {});
    let (mut client, server) = connected(&world).await;
    server.set_zero_linger().unwrap();
    drop(server);
    let error = timeout(SOON, client.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

async fn a_reset_client_resets_the_upstream() {
    let world = world(|_| {});
    let (mut client, mut server) = connected(&world).await;
    client.write_all(b"x").await.unwrap();
    assert_eq!(
        timeout(SOON, server.read_u8()).await.unwrap().unwrap(),
        b'x'
    );
    client.abort();
    let error = timeout(SOON, server.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

async fn a_client_port_has_one_mapping_whoever_it_talks_to() {
    let world = world(|_| {});
    let first = HostSocket::bind((OUTSIDE, 0)).await.unwrap();
    let second = HostSocket::bind((OUTSIDE, 0)).await.unwrap();
    let client = UdpSocket::bind(&world.client, (CLIENT, 0).into()).unwrap();
    let exchange = async {
        let mut buffer = [0; 16];
        let mut mapped = Vec::new();
        for host in [&first, &second] {
            let address = host.local_addr().unwrap();
            client.send_to(b"ask", address).await.unwrap();
            let (len, from) = host.recv_from(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..len], b"ask");
            mapped.push(from);
            host.send_to(b"answer", from).await.unwrap();
            let (len, from) = client.recv_from(&mut buffer).await.unwrap();
            assert_eq!((&buffer[..len], from), (&b"answer"[..], address));
        }
        assert_eq!(mapped[0], mapped[1]);
        // Anybody reaches the mapping, and is named.
        let stranger = HostSocket::bind((OUTSIDE, 0)).await.unwrap();
        stranger.send_to(b"hello", mapped[0]).await.unwrap();
        let (_, from) = client.recv_from(&mut buffer).await.unwrap();
        assert_eq!(from, stranger.local_addr().unwrap());
    };
    timeout(SOON, exchange).await.unwrap();
    assert_eq!(world.counters.stats().udp_mappings, 1);
}

async fn a_closed_port_is_told_to_the_client() {
    let world = world(|_| {});
    let closed = HostSocket::bind((OUTSIDE, 0))
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let client = UdpSocket::bind(&world.client, (CLIENT, 0).into()).unwrap();
    client.connect(closed).unwrap();
    client.send(b"anybody there?").await.unwrap();
    let error = timeout(SOON, client.recv(&mut [0; 16]))
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(world.counters.stats().udp_unreachable, 1);
}

async fn the_stacks_address_stands_for_the_hosts_resolver() {
    let resolver = HostSocket::bind((OUTSIDE, 0)).await.unwrap();
    let target = resolver.local_addr().unwrap();
    let listener = HostListener::bind(target).await.unwrap();
    let presented = SocketAddr::from((STACK, 53));
    let world = world(|config| {
        config.rules = Rules::new(vec![], vec!["192.0.2.0/24".parse().unwrap()]);
        config.resolver = Some((presented, target));
    });
    let exchange = async {
        let client = UdpSocket::bind(&world.client, (CLIENT, 0).into()).unwrap();
        let mut buffer = [0; 16];
        client.send_to(b"query", presented).await.unwrap();
        let (_, from) = resolver.recv_from(&mut buffer).await.unwrap();
        resolver.send_to(b"reply", from).await.unwrap();
        let (len, from) = client.recv_from(&mut buffer).await.unwrap();
        assert_eq!((&buffer[..len], from), (&b"reply"[..], presented));

        let (client, server) = tokio::join!(
            TcpStream::connect(&world.client, presented),
            listener.accept()
        );
        client.unwrap().write_all(b"tcp").await.unwrap();
        let mut server = server.unwrap().0;
        server.read_exact(&mut buffer[..3]).await.unwrap();
        assert_eq!(&buffer[..3], b"tcp");
    };
    timeout(SOON, exchange).await.unwrap();
}
