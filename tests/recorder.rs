//! The flight recorder: what it writes when, where, and how much of it stays.

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use common::{Setting, Test, command, ip, run_ok, temp_dir};
use rustix::process::Signal;

const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let [setting, ..] = Setting::ALL;
    let all = [
        Test::new("a_signal", move || signal(setting)),
        Test::new("a_reset", move || reset(setting)),
        Test::new("timeouts_in_a_row", move || timeouts(setting)),
        Test::new("a_stall", move || stall(setting)),
        Test::new("limits", move || limits(setting)),
        Test::new("off", move || off(setting)),
        Test::new("a_panic", panic),
    ];
    let all = all.into_iter().map(|test| {
        test.needs(&["ip", "curl", "tshark", "capinfos"])
            .limit(Duration::from_secs(120))
    });
    common::main(all.collect())
}

/// Files in a directory, by name.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    files
}

/// Comments of all packets of a file, and the file's own.
fn comments(file: &Path) -> (Vec<String>, String) {
    let mut tshark = command("tshark -n -T fields -e frame.comment -r");
    let text = run_ok(tshark.arg(file), PATIENCE).text();
    let infos = run_ok(command("capinfos").arg(file), PATIENCE).text();
    (text.lines().map(str::to_owned).collect(), infos)
}

/// Waits for the line that says where a file is, and why.
fn written(ustack: &common::Ustack, why: &str) -> PathBuf {
    let line = ustack.wait_stderr("flight recorder written", PATIENCE);
    assert!(line.contains(why), "{line}");
    let (_, path) = line.split_once("file=").expect("where it is");
    PathBuf::from(path.split(' ').next().expect("a path"))
}

fn start(setting: Setting, folder: &Path, more: &[&str]) -> common::Ustack {
    let folder = folder.to_str().expect("a path in UTF-8");
    setting.start(&[&["--recorder", folder], more].concat())
}

fn signal(setting: Setting) {
    let folder = temp_dir();
    let place = folder.path().join("made/for/it");
    let ustack = start(setting, &place, &[]);
    let page = setting.url("/bytes/100000");
    run_ok(
        command("curl --silent --output /dev/null").arg(page),
        PATIENCE,
    );
    ustack.signal(Signal::USR1);
    let path = written(&ustack, "SIGUSR1");
    assert_eq!(files(&place), std::slice::from_ref(&path));
    let (comments, infos) = comments(&path);
    assert!(comments.len() >= 10, "{}", comments.len());
    assert!(
        comments.iter().all(|comment| !comment.is_empty()),
        "{comments:?}"
    );
    assert!(
        comments
            .iter()
            .any(|comment| comment.starts_with("new data; ESTABLISHED"))
    );
    assert!(infos.contains("flight recorder: SIGUSR1"), "{infos}");
    assert!(infos.contains("--recorder"), "the command line: {infos}");
    let finished = ustack.terminate();
    assert!(finished.status.success(), "{}", finished.stderr);
    assert!(
        finished.text().contains("1 flight recording"),
        "{}",
        finished.text()
    );
}

fn reset(setting: Setting) {
    let folder = temp_dir();
    let ustack = start(setting, folder.path(), &[]);
    let mut stream = TcpStream::connect(setting.port(19)).expect("a connection");
    let mut some = [0; 1000];
    stream.read_exact(&mut some).expect("characters");
    drop(stream); // with unread bytes: a RST
    let path = written(&ustack, "connection reset");
    let name = path.file_name().expect("a name").to_string_lossy();
    assert!(name.ends_with("-connection-reset.pcapng"), "{name}");
    let (comments, _) = comments(&path);
    // Behind it may stand what was on its way already.
    let is_told = comments.iter().any(|comment| comment.contains("reset"));
    assert!(is_told, "{comments:?}");
    // Another one at once is no news.
    let mut stream = TcpStream::connect(setting.port(19)).expect("a connection");
    stream.read_exact(&mut some).expect("characters");
    drop(stream);
    let page = setting.url("/");
    run_ok(command("curl --silent").arg(page), PATIENCE);
    assert!(ustack.terminate().status.success());
    assert_eq!(files(folder.path()).len(), 1);
}

/// Half a transfer, and the kernel's side goes silent.
fn silenced(setting: Setting) -> TcpStream {
    let mut stream = TcpStream::connect(setting.port(19)).expect("a connection");
    let mut some = [0; 1000];
    stream.read_exact(&mut some).expect("characters");
    stream
}

