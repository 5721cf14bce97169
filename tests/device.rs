//! TUN devices for real: opened, attached to, used and removed, in namespaces of their own.

mod common;

use std::future::poll_fn;
use std::net::UdpSocket;
use std::process::ExitCode;
use std::time::Duration;

use common::device::{gone_soon, open, open_when_free, options};
use common::{Test, command, ip, run_ok, temp_dir};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use tokio::runtime::Runtime;
use ustack::device::tun::{self, DeviceKind, FdOptions, OpenError, Tun, TunOptions};
use ustack::device::{Capture, CaptureOptions, Checksum, Device, Frame, RxBatch, TxBatch};
use ustack_tcp::time::Instant;

fn main() -> ExitCode {
    let mut tests = Vec::new();
    for kind in [DeviceKind::Offload, DeviceKind::Plain] {
        let add = |tests: &mut Vec<Test>, name: &str, body: fn(DeviceKind)| {
            let test = Test::new(format!("{name}_{kind}"), move || body(kind));
            tests.push(test.needs(&["ip"]));
        };
        add(&mut tests, "opens_and_sets_up", opens_and_sets_up);
        add(&mut tests, "packets_go_both_ways", packets_go_both_ways);
        add(
            &mut tests,
            "a_persistent_device_stays_as_it_was",
            persistent,
        );
        add(&mut tests, "a_name_in_use_is_busy", busy);
        add(&mut tests, "removal_is_told", removal);
        add(&mut tests, "a_link_that_is_down_drops", link_down);
        let capture = Test::new(format!("tshark_finds_no_fault_{kind}"), move || {
            tshark(kind);
        });
        tests.push(capture.needs(&["ip", "tshark"]));
        add(&mut tests, "a_handed_over_descriptor_works", handed_over);
    }
    tests.push(Test::new("auto_gets_offload", auto).needs(&["ip"]));
    tests.push(Test::new("conflicts_are_found_beforehand", conflicts).needs(&["ip"]));
    let unprivileged = Test::new("an_owner_without_privilege_attaches", without_privilege);
    tests.push(unprivileged.needs(&["ip"]));
    tests.push(Test::new("a_full_ring_is_counted", full_ring).needs(&["ip"]));
    common::main(tests)
}

