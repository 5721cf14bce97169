//! Looking at a running program: `ustack ss`, the control socket, metrics.

mod common;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use common::{Finished, Test, Ustack, command, run, run_ok};
use rustix::process::Signal;

/// Much longer than an answer takes.
const SHORT: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    common::main(vec![
        Test::new("ss_lists_what_is_there", listing).needs(&["ip"]),
        Test::new("a_reset_reaches_both_ends", reset).needs(&["ip"]),
        Test::new("two_programs_have_two_sockets", two).needs(&["ip"]),
        Test::new("what_was_killed_is_replaced", killed).needs(&["ip"]),
        Test::new("a_socket_elsewhere_or_none", elsewhere).needs(&["ip"]),
        Test::new("nobody_there", nobody),
        Test::new("who_looks_has_a_thread_while_they_look", threads).needs(&["ip", "curl"]),
        Test::new("metrics_are_the_hosts", metrics).needs(&["ip", "curl"]),
        Test::new("top_ends_with_its_terminal", hangup).needs(&["ip", "tmux"]),
        Test::new("top_shows_and_leaves_the_terminal_clean", top).needs(&["ip", "tmux"]),
    ])
}

/// Where the program says that its control socket is.
fn socket(program: &Ustack) -> PathBuf {
    let line = program.wait_stdout("  control ", SHORT);
    PathBuf::from(line.trim_start().trim_start_matches("control").trim())
}

fn ss(path: &Path, arguments: &str) -> Finished {
    let mut command = Ustack::command(&["ss", "--socket", &path.display().to_string()]);
    run_ok(command.args(arguments.split_whitespace()), SHORT)
}

/// An echo connection that has echoed.
fn echoing(address: &str) -> TcpStream {
    let mut stream = TcpStream::connect((address, 7)).expect("echo");
    stream.write_all(b"hello").expect("room");
    stream.read_exact(&mut [0; 5]).expect("an echo");
    stream
}

fn listing() {
    let program = Ustack::start(&[]);
    let path = socket(&program);
    let mode = std::fs::metadata(&path).expect("a socket").permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    let v4 = echoing("10.77.0.2");
    let v6 = echoing("fd77::2");
    let ours = [&v4, &v6].map(|stream| stream.local_addr().expect("an address").to_string());
    let text = ss(&path, "").text();
    for address in &ours {
        let mut lines = text
            .lines()
            .skip_while(|line| !line.ends_with(address.as_str()));
        assert!(
            lines.next().expect("it is listed").starts_with("ESTAB"),
            "{text}"
        );
        let info = lines.next().expect("its details");
        assert!(
            info.contains(" bytes_received:5 ") && info.contains(" cwnd:10 "),
            "{info}"
        );
    }
    let json = ss(&path, "--json --host 10.77.0.1").text();
    let lines: Vec<_> = json.lines().collect();
    assert_eq!(lines.len(), 1, "{json}");
    for part in [
        ours[0].as_str(),
        "\"bytes_received\":5",
        "\"state\":\"ESTAB\"",
    ] {
        assert!(lines[0].contains(part), "{part} in {json}");
    }
    assert_eq!(
        ss(&path, "--state time-wait").text().lines().count(),
        1,
        "the head"
    );
    assert_eq!(ss(&path, "--port 9 --json").text(), "");
    let counters = ss(&path, "--counters").text();
    let opened = counters
        .lines()
        .find(|line| line.starts_with("TcpPassiveOpens"));
    assert!(
        opened.is_some_and(|line| line.ends_with(" 2")),
        "{counters}"
    );
    let finished = program.terminate();
    assert_eq!(finished.status.code(), Some(0));
    assert!(!path.exists(), "it is gone with the program");
}

