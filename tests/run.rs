//! `ustack run`: a command in a network of its own, and what it leaves to whom.

mod common;

use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use common::{Finished, Test, command, run, run_ok};
use rustix::process::{Pid, Signal, kill_process};

const SHORT: Duration = Duration::from_secs(20);

/// Runs a command without any capability: an ordinary user to `/dev/net/tun`.
const POWERLESS: &str = "setpriv --bounding-set=-all --inh-caps=-all";

fn main() -> ExitCode {
    common::main(vec![
        Test::new("the_command_reaches_the_stack", reaches_the_stack).needs(&["curl", "ping"]),
        Test::new("the_exit_code_is_the_commands", exit_codes),
        Test::new("the_command_keeps_who_and_where_it_is", keeps_identity).needs(&["sh", "id"]),
        Test::new("everything_leads_to_the_device", routes).needs(&["ip"]),
        Test::new("signals_are_passed_on", signals).needs(&["sh", "sleep"]),
        Test::new("the_command_dies_with_ustack", dies_with_ustack).needs(&["sh", "sleep"]),
        Test::new("a_missing_node_is_named", no_node).needs(&["unshare", "mount"]),
        Test::new("a_closed_node_is_named", closed_node).needs(&["unshare", "setpriv"]),
        Test::new("a_limit_of_namespaces_is_named", no_namespaces).needs(&["unshare"]),
    ])
}

/// `ustack run`, for options, `--` and a command to be added.
fn ustack_run() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ustack"));
    command.arg("run").stdin(Stdio::null());
    command
}

/// Runs a shell's script by `ustack run`.
fn shell(options: &[&str], script: &str) -> Finished {
    let mut command = ustack_run();
    command.args(options).args(["--", "sh", "-c", script]);
    run(&mut command, SHORT)
}

fn reaches_the_stack() {
    for device in ["offload", "plain"] {
        for url in ["http://10.77.0.2/", "http://[fd77::2]/"] {
            let mut command = ustack_run();
            command.args(["--device", device, "--", "curl", "-sf", url]);
            let page = run_ok(&mut command, SHORT).text();
            assert!(page.contains("ustack"), "{device} {url}: {page}");
        }
    }
    let mut ping = ustack_run();
    run_ok(
        ping.args(["--", "ping", "-c", "1", "-W", "5", "10.77.0.2"]),
        SHORT,
    );
}

fn exit_codes() {
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143)] {
        assert_eq!(shell(&[], script).status.code(), Some(code), "{script}");
    }
    for (program, code, message) in [
        (
            "/no/such/program",
            127,
            "/no/such/program: command not found",
        ),
        ("/etc/passwd", 126, "/etc/passwd: permission denied"),
    ] {
        let finished = run(ustack_run().args(["--", program]), SHORT);
        assert_eq!(finished.status.code(), Some(code), "{}", finished.stderr);
        assert!(finished.stderr.contains(message), "{}", finished.stderr);
    }
}

fn keeps_identity() {
    let script = "id -u; id -g; pwd; echo $GREETING; cat";
    let mut here = command("sh -c");
    let mut inside = ustack_run();
    inside.args(["--", "sh", "-c"]);
    let outputs = [&mut here, &mut inside].map(|command| {
        command
            .arg(script)
            .current_dir("/usr")
            .env("GREETING", "hello world");
        run_ok(command, SHORT).text()
    });
    assert_eq!(outputs[0], outputs[1]);
}

fn routes() {
    let finished = shell(
        &["--tun", "us7", "--mtu", "1400"],
        "ip route; ip -6 route; ip link show us7; ip address show lo; cat /etc/resolv.conf",
    );
    let text = finished.text();
    assert_eq!(text.matches("default dev us7").count(), 2, "{text}");
    for expected in [
        "mtu 1400",
        "qlen 10000",
        "127.0.0.1/8",
        "no name server to ask",
    ] {
        assert!(
            text.contains(expected),
            "{expected} in: {text}{}",
            finished.stderr
        );
    }
}

fn signals() {
    let script = "trap 'echo got it; exit 3' TERM; echo ready; while :; do sleep 0.1; done";
    let mut command = ustack_run();
    command
        .args(["--", "sh", "-c", script])
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut ready = [0; 6];
    stdout.read_exact(&mut ready).unwrap();
    let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "got it\n");
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

fn dies_with_ustack() {
    let mut command = ustack_run();
    command
        .args(["--", "sh", "-c", "echo ready; exec sleep 1000"])
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 6]).unwrap();
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    // The command held the other end of the pipe; it would hold it for a long time.
    let started = Instant::now();
    stdout.read_to_end(&mut Vec::new()).unwrap();
    assert!(started.elapsed() < SHORT);
}

/// Runs `ustack run` where a script has put an obstacle, as root of a new user namespace.
fn behind(obstacle: &str) -> Finished {
    let script = format!("{obstacle} && exec \"$0\" run -- true");
    let mut command = command("unshare --user --map-root-user --mount sh -c");
    command.arg(script).arg(env!("CARGO_BIN_EXE_ustack"));
    let finished = run(&mut command, SHORT);
    assert_ne!(finished.status.code(), Some(0), "{}", finished.text());
    finished
}

fn expect(finished: &Finished, what: &str, way_out: &str) {
    let stderr = &finished.stderr;
    assert!(
        stderr.contains(what) && stderr.contains(way_out),
        "{stderr}"
    );
}

fn no_node() {
    let finished = behind("mount -t tmpfs none /dev/net");
    assert_eq!(finished.status.code(), Some(3));
    expect(
        &finished,
        "cannot open /dev/net/tun: No such file",
        "--device /dev/net/tun",
    );
}

fn closed_node() {
    // Without capabilities, a directory that nobody may enter refuses as a closed node does.
    let finished = behind(&format!(
        "mount -t tmpfs none /dev/net && mkdir -m 0 /dev/net/closed && \
         ln -s closed/tun /dev/net/tun && exec {POWERLESS} \"$0\" run -- true"
    ));
    assert_eq!(finished.status.code(), Some(3));
    expect(
        &finished,
        "cannot open /dev/net/tun: Permission denied",
        "sudo chmod 0666",
    );
}

fn no_namespaces() {
    let finished = behind("echo 0 > /proc/sys/user/max_user_namespaces");
    expect(
        &finished,
        "cannot make a user namespace",
        "user.max_user_namespaces=10000",
    );
}
