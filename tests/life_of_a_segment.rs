//! The road of a segment, hop by hop: what `src/shard.rs` does in a turn, by hand, over a cable in
//! memory. `cargo test --test life_of_a_segment -- --nocapture` prints the hops.
use bytes::Bytes;
use ustack::batch::{RxBatch, TxBatch};
use ustack::device::{Caps, Device, memory};
use ustack::ip::{Input, Ip, IpConfig};
use ustack::tcp::{FlowKey, ListenOptions, Read, SocketOptions, Tcp, time::Instant};

struct Host(&'static str, memory::MemoryDevice, Ip, Box<Tcp>);

impl Host {
    fn new(name: &'static str, address: [u8; 4], device: memory::MemoryDevice) -> Self {
        let mut config = IpConfig::default();
        config.addresses.push((address.into(), 24));
        let ip = Ip::new(config, device.caps(), [1; 32]);
        let tcp = Tcp::new(ustack::tcp::Config::default(), [2; 32]);
        Self(name, device, ip, Box::new(tcp))
    }

    fn turn(&mut self, now: Instant) {
        let Self(name, device, ip, tcp) = self;
        let (mut rx, mut tx) = (RxBatch::new(), TxBatch::new());
        device.recv(now, &mut rx).unwrap();
        for frame in rx.drain() {
            println!("{name} Device::recv {} bytes", frame.data.len());
            #[rustfmt::skip]
            let Ok(Some(Input::Tcp { flow, local, ecn, segment, .. })) = ip.on_frame(now, frame)
                else { panic!("nothing but TCP is on this cable") };
            println!("{name} Ip::on_frame → Tcp::on_segment {segment:?}");
            tcp.on_segment(now, &flow, local, ecn, segment).unwrap();
        }
        std::iter::from_fn(|| tcp.poll_event()).for_each(|event| println!("{name} {event:?}"));
        tcp.poll_transmit(now, &mut ip.output(now, &mut tx));
        println!("{name} Tcp::poll_transmit → Output → TxBatch → Device::send {tx:?}");
        device.send(now, &mut tx).unwrap();
    }
}

#[test]
fn hello_crosses_the_cable() {
    let ((left, right), now) = (memory::pair(Caps::offload(1500)), Instant::from_millis(1));
    let (a, b, hello) = ([10, 77, 0, 1], [10, 77, 0, 2], Bytes::from_static(b"hello"));
    let mut hosts = [Host::new("alice", a, left), Host::new("bob", b, right)];
    let listen = ListenOptions::new((b, 80).into());
    let listener = hosts[1].3.listen(listen).unwrap();
    let flow = FlowKey::new((a, 0).into(), (b, 80).into());
    let socket = SocketOptions::default();
    let (id, _) = hosts[0].3.connect(now, flow, socket).unwrap();
    (0..6).for_each(|turn| hosts[turn % 2].turn(now)); // SYN, SYN,ACK, ACK
    let (accepted, _) = hosts[1].3.accept(listener).unwrap();
    assert_eq!(hosts[0].3.write(now, id, &hello), Ok(5));
    hosts[0].3.shutdown(now, id).unwrap();
    (0..6).for_each(|turn| hosts[turn % 2].turn(now)); // the bytes with FIN, and their ACK
    assert_eq!(hosts[1].3.read(now, accepted, 5), Ok(Read::Data(hello)));
    assert_eq!(hosts[1].3.read(now, accepted, 5), Ok(Read::Eof));
}