/// A program that nobody looks at has one thread for each queue.
fn threads() {
    let folder = common::temp_dir();
    let recorder = folder.path().to_str().expect("a path in UTF-8");
    let arguments = ["--queues", "1", "--metrics", "0", "--recorder", recorder];
    let program = Ustack::start(&arguments);
    let line = program.wait_stdout("  metrics ", SHORT);
    let metrics = line.split_whitespace().last().expect("an address");
    let path = socket(&program);
    let tasks = format!("/proc/{}/task", program.pid());
    let count = || std::fs::read_dir(&tasks).expect("it runs").count();
    let wait_for = |threads| {
        while count() != threads {
            std::thread::yield_now(); // the test's own time limit ends it
        }
    };
    drop(echoing("10.77.0.2"));
    assert_eq!(count(), 1);
    let mut client = BufReader::new(UnixStream::connect(&path).expect("a socket"));
    client.read_line(&mut String::new()).expect("a greeting");
    assert_eq!(count(), 2);
    drop(client);
    wait_for(1);
    run_ok(command("curl --silent --fail").arg(metrics), SHORT);
    wait_for(1);
    program.signal(Signal::USR1);
    program.wait_stderr("flight recorder written", SHORT);
    wait_for(1);
    program.terminate();
}

fn reset() {
    let program = Ustack::start(&[]);
    let path = socket(&program);
    let mut victim = echoing("10.77.0.2");
    let mut other = echoing("10.77.0.2");
    let remote = victim.local_addr().expect("an address");
    let mut talk = BufReader::new(UnixStream::connect(&path).expect("a socket"));
    let mut line = String::new();
    talk.read_line(&mut line).expect("a greeting");
    let request = format!("{{\"get\":\"connections\",\"port\":{}}}\n", remote.port());
    talk.get_mut().write_all(request.as_bytes()).expect("room");
    line.clear();
    talk.read_line(&mut line).expect("a connection");
    let id = line
        .split("\"id\":\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    let id = id.unwrap_or_else(|| panic!("no id in {line}"));
    let request = format!(
        "{{\"get\":\"reset\",\"id\":\"{id}\",\"local\":\"10.77.0.2:7\",\"remote\":\"{remote}\"}}\n"
    );
    talk.get_mut().write_all(request.as_bytes()).expect("room");
    let answers = talk.lines().map(|line| line.expect("an answer"));
    assert!(
        answers.take(2).any(|line| line.contains("{\"reset\":")),
        "it is done"
    );
    let error = victim.read(&mut [0; 1]).expect_err("it is reset");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    other.write_all(b"x").expect("room");
    other
        .read_exact(&mut [0; 1])
        .expect("the other one goes on");
    program.terminate();
}

fn two() {
    let first = Ustack::start(&["--tun", "one", "--device", "plain"]);
    let addresses = ["--addr", "10.78.0.2/24", "--host-addr", "10.78.0.1/24"];
    let options = ["--tun", "two", "--device", "plain"];
    let second = Ustack::start(&[&addresses[..], &options[..]].concat());
    let paths = [socket(&first), socket(&second)];
    assert_ne!(paths[0], paths[1]);
    let several = run(&mut Ustack::command(&["ss"]), SHORT);
    assert_eq!(several.status.code(), Some(1));
    for path in &paths {
        let named = several
            .stderr
            .contains(&format!("--socket {}", path.display()));
        assert!(named, "{}", several.stderr);
    }
    let path = paths[0].display().to_string();
    let third = [
        "--tun",
        "three",
        "--addr",
        "10.79.0.2/24",
        "--control",
        &path,
    ];
    let refused = run(&mut Ustack::command(&third), SHORT);
    assert_eq!(refused.status.code(), Some(5), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("a running program has the socket"),
        "{}",
        refused.stderr
    );
    second.terminate();
    let _stream = echoing("10.77.0.2");
    assert!(
        ss(&paths[0], "").text().contains("ESTAB"),
        "the first still answers"
    );
    first.terminate();
}

fn killed() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("host.sock");
    let option = path.display().to_string();
    let program = Ustack::start(&["--control", &option]);
    program.signal(Signal::KILL);
    program.finish(SHORT);
    assert!(path.exists(), "nobody was left to remove it");
    let program = Ustack::start(&["--control", &option]);
    assert_eq!(socket(&program), path);
    assert_eq!(ss(&path, "").text().lines().count(), 1);
    program.terminate();
}

