//! ustack's whole host: packets in and out, through IP, the segment's parser and the headers'
//! builder, over a device that leaves checksums to others.

use bytes::{Bytes, BytesMut};
use ustack::batch::{Checksum, Frame, Gso, GsoKind, Offload, RxBatch, TxBatch};
use ustack::device::Caps;
use ustack::testing::VirtualHost;
use ustack_tcp::{ConnId, ListenerId};

use super::tcp::{config, listen, micros, page, read_all};
use super::{Needs, Subject};
use crate::peer::{HEADERS, LARGEST, MSS, SERVER, Segment};

/// Frames of the device that can be with the host at the same time.
const FRAMES: usize = 64;

/// `VirtualHost` with a device.
#[derive(Debug)]
pub struct Host {
    pub(super) stack: VirtualHost,
    listener: ListenerId,
    page: Bytes,
    ring: Ring,
    pub(super) rx: RxBatch,
    pub(super) tx: TxBatch,
    /// Where the device has packets in one piece, as a peer's does.
    packet: Vec<u8>,
}

impl Subject for Host {
    type Conn = ConnId;

    fn new(needs: Needs) -> Self {
        let caps = caps(needs);
        let settings = ustack::Config::new()
            .address(SERVER.0, 8)
            .tcp(config(needs))
            .seed([7; 32]);
        let mut stack = VirtualHost::new(settings, caps).expect("settings that work");
        let listener = listen(stack.tcp_mut(), needs);
        let largest = if needs.offload { LARGEST } else { MSS } as usize;
        Self {
            stack,
            listener,
            page: page(),
            ring: Ring::new(HEADERS + largest),
            rx: RxBatch::new(),
            tx: TxBatch::new(),
            packet: packet(),
        }
    }

    fn on_segment(&mut self, now: u64, segment: &Segment) {
        let frame = self.frame(segment);
        self.rx.push(frame);
        if self.rx.room() == 0 {
            self.stack.on_batch(micros(now), &mut self.rx);
        }
    }

    fn settle(&mut self, now: u64) {
        self.stack.on_batch(micros(now), &mut self.rx);
        self.stack.on_timeout(micros(now));
        while let Some(event) = self.stack.tcp_mut().poll_event() {
            std::hint::black_box(event);
        }
    }

    fn transmit(&mut self, now: u64, sent: &mut Vec<Segment>) {
        self.stack.poll_transmit(micros(now), &mut self.tx);
        deliver(&mut self.tx, &mut self.packet, sent);
    }

    fn accept(&mut self) -> Option<ConnId> {
        let (id, _) = self.stack.tcp_mut().accept(self.listener)?;
        Some(id)
    }

    fn read(&mut self, now: u64, conn: ConnId) -> u32 {
        read_all(self.stack.tcp_mut(), micros(now), conn)
    }

    fn write(&mut self, now: u64, conn: ConnId, len: u32) -> u32 {
        let data = self.page.slice(..len as usize);
        let taken = self.stack.tcp_mut().write(micros(now), conn, &data);
        taken.unwrap_or(0) as u32
    }

    fn close(&mut self, now: u64, conn: ConnId) {
        self.stack.tcp_mut().release(micros(now), conn);
    }

    fn connections(&self) -> usize {
        self.stack.tcp().connection_count()
    }
}

/// Room for a packet in one piece.
pub(super) fn packet() -> Vec<u8> {
    vec![0; 65_536]
}

/// What its device can do.
pub(super) const fn caps(needs: Needs) -> Caps {
    Caps {
        mtu: 1500,
        tx_checksum: true,
        tso: needs.offload,
        uso: false,
    }
}

impl Host {
    /// A segment as the device has it.
    pub(super) fn frame(&mut self, segment: &Segment) -> Frame {
        let gso = (segment.len > MSS).then_some(Gso {
            kind: GsoKind::TcpV4,
            header_len: HEADERS as u16,
            size: const { std::num::NonZeroU16::new(MSS as u16).unwrap() },
        });
        let offload = Offload {
            checksum: Checksum::Verified,
            gso,
        };
        let data = self.ring.packet(segment);
        Frame { data, offload }
    }
}

/// What is to be sent arrives at the peer.
pub(super) fn deliver(tx: &mut TxBatch, packet: &mut Vec<u8>, sent: &mut Vec<Segment>) {
    for frame in tx.iter() {
        packet.clear();
        packet.extend_from_slice(frame.headers);
        for chunk in frame.chunks {
            packet.extend_from_slice(chunk);
        }
        sent.push(Segment::read(packet));
    }
    tx.clear();
}

/// The device's buffers. One is written again once nobody holds a slice of it; nothing is
/// allocated for that.
#[derive(Debug)]
struct Ring {
    buffers: Vec<Bytes>,
    next: usize,
}

impl Ring {
    fn new(size: usize) -> Self {
        // Room for the options of a SYN.
        let size = size + 12;
        let buffer = || {
            // Splitting is what gives a buffer its count of holders.
            let mut buffer = BytesMut::zeroed(size + 1);
            buffer.truncate(size);
            drop(buffer.split_off(size));
            buffer.freeze()
        };
        Self {
            buffers: (0..FRAMES).map(|_| buffer()).collect(),
            next: 0,
        }
    }

    fn packet(&mut self, segment: &Segment) -> Bytes {
        let slot = &mut self.buffers[self.next];
        self.next = (self.next + 1) % FRAMES;
        let mut buffer = std::mem::take(slot)
            .try_into_mut()
            .expect("the host lets go of a frame in time");
        let len = segment.write(&mut buffer);
        *slot = buffer.freeze();
        slot.slice(..len)
    }
}
