//! Real clients talk to the program: over both kinds of device and both IP versions.

mod common;

use std::io::{self, ErrorKind, Read};
use std::net::TcpStream;
use std::process::{ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::data::{Noise, sha256};
use common::{Finished, Setting, Test, command, run, run_ok};

const GIB: u64 = 1 << 30;
const LONG: Duration = Duration::from_secs(120);
const SHORT: Duration = Duration::from_secs(20);

type Body = fn(Setting);

fn main() -> ExitCode {
    let tests: [(&str, Body, &[&'static str]); 12] = [
        ("curl_downloads_1_gib", download, &["curl"]),
        ("curl_uploads_1_gib", upload, &["curl"]),
        ("curl_64_times_in_parallel", parallel, &["curl"]),
        ("curl_reuses_its_connection", keep_alive, &["curl"]),
        ("curl_is_refused_at_once", refused, &["curl"]),
        ("nc_half_closes", half_close, &["nc"]),
        ("ping", ping, &["ping"]),
        ("ping_in_fragments", ping_fragments, &["ping"]),
        ("udp_echo_of_any_size", udp_echo, &[]),
        ("udp_to_a_closed_port_is_refused", udp_refused, &[]),
        ("chargen_and_discard", chargen_and_discard, &[]),
        ("sigterm_ends_it_cleanly", sigterm, &["curl"]),
    ];
    let all = tests.into_iter().flat_map(|(name, body, tools)| {
        Setting::ALL.map(|setting| {
            Test::new(setting.name(name), move || body(setting))
                .needs(&["ip"])
                .needs(tools)
                .limit(LONG + SHORT)
        })
    });
    common::main(all.collect())
}

/// Runs curl with its body going through SHA-256; the hash and the length.
fn curl_hashed(url: &str) -> (String, u64) {
    let mut curl = command("curl --silent --show-error --fail --max-time 100");
    let mut child = curl.arg(url).stdout(Stdio::piped()).spawn().expect("curl");
    let hashed = sha256(child.stdout.take().expect("a pipe")).expect("the body");
    let status = child.wait().expect("curl's status");
    assert!(status.success(), "{url}: {status}");
    hashed
}

/// What `GET /bytes/N` answers, made here.
fn expected(length: u64) -> (String, u64) {
    sha256(common::data::served_bytes(length)).expect("memory")
}

fn download(setting: Setting) {
    let _ustack = setting.start(&[]);
    assert_eq!(
        curl_hashed(&setting.url("/bytes/1073741824")),
        expected(GIB)
    );
}

fn upload(setting: Setting) {
    let _ustack = setting.start(&[]);
    let mut curl = command("curl --silent --show-error --fail --max-time 100 --upload-file -");
    curl.arg(setting.url("/discard"));
    let mut child = curl
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl");
    let mut stdin = child.stdin.take().expect("a pipe");
    let writer = thread::spawn(move || io::copy(&mut Noise::new(1, GIB), &mut stdin));
    let mut answer = String::new();
    let mut stdout = child.stdout.take().expect("a pipe");
    stdout.read_to_string(&mut answer).expect("text");
    writer.join().expect("the writer").expect("curl reads on");
    assert!(child.wait().expect("curl's status").success());
    let (hash, length) = sha256(Noise::new(1, GIB)).expect("memory");
    assert!(answer.contains(&hash), "{answer} instead of {hash}");
    assert!(answer.contains(&length.to_string()), "{answer}");
}

fn parallel(setting: Setting) {
    let _ustack = setting.start(&[]);
    let want = expected(1 << 20);
    let url = setting.url("/bytes/1048576");
    thread::scope(|scope| {
        let curls: Vec<_> = (0..64).map(|_| scope.spawn(|| curl_hashed(&url))).collect();
        for curl in curls {
            assert_eq!(curl.join().expect("curl"), want);
        }
    });
}

fn keep_alive(setting: Setting) {
    let _ustack = setting.start(&[]);
    let mut curl = command("curl --silent --show-error --fail --output /dev/null");
    curl.args(["--write-out", "%{num_connects} "]);
    for path in ["/bytes/100000", "/bytes/1", "/"] {
        curl.args(["--output", "/dev/null"]).arg(setting.url(path));
    }
    assert_eq!(run_ok(&mut curl, SHORT).text(), "1 0 0 ");
}

fn refused(setting: Setting) {
    let _ustack = setting.start(&[]);
    let mut curl = command("curl --silent --show-error --max-time 10");
    let url = format!("http://{}/", setting.port(81));
    let Finished {
        status, elapsed, ..
    } = run(curl.arg(url), SHORT);
    assert_eq!(
        status.code(),
        Some(7),
        "curl's code for a refused connection"
    );
    assert!(elapsed < Duration::from_secs(1), "took {elapsed:?}");
}

/// `nc -N` sends FIN after its input; the echo must come back in full all the same.
fn half_close(setting: Setting) {
    let _ustack = setting.start(&[]);
    let mut nc = command("nc -N");
    nc.args([setting.address.to_string(), "7".into()]);
    let mut child = nc
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("nc");
    let mut stdin = child.stdin.take().expect("a pipe");
    let length = 3_000_000;
    let writer = thread::spawn(move || io::copy(&mut Noise::new(2, length), &mut stdin));
    let echo = sha256(child.stdout.take().expect("a pipe")).expect("the echo");
    writer.join().expect("the writer").expect("nc reads on");
    assert!(child.wait().expect("nc's status").success());
    assert_eq!(echo, sha256(Noise::new(2, length)).expect("memory"));
}

fn ping(setting: Setting) {
    pinged(setting, 56);
}

/// 20,000 bytes are 14 fragments each way.
fn ping_fragments(setting: Setting) {
    pinged(setting, 20_000);
}

fn pinged(setting: Setting, size: usize) {
    let _ustack = setting.start(&[]);
    let mut ping = command("ping -n -c 10 -i 0.05 -W 2");
    ping.args(["-s", &size.to_string(), &setting.address.to_string()]);
    let text = run_ok(&mut ping, SHORT).text();
    assert!(text.contains("10 received"), "{text}");
    let reply = format!("{} bytes from {}", size + 8, setting.address);
    assert_eq!(text.matches(&reply).count(), 10, "{text}");
}

/// Whole, at the edge of one packet, just over it, and in many fragments.
fn udp_echo(setting: Setting) {
    let _ustack = setting.start(&[]);
    let socket = setting.udp_client(7);
    let mut buffer = vec![0; 65_536];
    for (seed, size) in (0..).zip([1, 1472, 1473, 60_000, 0, 65_507]) {
        let sent = Noise::new(seed, size).bytes();
        socket.send(&sent).expect("a datagram out");
        let received = socket.recv(&mut buffer);
        let length = received.unwrap_or_else(|error| panic!("{size} bytes: {error}"));
        assert!(
            buffer[..length] == sent,
            "{size} bytes came back as {length}"
        );
    }
}

fn udp_refused(setting: Setting) {
    let _ustack = setting.start(&[]);
    let socket = setting.udp_client(4242);
    let started = Instant::now();
    socket.send(b"anybody?").expect("a datagram out");
    let error = socket.recv(&mut [0; 16]).expect_err("nobody listens");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert!(started.elapsed() < Duration::from_secs(1));
}

fn chargen_and_discard(setting: Setting) {
    let _ustack = setting.start(&[]);
    let mut chargen = TcpStream::connect(setting.port(19)).expect("chargen");
    chargen.set_read_timeout(Some(SHORT)).expect("a timeout");
    let mut text = vec![0; 1 << 20];
    chargen.read_exact(&mut text).expect("a megabyte");
    // RFC 864: lines of 72 printable characters, each begins one further along.
    let lines: Vec<_> = text.chunks_exact(74).collect();
    for pair in lines.windows(2) {
        assert_eq!(&pair[0][72..], b"\r\n");
        assert_eq!(pair[0][1..72], pair[1][..71]);
    }
    let mut discard = TcpStream::connect(setting.port(9)).expect("discard");
    discard.set_read_timeout(Some(SHORT)).expect("a timeout");
    io::copy(&mut Noise::new(3, 10_000_000), &mut discard).expect("all taken");
    let end = discard.shutdown(std::net::Shutdown::Write);
    end.expect("a half-close");
    assert_eq!(discard.read(&mut [0; 16]).expect("the end"), 0);
}

/// SIGTERM in mid-download: the client sees an end, the program exits with 0 and takes its device
/// along.
fn sigterm(setting: Setting) {
    let ustack = setting.start(&[]);
    let devices = || common::ip("-brief link").lines().count();
    assert_eq!(devices(), 2);
    let mut stream = TcpStream::connect(setting.port(19)).expect("chargen");
    stream.set_read_timeout(Some(SHORT)).expect("a timeout");
    stream
        .read_exact(&mut vec![0; 100_000])
        .expect("some bytes");
    let reader = thread::spawn(move || io::copy(&mut stream, &mut io::sink()));
    let finished = ustack.terminate();
    assert!(finished.status.success(), "{:?}", finished.status);
    assert!(finished.elapsed < Duration::from_secs(11));
    let _reset_or_end = reader.join().expect("the reader");
    assert_eq!(devices(), 1, "the device goes with the program");
}
