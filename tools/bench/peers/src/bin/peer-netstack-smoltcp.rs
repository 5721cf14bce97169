//! netstack-smoltcp as the stack under test: peer-netstack-smoltcp IFNAME MTU [offload]
//!
//! TCP 7 echoes, 9 discards, 19 sends. With `offload`, tun-rs cuts the kernel's super-segments.

use std::sync::Arc;

use futures::{SinkExt as _, StreamExt as _};
use tun_rs::{AsyncDevice, DeviceBuilder, IDEAL_BATCH_SIZE, VIRTIO_NET_HDR_LEN};

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let (name, mtu, offload) = match &arguments[..] {
        [_, name, mtu] => (name, mtu, false),
        [_, name, mtu, offload] if offload == "offload" => (name, mtu, true),
        _ => panic!("usage: peer-netstack-smoltcp IFNAME MTU [offload]"),
    };
    let mtu: usize = mtu.parse().expect("an MTU");
    let device = DeviceBuilder::new()
        .name(name.clone())
        .ipv4("10.77.0.1", 24, None)
        .mtu(mtu as u16)
        .offload(offload)
        .build_async()
        .expect("a TUN device");
    device.set_tx_queue_len(10_000).expect("a longer queue");
    let device = Arc::new(device);
    let (stack, runner, _udp, tcp) = netstack_smoltcp::StackBuilder::default()
        .enable_tcp(true)
        .enable_icmp(true)
        .mtu(mtu)
        .stack_buffer_size(1024)
        .tcp_buffer_size(1024)
        .build()
        .expect("a stack");
    if let Some(runner) = runner {
        tokio::spawn(runner);
    }
    let (mut sink, mut stream) = stack.split();
    let writer = Arc::clone(&device);
    tokio::spawn(async move {
        let header = if offload { VIRTIO_NET_HDR_LEN } else { 0 };
        while let Some(Ok(packet)) = stream.next().await {
            if header == 0 {
                let _ = writer.send(&packet).await;
                continue;
            }
            let mut frame = vec![0; header + packet.len()];
            frame[header..].copy_from_slice(&packet);
            let _ = writer.send(&frame).await;
        }
    });
    tokio::spawn(async move {
        let mut batch = Batch::new(mtu);
        while let Some(packets) = batch.read(&device, offload).await {
            for packet in packets {
                let _ = sink.send(packet).await;
            }
        }
    });
    let mut tcp = tcp.expect("TCP was enabled");
    while let Some((stream, _local, remote)) = tcp.next().await {
        tokio::spawn(peers::serve(stream, remote.port()));
    }
}

struct Batch {
    frame: Vec<u8>,
    packets: Vec<Vec<u8>>,
    sizes: Vec<usize>,
}

impl Batch {
    fn new(mtu: usize) -> Self {
        Self {
            frame: vec![0; VIRTIO_NET_HDR_LEN + 65_535],
            packets: vec![vec![0; mtu + 100]; IDEAL_BATCH_SIZE],
            sizes: vec![0; IDEAL_BATCH_SIZE],
        }
    }

    async fn read(&mut self, device: &AsyncDevice, offload: bool) -> Option<Vec<Vec<u8>>> {
        let Self {
            frame,
            packets,
            sizes,
        } = self;
        if !offload {
            let len = device.recv(frame).await.ok()?;
            return Some(vec![frame[..len].to_vec()]);
        }
        let count = device.recv_multiple(frame, packets, sizes, 0).await.ok()?;
        let cut = packets.iter().zip(sizes.iter()).take(count);
        Some(cut.map(|(packet, &len)| packet[..len].to_vec()).collect())
    }
}
