//! A sender of bulk data on a simulated link, and what its connection tells of it.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use ustack_tcp::seq::{SeqNum, WireSeq};
use ustack_tcp::testing::{Link, Pair, Script, Side};
use ustack_tcp::time::Instant;
use ustack_tcp::{CaState, Config, ConnId, Info, Read};

/// The connection and its counts.
pub(crate) struct Bulk {
    pub(crate) pair: Pair,
    client: ConnId,
    server: ConnId,
    isn: WireSeq,
    written: u64,
    read: u64,
    last: Info,
    /// Times that the retransmission timer fired.
    pub(crate) timeouts: u32,
    /// Episodes of recovery that an ACK or the reordering timer began, and when.
    pub(crate) episodes: Vec<Instant>,
    /// The time spent in them.
    pub(crate) recovering: Duration,
    /// When [`Bulk::last`] was looked at.
    at: Instant,
}

impl fmt::Debug for Bulk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulk")
            .field("timeouts", &self.timeouts)
            .field("episodes", &self.episodes.len())
            .field("retrans", &self.last.total_retrans)
            .field("needless", &self.needless())
            .finish_non_exhaustive()
    }
}

impl Bulk {
    pub(crate) fn new(seed: u64, config: &Config, link: Link) -> Self {
        let mut pair = Pair::new(seed, config, link);
        let (client, server) = pair.open();
        let isn = pair.log[0].2.segment.seq;
        pair.quiet = true;
        let last = pair.tcp[0].info(pair.now, client).expect("a connection");
        Self {
            pair,
            client,
            server,
            isn,
            written: 0,
            read: 0,
            last,
            timeouts: 0,
            episodes: Vec::new(),
            recovering: Duration::ZERO,
            at: Instant::ZERO,
        }
    }

    /// What `TCP_INFO` tells at the sender.
    pub(crate) fn info(&self) -> &Info {
        &self.last
    }

    /// Bytes written so far.
    pub(crate) const fn written(&self) -> u64 {
        self.written
    }

    /// Segments that the receiver had already when they came.
    pub(crate) const fn needless(&self) -> u64 {
        self.last.dsack_dups
    }

    /// Loses the first transmission of what `which` says by its offset; counts from now on.
    pub(crate) fn lose_first(&mut self, mut which: impl FnMut(u64) -> bool + Send + 'static) {
        self.forget();
        let mut top = self.written;
        self.script(move |_, offset| {
            let first = offset >= top;
            top = top.max(offset + 1);
            (!(first && which(offset))).then_some(Duration::ZERO)
        });
    }

    /// Counts nothing of what was so far.
    pub(crate) fn forget(&mut self) {
        self.timeouts = 0;
        self.episodes.clear();
    }

    /// Asks `fate` of each data segment of the sender, by its time and offset.
    pub(crate) fn script(
        &mut self,
        mut fate: impl FnMut(Instant, u64) -> Option<Duration> + Send + 'static,
    ) {
        let base = SeqNum::first(self.isn) + 1u32;
        let mut newest = base;
        self.pair.script = Some(Script::new(move |now, side, sent| {
            if side == Side::Server || sent.segment.payload.is_empty() {
                return Some(Duration::ZERO);
            }
            let seq = newest.expand(sent.segment.seq);
            newest = newest.max(seq);
            fate(now, u64::from(seq - base))
        }));
    }

    /// Sends so many bytes, and waits until all of them are acknowledged.
    pub(crate) fn send(&mut self, bytes: u64) {
        let end = self.written + bytes;
        let limit = self.pair.now + Duration::from_secs(600);
        let base = self.last.bytes_acked;
        let start = self.written;
        while self.last.bytes_acked - base < end - start {
            self.write_up_to(end);
            self.turn();
            assert!(self.pair.now < limit, "{self:?}");
        }
    }

    /// Sends as much as the connection takes, for so long.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.pair.now + time;
        while self.pair.now < end {
            self.write_up_to(u64::MAX);
            self.turn();
        }
    }

    fn write_up_to(&mut self, end: u64) {
        let now = self.pair.now;
        while self.written < end {
            let len = (end - self.written).min(64 << 10) as usize;
            let data = Bytes::from(vec![0; len]);
            let taken = self.pair.end(Side::Client).write(now, self.client, &data);
            let taken = taken.expect("write");
            self.written += taken as u64;
            if taken < len {
                break;
            }
        }
    }

    fn turn(&mut self) {
        assert!(self.pair.step(), "nothing moves: {self:?}");
        let now = self.pair.now;
        while let Ok(Read::Data(data)) = self.pair.end(Side::Server).read(now, self.server, 1 << 20)
        {
            self.read += data.len() as u64;
        }
        let info = self.pair.tcp[0]
            .info(now, self.client)
            .expect("a connection");
        self.note(&info);
        self.last = info;
    }

    fn note(&mut self, info: &Info) {
        let last = &self.last;
        if last.ca_state == CaState::Recovery {
            self.recovering += self.pair.now - self.at;
        }
        self.at = self.pair.now;
        self.timeouts += u32::from(info.retransmits > last.retransmits);
        let another = last.ca_state != CaState::Recovery || info.snd_ssthresh != last.snd_ssthresh;
        if info.ca_state == CaState::Recovery && another {
            self.episodes.push(self.pair.now);
        }
    }
}
