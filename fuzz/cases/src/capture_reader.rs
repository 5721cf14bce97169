//! Captures: pcap and pcapng files of any content.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use replay::capture::{self, Recorded};
use replay::conversation::{Conversation, Role};
use replay::packet;
use rustix::fs::{MemfdFlags, memfd_create};

/// Reads a capture, its packets and the conversations in them.
///
/// Packets are numbered in their order, hold no more than the file does, and a conversation's
/// streams no more than its packets.
pub fn capture_reader(data: &[u8]) {
    let Ok(packets) = read(data) else { return };
    let held: usize = packets.iter().map(|packet| packet.data.len()).sum();
    assert!(held <= data.len(), "{held} bytes out of {}", data.len());
    assert!(
        packets
            .windows(2)
            .all(|pair| pair[0].number < pair[1].number)
    );
    for recorded in &packets {
        let _ = packet::tcp(&recorded.data);
    }
    for role in [Role::Server, Role::Client] {
        let Ok(conversation) = Conversation::first(&packets, role) else {
            continue;
        };
        let streams = conversation.ours.stream.len() + conversation.theirs.stream.len();
        assert!(streams <= held);
        assert!(conversation.said.len() <= packets.len());
        assert_ne!(conversation.local, conversation.remote);
    }
}

/// The reader reads files: this one is in memory.
fn read(data: &[u8]) -> Result<Vec<Recorded>, String> {
    let fd = memfd_create("capture", MemfdFlags::CLOEXEC).map_err(|error| error.to_string())?;
    let mut file = File::from(fd);
    file.write_all(data).map_err(|error| error.to_string())?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    capture::read(&path).map_err(|error| error.to_string())
}
