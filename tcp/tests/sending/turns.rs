//! Many connections want to send at once: whose turn it is.

use std::net::IpAddr;

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
