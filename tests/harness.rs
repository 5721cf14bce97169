//! The harness for tests with devices, tested by what it promises.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use common::{Background, Namespace, Test, command, ip, run, run_ok, veth};

const SHORT: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    common::main(vec![
        Test::new("every_test_has_a_network_of_its_own", own_network).needs(&["ip"]),
        Test::new("namespaces_talk_over_veth", joined_namespaces).needs(&["ip"]),
        Test::new("a_tun_device_can_be_made", tun_device).needs(&["ip"]),
        Test::new("commands_are_bounded_in_time", bounded_command).needs(&["ip", "sleep"]),
        Test::new("background_processes_are_waited_for_and_killed", background)
            .needs(&["ip", "cat"]),
    ])
}

fn own_network() {
    let devices = ip("-brief link");
    assert_eq!(devices.lines().count(), 1, "only lo: {devices}");
    let listener = TcpListener::bind("127.0.0.1:80").expect("root inside may bind port 80");
    let client = TcpStream::connect("127.0.0.1:80").expect("lo is up");
    let (_server, peer) = listener.accept().expect("a connection");
    assert_eq!(client.local_addr().ok(), Some(peer));
}

fn joined_namespaces() {
    let (left, right) = (Namespace::new(), Namespace::new());
    veth(
        (&left, "v0", &["192.0.2.1/24", "2001:db8::1/64"]),
        (&right, "v0", &["192.0.2.2/24", "2001:db8::2/64"]),
    );
    for address in ["192.0.2.2:7777", "[2001:db8::2]:7777"] {
        let listener = right.run(|| TcpListener::bind(address).expect("an address of its own"));
        thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().expect("a connection");
                stream.write_all(b"hello").expect("a listener");
            });
            let mut text = String::new();
            let mut stream = left.run(|| TcpStream::connect(address).expect("a neighbour"));
            stream.read_to_string(&mut text).expect("the greeting");
            assert_eq!(text, "hello");
        });
    }
    assert!(
        !ip("-brief link").contains("v0"),
        "the test's own namespace is a third"
    );
}

fn tun_device() {
    ip("tuntap add dev us0 mode tun");
    ip("link set us0 up");
    assert!(ip("-brief link").contains("us0"));
    assert!(
        std::path::Path::new("/sys/class/net/us0").exists(),
        "/sys shows this namespace"
    );
}

fn bounded_command() {
    let limit = Duration::from_millis(50);
    let outcome = std::panic::catch_unwind(|| run(&mut command("sleep 60"), limit));
    assert!(outcome.is_err());
    let finished = run_ok(command("sh -c").arg("echo out; echo err >&2"), SHORT);
    assert_eq!(
        (finished.text().as_str(), finished.stderr.as_str()),
        ("out\n", "err\n")
    );
    assert_eq!(
        run(command("sh -c").arg("exit 7"), SHORT).status.code(),
        Some(7)
    );
}

fn background() {
    let process =
        Background::start(command("sh -c").arg("echo ready; echo oops >&2; exec sleep 60"));
    assert_eq!(process.wait_stdout("read", SHORT), "ready");
    assert_eq!(process.wait_stderr("oop", SHORT), "oops");
    let proc = format!("/proc/{}", process.pid());
    assert!(std::path::Path::new(&proc).exists());
    drop(process);
    assert!(!std::path::Path::new(&proc).exists());
}
