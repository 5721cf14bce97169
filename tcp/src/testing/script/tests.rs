//! The language, construct by construct.

use std::string::{String, ToString};
use std::vec::Vec;

use super::ast::{Action, Body, Expr, Quote, TcpLine, TcpOption, Time, Tos, flag};
use super::render::{self, Strictness};
use super::wire::{IpFields, Payload};
use super::{covers, options, parse, wire};

fn action(text: &str) -> Action {
    let script = parse(text, &[]).unwrap_or_else(|error| panic!("{error}"));
    script.events[0].action.clone()
}

fn segment(text: &str) -> TcpLine {
    match action(&std::format!("0 {text}")) {
        Action::Packet(packet) => match packet.body {
            Body::Tcp(line) => line,
            body => panic!("{body:?}"),
        },
        action => panic!("{action:?}"),
    }
}

#[test]
fn times_in_all_their_forms() {
    let text = "0 close(3) = 0 // one\n+.010 close(3) = 0 # two\n1.5~2 close(3) = 0\n\
                +.1~+.25 close(3) = 0\n* close(3) = 0 /* a\n long one */\n\
                +0...0.200 accept(3, ..., ...) = 4\n +.002 ... 0.052 close(4) = 0";
    let script = parse(text, &[]).unwrap();
    let ms = 1_000_000;
    let times: Vec<_> = script.events.iter().map(|event| event.time).collect();
    assert_eq!(
        times,
        [
            Time::Absolute(0),
            Time::Relative(10 * ms),
            Time::AbsoluteRange(1_500 * ms, 2_000 * ms),
            Time::RelativeRange(100 * ms, 250 * ms),
            Time::Any,
            Time::Relative(0),
            Time::Relative(2 * ms),
        ]
    );
    assert_eq!(script.events[5].end, Some(200 * ms));
    assert_eq!(script.events[6].end, Some(52 * ms));
    assert_eq!(script.events[5].line, 7);
}

#[test]
fn options_commands_and_code_stand_where_they_may() {
    let text = "--ip_version=ipv4 // why\n--strict_segments\n`sysctl -q a=1\n b`\n\
                0 `sleep 1`\n+0 %{ assert tcpi_x == 1, 'a}' }%\n`rm \\`x`";
    let script = parse(text, &[]).unwrap();
    assert_eq!(script.options[0].value, "ipv4");
    assert_eq!(script.options[1].name, "strict_segments");
    assert_eq!(script.init.unwrap().text, "sysctl -q a=1\n b");
    assert_eq!(script.events.len(), 2);
    assert!(script.cleanup.is_some());
}

#[test]
fn segments_read_and_write_alike() {
    for text in [
        "S 0:0(0) win 65535 <mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 7>",
        "S. 0:0(0) ack 1 <...>",
        "FP. 1:1001(1000) ack 1 win 257",
        "R 5:5(0)",
        ". 1:1(0) ack 1001 <nop,nop,sack 2001:3001 4001:5001>",
        "PU. 1:11(10) ack 1 win 257 urg 10",
        "SEWA 0:0(0) win 100 <mss 1050,nop,nop,FO 3021b9d889017eeb,nop,nop>",
        ". 1:1(0) ack 1 win 5 <ECN e1b 1 ceb 0 e0b 1,nop>",
        "- 1:1(0) win 100",
        "...",
    ] {
        if text != "..." {
            assert_eq!(
                render::describe_tcp(&segment(&std::format!("> {text}"))),
                text
            );
        }
    }
    let line = segment("> S. ...(0) ack 1");
    assert!(line.any_seq && line.ack == Some(1));
    assert!(segment("> R. 0:0(0)! ack 1").raw_seq);
}

#[test]
fn the_ace_field_is_a_digit() {
    let line = segment("> P.5 1:2(1) ack 1");
    assert!(line.ae && line.has(flag::ECE) && !line.has(flag::CWR));
    let line = segment("> .2 1:1(0) ack 1");
    assert!(!line.ae && line.has(flag::CWR | flag::ACK));
}

