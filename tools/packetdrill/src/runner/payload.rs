//! The bytes of connections: what leaves must be what was written, and what is read what arrived.

use std::collections::HashMap;

use ustack::tcp::testing::pattern;
use ustack::tcp::testing::script::ast::{Call, TcpLine, flag};
use ustack::tcp::testing::script::wire;

use super::Runner;
use super::calls::Answer;
use super::values::integer;
use crate::kernel::{Data, Received};
use crate::options::Suite;

/// What the script has done with a descriptor.
#[derive(Clone, Debug, Default)]
pub(super) struct Stream {
    /// Everything written, and what a call under way may have added.
    written: Vec<u8>,
    /// How much of it calls have reported.
    accepted: usize,
    /// How much has been read.
    read: u64,
}

pub(super) type Streams = HashMap<i64, Stream>;

impl Runner<'_> {
    /// Bytes that `...` stands for: in our own scripts each differs from its neighbours, elsewhere
    /// they are zeroes, as the original has them.
    fn filler(&self, offset: u64, len: usize) -> Vec<u8> {
        match self.options.suite {
            Suite::Own => pattern(offset, len).to_vec(),
            _ => vec![0; len],
        }
    }

    /// A call writes: what it may add is remembered.
    pub(super) fn note_write(&mut self, fd: i64, data: Data) -> Data {
        let offset = self.streams.entry(fd).or_default().accepted;
        let bytes = match data {
            Data::Bytes(bytes) => bytes,
            Data::Zeros(len) => self.filler(offset as u64, len),
            fault @ Data::Fault(_) => return fault,
        };
        let stream = self.streams.entry(fd).or_default();
        stream.written.truncate(offset);
        stream.written.extend_from_slice(&bytes);
        Data::Bytes(bytes)
    }

    /// A call has returned: how much of it counts, and whether it read what had arrived.
    pub(super) fn note_result(&mut self, call: &Call, answer: &Answer) -> Option<String> {
        let fd = integer(call.args.first()?).ok()?;
        let writes = matches!(
            call.name.as_str(),
            "write" | "writev" | "send" | "sendto" | "sendmsg" | "sendfile"
        );
        match answer {
            Answer::Number(n) if writes => {
                let stream = self.streams.entry(fd).or_default();
                stream.accepted += usize::try_from(*n).unwrap_or(0);
                None
            }
            Answer::Received(received) => self.check_read(fd, call, received),
            _ => None,
        }
    }

    fn check_read(&mut self, fd: i64, call: &Call, received: &Received) -> Option<String> {
        if self.options.suite != Suite::Own || received.from.is_some() {
            return None;
        }
        let offset = self.streams.entry(fd).or_default().read;
        let right = received.data == self.filler(offset, received.data.len());
        let peeks = call
            .args
            .iter()
            .any(|arg| arg.describe().contains("MSG_PEEK"));
        if !peeks && let Some(stream) = self.streams.get_mut(&fd) {
            stream.read += received.len as u64;
        }
        (!right).then(|| format!("wrong bytes from {offset} on"))
    }

    /// A descriptor begins anew.
    pub(super) fn forget_stream(&mut self, fd: i64) {
        self.streams.remove(&fd);
    }

    /// Whether a segment carries what was written there.
    pub(super) fn is_written(&self, line: &TcpLine, tcp: &wire::Tcp) -> bool {
        let Some(fd) = self.flows.last().and_then(|flow| flow.fd) else {
            return tcp.data.is_empty();
        };
        let from = offset(line) as usize;
        let written = self
            .streams
            .get(&fd)
            .map_or(&[][..], |stream| &stream.written);
        let range = from..from.saturating_add(tcp.data.len());
        tcp.data.is_empty() || written.get(range) == Some(&tcp.data[..])
    }

    /// Fills in what a segment that arrives carries: the last bytes of `segment`.
    pub(super) fn fill_payload(&self, line: &TcpLine, segment: &mut [u8]) {
        let from = segment.len().saturating_sub(line.len as usize);
        let payload = &mut segment[from..];
        payload.copy_from_slice(&self.filler(offset(line).into(), payload.len()));
    }
}

/// Where a segment's payload stands in its stream.
const fn offset(line: &TcpLine) -> u32 {
    if line.has(flag::SYN) {
        0
    } else {
        line.seq.wrapping_sub(1)
    }
}