fn elsewhere() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("deep/here.sock");
    let program = Ustack::start(&["--control", &path.display().to_string()]);
    assert_eq!(socket(&program), path);
    assert_eq!(ss(&path, "").text().lines().count(), 1);
    program.terminate();
    let program = Ustack::start(&["--control", "off"]);
    assert!(
        !program.stdout().contains("control"),
        "{}",
        program.stdout()
    );
    program.terminate();
}

fn nobody() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut alone = Ustack::command(&["ss"]);
    let alone = run(
        alone.env("XDG_RUNTIME_DIR", dir.path()).env("HOME", "/"),
        SHORT,
    );
    // Another user's may be found, if this is root's session on a machine that has one.
    if alone.status.code() == Some(1) {
        assert!(alone.stderr.contains("ustack"), "{}", alone.stderr);
    }
    let path = dir.path().join("none.sock").display().to_string();
    let gone = run(&mut Ustack::command(&["ss", "--socket", &path]), SHORT);
    assert_eq!(gone.status.code(), Some(1), "{}", gone.stderr);
    assert!(gone.stderr.contains("No such file"), "{}", gone.stderr);
    let wrong = run(&mut Ustack::command(&["ss", "--state", "open"]), SHORT);
    assert_eq!(wrong.status.code(), Some(2), "{}", wrong.stderr);
    assert!(
        wrong.stderr.contains("There are: established"),
        "{}",
        wrong.stderr
    );
    let piped = run(&mut Ustack::command(&["top"]), SHORT);
    assert_eq!(piped.status.code(), Some(2), "{}", piped.stderr);
    assert!(
        piped.stderr.contains("top needs a terminal"),
        "{}",
        piped.stderr
    );
}

fn metrics() {
    let program = Ustack::start(&["--metrics", "0"]);
    let line = program.wait_stdout("  metrics ", SHORT);
    let url = line
        .split_whitespace()
        .nth(1)
        .expect("an address")
        .to_owned();
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    let _stream = echoing("10.77.0.2");
    let page = run_ok(&mut command(&format!("curl -sif {url}")), SHORT).text();
    let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert!(page.contains(kind), "{page}");
    assert!(
        page.contains("\nustack_netstat_Tcp_PassiveOpens_total 1\n"),
        "{page}"
    );
    assert!(
        page.contains("\nustack_tcp_connections_by_state{state=\"ESTAB\"} 1\n"),
        "{page}"
    );
    assert!(page.ends_with("# EOF\n"), "{page}");
    // Not on the side of the device.
    let port = url
        .split(':')
        .nth(2)
        .and_then(|rest| rest.split('/').next());
    let port = port.expect("a port");
    for address in ["10.77.0.1", "10.77.0.2"] {
        let tried = run(
            &mut command(&format!("curl -sf http://{address}:{port}/metrics")),
            SHORT,
        );
        assert!(!tried.status.success(), "metrics at {address}");
    }
    let taken = format!("127.0.0.1:{port}");
    let other = [
        "--tun",
        "two",
        "--addr",
        "10.78.0.2/24",
        "--metrics",
        &taken,
    ];
    let refused = run(&mut Ustack::command(&other), SHORT);
    assert_eq!(refused.status.code(), Some(4), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("cannot offer --metrics at"),
        "{}",
        refused.stderr
    );
    program.terminate();
}

/// What a pane of tmux shows; tmux has a server of this test's own.
struct Pane {
    server: PathBuf,
    _dir: tempfile::TempDir,
}

