//! ustack's whole host behind a flight recorder, as the program has it unless told otherwise.

use std::io;
use std::task::{Context, Poll};

use ustack::batch::{Frame, RxBatch, TxBatch};
use ustack::device::{Caps, Device, FlightRecorder, Recorder, RecorderOptions};
use ustack_tcp::ConnId;
use ustack_tcp::time::Instant;

use super::host::{self, Host, caps};
use super::tcp::micros;
use super::{Needs, Subject};
use crate::peer::Segment;

/// [`Host`] with a recorder around its device, told of every half turn as in the packet loop.
#[derive(Debug)]
pub struct Recorded {
    host: Host,
    device: Recorder<Port>,
}

impl Recorded {
    /// Half a turn is over.
    fn send(&mut self, now: u64) {
        let Host { stack, tx, .. } = &mut self.host;
        stack.hand_notes(tx);
        if !(tx.is_empty() && tx.notes().is_empty()) {
            let sent = self.device.send(micros(now), tx);
            sent.expect("the port takes everything");
        }
    }

    /// What has arrived comes in.
    fn receive(&mut self, now: u64) {
        let Host { stack, rx, .. } = &mut self.host;
        let received = self.device.recv(micros(now), rx);
        received.expect("the port gives everything");
        stack.on_batch(micros(now), rx);
    }
}

impl Subject for Recorded {
    type Conn = ConnId;

    fn new(needs: Needs) -> Self {
        let mut host = Host::new(needs);
        host.stack.observe();
        // Resets would be worth a file. While a thread reads the ring for it nothing is recorded, and
        // when that is would depend on the machine.
        let recorder = FlightRecorder::new(RecorderOptions {
            directories: Vec::new(),
            pause: None,
            ..RecorderOptions::default()
        });
        let port = Port {
            caps: caps(needs),
            arrived: Vec::new(),
            sent: Vec::new(),
            packet: host::packet(),
        };
        let device = recorder.record(port);
        Self { host, device }
    }

    fn on_segment(&mut self, now: u64, segment: &Segment) {
        let frame = self.host.frame(segment);
        let port = self.device.get_mut();
        port.arrived.push(frame);
        if port.arrived.len() == self.host.rx.room() {
            self.receive(now);
        }
    }

    fn settle(&mut self, now: u64) {
        self.receive(now);
        self.host.settle(now);
        self.send(now);
    }

    fn transmit(&mut self, now: u64, sent: &mut Vec<Segment>) {
        self.host
            .stack
            .poll_transmit(micros(now), &mut self.host.tx);
        self.send(now);
        sent.append(&mut self.device.get_mut().sent);
    }

    fn accept(&mut self) -> Option<ConnId> {
        self.host.accept()
    }

    fn read(&mut self, now: u64, conn: ConnId) -> u32 {
        self.host.read(now, conn)
    }

    fn write(&mut self, now: u64, conn: ConnId, len: u32) -> u32 {
        self.host.write(now, conn, len)
    }

    fn close(&mut self, now: u64, conn: ConnId) {
        self.host.close(now, conn);
    }

    fn connections(&self) -> usize {
        self.host.connections()
    }
}

/// A device whose other end is the peer.
#[derive(Debug)]
struct Port {
    caps: Caps,
    arrived: Vec<Frame>,
    sent: Vec<Segment>,
    packet: Vec<u8>,
}

impl Device for Port {
    fn caps(&self) -> Caps {
        self.caps
    }

    fn poll_recv_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn recv(&mut self, _: Instant, batch: &mut RxBatch) -> io::Result<usize> {
        let received = self.arrived.len();
        self.arrived.drain(..).for_each(|frame| batch.push(frame));
        Ok(received)
    }

    fn send(&mut self, _: Instant, batch: &mut TxBatch) -> io::Result<usize> {
        let count = batch.len();
        host::deliver(batch, &mut self.packet, &mut self.sent);
        Ok(count)
    }

    fn poll_send_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
