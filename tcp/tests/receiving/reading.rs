//! What a reader takes at once is what it would have taken piece by piece.

use std::time::Duration;

use ustack_tcp::testing::{Link, Pair, Side, pattern};
use ustack_tcp::{Config, ConnId, Read};

/// A reader who takes so many bytes, in so many chunks, at most.
fn take(pair: &mut Pair, conn: ConnId, (max, most): (usize, usize), together: bool) -> Vec<u8> {
    let (now, tcp) = (pair.now, pair.end(Side::Server));
    let mut bytes = Vec::new();
    if together {
        let put = |chunk: bytes::Bytes| bytes.extend_from_slice(&chunk);
        let found = tcp.read_chunks(now, conn, max, most, put).unwrap();
        let counted = match found {
            Read::Data(count) => count,
            Read::Eof | Read::Empty => 0,
        };
        assert_eq!(counted, bytes.len());
        return bytes;
    }
    for _ in 0..most {
        let room = max - bytes.len();
        let Ok(Read::Data(chunk)) = tcp.read(now, conn, room) else {
            break;
        };
        bytes.extend_from_slice(&chunk);
        let is_at_mark = tcp.urgent_left(conn) == Ok(Some(0));
        if bytes.len() == max || is_at_mark {
            break;
        }
    }
    bytes
}

/// A conversation made from `seed`: what was read, and all that shows of it.
fn converse(seed: u64, together: bool) -> (Vec<u8>, String) {
    let link = Link {
        delay: Duration::from_millis(3),
        loss: 200,
        reorder: 200,
        ..Link::default()
    };
    let mut pair = Pair::new(seed, &Config::default(), link);
    let (client, server) = pair.open();
    let now = pair.now;
    // Of a fixed size: what one that grows is told of is as much as a reader takes in one call.
    let fix = |options: &mut ustack_tcp::SocketOptions| options.recv_buffer = Some(40_000);
    pair.end(Side::Server)
        .set_options(now, server, fix)
        .unwrap();
    let (mut written, mut read) = (0, Vec::new());
    for _ in 0..400 {
        let (dice, now) = (pair.random(), pair.now);
        let data = pattern(written, 1 + (dice >> 8) as usize % 20_000);
        written += match dice % 40 {
            0 => pair.end(Side::Client).write_urgent(now, client, &data),
            1..20 => pair.end(Side::Client).write(now, client, &data),
            _ => Ok(0),
        }
        .unwrap() as u64;
        for _ in 0..dice % 4 {
            pair.step();
        }
        if dice % 3 == 0 {
            let max = [1, 100, 1460, 5_000, 1 << 20][pair.random() as usize % 5];
            let most = [1, 2, 16, usize::MAX][pair.random() as usize % 4];
            read.extend(take(&mut pair, server, (max, most), together));
        }
    }
    let now = pair.now;
    pair.end(Side::Client).shutdown(now, client).unwrap();
    while pair.step() && read.len() < written as usize {
        read.extend(take(&mut pair, server, (1 << 20, 16), together));
    }
    let shows = format!("{:?} {:?}", pair.events, pair.log);
    assert_eq!(read, pattern(0, written as usize));
    (read, shows)
}

#[test]
fn many_chunks_at_once_are_those_that_come_one_by_one() {
    let mut total = 0;
    for seed in 0..30 {
        println!("seed {seed}");
        let (one, many) = (converse(seed, false), converse(seed, true));
        assert_eq!(one.0, many.0);
        let same = one
            .1
            .bytes()
            .zip(many.1.bytes())
            .take_while(|(one, many)| one == many);
        let (from, end) = (same.count(), one.1.len().max(many.1.len()));
        assert_eq!(
            from,
            end,
            "something shows of it: {}",
            &one.1[from.saturating_sub(300)..]
        );
        total += many.0.len();
    }
    assert!(total > 1 << 20, "{total}");
}