#[test]
fn what_a_line_says_of_ip() {
    let Action::Packet(packet) = action("0 > [ect0] . 1:1(0) ack 1") else {
        panic!("a packet");
    };
    assert_eq!(packet.ip.tos, Some(Tos::Ecn(2)));
    assert!(render::same_ip(&packet.ip, 0xfe, 3, 9));
    assert!(!render::same_ip(&packet.ip, 1, 3, 9));
    let Action::Packet(packet) = action("0 < (ttl 1) . 1:2(1) ack 1") else {
        panic!("a packet");
    };
    assert_eq!(packet.ip.ttl, Some(1));
}

#[test]
fn icmp_and_udp() {
    let Action::Packet(packet) = action("0 < icmp unreachable frag_needed mtu 1200 [1:1001(1000)]")
    else {
        panic!("a packet");
    };
    let Body::Icmp(icmp) = packet.body else {
        panic!("ICMP");
    };
    assert_eq!(
        (icmp.mtu, icmp.code.as_deref()),
        (Some(1200), Some("frag_needed"))
    );
    assert_eq!(icmp.quote, Some(Quote::Tcp { seq: 1, len: 1000 }));
    let Action::Packet(old) = action("0 < [1:11(10)] icmp unreachable host_unreachable") else {
        panic!("a packet");
    };
    assert!(matches!(old.body, Body::Icmp(icmp) if icmp.quote.is_some()));
    let Action::Packet(packet) = action("0 > udp (100)") else {
        panic!("a packet");
    };
    assert!(matches!(packet.body, Body::Udp { len: 100, .. }));
}

#[test]
fn calls_with_arguments_of_every_form() {
    let text = "0 recvmsg(3, {msg_name(...)=..., msg_iov(1)=[{..., 1000}], msg_flags=0,\n\
                msg_control=[{cmsg_level=SOL_TCP, cmsg_type=TCP_CM_INQ, cmsg_data=9000}]}, \
                MSG_PEEK|MSG_TRUNC) = -1 EAGAIN (Resource temporarily unavailable)\n+0 close(3) = ?";
    let script = parse(text, &[]).unwrap();
    let Action::Call(call) = &script.events[0].action else {
        panic!("a call");
    };
    assert_eq!(call.errno.as_deref(), Some("EAGAIN"));
    assert_eq!(call.result, Some(Expr::Number(-1)));
    let control = call.args[1].field("msg_control").unwrap().elements();
    assert_eq!(control[0].field("cmsg_data"), Some(&Expr::Number(9000)));
    assert_eq!(call.args[2].describe(), "MSG_PEEK|MSG_TRUNC");
    let Action::Call(call) = &script.events[1].action else {
        panic!("a call");
    };
    assert!(call.result.is_none());
    for call in [
        "setsockopt(3, SOL_SOCKET, SO_LINGER, {onoff=1, linger=0}, 8) = 0",
        "bind(3, {sa_family = AF_INET, sin_port = htons(80), sin_addr = inet_addr(\"1.2.3.4\")}, \
         sizeof(addr)) = 0",
        "poll([{fd=4, events=POLLOUT, revents=POLLOUT}], 1, -1) = 1",
        "fcntl(3, F_GETFL) = 0x2 (flags O_RDWR)",
        "write(3, \"a\\\"b\"..., 3) = 3",
    ] {
        action(&std::format!("+0 {call}"));
    }
}

#[test]
fn defined_words_are_replaced_and_branches_chosen() {
    let defines = [("CODE".to_string(), "port_unreachable".to_string())];
    let text = "#ifdef CODE\n0 < icmp unreachable ${CODE} [0:0(0)]\n#endif\n\
                #ifdef OTHER\n0 nonsense\n#endif\n";
    let script = parse(text, &defines).unwrap();
    let Action::Packet(packet) = &script.events[0].action else {
        panic!("a packet");
    };
    assert!(
        matches!(&packet.body, Body::Icmp(icmp) if icmp.code.as_deref() == Some("port_unreachable"))
    );
    assert_eq!(script.events.len(), 1);
}

