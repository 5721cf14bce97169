//! What the program says to bad input, and with which exit code, as far as no device is needed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

/// Runs `ustack` until it exits, in `dir`, without the caller's environment.
fn ustack(dir: &std::path::Path, line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ustack"))
        .args(line.split_whitespace())
        .current_dir(dir)
        .env_remove("RUST_LOG")
        .output()
        .expect("ustack starts")
}

/// Arguments, exit code, and the first lines of stderr without the leading `ustack: error: `.
const REFUSED: &[(&str, i32, &str)] = &[
    ("--frob", 2, "unexpected argument '--frob' found\n"),
    ("frob", 2, "unrecognized subcommand 'frob'\n"),
    (
        "--mtu big",
        2,
        "invalid value 'big' for '--mtu <BYTES>': invalid digit",
    ),
    (
        "--mtu 70000",
        2,
        "--mtu 70000 is impossible: an IP packet has at most 65535 bytes\n",
    ),
    (
        "--mtu 1000",
        2,
        "--mtu 1000 is impossible: IPv6 needs 1280 or more (RFC 8200)\n  \
         Without IPv6 it can be smaller: --addr 10.77.0.2\n",
    ),
    (
        "--addr 10.77.0.300",
        2,
        "--addr '10.77.0.300' is not an IPv4 or IPv6 address such as 10.77.0.2 or fd77::2/64\n  \
         Example: --addr 192.168.50.2/24 --host-addr 192.168.50.1/24\n",
    ),
    (
        "--addr 10.77.0.1",
        2,
        "--addr 10.77.0.1 is the host's own side; the stack needs another\n",
    ),
    (
        "--host-addr 10.0.0.1",
        2,
        "--host-addr 10.0.0.1 needs a prefix length, such as 10.0.0.1/24\n",
    ),
    (
        "--device fast",
        2,
        "invalid value 'fast' for '--device <MODE>'\n",
    ),
    ("--cc vegas", 2, "invalid value 'vegas' for '--cc <NAME>'\n"),
    (
        "--tun much-too-long-a-name",
        2,
        "--tun 'much-too-long-a-name' is longer than the 15 bytes a device name can have\n",
    ),
    (
        "--tun-fd 3 --tun a",
        2,
        "the argument '--tun-fd <FD>' cannot be used with '--tun <NAME>'\n",
    ),
    (
        "--http-root none",
        5,
        "cannot serve --http-root none: No such file or directory\n",
    ),
    (
        "--http-root file",
        5,
        "cannot serve --http-root file: Not a directory\n",
    ),
    (
        "--capture none/all.pcapng",
        5,
        "cannot write --capture none/all.pcapng: No such file or directory\n",
    ),
    (
        "--capture .",
        5,
        "cannot write --capture .: Is a directory\n",
    ),
    ("--log ustack=loud", 2, "--log 'ustack=loud': "),
    (
        "--config none.toml",
        5,
        "cannot read the configuration file none.toml: No such file or directory\n",
    ),
    (
        "--config keys.toml",
        2,
        "keys.toml:3: unknown key `mtuu`, expected one of `tun`, `mtu`, ",
    ),
    (
        "--config mtu.toml",
        2,
        "mtu.toml:2: mtu 70000 is impossible: ",
    ),
    (
        "--forward-allow localhost",
        2,
        "--forward-allow 'localhost' is not an IPv4 or IPv6 address",
    ),
    (
        "--impair loss=2",
        2,
        "--impair loss=2: `loss=2` is not understood: loss takes a share from 0% to 100%",
    ),
    (
        "--impair-in lag=1",
        2,
        "--impair-in lag=1: `lag` is not one of loss, delay, jitter, ",
    ),
    (
        "--impair loss=1% --impair-out loss=1%",
        2,
        "the argument '--impair <FAULTS>' cannot be used with '--impair-out <FAULTS>'\n",
    ),
];

#[test]
fn bad_input_is_refused_with_its_reason_and_code() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    fs::write(
        dir.path().join("keys.toml"),
        "mtu = 1500\n# frob\nmtuu = 3\n",
    )
    .unwrap();
    fs::write(dir.path().join("mtu.toml"), "tun = \"us1\"\nmtu = 70000\n").unwrap();
    for &(line, code, message) in REFUSED {
        let output = ustack(dir.path(), line);
        let stderr = String::from_utf8_lossy(&output.stderr);
        let expected = format!("ustack: error: {message}");
        assert!(
            stderr.starts_with(&expected),
            "{line}: expected\n{expected}\ngot\n{stderr}"
        );
        assert_eq!(output.status.code(), Some(code), "{line}");
        assert!(output.stdout.is_empty(), "{line}: {output:?}");
    }
}

#[test]
fn files_closed_to_the_user_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let closed = dir.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read_dir(&closed).is_ok() {
        println!("ignored: this user may read everything");
        return;
    }
    for (line, message) in [
        (
            "--http-root closed",
            "cannot serve --http-root closed: Permission denied\n",
        ),
        (
            "--capture closed/a.pcapng",
            "cannot write --capture closed/a.pcapng: Permission denied\n",
        ),
    ] {
        let output = ustack(dir.path(), line);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            stderr.starts_with(&format!("ustack: error: {message}")),
            "{stderr}"
        );
        assert_eq!(output.status.code(), Some(5));
    }
}

#[test]
fn help_version_and_completions_go_to_stdout() {
    let dir = tempfile::tempdir().unwrap();
    for (line, expected) in [
        ("--help", "Exit codes:"),
        ("-h", "sudo ustack"),
        ("run --help", "Usage: ustack run"),
        ("--version", concat!("ustack ", env!("CARGO_PKG_VERSION"))),
        ("completions bash", "complete -F _ustack"),
        ("completions zsh", "#compdef ustack"),
        ("completions fish", "complete -c ustack"),
    ] {
        let output = ustack(dir.path(), line);
        assert_eq!(output.status.code(), Some(0), "{line}");
        assert!(output.stderr.is_empty(), "{line}");
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(stdout.contains(expected), "{line}: {stdout}");
    }
}
