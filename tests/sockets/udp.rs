//! Datagrams.

use std::io::ErrorKind;

use bytes::Bytes;
use ustack::UdpSocket;
use ustack::device::Frame;

use super::{OFFLOAD, PLAIN, V4, V6, at, config, net, net_with, pattern, within};

#[tokio::test(start_paused = true)]
async fn datagrams_of_every_size_are_echoed() {
    for caps in [PLAIN, OFFLOAD] {
        for family in [V4, V6] {
            let net = net(caps);
            let server = UdpSocket::bind(&net.server, at(family[1], 7)).unwrap();
            tokio::spawn(async move {
                let mut buf = vec![0; 65_536];
                while let Ok((len, peer)) = server.recv_from(&mut buf).await {
                    server.send_to(&buf[..len], peer).await.unwrap();
                }
            });
            let client = UdpSocket::bind(&net.client, at(family[0], 0)).unwrap();
            client.connect(at(family[1], 7)).unwrap();
            assert_ne!(client.local_addr().port(), 0);
            let mut buf = vec![0; 65_536];
            for len in [0, 1, 1472, 1473, 60_000, 65_507] {
                let data = pattern(len);
                assert_eq!(client.send(&data).await.unwrap(), len);
                let received = within(5, client.recv(&mut buf)).await.unwrap();
                assert!(buf[..received] == data, "{len} bytes over {family:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_closed_port_refuses_a_connected_socket() {
    let net = net(PLAIN);
    for family in [V4, V6] {
        let client = UdpSocket::bind(&net.client, at(family[0], 0)).unwrap();
        client.connect(at(family[1], 9)).unwrap();
        client.send(b"anybody?").await.unwrap();
        let error = within(5, client.recv(&mut [0; 8])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }
    assert_eq!(net.server.stats().udp.no_ports, 2);
}

#[tokio::test(start_paused = true)]
async fn a_transparent_socket_answers_in_anybodys_name() {
    let net = net_with(PLAIN, config(0), config(1).transparent(true));
    let any = at([0, 0, 0, 0].into(), 0);
    let server = UdpSocket::bind_transparent(&net.server, any).unwrap();
    let client = UdpSocket::bind(&net.client, at(V4[0], 0)).unwrap();
    let destination = at([192, 0, 2, 7].into(), 53);
    client.connect(destination).unwrap();
    client.send(b"query").await.unwrap();
    let mut buf = [0; 16];
    let (len, peer, asked) = within(5, server.recv_from_to(&mut buf)).await.unwrap();
    assert_eq!((&buf[..len], asked), (&b"query"[..], destination));
    server.send_from_to(b"answer", asked, peer).await.unwrap();
    let len = within(5, client.recv(&mut buf)).await.unwrap();
    assert_eq!(&buf[..len], b"answer");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_receive_loses_nothing() {
    let net = net(PLAIN);
    let server = UdpSocket::bind(&net.server, at(V4[1], 7)).unwrap();
    let client = UdpSocket::bind(&net.client, at(V4[0], 0)).unwrap();
    let mut buf = [0; 8];
    tokio::select! {
        biased;
        _ = server.recv(&mut buf) => unreachable!("nothing was sent"),
        () = tokio::task::yield_now() => {}
    }
    client.send_to(b"one", at(V4[1], 7)).await.unwrap();
    let len = within(5, server.recv(&mut buf)).await.unwrap();
    assert_eq!(&buf[..len], b"one");
}

#[tokio::test(start_paused = true)]
async fn a_flood_waits_for_room_and_everybody_who_waits_is_woken() {
    let net = net(PLAIN);
    let server = UdpSocket::bind(&net.server, at(V4[1], 7)).unwrap();
    let client = UdpSocket::bind(&net.client, at(V4[0], 0)).unwrap();
    let senders = (0..4u8).map(|number| {
        let (client, data) = (&client, Bytes::from(vec![number; 1000]));
        async move {
            for _ in 0..100 {
                let destination = Some(at(V4[1], 7));
                client
                    .send_datagram(None, destination, data.clone())
                    .await
                    .unwrap();
            }
        }
    });
    let receiver = async {
        let mut counts = [0; 4];
        while let Ok(datagram) =
            tokio::time::timeout(std::time::Duration::from_secs(1), server.recv_datagram()).await
        {
            counts[usize::from(datagram.unwrap().data[0])] += 1;
        }
        counts
    };
    let (_, counts) = within(
        60,
        futures_util::future::join(futures_util::future::join_all(senders), receiver),
    )
    .await;
    let stats = net.server.stats().udp;
    let lost = stats.rcvbuf_errors;
    assert_eq!(counts.iter().sum::<u64>() + lost, 400, "{stats:?}");
    assert!(counts.iter().all(|&count| count > 0), "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn bad_calls_have_the_kernels_errors() {
    let net = net(PLAIN);
    let first = UdpSocket::bind(&net.client, at(V4[0], 5353)).unwrap();
    let second = UdpSocket::bind(&net.client, at(V4[0], 5353)).unwrap_err();
    assert_eq!(second.kind(), ErrorKind::AddrInUse);
    let foreign = UdpSocket::bind(&net.client, at(V4[1], 5353)).unwrap_err();
    assert_eq!(foreign.kind(), ErrorKind::AddrNotAvailable);
    let unconnected = first.send(b"x").await.unwrap_err();
    assert_eq!(unconnected.kind(), ErrorKind::NotConnected);
    let long = first
        .send_to(&vec![0; 65_508], at(V4[1], 7))
        .await
        .unwrap_err();
    assert_eq!(long.raw_os_error(), Some(90), "EMSGSIZE");
    drop(first);
    UdpSocket::bind(&net.client, at(V4[0], 5353)).expect("dropped sockets free their port");
}

#[tokio::test(start_paused = true)]
async fn pings_of_other_hosts_are_handed_over_and_never_answered() {
    let (stack, _driver, cable) = super::alone(config(1).transparent(true));
    let mut packet = Vec::new();
    etherparse::PacketBuilder::ipv4([10, 77, 0, 1], [192, 0, 2, 1], 64)
        .icmpv4_echo_request(7, 1)
        .write(&mut packet, b"payload")
        .unwrap();
    let data = Bytes::from(packet);
    assert!(cable.push(Frame {
        data,
        ..Frame::default()
    }));
    let echo = within(5, stack.foreign_echo()).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(cable.pop(), None, "not our address to answer for");
    stack.send_echo_reply(&echo);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let reply = cable.pop().expect("the relayed answer");
    assert_eq!(
        (&reply.data[12..16], reply.data[20]),
        (&[192, 0, 2, 1][..], 0)
    );
}