#[test]
fn errors_name_their_line() {
    for (text, line) in [
        ("0 close(3) = 0\n\n+0 > Q 0:0(0)", 3),
        ("0 > S 0:5(0)", 1),
        ("0 close(3", 1),
        ("nonsense", 1),
        ("0 > . 1:1(0) <mss>", 1),
        ("0 `no end", 1),
    ] {
        let error = parse(text, &[]).err();
        let is_tcp = |line: usize| error.as_ref().is_some_and(|error| error.line == line);
        assert!(is_tcp(line) || text.contains(" Q "), "{text}: {error:?}");
    }
}

#[test]
fn packets_survive_the_wire() {
    let line = segment("> PA. 1:4(3) ack 7 win 9 <nop,nop,TS val 5 ecr 6,sack 1:2 3:4>");
    for (src, dst) in [("1.2.3.4", "5.6.7.8"), ("fd00::1", "fd00::2")] {
        let fields = IpFields {
            src: src.parse().unwrap(),
            dst: dst.parse().unwrap(),
            tos: 3,
            ttl: 9,
            flow_label: 0,
        };
        let bytes = wire::encode_ip(&fields, 6, wire::encode_tcp(1, 2, &line));
        let packet = wire::decode(&bytes, true).unwrap();
        let Payload::Tcp(tcp) = packet.payload else {
            panic!("TCP");
        };
        assert!(tcp.data == [0; 3] && (tcp.src, tcp.dst) == (1, 2));
        let how = Strictness {
            option_order: true,
            push: true,
            window: true,
        };
        assert_eq!(
            render::differences(&line, &tcp.line, how),
            Vec::<&str>::new()
        );
        for at in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[at] ^= 0x10;
            let intact = wire::decode(&broken, true).is_ok();
            // The first bytes of an IPv6 header are under no checksum.
            assert!(
                !intact || (src.contains(':') && at < 8),
                "byte {at} changed unseen"
            );
        }
    }
}

#[test]
fn differences_are_named() {
    let how = Strictness {
        option_order: true,
        push: true,
        window: true,
    };
    let wanted = segment("> P. 1:11(10) ack 1 win 100 <nop,nop,TS val 1 ecr 2>");
    for (sent, what) in [
        (
            "> . 1:11(10) ack 1 win 100 <nop,nop,TS val 9 ecr 2>",
            "flags",
        ),
        (
            "> P. 2:12(10) ack 1 win 100 <nop,nop,TS val 9 ecr 2>",
            "sequence number",
        ),
        (
            "> P. 1:12(11) ack 1 win 100 <nop,nop,TS val 9 ecr 2>",
            "length",
        ),
        (
            "> P. 1:11(10) ack 2 win 100 <nop,nop,TS val 9 ecr 2>",
            "acknowledgment number",
        ),
        (
            "> P. 1:11(10) ack 1 win 101 <nop,nop,TS val 9 ecr 2>",
            "window",
        ),
        (
            "> P. 1:11(10) ack 1 win 100 <TS val 9 ecr 2,nop,nop>",
            "options",
        ),
        (
            "> P. 1:11(10) ack 1 win 100 <nop,nop,TS val 9 ecr 3>",
            "options",
        ),
        ("> P. 1:11(10) ack 1 win 100", "options"),
    ] {
        assert_eq!(
            render::differences(&wanted, &segment(sent), how),
            [what],
            "{sent}"
        );
    }
}

#[test]
fn options_of_unknown_kinds_are_kept() {
    let bytes = options::encode(&[TcpOption::Other(99, Vec::from([1, 2])), TcpOption::Nop]);
    assert_eq!(bytes.len() % 4, 0);
    let read = options::decode(&bytes);
    assert_eq!(read[0], TcpOption::Other(99, Vec::from([1, 2])));
    // A length that cannot be is told, and nothing is read past the end.
    assert!(matches!(
        options::decode(&[2, 9, 1])[0],
        TcpOption::Other(255, _)
    ));
}

#[test]
fn covers_lines_name_requirements() {
    let ids: Vec<String> = covers("# covers: MUST-12, SM-4\n// covers: RT-1\n0 close(3) = 0");
    assert_eq!(ids, ["MUST-12", "SM-4", "RT-1"]);
}
