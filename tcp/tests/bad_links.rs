//! Applications of all kinds over links of all kinds; the pair's referee watches every segment.

use std::num::NonZeroU64;
use std::time::Duration;

use ustack_tcp::testing::{Link, Pair, Side, pattern};
use ustack_tcp::{Config, ConnId, Read};

const MS: Duration = Duration::from_millis(1);

fn config(tso: bool) -> Config {
    let mut config = Config::default();
    config.tso = tso;
    config
}

/// An application that writes a pattern, verifies what it reads, and says FIN when it is done.
struct App {
    side: Side,
    conn: ConnId,
    goal: u64,
    written: u64,
    read: u64,
    shut: bool,
    eof: bool,
    /// Bytes it reads per turn (one a millisecond at least), and writes at once.
    read_size: usize,
    write_size: usize,
}

impl App {
    fn new(side: Side, conn: ConnId, goal: u64) -> Self {
        Self {
            side,
            conn,
            goal,
            written: 0,
            read: 0,
            shut: false,
            eof: false,
            read_size: usize::MAX,
            write_size: 8 << 10,
        }
    }

    fn turn(&mut self, pair: &mut Pair) {
        let now = pair.now;
        let tcp = pair.end(self.side);
        while self.written < self.goal {
            let len = self.write_size.min((self.goal - self.written) as usize);
            let data = pattern(self.written, len);
            let taken = tcp.write(now, self.conn, &data).expect("write");
            self.written += taken as u64;
            if taken < len {
                break;
            }
        }
        if self.written == self.goal && !self.shut {
            self.shut = true;
            tcp.shutdown(now, self.conn).expect("shutdown");
        }
        let mut left = self.read_size;
        while left > 0 && !self.eof {
            match tcp.read(now, self.conn, left).expect("read") {
                Read::Data(data) => {
                    assert_eq!(data, pattern(self.read, data.len()), "from {}", self.read);
                    self.read += data.len() as u64;
                    left -= data.len();
                }
                Read::Eof => self.eof = true,
                Read::Empty => break,
            }
        }
    }
}

/// Runs both applications until each has read the other's FIN.
fn run(pair: &mut Pair, mut apps: [App; 2], limit: Duration) -> Duration {
    let start = pair.now;
    loop {
        for app in &mut apps {
            app.turn(pair);
        }
        let [a, b] = &apps;
        if a.eof && b.eof {
            assert_eq!((a.read, b.read), (b.goal, a.goal));
            return pair.now - start;
        }
        assert!(
            pair.now - start < limit,
            "{} and {} bytes read",
            a.read,
            b.read
        );
        let next = pair
            .next_at()
            .expect("a live connection has a timer or a segment");
        let slow = apps.iter().any(|app| app.read_size < usize::MAX);
        if slow && next > pair.now + MS {
            pair.now += MS; // a slow reader's turn
        } else {
            pair.step();
        }
    }
}

#[test]
fn both_ways_at_once_with_every_fault() {
    let seeds = if cfg!(debug_assertions) { 3 } else { 8 };
    for seed in 0..seeds {
        let link = Link {
            loss: 100,
            reorder: 300,
            duplicate: 300,
            ..Link::default()
        };
        let mut pair = Pair::new(seed, &config(seed % 2 == 0), link);
        let (client, server) = pair.open();
        let apps = [
            App::new(Side::Client, client, 400_000),
            App::new(Side::Server, server, 300_000),
        ];
        run(&mut pair, apps, Duration::from_secs(60));
    }
}

#[test]
fn a_slow_reader_holds_the_writer_up_and_loses_nothing() {
    for (read_size, loss) in [(100, 0), (700, 0), (3000, 200)] {
        let link = Link {
            loss,
            ..Link::default()
        };
        let mut pair = Pair::new(4, &config(true), link);
        let (client, server) = pair.open();
        let mut reader = App::new(Side::Server, server, 0);
        reader.read_size = read_size;
        let writer = App::new(Side::Client, client, 400_000);
        run(&mut pair, [writer, reader], Duration::from_secs(600));
    }
}

#[test]
fn tiny_writes_arrive() {
    let link = Link {
        loss: 200,
        ..Link::default()
    };
    let mut pair = Pair::new(5, &config(false), link);
    let (client, server) = pair.open();
    let mut apps = [
        App::new(Side::Client, client, 20_000),
        App::new(Side::Server, server, 20_000),
    ];
    for app in &mut apps {
        app.write_size = 1;
    }
    run(&mut pair, apps, Duration::from_secs(60));
}

#[test]
fn handshakes_and_farewells_survive_heavy_loss() {
    for seed in 0..30 {
        let link = Link {
            loss: 2_500,
            ..Link::default()
        };
        let mut pair = Pair::new(seed, &config(false), link);
        let (client, server) = pair.open();
        let apps = [
            App::new(Side::Client, client, 0),
            App::new(Side::Server, server, 3_000),
        ];
        run(&mut pair, apps, Duration::from_secs(400));
    }
}

#[test]
fn small_mtus_and_jumbo_frames() {
    for mtu in [576, 1280, 9000] {
        let link = Link {
            mtu,
            loss: 50,
            ..Link::default()
        };
        let mut config = config(true);
        config.mtu = mtu;
        let mut pair = Pair::new(u64::from(mtu), &config, link);
        let (client, server) = pair.open();
        let apps = [
            App::new(Side::Client, client, 500_000),
            App::new(Side::Server, server, 1_000),
        ];
        run(&mut pair, apps, Duration::from_secs(60));
    }
}

/// Every cell: each byte arrives, and no slower than Reno's response to that loss (RFC 5348 §3.1
/// with b = 1), the bandwidth and slow start together would have it, two timeouts aside.
#[test]
fn loss_times_rtt() {
    const BYTES: f64 = 1e6;
    const RATE: f64 = 1e8;
    for tso in [false, true] {
        for rtt_ms in [2u32, 20, 100, 200] {
            for loss in [0u32, 10, 100, 300, 1_000] {
                if cfg!(debug_assertions) && tso != (rtt_ms / 20 % 2 == 0) {
                    continue; // a debug build looks at every cell once, not twice
                }
                let link = Link {
                    delay: rtt_ms * MS / 2,
                    rate: NonZeroU64::new(RATE as u64),
                    loss,
                    ..Link::default()
                };
                let mut pair = Pair::new(u64::from(rtt_ms + loss), &config(tso), link);
                let (client, server) = pair.open();
                let limit = Duration::from_secs(600);
                let taken = pair.transfer((Side::Client, client), server, BYTES as u64, limit);
                let (rtt, p) = (f64::from(rtt_ms) / 1e3, f64::from(loss) / 1e4);
                let rto = (4.0 * rtt).max(0.2);
                let segments = BYTES / 1448.0;
                let per_segment = rtt * (2.0 * p / 3.0).sqrt()
                    + rto * 3.0 * (3.0 * p / 8.0).sqrt() * p * (1.0 + 32.0 * p * p);
                let reno = segments * per_segment + BYTES * 8.0 / RATE + 12.0 * rtt;
                println!("tso {tso}, {rtt_ms} ms, loss {p}: {taken:?}, Reno {reno:.3} s");
                assert!(taken.as_secs_f64() < reno + 2.0 * rto);
            }
        }
    }
}
