//! Thousands of short lives under virtual time: when all have ended, nothing is left of them.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use ustack_tcp::testing::{Link, Pair, Side, pattern};
use ustack_tcp::{Config, ConnId, Dropped, Event, Keepalive, Read, SocketOptions, State, Tcp};

const MS: Duration = Duration::from_millis(1);
const SIDES: [Side; 2] = [Side::Client, Side::Server];

/// What an application does with a connection before it lets go.
#[derive(Clone, Copy, Debug)]
enum End {
    /// Reads to the peer's FIN, then closes.
    AfterEof,
    /// Says FIN at once, reads on.
    HalfClose,
    /// Closes at once, whatever comes.
    Close,
    /// Aborts.
    Abort,
}

#[derive(Debug)]
struct Life {
    goal: usize,
    written: usize,
    end: End,
}

fn life(pair: &mut Pair, side: Side) -> Life {
    let random = pair.random();
    let end = match random % 8 {
        // Two that both wait for the other would wait for ever.
        0..=2 if side == Side::Server => End::AfterEof,
        3..=5 => End::HalfClose,
        7 => End::Abort,
        _ => End::Close,
    };
    Life {
        goal: (random >> 8) as usize % 20_000,
        written: 0,
        end,
    }
}

/// Gives a live connection its turn; false when the application has let go.
fn turn(tcp: &mut Tcp, now: ustack_tcp::time::Instant, id: ConnId, life: &mut Life) -> bool {
    let mut over = false;
    while life.written < life.goal {
        let data = pattern(0, life.goal - life.written);
        match tcp.write(now, id, &data) {
            Ok(0) => break,
            Ok(taken) => life.written += taken,
            Err(_) => over = true,
        }
        if over {
            break;
        }
    }
    let done = life.written == life.goal;
    let mut eof = false;
    match life.end {
        End::Abort if done => {
            tcp.abort(now, id);
            over = true;
        }
        End::Close if done => over = true,
        End::HalfClose if done => over |= tcp.shutdown(now, id).is_err(),
        _ => {}
    }
    loop {
        match tcp.read(now, id, 4 << 10) {
            Ok(Read::Data(_)) => {}
            Ok(Read::Eof) => {
                eof = true;
                break;
            }
            Ok(Read::Empty) => break,
            Err(_) => {
                over = true;
                break;
            }
        }
    }
    if over || eof && done {
        tcp.release(now, id);
        return false;
    }
    true
}

#[derive(Debug, Default)]
struct Apps {
    live: [HashMap<ConnId, Life>; 2],
}

impl Apps {
    fn events(&mut self, pair: &mut Pair, listener: ustack_tcp::ListenerId) {
        while let Some((id, _)) = pair.end(Side::Server).accept(listener) {
            let life = life(pair, Side::Server);
            self.live[1].insert(id, life);
            self.turn(pair, Side::Server, id);
        }
        for side in SIDES {
            for event in std::mem::take(&mut pair.events[side as usize]) {
                match event {
                    Event::Connected(id)
                    | Event::Readable(id)
                    | Event::Writable(id)
                    | Event::Closed(id, _) => self.turn(pair, side, id),
                    _ => {}
                }
            }
        }
    }

    fn turn(&mut self, pair: &mut Pair, side: Side, id: ConnId) {
        let now = pair.now;
        let live = &mut self.live[side as usize];
        let Some(life) = live.get_mut(&id) else {
            return;
        };
        if pair.end(side).options(id).is_err() || !turn(pair.end(side), now, id, life) {
            live.remove(&id);
        }
    }
}

fn soak(seed: u64, total: usize, loss: u32) {
    let mut config = Config::default();
    config.tso = seed.is_multiple_of(2);
    let link = Link {
        loss,
        reorder: loss,
        duplicate: loss,
        ..Link::default()
    };
    let mut pair = Pair::new(seed, &config, link);
    pair.quiet = true;
    let listener = pair.listen(64);
    let (mut apps, mut opened, mut most_timers) = (Apps::default(), 0, 0);
    let options = SocketOptions {
        keepalive: Some(Keepalive::default()),
        ..SocketOptions::default()
    };
    while opened < total || apps.live.iter().any(|live| !live.is_empty()) {
        if opened < total && apps.live[0].len() < 50 {
            // No flow comes twice: to the referee it would be a connection that changes its ISN.
            let address = Ipv4Addr::from_bits(0x0b00_0000 + opened as u32);
            let id = pair.connect_from(address.into(), options);
            let life = life(&mut pair, Side::Client);
            apps.live[0].insert(id, life);
            opened += 1;
        }
        assert!(pair.step(), "{} live, nothing moves", apps.live[0].len());
        apps.events(&mut pair, listener);
        // Some end before they have begun.
        if pair.random().is_multiple_of(200)
            && let Some(&id) = apps.live[0].keys().min()
        {
            let now = pair.now;
            pair.end(Side::Client).release(now, id);
            apps.live[0].remove(&id);
        }
        most_timers = most_timers.max(pair.tcp[0].timer_entries());
        assert!(pair.now.as_millis() < 36_000_000, "{apps:?}");
    }
    settle(&mut pair, &mut apps, listener, seed);
    counters_add_up(&pair, opened as u64, seed);
}

