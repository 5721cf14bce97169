//! Small segments: Nagle, Minshall, cork, PSH, and how much a writer may queue.

use covers::covers;
use ustack_tcp::{Event, Flags};

use crate::peer::{MS, Peer, Setup, texts};

#[test]
#[covers("SHLD-7")]
fn of_a_hundred_small_writes_in_a_round_trip_two_segments_come() {
    Setup::each(|setup| {
        let mut peer = Peer::open(&setup);
        peer.take();
        for _ in 0..100 {
            peer.write(1);
            peer.now += MS / 10;
        }
        peer.ack(2);
        assert_eq!(texts(&peer.take()), [(1, 1), (2, 99)]);
        // A full segment does not wait, and what is left over does.
        peer.write(1500);
        assert_eq!(texts(&peer.take()), [(101, 1000)]);
        peer.ack(101);
        assert!(peer.take().is_empty(), "the segment before is outstanding");
        peer.ack(1101);
        assert_eq!(texts(&peer.take()), [(1101, 500)]);
    });
}

#[test]
#[covers("MUST-17")]
fn without_nagle_each_write_is_a_segment() {
    Setup::each(|setup| {
        let mut peer = Peer::open(&setup.options(|options| options.nodelay = true));
        peer.take();
        for n in 0..100 {
            peer.write(1);
            assert_eq!(texts(&peer.take()), [(1 + n, 1)]);
        }
    });
}

#[test]
fn switching_nagle_off_lets_go_of_what_it_held() {
    let mut peer = Peer::open(&Setup::new(false, 1));
    peer.write(1);
    peer.write(1);
    peer.take();
    peer.set(|options| options.nodelay = true);
    assert_eq!(texts(&peer.take()), [(2, 1)]);
}

/// Only a small segment outstanding holds back the next small one.
#[test]
#[covers("SHLD-7")]
fn by_minshall_a_full_segment_holds_nothing_back() {
    Setup::each(|setup| {
        let mut peer = Peer::open(&setup.options(|options| options.minshall = true));
        peer.take();
        peer.write(1500);
        assert_eq!(texts(&peer.take()), [(1, 1000), (1001, 500)]);
        peer.write(100);
        peer.write(100);
        assert!(peer.take().is_empty(), "a small one is outstanding");
        peer.ack(1001);
        assert!(peer.take().is_empty(), "still");
        peer.ack(1501);
        assert_eq!(texts(&peer.take()), [(1501, 200)]);
    });
}

#[test]
fn a_cork_holds_back_what_is_less_than_a_segment() {
    Setup::each(|setup| {
        let mut peer = Peer::open(&setup.options(|options| options.cork = true));
        peer.take();
        peer.write(400);
        assert!(peer.run(100 * MS).is_empty());
        peer.write(700);
        assert_eq!(texts(&peer.take()), [(1, 1000)]);
        peer.set(|options| options.cork = false);
        assert!(peer.take().is_empty(), "Nagle holds it now");
        peer.ack(1001);
        assert_eq!(texts(&peer.take()), [(1001, 100)]);
        peer.ack(1101);
        // With nothing outstanding, taking the cork out is enough.
        peer.set(|options| options.cork = true);
        peer.write(300);
        assert!(peer.take().is_empty());
        peer.set(|options| options.cork = false);
        let sent = peer.take();
        assert_eq!(texts(&sent), [(1101, 300)]);
        assert!(sent[0].has(Flags::PSH));
    });
}

#[test]
fn a_cork_gives_way_after_200_ms() {
    Setup::each(|setup| {
        let mut peer = Peer::open(&setup.options(|options| options.cork = true));
        peer.take();
        let start = peer.now;
        peer.write(400);
        let sent = peer.run(205 * MS);
        assert_eq!(texts(&sent), [(1, 400)], "and no probe of the window");
        let held = sent[0].at - start;
        assert!(held >= 200 * MS && held <= 202 * MS, "{held:?}");
        peer.ack(401);
        // The next bytes have their own 200 ms, and Nagle goes on.
        peer.write(1);
        assert!(peer.run(199 * MS).is_empty());
        assert_eq!(texts(&peer.run(3 * MS)), [(401, 1)]);
    });
}

/// Setting TCP_NODELAY lets go of what a cork holds, as on Linux; the cork stays.
#[test]
fn nodelay_pushes_through_a_cork() {
    let mut peer = Peer::open(&Setup::new(false, 1).options(|options| options.cork = true));
    peer.take();
    peer.write(400);
    peer.set(|options| options.nodelay = true);
    assert_eq!(texts(&peer.take()), [(1, 400)]);
    peer.write(400);
    assert!(peer.take().is_empty());
}

