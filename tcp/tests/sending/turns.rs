//! Many connections want to send at once: whose turn it is.

use std::net::IpAddr;
use std::num::NonZeroU64;
use std::time::Duration;

use bytes::Bytes;
use ustack_tcp::testing::{Link, Pair, Recorder, Side};
use ustack_tcp::{Config, ConnId, SocketOptions, Transmit, TxMeta};

/// Takes so many segments and no more.
struct Few {
    recorder: Recorder,
    most: usize,
}

impl Transmit for Few {
    fn budget(&self) -> usize {
        self.most - self.recorder.sent.len()
    }

    fn path_mtu(&self, remote: IpAddr) -> u16 {
        self.recorder.path_mtu(remote)
    }

    fn push(&mut self, meta: &TxMeta<'_>, payload: impl Iterator<Item = Bytes>) {
        self.recorder.push(meta, payload);
    }
}

/// Local ports of the next `most` segments that the client sends.
fn ports(pair: &mut Pair, most: usize) -> Vec<u16> {
    let mut few = Few {
        recorder: Recorder {
            mtu: pair.link.mtu,
            ..Recorder::default()
        },
        most,
    };
    let now = pair.now;
    pair.end(Side::Client).poll_transmit(now, &mut few);
    few.recorder
        .sent
        .iter()
        .map(|sent| sent.flow.local.port())
        .collect()
}

/// So many connections, established, from the client, and their ports.
fn open(pair: &mut Pair, count: usize) -> Vec<(ConnId, u16)> {
    pair.listen(64);
    for _ in 0..count {
        pair.connect(SocketOptions::default());
    }
    for _ in 0..100 {
        pair.step();
    }
    let all: Vec<_> = pair.tcp[0].connections().collect();
    assert_eq!(all.len(), count);
    all.iter()
        .map(|summary| (summary.id, summary.flow.local.port()))
        .collect()
}

#[test]
fn who_has_a_word_to_say_does_not_wait_for_those_who_send_much() {
    let mut pair = Pair::new(7, &Config::default(), Link::default());
    let flows = open(&mut pair, 9);
    let ((echo, echo_port), bulk) = flows.split_first().expect("nine of them");
    let now = pair.now;
    for (id, _) in bulk {
        let sent = pair
            .end(Side::Client)
            .write(now, *id, &vec![7; 100_000].into());
        assert!(sent.is_ok_and(|bytes| bytes > 20_000), "much to send");
    }
    let first = ports(&mut pair, 8 * 4 + 1);
    for (_, port) in bulk {
        let count = first.iter().filter(|sent| *sent == port).count();
        assert!(count >= 4, "each of those who send much has had its turn");
    }
    let written = pair
        .end(Side::Client)
        .write(now, *echo, &Bytes::from_static(b"!"));
    assert_eq!(written, Ok(1));
    let second = ports(&mut pair, 8);
    assert_eq!(second[0], *echo_port, "before all others: {second:?}");
    let turns =
        [bulk[1].1, bulk[2].1].map(|port| second.iter().filter(|sent| **sent == port).count());
    assert_eq!(turns, [4, 3], "and they go on in their order: {second:?}");
}

/// They are called for no more than they would be if there were room.
#[test]
fn who_may_send_again_but_finds_no_room_is_no_reason_to_be_called() {
    let mut pair = Pair::new(7, &Config::default(), Link::default());
    let flows = open(&mut pair, 8);
    let now = pair.now;
    for (id, _) in &flows {
        let slow = |options: &mut SocketOptions| {
            options.max_pacing_rate = NonZeroU64::new(300_000); // a segment in 5 ms
        };
        let client = pair.end(Side::Client);
        client.set_options(now, *id, slow).unwrap();
        client.write(now, *id, &vec![7; 100_000].into()).unwrap();
    }
    for _ in 0..100 {
        pair.step(); // the first burst is over
    }
    // The device takes nothing for a while in which all may send again.
    let begin = pair.now;
    for wait in [10, 20, 30] {
        pair.now = begin + Duration::from_millis(wait);
        let now = pair.now;
        pair.end(Side::Client).on_timeout(now);
        assert_eq!(ports(&mut pair, 0), []);
        let next = pair.end(Side::Client).poll_timeout();
        assert!(next.is_none_or(|at| at > now + Duration::from_millis(1)));
    }
    assert!(ports(&mut pair, 100).len() >= 8, "now there is room");
}
