//! Wireshark reads what `--capture` wrote of real clients on a clean link, and has no complaint.

mod common;

use std::fs::read_to_string;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use common::capture::{Verdict, tshark};
use common::data::Noise;
use common::{Setting, Test, command, run, run_ok, temp_dir};

const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes of the bulk transfers. A plain device makes 90,000 packets of 64 MiB in a second; on two
/// busy cores the capture's queue (16,384 packets, 64 MiB) overflows, so a transfer fits into it.
const fn bulk(setting: Setting) -> u64 {
    match setting.device.as_bytes() {
        b"plain" => 8 << 20,
        _ => 40 << 20,
    }
}

fn main() -> ExitCode {
    let all = Setting::ALL.map(|setting| {
        Test::new(setting.name("tshark_finds_nothing_wrong"), move || {
            clean(setting);
        })
        .needs(&["ip", "curl", "nc", "ping", "tshark"])
        .limit(Duration::from_secs(300))
    });
    common::main(all.into())
}

/// One at a time: a capture thread that does not get a core to itself drops packets.
static ALONE: Mutex<()> = Mutex::new(());

fn clean(setting: Setting) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = temp_dir();
    let file = folder.path().join("clean.pcapng");
    let path = file.to_str().expect("a path in UTF-8");
    let ustack = setting.start(&["--capture", path]);
    let dropped_before = tx_dropped();
    clients(setting, folder.path());
    let dropped = tx_dropped() - dropped_before;
    let finished = ustack.terminate();
    assert!(finished.status.success(), "{}", finished.stderr);
    let verdict = Verdict::of(&file, "");
    println!("{}: {verdict:?}, {dropped} dropped", setting.name("clean"));
    for line in complaints(&file) {
        println!("{}", line.join("  "));
    }
    verdict.check_clean(dropped);
    assert_eq!(
        verdict.gaps, 0,
        "the capture holds every packet: {verdict:?}"
    );
}

/// Everything a newcomer would try.
fn clients(setting: Setting, folder: &std::path::Path) {
    let curl = || command("curl --silent --show-error --fail --output /dev/null --max-time 50");
    let bulk = bulk(setting);
    run_ok(curl().arg(setting.url(&format!("/bytes/{bulk}"))), PATIENCE);
    let upload = folder.join("upload");
    std::fs::write(&upload, Noise::new(4, bulk).bytes()).expect("space on disk");
    run_ok(
        curl()
            .arg("--upload-file")
            .arg(&upload)
            .arg(setting.url("/discard")),
        PATIENCE,
    );
    let mut parallel = curl();
    parallel.args(["--parallel", "--parallel-max", "16"]);
    for _ in 0..16 {
        parallel
            .args(["--output", "/dev/null"])
            .arg(setting.url("/bytes/300000"));
    }
    run_ok(&mut parallel, PATIENCE);
    let closed = format!("http://{}/", setting.port(81));
    assert_eq!(run(curl().arg(closed), PATIENCE).status.code(), Some(7));

    let address = setting.address.to_string();
    let half_close = format!("head -c 100000 /dev/zero | nc -N {address} 7 | wc -c");
    let echoed = run_ok(command("sh -c").arg(half_close), PATIENCE).text();
    assert_eq!(echoed.trim(), "100000");
    for size in ["56", "20000"] {
        run_ok(
            command("ping -n -c 5 -i 0.05 -W 2 -s").args([size, &address]),
            PATIENCE,
        );
    }
    let socket = setting.udp_client(7);
    let mut buffer = vec![0; 65_536];
    for size in [1, 1472, 1473, 60_000] {
        socket.send(&vec![7; size]).expect("a datagram out");
        assert_eq!(socket.recv(&mut buffer).expect("a datagram back"), size);
    }
    let refused = setting.udp_client(4242);
    refused.send(b"anybody?").expect("a datagram out");
    refused.recv(&mut buffer).expect_err("nobody listens");
}

/// Packets that the device's own queue towards the program has dropped.
fn tx_dropped() -> u64 {
    let devices = std::fs::read_dir("/sys/class/net").expect("a sysfs");
    let dropped = devices.map(|device| {
        let path = device
            .expect("a device")
            .path()
            .join("statistics/tx_dropped");
        read_to_string(path).map_or(0, |text| text.trim().parse().expect("a number"))
    });
    dropped.sum()
}

/// The first packets that Wireshark remarks on.
fn complaints(file: &std::path::Path) -> Vec<Vec<String>> {
    let filter = "tcp.analysis.retransmission || tcp.analysis.out_of_order \
                  || tcp.analysis.zero_window || tcp.analysis.lost_segment \
                  || ip.checksum.status == 0 || tcp.checksum.status == 0 \
                  || udp.checksum.status == 0 || icmp.checksum.status == 0 \
                  || icmpv6.checksum.status == 0";
    let fields = [
        "frame.number",
        "frame.time_relative",
        "frame.protocols",
        "tcp.stream",
        "tcp.srcport",
        "tcp.seq",
        "tcp.len",
        "tcp.ack",
        "tcp.window_size",
        "_ws.expert.message",
    ];
    tshark(file, filter, &fields).into_iter().take(20).collect()
}