#[test]
fn a_fin_takes_the_corked_rest_along() {
    let mut peer = Peer::open(&Setup::new(false, 1).options(|options| options.cork = true));
    peer.take();
    peer.write(400);
    peer.tcp.shutdown(peer.now, peer.id).unwrap();
    peer.turn();
    let sent = peer.take();
    assert_eq!(texts(&sent), [(1, 400)]);
    assert!(sent[0].has(Flags::FIN | Flags::PSH));
}

#[test]
#[covers("MAY-15", "MUST-60", "MUST-61")]
fn the_last_queued_segment_is_pushed_and_nothing_waits() {
    Setup::each(|setup| {
        let mut peer = Peer::open(&setup);
        peer.take();
        peer.write(9_700);
        let mut sent = peer.take();
        assert_eq!(sent.len(), 9, "the rest waits for an ACK by Nagle");
        peer.now += 10 * MS;
        peer.ack(9_001);
        sent.extend(peer.take());
        let pushed: Vec<_> = sent
            .iter()
            .filter(|sent| sent.has(Flags::PSH))
            .map(|sent| (sent.seq, sent.len))
            .collect();
        assert_eq!(pushed, [(9_001, 700)], "the last, and no other");
        peer.ack(9_701);
        peer.write(10_000);
        let sent = peer.take();
        assert_eq!(sent.len(), 10);
        assert!(sent[9].has(Flags::PSH) && sent[9].len == 1000);
    });
}

#[test]
#[covers("SHLD-27", "MAY-16")]
fn writes_that_wait_together_leave_in_full_segments() {
    Setup::each(|setup| {
        let mut peer = Peer::open(&setup.options(|options| options.nodelay = true));
        peer.write(10_000);
        assert_eq!(peer.take().last().unwrap().end(), 10_001, "cwnd is full");
        for _ in 0..10 {
            peer.write(300);
        }
        assert!(peer.take().is_empty());
        peer.ack(10_001);
        assert_eq!(
            texts(&peer.take()),
            [(10_001, 1000), (11_001, 1000), (12_001, 1000)]
        );
    });
}

#[test]
#[covers("SHLD-28")]
fn a_bulk_transfer_goes_in_full_segments() {
    const TOTAL: usize = 24 << 20;
    for (ipv6, tso, write) in [(false, false, 7_777), (true, true, 100_001)] {
        let mut setup = Setup::new(ipv6, 0u32.wrapping_sub(1 << 20)).timestamps();
        setup.config.tso = tso;
        setup.syn.window_scale = Some(ustack_tcp::seq::WindowScale::new(7));
        let mut peer = Peer::open(&setup);
        let (mut written, mut acked, mut full, mut all) = (0, 1, 0, 0);
        while acked <= TOTAL as i32 {
            while written < TOTAL {
                let want = write.min(TOTAL - written);
                let taken = peer.write(want);
                written += taken;
                if taken < want {
                    break;
                }
            }
            for sent in peer.run(10 * MS) {
                all += sent.len;
                full += if sent.len == 988 { sent.len } else { 0 };
                acked = acked.max(sent.end());
            }
            peer.ack(acked);
        }
        assert_eq!(all, TOTAL, "nothing twice");
        assert!(full * 1000 >= all * 999, "{full} of {all}");
    }
}

#[test]
fn notsent_lowat_bounds_what_is_queued_and_not_sent() {
    Setup::each(|setup| {
        let mut peer = Peer::open(&setup.options(|options| options.notsent_lowat = Some(4_000)));
        assert_eq!(peer.write(100_000), 4_000);
        assert_eq!(peer.write(100_000), 4_000, "all of that has left");
        assert_eq!(peer.write(100_000), 4_000, "of those, two segments");
        assert_eq!(peer.write(100_000), 2_000);
        assert_eq!(peer.write(100_000), 0);
        peer.events.clear();
        peer.ack(1_001);
        assert!(
            !peer.events.contains(&Event::Writable(peer.id)),
            "3000 unsent"
        );
        peer.ack(3_001);
        assert!(peer.events.contains(&Event::Writable(peer.id)), "none");
        assert_eq!(peer.tcp.write_room(peer.id), Ok(4_000));
    });
}

/// The rest of a large write keeps all of it alive, until it is copied together with what follows.
#[test]
fn a_writer_hears_of_room_that_its_own_write_has_made() {
    Setup::each(|setup| {
        let mut peer = Peer::open(&setup.options(|options| options.send_buffer = Some(5_218)));
        assert_eq!(peer.write(5_000), 5_000);
        peer.ack(4_901);
        peer.events.clear();
        assert_eq!(peer.write(200), 122);
        assert!(peer.events.contains(&Event::Writable(peer.id)));
        assert!(peer.tcp.write_room(peer.id).unwrap() > 4_000);
    });
}
