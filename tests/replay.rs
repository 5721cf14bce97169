//! `ustack replay`, through the program: what it says and with which exit code.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use pcap_file::DataLink;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use replay::capture::{self, Recorded};

fn pcaps(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pcaps");
    folder.join(name).with_extension("pcapng")
}

fn replay(file: &Path, options: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ustack"))
        .arg("replay")
        .arg(file)
        .args(options)
        .output()
        .expect("ustack starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What it refuses, without the beginning that every message has.
fn refused(file: &Path, options: &[&str]) -> String {
    let output = replay(file, options);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    let message = stderr.strip_prefix("ustack: error: ");
    message.unwrap_or_else(|| panic!("{stderr}")).to_owned()
}

#[test]
fn a_conversation_is_told_in_words() {
    let output = replay(&pcaps("loss-tail"), &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = stdout(&output);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0],
        "1  TCP 10.88.0.1:55806 > 10.88.0.2:80: 34 packets, 1 to 34, 0.266 s"
    );
    assert_eq!(
        lines[2],
        "   server: 18 segments (1 lost), 18508 bytes; SYN with MSS 1460, window scale 10, SACK, \
         timestamps; FIN in packet 33"
    );
    assert_eq!(
        lines[3],
        "   ustack as the server: no divergence that matters: it sent 18508 bytes and FIN in 19 \
         segments (1 repeated) and received 77 bytes and FIN, as recorded; SYN-RECEIVED, \
         ESTABLISHED, CLOSE-WAIT, LAST-ACK"
    );
    assert!(
        lines[4].starts_with("   ustack as the client: no divergence"),
        "{text}"
    );
    assert_eq!(lines.len(), 5, "{text}");
}

#[test]
fn either_end_is_played() {
    for end in ["server", "client"] {
        for name in ["http-get", "upload", "half-close", "loss-download"] {
            let output = replay(&pcaps(name), &["--as", end]);
            let text = stdout(&output);
            assert_eq!(output.status.code(), Some(0), "{name} as {end}: {text}");
            assert_eq!(text.matches("ustack as the ").count(), 1, "{text}");
            let ours = format!("ustack as the {end}: no divergence that matters: ");
            assert!(text.contains(&ours), "{text}");
        }
    }
}

#[test]
fn a_dialogue_shows_all_three() {
    let text = stdout(&replay(&pcaps("http-get"), &["--as", "server", "--show"]));
    let lines = |what: &str| text.lines().filter(|line| line.contains(what)).count();
    assert_eq!(lines("client -> SYN seq 0 win 64240 mss 1460"), 1, "{text}");
    assert_eq!(lines("server <- SYN,ACK seq 0 ack 1"), 1, "{text}");
    assert_eq!(lines("ustack <= SYN,ACK seq 0 ack 1"), 1, "{text}");
}

#[test]
fn what_holds_no_conversation_is_refused() {
    let none = refused(Path::new("no-such-file.pcap"), &[]);
    assert_eq!(
        none,
        "cannot read no-such-file.pcap: No such file or directory\n"
    );
    let text = refused(Path::new("README.md"), &[]);
    assert!(text.starts_with("README.md is no capture: "), "{text}");
    let folder = refused(Path::new("pcaps"), &[]);
    assert!(folder.starts_with("cannot read pcaps: "), "{folder}");
}

#[test]
fn a_choice_that_fits_nothing_lists_what_is_there() {
    for choice in [
        ["--port", "443"],
        ["--host", "10.88.0.9"],
        ["--conversation", "2"],
    ] {
        let text = refused(&pcaps("http-get"), &choice);
        assert!(
            text.contains("holds no conversation like this, but these:\n  1  TCP 10.88.0.1:"),
            "{text}"
        );
    }
}

#[test]
fn a_conversation_is_chosen() {
    let all = stdout(&replay(&pcaps("curl-parallel"), &[]));
    let count = all.lines().filter(|line| line.contains("  TCP ")).count();
    assert!(count > 1, "{all}");
    let one = stdout(&replay(&pcaps("curl-parallel"), &["--conversation", "2"]));
    assert!(one.starts_with("2  TCP "), "{one}");
    let count = one.lines().filter(|line| line.contains("  TCP ")).count();
    assert_eq!(count, 1, "{one}");
}

/// Servers made on purpose: which rule, in which packet.
#[test]
fn broken_rules_are_named() {
    for (name, words) in [
        (
            "broken-window",
            "packet 6: outside-window: ends at 3421, the window at 2921 (RFC 9293 §3.8.6",
        ),
        ("broken-bytes", "packet 9: other-bytes: "),
        (
            "broken-ack",
            "packet 5: ack-unseen: acknowledges 101, only 6 arrived (RFC 9293 §3.4)",
        ),
        (
            "broken-shrink",
            "packet 5: window-shrunk: takes its window back from 20001 to 2001 (RFC 9293 §3.8.6",
        ),
    ] {
        for (options, ends) in [
            (&[][..], &["server", "client"][..]),
            (&["--as", "server"], &["server"]),
            (&["--as", "client"], &["client"]),
        ] {
            let output = replay(&pcaps(name), options);
            let text = stdout(&output);
            assert_eq!(output.status.code(), Some(1), "{text}");
            assert_eq!(text.matches("RULE BROKEN").count(), 1, "{text}");
            let line = format!("RULE BROKEN by the server in {words}");
            assert!(text.contains(&line), "{line}\n{text}");
            let agrees = "no divergence that matters";
            assert_eq!(text.matches(agrees).count(), ends.len(), "{text}");
            for end in ends {
                assert!(
                    text.contains(&format!("ustack as the {end}: {agrees}")),
                    "{text}"
                );
            }
        }
    }
}

/// What real software said replays from both ends, but for what tools got wrong on purpose.
#[test]
fn every_capture_replays() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pcaps");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_none_or(|extension| extension != "pcapng")
        {
            continue;
        }
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let output = replay(&path, &[]);
        let (text, code) = (stdout(&output), output.status.code());
        match name.split('-').next() {
            Some("odd") => assert!(matches!(code, Some(0..=2)), "{name}: {output:?}"),
            Some("broken") => assert_eq!(code, Some(1), "{name}: {text}"),
            _ => assert_eq!(code, Some(0), "{name}: {text}"),
        }
        assert!(output.stderr.is_empty(), "{name}: {output:?}");
        count += 1;
    }
    assert!(count >= 40, "{count} captures");
}

