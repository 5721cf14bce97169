//! The checker's own test: what the kernel said in every capture keeps all the rules.

use std::path::{Path, PathBuf};

use replay::capture;
use replay::checker::Checker;
use replay::conversation::{Conversation, Role};
use replay::packet;
use replay::talks::{Kind, talks};

/// Recorded at the client's device; all others at the server's.
const SEEN_BY_THE_CLIENT: [&str; 4] = [
    "ecn-echo",
    "keepalive-dead-peer",
    "simultaneous-open",
    "simultaneous-open-ipv6",
];

fn captures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pcaps");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "pcapng")
        })
        // Their servers are no kernels.
        .filter(|path| !path.to_str().unwrap().contains("/broken-"))
        .collect();
    paths.sort();
    paths
}

#[test]
fn the_recorded_kernel_passes_the_checker() {
    let mut checked = 0;
    for path in captures() {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let packets = capture::read(&path).unwrap();
        // What tools make wrong on purpose keeps no rules, and probes are no conversations.
        if name.starts_with("odd-") || name.starts_with("scan-") {
            continue;
        }
        let role = if SEEN_BY_THE_CLIENT.contains(&name.as_str()) {
            Role::Client
        } else {
            Role::Server
        };
        for talk in talks(&packets).talks {
            if talk.kind == Kind::Tcp {
                checked += 1;
                check(&name, &Conversation::first(&talk.packets, role).unwrap());
            }
        }
    }
    assert!(checked >= 80, "only {checked} TCP conversations");
}

/// Every segment of the recorded end in the stack's place keeps the rules.
fn check(name: &str, conversation: &Conversation) {
    let mut checker = Checker::new(conversation, 1500);
    for said in &conversation.said {
        let at = format!("{name}, packet {}", said.number);
        if said.ours {
            checker
                .on_output(said.time, said.data.len(), &said.tcp)
                .unwrap_or_else(|error| panic!("{at}: {error}"));
        } else if !said.lost {
            checker.on_arrival(said.time, &said.tcp);
        }
    }
}

/// Follows the server of `download` up to its `index`-th segment, which `change` alters.
fn judge(index: usize, change: impl FnOnce(&mut packet::TcpPacket)) -> Result<(), String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pcaps");
    let packets = capture::read(&folder.join("download.pcapng")).unwrap();
    let conversation = Conversation::first(&packets, Role::Server).unwrap();
    let mut checker = Checker::new(&conversation, 1500);
    let mut count = 0;
    for said in &conversation.said {
        if !said.ours {
            checker.on_arrival(said.time, &said.tcp);
            continue;
        }
        if count == index {
            let mut tcp = said.tcp.clone();
            change(&mut tcp);
            return checker.on_output(said.time, said.data.len(), &tcp);
        }
        count += 1;
        checker
            .on_output(said.time, said.data.len(), &said.tcp)
            .unwrap();
    }
    panic!("only {count} segments");
}

fn refused(index: usize, change: impl FnOnce(&mut packet::TcpPacket), because: &str) {
    let error = judge(index, change).expect_err(because);
    assert!(error.contains(because), "{error}");
}

#[test]
fn the_checker_refuses_a_wrong_handshake() {
    judge(0, |_| {}).unwrap();
    refused(0, |tcp| tcp.ack += 1, "acknowledges");
    refused(0, |tcp| tcp.options.mss = Some(1461), "MSS");
    refused(0, |tcp| tcp.options.mss = None, "MSS");
    refused(0, |tcp| tcp.options.window_scale = None, "window scale");
    refused(0, |tcp| tcp.options.sack_permitted = false, "SACK");
    refused(0, |tcp| tcp.options.timestamps = None, "timestamps");
    refused(
        0,
        |tcp| tcp.options.timestamps.as_mut().unwrap().1 += 1,
        "echoes",
    );
    refused(0, |tcp| tcp.flags |= packet::ECE, "flags");
}

#[test]
fn the_checker_refuses_wrong_numbers() {
    judge(4, |_| {}).unwrap();
    refused(4, |tcp| tcp.seq = tcp.seq.wrapping_add(1), "begins at");
    refused(4, |tcp| tcp.ack = tcp.ack.wrapping_add(1), "acknowledges");
    refused(4, |tcp| tcp.ack = tcp.ack.wrapping_sub(1), "acknowledges");
    refused(4, |tcp| tcp.window = 1, "window back");
    refused(4, |tcp| tcp.flags = 0, "no ACK");
    refused(4, |tcp| tcp.flags |= packet::FIN, "FIN");
    refused(
        4,
        |tcp| tcp.options.timestamps = None,
        "lacks its timestamps",
    );
    refused(
        4,
        |tcp| tcp.options.timestamps.as_mut().unwrap().1 -= 1,
        "echoes timestamp",
    );
    refused(
        4,
        |tcp| tcp.options.sack = vec![(tcp.ack + 10, tcp.ack + 20)],
        "not all arrive",
    );
    refused(4, |tcp| tcp.source.set_port(81), "goes from");
}

#[test]
fn the_checker_refuses_wrong_bytes() {
    let alter = |tcp: &mut packet::TcpPacket| {
        let mut payload = tcp.payload.to_vec();
        payload[17] ^= 1;
        tcp.payload = payload.into();
    };
    refused(4, alter, "byte ");
    let longer = |tcp: &mut packet::TcpPacket| tcp.payload = vec![0; 1461].into();
    refused(4, longer, "MSS");
    let misplaced = |tcp: &mut packet::TcpPacket| tcp.seq = tcp.seq.wrapping_sub(100);
    refused(4, misplaced, "byte ");
}
