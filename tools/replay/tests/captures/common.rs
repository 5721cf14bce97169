//! What the tests of captures share.

use std::path::Path;

use replay::capture::{self, Recorded};
use replay::conversation::Role;
use replay::stream::{self, Plan, Report};
use replay::talks::{Kind, talks};

use crate::stack::Stack;

/// The packets of a capture of `pcaps/`.
pub(crate) fn read(name: &str) -> Vec<Recorded> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pcaps");
    capture::read(&folder.join(format!("{name}.pcapng"))).unwrap()
}

/// The TCP conversations of a capture, one list of packets each, in the order of their SYNs.
pub(crate) fn conversations(packets: &[Recorded]) -> Vec<Vec<Recorded>> {
    let talks = talks(packets).talks.into_iter();
    let tcp = talks.filter(|talk| talk.kind == Kind::Tcp);
    tcp.map(|talk| talk.packets).collect()
}

/// Replays the first conversation of a capture.
pub(crate) fn replay(name: &str, plan: &Plan) -> Report {
    stream::replay::<Stack>(&read(name), plan).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Replays every conversation of a capture, each against a stack of its own.
pub(crate) fn replay_each(name: &str, role: Role) -> Vec<Report> {
    let replay = |(index, packets): (usize, Vec<Recorded>)| {
        let result = stream::replay::<Stack>(&packets, &Plan::new(role));
        result.unwrap_or_else(|error| panic!("{name}, conversation {index}: {error}"))
    };
    let all = conversations(&read(name));
    all.into_iter().enumerate().map(replay).collect()
}
