//! A host without a driver: the caller brings frames and time, and takes frames. For whoever plays
//! scripts, recordings or simulations against the whole stack.

use std::io;
use std::net::IpAddr;

use bytes::Bytes;
use ustack_tcp::time::Instant;
use ustack_tcp::{Followers, Tcp};
use ustack_udp::Udp;

use crate::batch::{Frame, RxBatch, TxBatch};
use crate::coalesce::next_train;
use crate::config::Config;
use crate::device::{Caps, Offload};
use crate::host::Host;
use crate::ip::Ip;
use crate::metrics::Stats;
use crate::shards::Place;

/// Frames of a host to itself that one turn takes in.
const LOOPBACK_FRAMES: usize = 1024;

/// IP, ICMP, TCP and UDP of one host, on the caller's time.
///
/// Turns are those of the packet loop: [`on_frame`](Self::on_frame) or
/// [`on_timeout`](Self::on_timeout), the events of [`tcp_mut`](Self::tcp_mut) and
/// [`udp_mut`](Self::udp_mut), then [`poll_transmit`](Self::poll_transmit).
#[derive(Debug)]
pub struct VirtualHost {
    host: Host,
    /// Room for segments that were taken for one.
    followers: Followers,
}

impl VirtualHost {
    /// A host behind a device with these capabilities. Errors are those of
    /// [`Stack::new`](crate::Stack::new).
    pub fn new(config: Config, caps: Caps) -> io::Result<Self> {
        config.check(caps, 1)?;
        let seed = config.seed.unwrap_or([7; 32]);
        let (budget, alone) = (config.budget(1), Place::ALONE);
        let host = Host::new(config, caps, seed, alone, budget.as_ref());
        Ok(Self {
            host,
            followers: Followers::default(),
        })
    }

    /// Like [`VirtualHost::on_frame`], with what the device knows of the packet.
    pub fn on_offloaded_frame(&mut self, now: Instant, packet: &[u8], offload: Offload) {
        let frame = Frame {
            data: Bytes::copy_from_slice(packet),
            offload,
        };
        self.on_received(now, frame);
    }

    /// A frame arrives from the device; its bytes are not copied.
    pub fn on_received(&mut self, now: Instant, frame: Frame) {
        self.host.input(now, frame, false);
    }

    /// Frames arrive from the device together, as the packet loop takes them: segments that
    /// continue each other are taken for one.
    pub fn on_batch(&mut self, now: Instant, batch: &mut RxBatch) {
        self.host.expect(batch.frames());
        let mut frames = batch.drain();
        while let Some(frame) = next_train(&mut frames, &mut self.followers) {
            self.host.input_train(now, frame, &mut self.followers);
        }
    }

    /// A packet arrives from the device, complete and in one piece. What is malformed is counted.
    pub fn on_frame(&mut self, now: Instant, packet: &[u8]) {
        self.on_offloaded_frame(now, packet, Offload::default());
    }

    /// Deals with every deadline up to `now`.
    pub fn on_timeout(&mut self, now: Instant) {
        self.host.on_timeout(now);
    }

    /// When [`VirtualHost::on_timeout`] wants to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.host.poll_timeout()
    }

    /// Appends what leaves now to `tx`; packets to this host itself come in again at once.
    pub fn poll_transmit(&mut self, now: Instant, tx: &mut TxBatch) {
        self.host.poll_transmit(now, tx);
        while self.host.input_loopback(now, LOOPBACK_FRAMES) > 0 {
            self.host.poll_transmit(now, tx);
        }
    }

    /// Whether [`VirtualHost::poll_transmit`] has something to do.
    pub fn has_ready(&self) -> bool {
        self.host.has_ready()
    }

    /// Takes notes from now on, for a device that [asks for them](crate::device::Device::wants_notes).
    pub fn observe(&mut self) {
        self.host.observe();
    }

    /// Half a turn is over: what was noted goes to the device with the frames.
    pub fn hand_notes(&mut self, tx: &mut TxBatch) {
        tx.clear_notes(); // which the device was offered
        self.host.hand_notes(tx);
    }

    /// TCP of this host.
    pub fn tcp(&self) -> &Tcp {
        &self.host.tcp
    }

    /// TCP of this host, to call as an application does.
    pub fn tcp_mut(&mut self) -> &mut Tcp {
        &mut self.host.tcp
    }

    /// UDP of this host, to call as an application does.
    pub fn udp_mut(&mut self) -> &mut Udp {
        &mut self.host.udp
    }

    /// IP of this host.
    pub fn ip(&self) -> &Ip {
        &self.host.ip
    }

    /// The address to talk to `remote` from, if there is one.
    pub fn source_for(&self, remote: IpAddr) -> Option<IpAddr> {
        self.host.ip.source_for(remote)
    }

    /// What was counted so far.
    pub fn stats(&self) -> Stats {
        self.host.stats()
    }
}