fn opens_and_sets_up(kind: DeviceKind) {
    let wanted = TunOptions {
        mtu: Some(1400),
        ..options(kind)
    };
    let opened = tun::open(&wanted).unwrap();
    assert_eq!(opened.report.kind, kind);
    assert!(!opened.report.attached && !opened.report.persistent);
    assert_eq!(opened.report.warnings, Vec::<String>::new());
    assert_eq!(opened.report.offload.tso(), kind == DeviceKind::Offload);
    assert_eq!(opened.tun.caps().mtu, 1400);
    let shown = ip("address show dev us0");
    for part in [
        "mtu 1400",
        "qlen 10000",
        "10.77.0.1/24",
        "fd77::1/64",
        ",UP",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let global = shown
        .lines()
        .find(|line| line.contains("fd77::1/64"))
        .unwrap();
    assert!(!global.contains("tentative"), "usable at once: {shown}");
    drop(opened);
    gone_soon();
}

fn auto() {
    let opened = open(DeviceKind::Auto);
    assert_eq!(opened.report.kind, DeviceKind::Offload);
    assert_eq!(opened.report.fallback, None);
    assert!(opened.report.to_string().contains("CSUM|TSO4|TSO6|TSO_ECN"));
}

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

/// Lets a UDP packet of the kernel come in, and sends it back with its ends exchanged.
fn echo_once(runtime: &Runtime, device: &mut impl Device) {
    let socket = UdpSocket::bind("10.77.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let message = vec![7; 1000];
    socket.send_to(&message, "10.77.0.2:7").unwrap();
    let frame = runtime.block_on(receive_udp(device));
    let mut packet = frame.data.to_vec();
    let source: [u8; 4] = packet[12..16].try_into().unwrap();
    let destination: [u8; 4] = packet[16..20].try_into().unwrap();
    packet[12..16].copy_from_slice(&destination);
    packet[16..20].copy_from_slice(&source);
    packet[20..24].rotate_left(2);
    // Sums do not depend on the order of their words: the checksum, finished or not, still holds.
    let mut batch = TxBatch::new();
    batch.push_frame(Frame {
        data: packet.into(),
        offload: frame.offload,
    });
    assert_eq!(device.send(Instant::ZERO, &mut batch).unwrap(), 1);
    let mut answer = [0; 2000];
    let (len, from) = socket.recv_from(&mut answer).unwrap();
    assert_eq!((len, from), (1000, "10.77.0.2:7".parse().unwrap()));
}

/// The next UDP packet over IPv4; the kernel also sends multicast of its own.
async fn receive_udp(device: &mut impl Device) -> Frame {
    let mut batch = RxBatch::new();
    let received = async {
        loop {
            poll_fn(|cx| device.poll_recv_ready(cx)).await.unwrap();
            device.recv(Instant::ZERO, &mut batch).unwrap();
            let ours = |frame: &Frame| frame.data[0] == 0x45 && frame.data[9] == 17;
            if let Some(frame) = batch.drain().find(ours) {
                return frame;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), received)
        .await
        .expect("the packet")
}

fn packets_go_both_ways(kind: DeviceKind) {
    let mut opened = open(kind);
    echo_once(&runtime(), &mut opened.tun);
    let counters = opened.tun.counters();
    assert!(counters.rx_frames.get() >= 1);
    assert_eq!((counters.tx_frames.get(), counters.tx_dropped()), (1, 0));
}

fn persistent(kind: DeviceKind) {
    let flags = ["", "multi_queue", "vnet_hdr", "multi_queue vnet_hdr"];
    for flag in flags {
        ip(&format!("tuntap add dev us0 mode tun {flag}"));
        ip("link set dev us0 mtu 1450");
        // Offload first, so that a plain device afterwards finds it left on.
        for kind in [DeviceKind::Offload, kind] {
            let mut opened = open_when_free(kind);
            assert!(opened.report.attached && opened.report.persistent, "{flag}");
            assert_eq!(opened.report.mtu, 1450, "its own");
            let shown = ip("address show dev us0");
            assert!(shown.contains("10.77.0.1/24") && shown.contains("qlen 10000"));
            let runtime = runtime();
            echo_once(&runtime, &mut opened.tun);
            if kind == DeviceKind::Plain {
                plain_packets_are_whole(&runtime, &mut opened.tun);
            }
            drop(opened);
            let shown = ip("address show dev us0");
            assert!(
                shown.contains("mtu 1450") && shown.contains("qlen 500"),
                "{shown}"
            );
            assert!(
                !shown.contains("10.77.0.1") && !shown.contains(",UP"),
                "{shown}"
            );
        }
        ip("link delete us0");
    }
}

/// A datagram of 3,000 bytes arrives as fragments of the MTU, not as one unfinished packet.
fn plain_packets_are_whole(runtime: &Runtime, device: &mut Tun) {
    let socket = UdpSocket::bind("10.77.0.1:0").unwrap();
    socket.send_to(&[1; 3000], "10.77.0.2:9").unwrap();
    let frame = runtime.block_on(receive_udp(device));
    assert!(frame.data.len() <= 1450);
    assert_eq!(frame.offload.checksum, Checksum::Complete);
}

fn busy(kind: DeviceKind) {
    let _first = open(kind);
    let other = TunOptions {
        host_addresses: vec![("10.78.0.1".parse().unwrap(), 24)],
        stack_addresses: Vec::new(),
        ..options(kind)
    };
    let error = tun::open(&other).unwrap_err();
    assert!(matches!(error, OpenError::Busy { .. }), "{error}");
    ip("link add name dummy0 type bridge");
    let other = TunOptions {
        name: "dummy0".into(),
        ..other
    };
    let error = tun::open(&other).unwrap_err();
    assert!(matches!(error, OpenError::NotTun { .. }), "{error}");
}

fn removal(kind: DeviceKind) {
    let mut opened = open(kind);
    let runtime = runtime();
    let (begin, mut batch) = (std::time::Instant::now(), RxBatch::new());
    let mut turn = async |device: &mut Tun| {
        let now = || Instant::from_nanos(begin.elapsed().as_nanos() as u64);
        let wait = device.poll_timeout().map_or(Duration::MAX, |at| at - now());
        let ready = poll_fn(|cx| device.poll_recv_ready(cx));
        if let Ok(ready) = tokio::time::timeout(wait, ready).await {
            ready?;
        }
        let received = device.recv(now(), &mut batch);
        batch.drain().for_each(drop);
        received
    };
    let error = runtime.block_on(async {
        turn(&mut opened.tun).await.unwrap();
        ip("link delete us0");
        let ended = async {
            loop {
                if let Err(error) = turn(&mut opened.tun).await {
                    return error;
                }
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(5), ended).await;
        ended.expect("told in time, by an idle device too")
    });
    assert!(error.to_string().contains("us0 was removed"), "{error}");
    let mut batch = TxBatch::new();
    batch.push_frame(packet());
    assert!(opened.tun.send(Instant::ZERO, &mut batch).is_err());
}

/// An IPv4 header from the stack to the host, with nothing behind it.
fn packet() -> Frame {
    let mut data = vec![0; 20];
    data[0] = 0x45;
    data[3] = 20;
    data[8] = 64;
    data[9] = 253;
    data[12..16].copy_from_slice(&[10, 77, 0, 2]);
    data[16..20].copy_from_slice(&[10, 77, 0, 1]);
    Frame {
        data: data.into(),
        ..Frame::default()
    }
}

fn link_down(kind: DeviceKind) {
    let mut opened = open(kind);
    ip("link set us0 down");
    let mut batch = TxBatch::new();
    (0..10).for_each(|_| batch.push_frame(packet()));
    assert_eq!(opened.tun.send(Instant::ZERO, &mut batch).unwrap(), 10);
    assert_eq!(opened.tun.counters().tx_link_down.get(), 10);
    // Frames from before may still wait; then there is nothing, and no error.
    let mut rx = RxBatch::new();
    while opened.tun.recv(Instant::ZERO, &mut rx).unwrap() > 0 {
        rx.drain().for_each(drop);
    }
    ip("link set us0 up");
    batch.push_frame(packet());
    assert_eq!(opened.tun.send(Instant::ZERO, &mut batch).unwrap(), 1);
    assert_eq!(opened.tun.counters().tx_frames.get(), 1);
}

fn handed_over(kind: DeviceKind) {
    let fd = open(kind).tun.into_fd();
    let options = FdOptions {
        mtu: 1500,
        vnet_hdr: None,
    };
    let mut device = Tun::from_fd(fd, &options).unwrap();
    assert_eq!(device.name(), "us0");
    assert_eq!(device.caps().tso, kind == DeviceKind::Offload);
    echo_once(&runtime(), &mut device);
    drop(device);
    gone_soon();
}

fn conflicts() {
    ip("link add name br0 type bridge");
    ip("address add 10.77.0.1/24 dev br0");
    ip("link set br0 up");
    let error = tun::open(&options(DeviceKind::Auto)).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("10.77.0.1") && text.contains("br0"), "{text}");
    ip("address delete 10.77.0.1/24 dev br0");
    ip("address add 10.77.0.9/24 dev br0");
    let error = tun::open(&options(DeviceKind::Auto)).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("10.77.0.0/24") && text.contains("br0"),
        "{text}"
    );
    assert!(text.contains("--host-addr 10.78.0.1/24"), "{text}");
    assert!(!ip("-brief link").contains("us0"), "nothing was made");
}

fn full_ring() {
    let small = TunOptions {
        txqueuelen: 10_000,
        ..options(DeviceKind::Plain)
    };
    let opened = tun::open(&small).unwrap();
    let drops = tun::KernelDrops::open("us0").unwrap();
    let before = drops.read().unwrap();
    let socket = UdpSocket::bind("10.77.0.1:0").unwrap();
    for _ in 0..12_000 {
        socket.send_to(&[1], "10.77.0.2:9").unwrap();
    }
    let after = drops.read().unwrap();
    assert!(after - before >= 1000, "{before} {after}");
    drop(opened);
    assert_eq!(drops.read(), None);
}

/// Takes every capability from the calling thread; programs it starts have root's again.
fn drop_capabilities() {
    let none = CapabilitySet::empty();
    let sets = CapabilitySets {
        effective: none,
        permitted: none,
        inheritable: none,
    };
    set_capabilities(None, sets).unwrap();
}

fn without_privilege() {
    drop_capabilities();
    let wanted = options(DeviceKind::Auto);
    let error = tun::open(&wanted).unwrap_err();
    assert_eq!(error.exit_code(), 77, "{error}");
    let text = error.to_string();
    assert!(
        text.contains("sudo ip tuntap add dev us0 mode tun user"),
        "{text}"
    );

    // The commands of each message, without `sudo`, make the next attempt get further.
    ip("tuntap add dev us0 mode tun user 0 multi_queue vnet_hdr");
    let error = tun::open(&wanted).unwrap_err();
    assert!(matches!(error, OpenError::NotConfigured { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("its link is down") && text.contains("10.77.0.1/24"),
        "{text}"
    );
    let commands = text
        .lines()
        .filter_map(|line| line.strip_prefix("sudo ip "));
    assert_eq!(commands.map(ip).count(), 3, "{text}");

    let mut opened = tun::open(&wanted).unwrap_or_else(|error| panic!("{error}"));
    let report = &opened.report;
    assert!(report.attached && report.offload.tso() && report.txqueuelen == 500);
    let [warning] = &report.warnings[..] else {
        panic!("{:?}", report.warnings)
    };
    assert!(
        warning.contains("`sudo ip link set dev us0 txqueuelen 10000`"),
        "{warning}"
    );
    echo_once(&runtime(), &mut opened.tun);
    drop(opened);
    let bigger = TunOptions {
        mtu: Some(9000),
        ..wanted
    };
    let text = tun::open(&bigger).unwrap_err().to_string();
    assert!(text.contains("sudo ip link set dev us0 mtu 9000"), "{text}");
}

fn tshark(kind: DeviceKind) {
    let folder = temp_dir();
    let path = folder.path().join("capture.pcapng");
    let file = std::fs::File::create(&path).unwrap();
    let interface = CaptureOptions {
        interface: "us0".into(),
        ..CaptureOptions::default()
    };
    let mut device = Capture::new(open(kind).tun, file, interface).unwrap();
    echo_once(&runtime(), &mut device);
    drop(device);
    let checks = "-o ip.check_checksum:TRUE -o udp.check_checksum:TRUE";
    let mut tshark = command(&format!("tshark {checks} -T fields"));
    for field in [
        "frame.interface_name",
        "frame.packet_flags_direction",
        "udp.length",
        "udp.checksum.status",
        "_ws.malformed",
        "_ws.expert.message",
    ] {
        tshark.args(["-e", field]);
    }
    tshark.args(["-Y", "udp.port == 7", "-r"]).arg(&path);
    let shown = run_ok(&mut tshark, Duration::from_secs(20)).text();
    let rows: Vec<_> = shown.lines().map(str::trim_end).collect();
    // In, then out; status 1 is a good checksum; nothing malformed and no remark.
    assert_eq!(
        rows,
        ["us0\t0x00000001\t1008\t1", "us0\t0x00000002\t1008\t1"],
        "{shown}"
    );
}
