//! The device's reads and writes over a socket pair, which keeps packets apart as a TUN device
//! does. Real devices are in `tests/device.rs`.

use std::future::poll_fn;

use bytes::Bytes;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::*;
use crate::device::gso::tests::super_segment;

fn pair() -> (OwnedFd, OwnedFd) {
    let kind = SocketType::SEQPACKET;
    socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap()
}

fn tun(vnet_hdr: bool) -> (Tun, OwnedFd) {
    let (ours, theirs) = pair();
    let options = FdOptions {
        mtu: 1500,
        vnet_hdr: Some(vnet_hdr),
    };
    (Tun::from_fd(ours, &options).unwrap(), theirs)
}

fn receive(fd: &OwnedFd) -> Vec<u8> {
    let mut bytes = vec![0; 70_000];
    let len = rustix::io::read(fd, &mut bytes).unwrap();
    bytes.truncate(len);
    bytes
}

fn plain(len: usize) -> Frame {
    Frame {
        data: vec![0x45; len].into(),
        ..Frame::default()
    }
}

#[tokio::test]
async fn frames_come_and_go_with_their_metadata() {
    let (mut tun, other) = tun(true);
    assert!(tun.caps().tso && tun.caps().tx_checksum);
    let frame = super_segment(false, &vec![3; 40_000], 1448);
    let mut batch = TxBatch::new();
    // Headers inline, payload in chunks, as a stack sends.
    batch.push(
        &frame.data[..52],
        [frame.data.slice(52..20_000), frame.data.slice(20_000..)],
        frame.offload,
    );
    assert_eq!(tun.send(Instant::ZERO, &mut batch).unwrap(), 1);
    let bytes = receive(&other);
    assert_eq!(bytes[vnet::LEN..], frame.data);

    // What the kernel would send back.
    rustix::io::write(&other, &bytes).unwrap();
    rustix::io::write(&other, &[&[0; vnet::LEN][..], &[0x45; 40]].concat()).unwrap();
    poll_fn(|cx| tun.poll_recv_ready(cx)).await.unwrap();
    let mut rx = RxBatch::new();
    assert_eq!(tun.recv(Instant::ZERO, &mut rx).unwrap(), 2);
    assert_eq!(
        rx.frames(),
        [frame, plain(40)].map(|mut frame| {
            if frame.data.len() == 40 {
                frame.data = vec![0x45; 40].into();
            }
            frame
        })
    );
    assert_eq!(tun.recv(Instant::ZERO, &mut rx).unwrap(), 0);
    assert_eq!(tun.counters().rx_frames.get(), 2);
    assert_eq!(tun.counters().tx_bytes.get(), 40_052);
}

#[tokio::test]
async fn a_reader_waits_until_there_is_something() {
    let (mut tun, other) = tun(false);
    let waiting = tokio::spawn(async move {
        let mut rx = RxBatch::new();
        let mut polls = 0;
        while rx.is_empty() {
            poll_fn(|cx| tun.poll_recv_ready(cx)).await.unwrap();
            tun.recv(Instant::ZERO, &mut rx).unwrap();
            polls += 1;
        }
        polls
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    rustix::io::write(&other, &[0x45; 60]).unwrap();
    // One spurious readiness after registration is allowed; a busy loop would have many.
    assert!(waiting.await.unwrap() <= 2);
}

#[tokio::test]
async fn a_full_device_keeps_frames_in_the_batch_until_it_takes_them() {
    let (mut tun, other) = tun(false);
    poll_fn(|cx| tun.poll_send_ready(cx)).await.unwrap();
    let mut batch = TxBatch::new();
    for _ in 0..2000 {
        batch.push_frame(plain(1500));
    }
    let sent = tun.send(Instant::ZERO, &mut batch).unwrap();
    assert!(sent > 0 && batch.len() == 2000 - sent);
    let reader = tokio::task::spawn_blocking(move || {
        (0..2000).map(|_| receive(&other).len()).sum::<usize>()
    });
    while !batch.is_empty() {
        poll_fn(|cx| tun.poll_send_ready(cx)).await.unwrap();
        tun.send(Instant::ZERO, &mut batch).unwrap();
    }
    assert_eq!(reader.await.unwrap(), 2000 * 1500);
    assert_eq!(tun.counters().tx_dropped(), 0);
}

#[test]
fn a_frame_of_many_small_chunks_goes_out_whole() {
    let (mut tun, other) = tun(false);
    let chunks = (0..3000_u32).map(|n| Bytes::from(vec![n as u8; 3]));
    let mut batch = TxBatch::new();
    batch.push(&[0x45; 40], chunks, super::super::Offload::default());
    assert_eq!(tun.send(Instant::ZERO, &mut batch).unwrap(), 1);
    let bytes = receive(&other);
    assert_eq!(bytes.len(), 40 + 9000);
    assert_eq!(bytes[40 + 3 * 2999], 2999_u32 as u8);
}

#[test]
fn a_plain_device_refuses_offload_and_counts() {
    let (mut tun, _other) = tun(false);
    let mut batch = TxBatch::new();
    batch.push_frame(super_segment(false, &[1; 3000], 1448));
    assert_eq!(tun.send(Instant::ZERO, &mut batch).unwrap(), 1);
    assert_eq!(tun.counters().tx_invalid.get(), 1);
}

#[test]
fn headers_that_do_not_fit_are_dropped_and_counted() {
    let (mut tun, other) = tun(true);
    rustix::io::write(&other, &[0; 5]).unwrap();
    rustix::io::write(&other, &[0xff; 60]).unwrap();
    rustix::io::write(&other, &[&[0; vnet::LEN][..], &[0x45; 40]].concat()).unwrap();
    let mut rx = RxBatch::new();
    assert_eq!(tun.recv(Instant::ZERO, &mut rx).unwrap(), 1);
    assert_eq!(tun.counters().rx_malformed.get(), 2);
}

#[tokio::test]
async fn the_end_of_the_device_is_told_with_its_name() {
    let (mut tun, other) = tun(false);
    rustix::io::write(&other, &[0x45; 60]).unwrap();
    drop(other);
    poll_fn(|cx| tun.poll_recv_ready(cx)).await.unwrap();
    let mut rx = RxBatch::new();
    assert_eq!(tun.recv(Instant::ZERO, &mut rx).unwrap(), 1);
    let error = tun.recv(Instant::ZERO, &mut rx).unwrap_err();
    assert!(error.to_string().contains("was removed"), "{error}");
    let mut batch = TxBatch::new();
    batch.push_frame(plain(60));
    assert!(tun.send(Instant::ZERO, &mut batch).is_err());
}

#[test]
fn waiting_outside_a_runtime_is_an_error_not_a_panic() {
    let (mut tun, _other) = tun(false);
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(matches!(tun.poll_recv_ready(&mut cx), Poll::Ready(Err(_))));
}

#[test]
fn the_descriptor_comes_back() {
    let (tun, other) = tun(false);
    let fd = tun.into_fd();
    rustix::io::write(&other, &[1, 2, 3]).unwrap();
    assert_eq!(receive(&fd), [1, 2, 3]);
}

#[test]
fn sets_of_offload_are_named() {
    assert_eq!(OffloadSet::NONE.to_string(), "none");
    assert!(!OffloadSet::NONE.tso() && !OffloadSet::NONE.uso());
}