impl Pane {
    fn open(width: u16, height: u16) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let pane = Self {
            server: dir.path().join("tmux"),
            _dir: dir,
        };
        // A shell without anybody's settings, whose prompt shows that it is back.
        let size = format!("-x {width} -y {height}");
        pane.tmux(&format!("-f /dev/null new-session -d {size} sh"));
        pane
    }

    fn tmux(&self, arguments: &str) -> String {
        let server = self.server.display();
        let mut command = command(&format!("tmux -S {server} {arguments}"));
        command
            .env_remove("TMUX")
            .env("ENV", "")
            .env("PS1", "prompt> ");
        command.env("XDG_RUNTIME_DIR", env!("CARGO_TARGET_TMPDIR"));
        run_ok(&mut command, SHORT).text()
    }

    fn keys(&self, keys: &str) {
        self.tmux(&format!("send-keys {keys}"));
    }

    fn screen(&self) -> String {
        self.tmux("capture-pane -p")
    }

    /// Waits until the screen is as it should be.
    fn wait(&self, what: &str, is_right: impl Fn(&str) -> bool) -> String {
        let started = std::time::Instant::now();
        loop {
            let screen = self.screen();
            if is_right(&screen) {
                return screen;
            }
            assert!(started.elapsed() < SHORT, "no {what}:\n{screen}");
        }
    }
}

impl Drop for Pane {
    fn drop(&mut self) {
        self.tmux("kill-server");
    }
}

fn top() {
    let program = Ustack::start(&[]);
    let path = socket(&program).display().to_string();
    let streams = [echoing("10.77.0.2"), echoing("fd77::2")];
    let pane = Pane::open(80, 24);
    let binary = Ustack::path().display().to_string();
    let line = format!("exec 2>&1; {binary} top --interval 0.2 --socket {path}; echo code=$?");
    let typed = pane.server.with_extension("sh");
    std::fs::write(&typed, line).expect("a script");
    let start = || pane.keys(&format!(". Space {} Enter", typed.display()));
    start();
    let screen = pane.wait("list", |screen| screen.contains("2 connections"));
    for stream in &streams {
        let port = stream.local_addr().expect("an address").port().to_string();
        assert!(screen.contains(&port), "{screen}");
    }
    assert!(
        screen.contains("ESTAB") && screen.contains("OUT"),
        "{screen}"
    );
    pane.keys("Enter");
    pane.wait("detail", |screen| screen.contains("mss:14"));
    pane.keys("Enter k");
    pane.wait("question", |screen| {
        screen.contains("Reset this connection?")
    });
    pane.keys("y");
    pane.wait("end", |screen| {
        screen.contains("1 connection ") && screen.contains("reset ")
    });
    let ended = |mut stream: &TcpStream| {
        stream.set_nonblocking(true).expect("a socket");
        let error = stream.read(&mut [0; 1]).expect_err("nothing comes");
        error.kind() == std::io::ErrorKind::ConnectionReset
    };
    assert_eq!(streams.iter().filter(|stream| ended(stream)).count(), 1);
    pane.keys("q");
    let clean = |screen: &str| screen.contains("code=0") && !screen.contains("STATE");
    pane.wait("prompt", clean);
    pane.keys("clear Enter");
    start();
    pane.wait("list", |screen| screen.contains("1 connection "));
    pane.keys("C-c");
    pane.wait("prompt after ^C", clean);
    // The terminal echoes again.
    pane.keys("echo Space a''b Enter");
    pane.wait("echo", |screen| {
        screen.lines().any(|line| line.trim_end() == "ab")
    });
    program.terminate();
}

/// Reading a terminal that is gone must not keep it busy for ever.
fn hangup() {
    let program = Ustack::start(&[]);
    let path = socket(&program).display().to_string();
    let pane = Pane::open(80, 24);
    let binary = Ustack::path().display().to_string();
    pane.keys(&format!(
        "exec Space {binary} Space top Space --socket Space {path} Enter"
    ));
    pane.wait("list", |screen| screen.contains("0 connections"));
    let pid = pane.tmux("display-message -p #{pane_pid}");
    let process = PathBuf::from("/proc").join(pid.trim());
    assert!(process.exists());
    drop(pane);
    let started = std::time::Instant::now();
    while process.exists() {
        assert!(started.elapsed() < SHORT, "it goes on without a terminal");
        std::thread::yield_now();
    }
    program.terminate();
}