#[test]
fn fast_open_needs_the_key_of_the_recorded_server() {
    let text = stdout(&replay(&pcaps("fastopen-data"), &["--conversation", "2"]));
    let server =
        "cannot be replayed: its SYN brings a Fast Open cookie that only the recorded server";
    let client = "cannot be replayed: its SYN brings a Fast Open cookie, and the stack has none";
    assert!(text.contains(server) && text.contains(client), "{text}");
}

/// What README shows is what the program prints.
#[test]
fn readme_tells_the_truth() {
    let readme = include_str!("../README.md");
    let output = readme.split_once("$ ustack replay pcaps/broken-window.pcapng\n");
    let (shown, _) = output.unwrap().1.split_once("```").unwrap();
    assert_eq!(stdout(&replay(&pcaps("broken-window"), &[])), shown);
}

/// A file of the test's own, gone with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, content: &[u8]) -> Self {
        let name = format!("ustack-replay-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, content).unwrap();
        Self(path)
    }

    /// The packets of `http-get` that `keep` says, by number, with `header` before each.
    fn pcap(name: &str, link: DataLink, header: &[u8], keep: impl Fn(usize) -> bool) -> Self {
        Self::pcap_with(name, link, header, keep, |_| ())
    }

    fn pcap_with(
        name: &str,
        link: DataLink,
        header: &[u8],
        keep: impl Fn(usize) -> bool,
        edit: impl Fn(&mut Recorded),
    ) -> Self {
        let options = PcapHeader {
            datalink: link,
            ..PcapHeader::default()
        };
        let mut writer = PcapWriter::with_header(Vec::new(), options).unwrap();
        for mut packet in capture::read(&pcaps("http-get")).unwrap() {
            edit(&mut packet);
            if keep(packet.number) {
                let frame = [header, &packet.data].concat();
                let length = frame.len() as u32;
                let packet = PcapPacket::new(packet.time, length, &frame).unwrap();
                writer.write_packet(&packet).unwrap();
            }
        }
        Self::new(name, &writer.into_inner())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn files_that_are_no_captures_are_refused_with_the_reason() {
    for (content, reason) in [
        (&b""[..], "it is empty"),
        (b"\x1f\x8b\x08\x00 and so on", "it is compressed, gunzip it"),
        (b"\xd4\xc3\xb2\xa1\x02\x00", "the file ends too early"),
        (
            b"GET / HTTP/1.1\r\nHost: 10.88.0.2\r\n\r\n",
            "Invalid magic number",
        ),
    ] {
        let file = Scratch::new(&format!("none-{}", content.len()), content);
        let text = refused(&file.0, &[]);
        let begin = format!("{} is no capture: {reason}", file.0.display());
        assert!(text.starts_with(&begin), "{text}");
    }
}

#[test]
fn what_comes_before_damage_is_replayed() {
    let whole = std::fs::read(pcaps("http-get")).unwrap();
    let file = Scratch::new("cut", &whole[..whole.len() / 2]);
    let output = replay(&file.0, &[]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(
        text.starts_with("the file is damaged after packet "),
        "{text}"
    );
    assert_eq!(
        text.matches("no divergence that matters").count(),
        2,
        "{text}"
    );
}

#[test]
fn links_make_no_difference() {
    let expected = stdout(&replay(&pcaps("http-get"), &[]));
    let addresses = [2_u8, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    let cooked = [0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, 8, 0];
    let cooked2 = [8, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0];
    for (name, link, header) in [
        ("raw", DataLink::RAW, &[][..]),
        (
            "ethernet",
            DataLink::ETHERNET,
            &[&addresses[..], &[8, 0]].concat(),
        ),
        (
            "vlan",
            DataLink::ETHERNET,
            &[&addresses[..], &[0x81, 0, 0, 5, 8, 0]].concat(),
        ),
        ("cooked", DataLink::LINUX_SLL, &cooked),
        ("cooked2", DataLink::LINUX_SLL2, &cooked2),
        ("loopback", DataLink::NULL, &[2, 0, 0, 0]),
    ] {
        let file = Scratch::pcap(name, link, header, |_| true);
        assert_eq!(stdout(&replay(&file.0, &[])), expected, "{name}");
    }
    let wifi = Scratch::pcap("wifi", DataLink::IEEE802_11, &[], |_| true);
    let text = refused(&wifi.0, &[]);
    assert!(
        text.contains("packet 1: link type IEEE802_11; raw IP, Ethernet"),
        "{text}"
    );
}

/// What is missing in the capture is held against nobody: neither the recorded ends nor the stack.
#[test]
fn captures_that_miss_packets_are_no_proof() {
    type Keep = fn(usize) -> bool;
    let cases: [(&str, Keep, &str); 5] = [
        (
            "no-request",
            |number| number != 4,
            "bytes before packet 7 were never recorded",
        ),
        (
            "no-response",
            |number| number != 7,
            "bytes before packet 10 were never recorded",
        ),
        ("no-syn", |number| number > 3, "does not begin with a SYN"),
        (
            "one-way",
            |number| [1, 3, 4, 8, 9].contains(&number),
            "only packets of the client",
        ),
        (
            "no-answer",
            |number| number == 1,
            "the server never answered",
        ),
    ];
    for (name, keep, reason) in cases {
        let file = Scratch::pcap(name, DataLink::RAW, &[], keep);
        let output = replay(&file.0, &[]);
        let text = stdout(&output);
        assert_eq!(output.status.code(), Some(2), "{name}: {text}");
        assert_eq!(
            text.matches("cannot be replayed: ").count(),
            1,
            "{name}: {text}"
        );
        assert!(text.contains(reason), "{name}: {text}");
        assert!(!text.contains("RULE BROKEN"), "{name}: {text}");
    }
}

/// Linux answers a SYN from port 0; ustack, for which no such port exists, does not.
#[test]
fn a_divergence_is_told_with_packet_and_rfc() {
    let output = replay(&pcaps("odd-hping"), &["--conversation", "35"]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let told = "
    ustack as the server: DIVERGENCE at packet 84, 3.703 s (RFC 9293 §3.5)
      the recorded server said SYN in packet 83
      ustack says no SYN
    ustack as the client: cannot be replayed: its SYN comes from port 0, which no application asks for
";
    assert!(text.ends_with(told), "{text}");
}

#[test]
fn a_pause_of_weeks_takes_no_time() {
    let pause = |packet: &mut Recorded| {
        if packet.number > 9 {
            packet.time += Duration::from_hours(1000);
        }
    };
    let file = Scratch::pcap_with("pause", DataLink::RAW, &[], |_| true, pause);
    let output = replay(&file.0, &[]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
}