/// Every segment had one outcome, every attempt to open too.
fn counters_add_up(pair: &Pair, opened: u64, seed: u64) {
    for (tcp, (accepted, dropped)) in pair.tcp.iter().zip(pair.outcomes) {
        let counted = tcp.counters();
        assert_eq!(counted.in_segs, accepted + dropped, "seed {seed}");
        assert_eq!(counted.accepted(), accepted, "seed {seed}");
        let by_reason: u64 = Dropped::ALL
            .iter()
            .map(|&reason| counted.dropped_for(reason))
            .sum();
        assert_eq!(
            (counted.dropped, by_reason),
            (dropped, dropped),
            "seed {seed}"
        );
        assert_eq!(counted.replies_dropped, 0, "seed {seed}");
    }
    let client = pair.tcp[0].counters();
    assert!(
        client.active_opens == opened && client.attempt_fails <= opened,
        "{client:?}"
    );
}

fn settle(pair: &mut Pair, apps: &mut Apps, listener: ustack_tcp::ListenerId, seed: u64) {
    // Orphans may retransmit for a while.
    let limit = pair.now + Duration::from_secs(1_500);
    let left = |pair: &Pair| -> usize { pair.tcp.iter().map(Tcp::connection_count).sum() };
    while left(pair) > 0 && pair.now < limit && pair.step() {
        apps.events(pair, listener); // some are accepted after their client has gone
    }
    for tcp in &pair.tcp {
        let open: Vec<_> = tcp
            .connections()
            .filter(|c| c.state != State::TimeWait)
            .collect();
        assert!(open.is_empty(), "seed {seed}: {open:?}");
    }
    assert_eq!(pair.tcp[1].backlog(listener), Some((0, 0)));
    let limit = pair.now + Duration::from_secs(60) + MS;
    while pair.next_at().is_some_and(|at| at <= limit) {
        pair.step();
    }
    for tcp in &pair.tcp {
        assert_eq!(tcp.connections().count(), 0, "seed {seed}");
    }
    // Entries of the dead come up within two minutes, and are not renewed.
    let limit = limit + Duration::from_secs(120);
    while pair.next_at().is_some_and(|at| at <= limit) {
        pair.step();
    }
    for tcp in &pair.tcp {
        assert_eq!(tcp.timer_entries(), 0, "seed {seed}");
        assert!(!tcp.has_ready());
    }
}

#[test]
fn nothing_is_left_of_a_hundred_thousand_connections() {
    let scale = if cfg!(debug_assertions) { 200 } else { 25_000 };
    for (seed, loss) in [(1, 0), (2, 100), (3, 500), (4, 1_500)] {
        soak(seed, scale, loss);
    }
}

/// The most entries in either wheel while both ends say a word every 20 ms or so, with `pause`
/// after each that outlives the delayed ACK.
fn most_timers(options: SocketOptions, pause: Duration) -> usize {
    let mut pair = Pair::new(9, &Config::default(), Link::default());
    pair.quiet = true;
    let (client, server) = pair.open();
    let end = pair.now + Duration::from_secs(600);
    for (side, id) in [(Side::Client, client), (Side::Server, server)] {
        let now = pair.now;
        let set = |own: &mut SocketOptions| *own = options;
        pair.end(side).set_options(now, id, set).expect("open");
    }
    let mut most = 0;
    while pair.now < end {
        let now = pair.now;
        for (side, id) in [(Side::Client, client), (Side::Server, server)] {
            let tcp = pair.end(side);
            tcp.write(now, id, &pattern(0, 10)).expect("write");
            while let Ok(Read::Data(_)) = tcp.read(now, id, 1 << 20) {}
            most = most.max(tcp.timer_entries());
        }
        let next = pair.next_at().expect("a timer");
        if next > now + 20 * MS {
            pair.now += 20 * MS;
        } else {
            pair.step();
        }
        let silent = pair.now + pause;
        while pause > Duration::ZERO && pair.next_at().is_some_and(|at| at <= silent) {
            pair.step();
        }
        pair.now = pair.now.max(silent);
    }
    most
}

/// One connection that talks for an hour has a handful of timers, not one per word.
#[test]
fn timers_do_not_pile_up() {
    let most = most_timers(SocketOptions::default(), Duration::ZERO);
    assert!(most <= 8, "{most} entries in the wheel");
}

/// Nor does the far deadline of keep-alive leave one behind for each timer that fires before it.
#[test]
fn a_far_deadline_is_kept_once() {
    let options = SocketOptions {
        keepalive: Some(Keepalive::default()),
        ..Default::default()
    };
    let most = most_timers(options, Duration::from_millis(300));
    assert!(most <= 8, "{most} entries in the wheel");
}
