//! The checker's own test: what the kernel said in every capture keeps all the rules.

use std::path::{Path, PathBuf};

use replay::capture;
use replay::checker::Checker;
use replay::conversation::{Conversation, Role};
use replay::packet;

fn captures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pcaps");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "pcapng")
        })
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
        let role = if name == "simultaneous-open" {
            Role::Client
        } else {
            Role::Server
        };
        let is_tcp = |packet: &capture::Recorded| packet::tcp(&packet.data).unwrap().is_some();
        if !packets.iter().any(is_tcp) {
            continue;
        }
        checked += 1;
        let conversation = Conversation::first(&packets, role).unwrap();
        let mut checker = Checker::new(&conversation, 1500);
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
    assert!(checked >= 30, "only {checked} TCP captures");
}
