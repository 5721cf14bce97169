//! The program where it meets the system: what it says when something is in the way, with which
//! exit code, and how it ends.

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use common::{Finished, Test, Ustack, command, ip, run};
use rustix::mount::{MountFlags, mount};
use rustix::process::Signal;

/// Much longer than a failing start takes.
const SHORT: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    common::main(vec![
        Test::new("without_a_device_node", without_a_node),
        Test::new("without_privilege", without_privilege).needs(&["setpriv"]),
        Test::new("a_name_that_is_no_tun_device", not_a_tun).needs(&["ip"]),
        Test::new("a_device_in_use", busy).needs(&["ip"]),
        Test::new("an_address_in_use", address_in_use).needs(&["ip"]),
        Test::new("a_conflicting_route", conflicting_route).needs(&["ip"]),
        Test::new("a_descriptor_that_is_no_device", bad_descriptor),
        Test::new("a_device_that_vanishes", vanishing).needs(&["ip"]),
        Test::new("sigterm_lets_clients_finish", graceful).needs(&["ip"]),
        Test::new("a_second_signal_ends_at_once", at_once).needs(&["ip"]),
        Test::new("a_device_of_any_name_and_address", elsewhere).needs(&["ip", "ping"]),
    ])
}

/// Runs the program with arguments that it refuses.
#[track_caller]
fn refused(arguments: &[&str], code: i32, message: &str) -> Finished {
    let finished = run(&mut Ustack::command(arguments), SHORT);
    let expected = format!("ustack: error: {message}");
    assert!(
        finished.stderr.starts_with(&expected),
        "expected\n{expected}\ngot\n{}",
        finished.stderr
    );
    assert_eq!(finished.status.code(), Some(code), "{}", finished.stderr);
    finished
}

fn without_a_node() {
    // The test's own mount namespace.
    mount("none", "/dev/net", "tmpfs", MountFlags::empty(), None).expect("a mount of our own");
    assert!(!Path::new("/dev/net/tun").exists());
    refused(&[], 3, "there is no /dev/net/tun: ");
}

fn without_privilege() {
    let program = Ustack::path().display();
    let line = format!("setpriv --inh-caps=-net_admin --bounding-set=-net_admin {program}");
    let finished = run(&mut command(&line), SHORT);
    let expected = "ustack: error: creating the TUN device ustack0 needs CAP_NET_ADMIN, \
                    which this process lacks\n";
    assert!(finished.stderr.starts_with(expected), "{}", finished.stderr);
    for way_out in [
        "sudo ./ustack",
        "./ustack run -- ",
        "sudo ip tuntap add dev ustack0",
    ] {
        assert!(finished.stderr.contains(way_out), "{}", finished.stderr);
    }
    assert_eq!(finished.status.code(), Some(3));
}

fn not_a_tun() {
    let finished = refused(&["--tun", "lo"], 4, "interface lo exists and is ");
    assert!(
        finished.stderr.contains("--tun NAME"),
        "{}",
        finished.stderr
    );
}

fn busy() {
    let first = Ustack::start(&["--device", "plain"]);
    let other = ["--addr", "10.78.0.2/24", "--device", "plain"];
    refused(&other, 4, "device ustack0 is in use by another process\n");
    assert_eq!(first.terminate().status.code(), Some(0));
}

fn address_in_use() {
    ip("tuntap add dev other mode tun");
    ip("address add 10.77.0.2/32 dev other");
    let finished = refused(
        &[],
        4,
        "address 10.77.0.2 is in use on this host, by interface other\n",
    );
    assert!(
        finished.stderr.contains("--host-addr"),
        "{}",
        finished.stderr
    );
}

fn conflicting_route() {
    ip("tuntap add dev other mode tun");
    ip("address add 10.77.0.77/24 dev other");
    ip("link set other up");
    let finished = refused(&[], 4, "the host routes 10.77.0.0/24 to interface other, ");
    assert!(finished.stderr.contains("--addr"), "{}", finished.stderr);
    assert!(
        !ip("-brief link").contains("ustack0"),
        "nothing is left behind"
    );
}

fn bad_descriptor() {
    refused(
        &["--tun-fd", "77"],
        3,
        "--tun-fd 77: no file is open under this number\n",
    );
    refused(
        &["--tun-fd", "0"],
        3,
        "--tun-fd 0: /dev/null is no TUN device\n",
    );
}

fn vanishing() {
    let ustack = Ustack::start(&[]);
    ip("link delete ustack0");
    let finished = ustack.finish(SHORT);
    let last = "ustack: error: device ustack0 was removed while in use\n";
    assert!(finished.stderr.starts_with(last), "{}", finished.stderr);
    assert_eq!(finished.status.code(), Some(6));
}

fn graceful() {
    let ustack = Ustack::start(&[]);
    let mut echo = TcpStream::connect("10.77.0.2:7").expect("echo");
    echo.write_all(b"hello").expect("an open connection");
    let mut download = TcpStream::connect("10.77.0.2:80").expect("http");
    let request = "GET /bytes/3MiB HTTP/1.1\r\nHost: u\r\n\r\n";
    download
        .write_all(request.as_bytes())
        .expect("an open connection");
    let mut first = [0; 1];
    download.read_exact(&mut first).expect("the answer begins");
    let begun = Instant::now();
    ustack.signal(Signal::TERM);
    let mut rest = Vec::new();
    download.read_to_end(&mut rest).expect("the rest, then FIN");
    assert!(rest.len() > 3 << 20, "{} bytes", rest.len());
    let mut echoed = Vec::new();
    echo.read_to_end(&mut echoed).expect("the echo, then FIN");
    assert_eq!(echoed, b"hello");
    drop((echo, download));
    let finished = ustack.finish(SHORT);
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    assert!(begun.elapsed() < SHORT);
    let text = finished.text();
    let last = text.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("ustack: stopped by SIGTERM after "),
        "{text}"
    );
    assert!(!ip("-brief link").contains("ustack0"), "the device is gone");
}

fn at_once() {
    let ustack = Ustack::start(&[]);
    // Never read, so the answer cannot be finished.
    let mut download = TcpStream::connect("10.77.0.2:80").expect("http");
    let request = "GET /bytes/1GiB HTTP/1.1\r\nHost: u\r\n\r\n";
    download
        .write_all(request.as_bytes())
        .expect("an open connection");
    download.read_exact(&mut [0; 1]).expect("the answer begins");
    ustack.signal(Signal::INT);
    ustack.wait_stdout("once more ends at once", SHORT);
    let begun = Instant::now();
    ustack.signal(Signal::INT);
    let finished = ustack.finish(SHORT);
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    assert!(
        finished.text().contains("1 connections cut off"),
        "{}",
        finished.text()
    );
    let error = std::io::copy(&mut download, &mut std::io::sink()).expect_err("a reset");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

fn elsewhere() {
    let arguments = [
        "--tun",
        "us-here",
        "--addr",
        "192.168.50.7/24",
        "--mtu",
        "9000",
    ];
    let ustack = Ustack::start(&arguments);
    let link = ip("link show us-here");
    assert!(
        link.contains("mtu 9000") && link.contains("qlen 10000"),
        "{link}"
    );
    assert!(ip("address show us-here").contains("192.168.50.1/24"));
    let ping = run(&mut command("ping -c 1 -W 2 192.168.50.7"), SHORT);
    assert!(ping.status.success(), "{}", ping.text());
    let v6 = run(&mut command("ping -c 1 -W 1 fd77::2"), SHORT);
    assert!(!v6.status.success(), "no IPv6 unless asked for");
    assert_eq!(ustack.terminate().status.code(), Some(0));
}
