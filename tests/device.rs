//! TUN devices for real: opened, attached to, used and removed, in namespaces of their own.

mod common;

use std::future::poll_fn;
use std::net::UdpSocket;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Test, command, ip, run_ok, temp_dir};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use tokio::runtime::Runtime;
use ustack::device::tun::{self, DeviceKind, FdOptions, OpenError, Opened, Tun, TunOptions};
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
    tests.push(Test::new("what_leaves_a_plain_device_is_joined", joined).needs(&["ip"]));
    tests.push(Test::new("a_burst_leaves_whole", burst).needs(&["ip"]));
    tests.push(Test::new("closing_discards_nothing", closing).needs(&["ip"]));
    tests.push(Test::new("conflicts_are_found_beforehand", conflicts).needs(&["ip"]));
    let unprivileged = Test::new("an_owner_without_privilege_attaches", without_privilege);
    tests.push(unprivileged.needs(&["ip"]));
    tests.push(Test::new("a_full_ring_is_counted", full_ring).needs(&["ip"]));
    common::main(tests)
}

fn options(kind: DeviceKind) -> TunOptions {
    TunOptions {
        name: "us0".into(),
        kind,
        host_addresses: vec![
            ("10.77.0.1".parse().unwrap(), 24),
            ("fd77::1".parse().unwrap(), 64),
        ],
        stack_addresses: vec!["10.77.0.2".parse().unwrap(), "fd77::2".parse().unwrap()],
        ..TunOptions::default()
    }
}

fn open(kind: DeviceKind) -> Opened {
    tun::open(&options(kind)).unwrap_or_else(|error| panic!("{error}"))
}

/// As [`open`], for a device that was held a moment ago: see [`gone_soon`].
fn open_when_free(kind: DeviceKind) -> Opened {
    let begin = std::time::Instant::now();
    loop {
        match tun::open(&options(kind)) {
            Err(OpenError::Busy { .. }) if begin.elapsed() < Duration::from_secs(5) => {}
            result => return result.unwrap_or_else(|error| panic!("{error}")),
        }
    }
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

/// The device goes with its last descriptor. A process that another test is just starting holds a
/// copy of ours from its fork to its exec.
fn gone_soon() {
    let begin = std::time::Instant::now();
    while ip("-brief link").contains("us0") {
        assert!(begin.elapsed() < Duration::from_secs(5), "the device stays");
    }
}

fn auto() {
    let opened = open(DeviceKind::Auto);
    assert_eq!(opened.report.kind, DeviceKind::Offload);
    assert_eq!(opened.report.fallback, None);
    assert!(opened.report.to_string().contains("CSUM|TSO4|TSO6|TSO_ECN"));
}

/// A count of the kernel's in this namespace, of `/proc/net/snmp` or `netstat`.
fn count(file: &str, group: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with(group));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let at = names.split(' ').position(|it| it == name).unwrap();
    values.split(' ').nth(at).unwrap().parse().unwrap()
}

/// Packets that IPv4 has taken in; of a joined one, those that it was joined of.
fn taken_in() -> u64 {
    count("netstat", "IpExt:", "InNoECTPkts")
}

/// The same, joined ones as one.
fn seen() -> u64 {
    count("snmp", "Ip:", "InReceives")
}

fn wait_taken_in(packets: u64) {
    let begin = std::time::Instant::now();
    while taken_in() < packets {
        let so_far = taken_in();
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "{so_far} of {packets} packets"
        );
    }
}