fn timeouts(setting: Setting) {
    let folder = temp_dir();
    let ustack = start(setting, folder.path(), &["--impair-in", "drop=12-100000"]);
    let mut stream = silenced(setting);
    let mut rest = Vec::new();
    stream
        .set_read_timeout(Some(Duration::from_millis(100)))
        .expect("a timeout");
    let _ = stream.read_to_end(&mut rest);
    let path = written(&ustack, "three timeouts in a row");
    let (comments, _) = comments(&path);
    let says = |words: &str| comments.iter().any(|comment| comment.contains(words));
    assert!(says("timeout retransmit ×2"), "{comments:?}");
    assert!(says("before that; retransmission timer ×2"), "{comments:?}");
    ustack.terminate();
}

/// The reader stops: the window closes, and probes are all that happens for ten seconds.
fn stall(setting: Setting) {
    let folder = temp_dir();
    let ustack = start(setting, folder.path(), &[]);
    let stream = silenced(setting);
    let path = written(&ustack, "stall");
    let (comments, _) = comments(&path);
    let says = |words: &str| comments.iter().any(|comment| comment.contains(words));
    assert!(says("window probe; ESTABLISHED"), "{comments:?}");
    drop(stream);
    ustack.terminate();
}

/// A ring of 64 KiB makes small files, of which the last sixteen stay.
fn limits(setting: Setting) {
    let folder = temp_dir();
    let ustack = start(setting, folder.path(), &["--recorder-size", "64K"]);
    let page = setting.url("/bytes/10000000");
    run_ok(
        command("curl --silent --output /dev/null").arg(page),
        PATIENCE,
    );
    let mut last = PathBuf::new();
    for number in 1..=20 {
        ustack.signal(Signal::USR1);
        let line = ustack.wait_stderr(&format!("-{number:04}-SIGUSR1"), PATIENCE);
        let (_, path) = line.split_once("file=").expect("where it is");
        last = PathBuf::from(path.split(' ').next().expect("a path"));
    }
    let files = files(folder.path());
    assert_eq!(files.len(), 16);
    assert_eq!(files.last(), Some(&last));
    let size = std::fs::metadata(&last).expect("a file").len();
    assert!(size < 256 << 10, "{size}");
    assert!(ustack.terminate().status.success());
}

fn off(setting: Setting) {
    let ustack = setting.start(&["--recorder", "off"]);
    let page = setting.url("/");
    run_ok(command("curl --silent").arg(page), PATIENCE);
    let finished = ustack.terminate();
    assert!(finished.status.success(), "{}", finished.stderr);
    assert!(!finished.text().contains("recording"));
    let _ = ip("link show lo"); // the namespace is still there
}

/// A thread of the program panics: the file is there before the panic goes on.
fn panic() {
    use ustack::device::{
        Caps, Device as _, FlightRecorder, Frame, RecorderOptions, TxBatch, memory,
    };
    let folder = temp_dir();
    let recorder = FlightRecorder::new(RecorderOptions {
        directories: vec![folder.path().to_owned()],
        ..RecorderOptions::default()
    });
    recorder.write_on_panic();
    let (device, _other) = memory::pair(Caps::plain(1500));
    let mut device = recorder.record(device);
    let mut batch = TxBatch::new();
    let mut packet = vec![0; 60];
    packet[0] = 0x45;
    packet.write_all(b"more").expect("memory");
    batch.push_frame(Frame {
        data: packet.into(),
        ..Frame::default()
    });
    let now = ustack::tcp::time::Instant::from_millis(5);
    device.send(now, &mut batch).expect("a device in memory");
    let found = Arc::new(std::sync::Mutex::new(Vec::new()));
    let place = folder.path().to_owned();
    let seen = Arc::clone(&found);
    let ended = std::thread::spawn(move || {
        struct Look(PathBuf, Arc<std::sync::Mutex<Vec<PathBuf>>>);
        impl Drop for Look {
            fn drop(&mut self) {
                *self.1.lock().expect("no poison") = files(&self.0);
            }
        }
        let _look = Look(place, seen);
        panic!("on purpose: {}", 7);
    })
    .join();
    assert!(ended.is_err());
    let found = found.lock().expect("no poison").clone();
    assert_eq!(found.len(), 1, "{found:?}");
    let name = found[0].file_name().expect("a name").to_string_lossy();
    assert!(name.ends_with("-panic.pcapng"), "{name}");
    let (comments, infos) = comments(&found[0]);
    assert_eq!(comments.len(), 1);
    assert!(infos.contains("panic: on purpose: 7"), "{infos}");
}
