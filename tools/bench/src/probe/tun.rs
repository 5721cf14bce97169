//! The device, with as little as possible around its system calls.

use std::hint::spin_loop;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd as _, OwnedFd};
use std::thread::yield_now;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::{Errno, read, writev};
use ustack::device::tun::{TunOptions, open};

use super::Mode;
use crate::{KERNEL, MTU, STACK};

/// Length of the virtio-net header.
const VNET: usize = 10;

/// What came of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A frame of so many bytes.
    Frame(usize),
    /// The time to wait is over.
    Nothing,
    /// Nothing is there, and nobody has waited.
    Idle,
    /// The device does not exist any more.
    Gone,
}

pub(super) struct Tun {
    fd: OwnedFd,
    mode: Mode,
}

impl Tun {
    pub(super) fn open(name: &str, mode: Mode) -> io::Result<Self> {
        let opened = open(&TunOptions {
            name: name.to_owned(),
            kind: mode.kind(),
            mtu: Some(MTU.into()),
            host_addresses: vec![(KERNEL.into(), 24)],
            stack_addresses: vec![STACK.into()],
            ..TunOptions::default()
        })
        .map_err(|error| io::Error::other(error.to_string()))?;
        let fd = opened.tun.into_fd();
        let flags = match mode {
            Mode::Offload => OFlags::empty(),
            Mode::Spin | Mode::Plain => OFlags::NONBLOCK,
        };
        fcntl_setfl(&fd, OFlags::RDWR | flags)?;
        Ok(Self { fd, mode })
    }

    pub(super) fn offload(&self) -> bool {
        self.mode != Mode::Plain
    }

    /// Bytes in front of each packet.
    pub(super) fn header_len(&self) -> usize {
        if self.offload() { VNET } else { 0 }
    }

    /// Waits for a frame, for at most so long; packet by packet nobody waits here.
    pub(super) fn receive(
        &mut self,
        frame: &mut [u8],
        at_most: Option<Duration>,
    ) -> io::Result<Next> {
        if let Some(at_most) = at_most
            && self.mode != Mode::Plain
            && !self.is_readable(at_most)?
        {
            return Ok(Next::Nothing);
        }
        loop {
            match read(&self.fd, &mut *frame) {
                Ok(0) | Err(Errno::BADFD) => return Ok(Next::Gone),
                Ok(len) => return Ok(Next::Frame(len)),
                Err(Errno::AGAIN) if self.mode == Mode::Plain => return Ok(Next::Idle),
                Err(Errno::AGAIN) => spin_loop(),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub(super) fn is_readable(&self, at_most: Duration) -> io::Result<bool> {
        let at_most = if self.mode == Mode::Spin {
            Duration::ZERO
        } else {
            at_most
        };
        self.wait(Some(at_most))
    }

    /// Sleeps until there is a frame, for at most so long. Returns whether there is one.
    pub(super) fn wait(&self, at_most: Option<Duration>) -> io::Result<bool> {
        let timeout = at_most.map(|at_most| Timespec {
            tv_sec: at_most.as_secs() as i64,
            tv_nsec: at_most.subsec_nanos().into(),
        });
        let mut descriptors = [PollFd::from_borrowed_fd(self.fd.as_fd(), PollFlags::IN)];
        Ok(poll(&mut descriptors, timeout.as_ref())? > 0)
    }

    /// Sends a frame of these pieces, the virtio-net header first; without offload the header
    /// stays behind.
    pub(super) fn send(&mut self, vnet: [u8; VNET], head: &[u8], data: &[u8]) -> io::Result<()> {
        let pieces = [IoSlice::new(&vnet), IoSlice::new(head), IoSlice::new(data)];
        let pieces = if self.offload() {
            &pieces[..]
        } else {
            &pieces[1..]
        };
        self.write(pieces)
    }

    /// Sends a frame as it came, its virtio-net header included.
    pub(super) fn send_back(&mut self, vnet: &[u8], packet: &[u8]) -> io::Result<()> {
        self.write(&[IoSlice::new(vnet), IoSlice::new(packet)])
    }

    fn write(&self, pieces: &[IoSlice<'_>]) -> io::Result<()> {
        loop {
            match writev(&self.fd, pieces) {
                // A device with NAPI has a bound to what waits.
                Err(Errno::AGAIN) => yield_now(),
                done => return Ok(done.map(drop)?),
            }
        }
    }
}