fn joined() {
    const ROUNDS: u32 = 20;
    const SEGMENTS: u32 = 64;
    let mut switch = std::fs::OpenOptions::new();
    let may_switch = switch
        .write(true)
        .open("/sys/class/net/lo/threaded")
        .is_ok();
    if !may_switch {
        println!("/sys is not to be written to here: no NAPI, and nothing is joined");
    }
    let alone = TunOptions {
        napi: false,
        ..options(DeviceKind::Plain)
    };
    for (options, joins) in [(alone, false), (options(DeviceKind::Plain), may_switch)] {
        let mut opened = tun::open(&options).unwrap();
        assert_eq!(opened.report.warnings, Vec::<String>::new());
        assert_eq!(opened.report.napi, joins);
        assert_eq!(opened.report.to_string().contains("plain, NAPI, "), joins);
        let (before, seen_before) = (taken_in(), seen());
        let mut batch = TxBatch::new();
        for round in 0..ROUNDS {
            for segment in 0..SEGMENTS {
                let seq = (round * SEGMENTS + segment) * 1000;
                batch.push_frame(segment_to_the_kernel(seq));
            }
            while !batch.is_empty() {
                opened.tun.send(Instant::ZERO, &mut batch).unwrap();
            }
            wait_taken_in(before + u64::from((round + 1) * SEGMENTS));
        }
        let (sent, seen) = (u64::from(ROUNDS * SEGMENTS), seen() - seen_before);
        assert!(if joins { seen < sent } else { seen >= sent }, "{seen}");
        drop(opened);
        gone_soon();
    }
}

/// A segment of 1000 bytes that goes on with what came before.
fn segment_to_the_kernel(seq: u32) -> Frame {
    let builder = etherparse::PacketBuilder::ipv4([10, 77, 0, 2], [10, 77, 0, 1], 64);
    let builder = builder.tcp(80, 4000, seq, 1000).ack(1);
    let mut data = Vec::new();
    builder.write(&mut data, &[0; 1000]).unwrap();
    Frame {
        data: data.into(),
        ..Frame::default()
    }
}

/// Several times as much as may wait for the kernel's thread, which has to share its CPU, is not lost.
fn burst() {
    while_cores_are_busy(send_burst);
}

/// What was sent is not lost when the device is closed then.
fn closing() {
    while_cores_are_busy(|| {
        for _ in 0..20 {
            let mut opened = open_when_free(DeviceKind::Plain);
            let before = taken_in();
            let mut batch = TxBatch::new();
            (0..1700).for_each(|_| batch.push_frame(datagram_to_the_kernel()));
            opened.tun.send(Instant::ZERO, &mut batch).unwrap();
            assert!(batch.is_empty());
            drop(opened);
            assert!(taken_in() - before >= 1700, "{}", taken_in() - before);
        }
    });
}

fn datagram_to_the_kernel() -> Frame {
    let mut data = Vec::new();
    let builder = etherparse::PacketBuilder::ipv4([10, 77, 0, 2], [10, 77, 0, 1], 64);
    builder.udp(7, 7).write(&mut data, &[0; 1400]).unwrap();
    Frame {
        data: data.into(),
        ..Frame::default()
    }
}

/// Each core has another thread to run besides.
fn while_cores_are_busy(body: fn()) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let done = std::panic::catch_unwind(body);
        is_over.store(true, Ordering::Relaxed);
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

fn send_burst() {
    const DATAGRAMS: u64 = 60_000;
    let mut opened = open(DeviceKind::Plain);
    let before = taken_in();
    let frame = datagram_to_the_kernel();
    let begin = std::time::Instant::now();
    let now = || Instant::from_nanos(begin.elapsed().as_nanos() as u64);
    let (mut batch, mut left, mut rx) = (TxBatch::new(), DATAGRAMS, RxBatch::new());
    runtime().block_on(async {
        while left > 0 || !batch.is_empty() {
            while left > 0 && batch.len() < 64 {
                batch.push_frame(frame.clone());
                left -= 1;
            }
            opened.tun.recv(now(), &mut rx).unwrap();
            rx.drain().for_each(drop);
            opened.tun.send(now(), &mut batch).unwrap();
            if !batch.is_empty() {
                let wait = opened
                    .tun
                    .poll_timeout()
                    .map_or(Duration::MAX, |at| at - now());
                assert!(wait <= Duration::from_millis(1), "it says nothing of room");
                let room = poll_fn(|cx| opened.tun.poll_send_ready(cx));
                let _ = tokio::time::timeout(wait, room).await;
            }
        }
    });
    let counters = opened.tun.counters();
    assert_eq!(
        (counters.tx_frames.get(), counters.tx_dropped()),
        (DATAGRAMS, 0)
    );
    wait_taken_in(before + DATAGRAMS);
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
