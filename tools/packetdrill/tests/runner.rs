//! The runner notices what is wrong: each script here differs from what must happen in one point.

use packetdrill::{Family, Options, Report, Suite, Verdict, run};

const OPEN: &str = "0  socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0 bind(3, ..., ...) = 0
+0 listen(3, 1) = 0
+0 < S 0:0(0) win 65535 <mss 1000,sackOK,nop,nop>
+0 > S. 0:0(0) ack 1 <mss 1460,nop,nop,sackOK>
+.1 < . 1:1(0) ack 1 win 65535
+0 accept(3, ..., ...) = 4
";

fn play(suite: Suite, family: Family, text: &str) -> Report {
    run(text, &Options::new(suite, family))
}

fn after_open(text: &str) -> Report {
    play(Suite::Linux, Family::V4, &format!("{OPEN}{text}"))
}

#[track_caller]
fn assert_fails(report: &Report, at: usize, why: &str) {
    match &report.verdict {
        Verdict::Failed { line, reason } => {
            assert!(reason.contains(why), "{reason}");
            assert_eq!(*line, at, "{reason}");
        }
        other => panic!("not {other:?} but a failure: {why}"),
    }
}

#[track_caller]
fn assert_passes(report: &Report) {
    assert!(report.passed(), "{report}");
}

#[test]
fn all_families_open_alike() {
    for family in [Family::V4, Family::V6, Family::V4Mapped] {
        assert_passes(&play(Suite::Linux, family, OPEN));
    }
    let v6_only = format!("--ip_version=ipv6\n{OPEN}");
    assert_passes(&play(Suite::Linux, Family::V6, &v6_only));
    let report = play(Suite::Linux, Family::V4, &v6_only);
    assert!(matches!(report.verdict, Verdict::NotRunnable { .. }));
}

#[test]
fn every_field_of_a_segment_counts() {
    assert_passes(&after_open(
        "+0 write(4, ..., 100) = 100\n+0 > P. 1:101(100) ack 1",
    ));
    for (line, why) in [
        ("> . 1:101(100) ack 1", "flags"),
        ("> P. 2:102(100) ack 1", "sequence number"),
        ("> P. 1:100(99) ack 1", "length"),
        ("> P. 1:101(100) ack 2", "acknowledgment number"),
        ("> P. 1:101(100) ack 1 win 1", "window"),
        ("> P. 1:101(100) ack 1 <nop,nop,sackOK>", "options"),
        ("> [ttl 3] P. 1:101(100) ack 1", "IP header"),
        ("> udp (100)", "nothing left"),
    ] {
        assert_fails(
            &after_open(&format!("+0 write(4, ..., 100) = 100\n+0 {line}")),
            9,
            why,
        );
    }
}

#[test]
fn time_counts() {
    let late = "+0 write(4, ..., 100) = 100\n+0 > P. 1:101(100) ack 1\n";
    // A probe after two round trips and the longest delayed ACK, or the retransmission timer.
    assert_passes(&after_open(&format!("{late}+.2~+.6 > P. 1:101(100) ack 1")));
    assert_fails(
        &after_open(&format!("{late}+.1 > P. 1:101(100) ack 1")),
        10,
        "it left +",
    );
    assert_fails(
        &after_open(&format!("{late}+2 > P. 1:101(100) ack 1")),
        10,
        "it left -",
    );
    assert_passes(&after_open(&format!("{late}* > P. 1:101(100) ack 1")));
    assert_fails(&after_open("+0 > . 1:1(0) ack 1"), 8, "nothing left");
}

#[test]
fn an_ack_need_not_wait_as_long_as_on_linux() {
    let text = format!("{OPEN}+0 < P. 1:101(100) ack 1 win 65535\n+.04 > . 1:1(0) ack 101");
    assert_passes(&play(Suite::Linux, Family::V4, &text));
    let text = format!("{OPEN}+0 < F. 1:1(0) ack 1 win 65535\n+.06 > . 1:1(0) ack 2");
    assert_fails(&play(Suite::Linux, Family::V4, &text), 9, "it left -");
    let text = format!("{OPEN}+0 < F. 1:1(0) ack 1 win 65535\n+.04 > . 1:1(0) ack 2");
    assert_passes(&play(Suite::Linux, Family::V4, &text));
    assert_fails(&play(Suite::Own, Family::V4, &text), 9, "it left -");
}

#[test]
fn calls_return_what_they_must() {
    assert_fails(&after_open("+0 write(4, ..., 100) = 99"), 8, "100");
    assert_fails(&after_open("+0 write(9, ..., 100) = 100"), 8, "EBADF");
    assert_fails(
        &after_open("+0 read(9, ..., 100) = -1 EPIPE (Broken pipe)"),
        8,
        "EBADF",
    );
    assert_fails(
        &after_open("+0 getsockopt(4, SOL_TCP, TCP_NODELAY, [1], [4]) = 0"),
        8,
        "the option is 0",
    );
    assert_fails(
        &after_open("+0 read(4, ..., 100) = 100"),
        8,
        "waits for ever",
    );
}

