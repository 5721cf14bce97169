//! 20 MB both ways through a bad link: every byte arrives, and no silence is longer than the
//! retransmission timer explains.

mod common;

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use common::capture::{Verdict, tshark};
use common::data::{Noise, served_bytes, sha256};
use common::{Setting, Test, temp_dir};

const LENGTH: u64 = 20_000_000;

/// A bad link leaves the processors idle most of the time.
const AT_ONCE: usize = 6;

/// A link, and how many losses of one segment in a row are to be expected on it.
#[derive(Clone, Copy)]
struct Link {
    name: &'static str,
    impair: &'static str,
    losses_in_a_row: u32,
}

const LINKS: [Link; 2] = [
    Link {
        name: "everything_at_once",
        impair: "loss=1%,delay=10ms,jitter=2ms,reorder=1%,duplicate=0.5%,corrupt=0.1%,seed=1",
        losses_in_a_row: 3,
    },
    Link {
        name: "a_tenth_lost",
        impair: "loss=10%,seed=2",
        losses_in_a_row: 5,
    },
];

impl Link {
    /// The RTO begins at 200 ms (Linux and ours; a little more with the path's own time) and
    /// doubles with each loss (RFC 6298 §5.5).
    fn longest_stall(self) -> Duration {
        let first = Duration::from_millis(300);
        first * (2_u32.pow(self.losses_in_a_row) - 1)
    }
}

fn main() -> ExitCode {
    let all = LINKS.into_iter().flat_map(|link| {
        Setting::ALL.into_iter().flat_map(move |setting| {
            let name = |what| setting.name(&format!("{}::{what}", link.name));
            let bounded = |test: Test| {
                test.needs(&["ip", "tshark"])
                    .limit(Duration::from_secs(240))
            };
            [
                bounded(Test::new(name("download"), move || download(setting, link))),
                bounded(Test::new(name("upload"), move || upload(setting, link))),
            ]
        })
    });
    common::main_at_once(AT_ONCE, all.collect())
}

fn connect(setting: Setting) -> TcpStream {
    let stream = TcpStream::connect(setting.port(80)).expect("a connection");
    let patience = Some(Duration::from_secs(60));
    stream.set_read_timeout(patience).expect("a timeout");
    stream.set_write_timeout(patience).expect("a timeout");
    stream
}

/// The kernel receives; what it hands out is watched.
fn download(setting: Setting, link: Link) {
    captured(setting, link, |_| {
        let mut stream = connect(setting);
        let request =
            format!("GET /bytes/{LENGTH} HTTP/1.1\r\nHost: u\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("a request");
        let mut watched = Watched::new(stream);
        read_head(&mut watched);
        let got = sha256(&mut watched).expect("the body");
        let want = sha256(served_bytes(LENGTH)).expect("memory");
        assert_eq!(got, want);
        watched.longest
    });
}

/// The stack receives; what it acknowledges is watched, in the capture.
fn upload(setting: Setting, link: Link) {
    captured(setting, link, |_| {
        let mut stream = connect(setting);
        let head = format!(
            "PUT /discard HTTP/1.1\r\nHost: u\r\nConnection: close\r\nContent-Length: {LENGTH}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).expect("a request");
        let mut writer = stream.try_clone().expect("a second handle");
        let body = thread::spawn(move || io::copy(&mut Noise::new(5, LENGTH), &mut writer));
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        body.join().expect("the writer").expect("all taken");
        let (hash, _) = sha256(Noise::new(5, LENGTH)).expect("memory");
        assert!(answer.contains(&hash), "{answer} instead of {hash}");
        let _ = stream.shutdown(Shutdown::Both);
        Duration::ZERO
    });
}

/// Runs a transfer, which returns the longest silence it saw, under a capture; then judges both.
fn captured(setting: Setting, link: Link, transfer: impl FnOnce(&Path) -> Duration) {
    let folder = temp_dir();
    let file = folder.path().join("impaired.pcapng");
    let path = file.to_str().expect("a path in UTF-8");
    let ustack = setting.start(&["--impair", link.impair, "--capture", path]);
    let started = Instant::now();
    let seen = transfer(&file);
    let took = started.elapsed();
    let finished = ustack.terminate();
    assert!(finished.status.success(), "{}", finished.stderr);
    // What comes in is corrupted on purpose; what goes out is seen before that.
    Verdict::of(&file, "frame.packet_flags_direction == 2").check_whole();
    let acknowledged = longest_ack_silence(&file);
    println!(
        "{}: {took:.1?}, longest silence {seen:.1?} at the client, {acknowledged:.1?} in ACKs",
        setting.name(link.name),
    );
    let longest = seen.max(acknowledged);
    assert!(longest <= link.longest_stall(), "a stall of {longest:?}");
}

/// The longest time between two advances of what the stack acknowledges.
fn longest_ack_silence(file: &Path) -> Duration {
    let filter = "tcp.srcport == 80 && tcp.flags.ack == 1 && frame.packet_flags_direction == 2";
    let (mut highest, mut since, mut longest) = (0_u64, None, 0.0_f64);
    for packet in tshark(file, filter, &["frame.time_relative", "tcp.ack"]) {
        let [time, ack] = &packet[..] else {
            panic!("two fields, not {packet:?}")
        };
        let (time, ack): (f64, u64) = (
            time.parse().expect("seconds"),
            ack.parse().expect("a number"),
        );
        if ack > highest {
            // A download acknowledges next to nothing; only data in flight can stall.
            if highest > 1000 {
                longest = longest.max(time - since.unwrap_or(time));
            }
            (highest, since) = (ack, Some(time));
        }
    }
    assert!(highest > 0, "the stack acknowledged nothing");
    Duration::from_secs_f64(longest)
}

/// A reader that notes the longest time between two reads that brought something.
struct Watched {
    stream: TcpStream,
    last: Instant,
    longest: Duration,
}

impl Watched {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            last: Instant::now(),
            longest: Duration::ZERO,
        }
    }
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.stream.read(buffer)?;
        self.longest = self.longest.max(self.last.elapsed());
        self.last = Instant::now();
        Ok(length)
    }
}

fn read_head(source: &mut impl Read) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        source.read_exact(&mut byte).expect("a head");
        head.push(byte[0]);
    }
    assert!(
        head.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&head)
    );
}