#[test]
fn a_blocking_call_ends_in_time() {
    let data = "+.1 < P. 1:101(100) ack 1 win 65535\n+0 > . 1:1(0) ack 101";
    assert_passes(&after_open(&format!(
        "+0...0.1 read(4, ..., 100) = 100\n{data}"
    )));
    assert_fails(
        &after_open(&format!("+0...0.3 read(4, ..., 100) = 100\n{data}")),
        8,
        "returned at",
    );
    assert_fails(
        &after_open(&format!("+0...0.05 read(4, ..., 100) = 100\n{data}")),
        8,
        "returned at",
    );
    let nothing = "+1 getsockopt(4, SOL_SOCKET, SO_ERROR, [0], [4]) = 0";
    assert_fails(
        &after_open(&format!("+0...0.05 read(4, ..., 100) = 100\n{nothing}")),
        8,
        "has not returned",
    );
    assert_fails(
        &after_open("+0...0.05 write(4, ..., 100) = 100"),
        8,
        "without waiting",
    );
    assert_fails(
        &after_open("+0...1 read(4, ..., 100) = 100"),
        8,
        "still waits",
    );
}

#[test]
fn segments_are_joined_to_the_length_asked_for() {
    let write = "+0 write(4, ..., 3000) = 3000\n";
    assert_passes(&after_open(&format!("{write}+0 > P. 1:3001(3000) ack 1")));
    assert_passes(&after_open(&format!(
        "{write}+0 > . 1:1001(1000) ack 1\n+0 > P. 1001:3001(2000) ack 1"
    )));
    assert_fails(
        &after_open(&format!("{write}+0 > P. 1:2501(2500) ack 1")),
        9,
        "length",
    );
    let strict = format!("--strict_segments\n{OPEN}{write}+0 > P. 1:3001(3000) ack 1");
    assert_fails(&play(Suite::Linux, Family::V4, &strict), 10, "length");
}

#[test]
fn own_scripts_name_everything_that_leaves() {
    let text = format!("{OPEN}+0 write(4, ..., 100) = 100\n");
    assert_fails(&play(Suite::Own, Family::V4, &text), 8, "unexpected");
    assert_passes(&play(Suite::Linux, Family::V4, &text));
}

#[test]
fn code_is_about_the_connection() {
    assert_passes(&after_open("+0 %{ assert tcpi_state == TCP_ESTABLISHED }%"));
    assert_fails(
        &after_open("+0 %{ assert tcpi_snd_mss == 1, tcpi_snd_mss }%"),
        8,
        "tcpi_snd_mss is 1000",
    );
    let unknown = after_open("+0 %{ assert bbr_mode == 1 }%");
    assert!(matches!(
        unknown.verdict,
        Verdict::NotRunnable { line: 8, .. }
    ));
}

#[test]
fn what_is_not_there_is_no_failure() {
    for line in [
        "+0 sctp_sendmsg(4) = 0",
        "+0 `reboot`",
        "+0 setsockopt(4, SOL_TCP, TCP_NO_SUCH_THING, [1], 4) = 0",
        "+0 < gre: . 1:1(0) ack 1",
        "+0 > Q 1:1(0)",
    ] {
        let report = after_open(line);
        assert!(
            matches!(report.verdict, Verdict::NotRunnable { line: 8, .. }),
            "{line}: {report}"
        );
    }
}

#[test]
fn icmp_quotes_the_segment_on_the_wire() {
    let text = "+0 write(4, ..., 1000) = 1000\n+0 > P. 1:1001(1000) ack 1
+.01 < icmp unreachable frag_needed mtu 576 [1:1001(1000)]\n+0 > . 1:537(536) ack 1";
    for isn in [0, u32::MAX - 3] {
        let mut options = Options::new(Suite::Linux, Family::V4);
        options.peer_isn = isn;
        assert_passes(&run(&format!("{OPEN}{text}"), &options));
    }
}

#[test]
fn the_hosts_own_isn_can_be_chosen() {
    let options = Options::new(Suite::Own, Family::V4);
    let first = run(OPEN, &options);
    let was = first.isn.expect("a SYN of ours");
    for isn in [0, 5, u32::MAX] {
        let got = run(OPEN, &options.with_isn(was, isn))
            .isn
            .expect("a SYN of ours");
        assert!(isn.wrapping_sub(got) < 2, "{got}, not {isn}");
    }
}

#[test]
fn a_script_always_goes_the_same_way() {
    let text = format!("{OPEN}+0 write(4, ..., 9000) = 9000\n+1 close(4) = 0\n");
    let options = Options::new(Suite::Linux, Family::V6);
    assert_eq!(run(&text, &options), run(&text, &options));
}
