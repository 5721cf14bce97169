//! Connections that rest do on the wire what those do that never rest.

use std::time::Duration;

use ustack_tcp::testing::{Link, Pair, Side, pattern};
use ustack_tcp::{
    Config, CongestionAlgorithm, ConnId, EcnMode, Info, LossDetection, Read, SocketOptions, Tcp,
};

const MS: Duration = Duration::from_millis(1);

/// A conversation with pauses: what went over the wire, what both ends say of it at its end, and
/// how often one of them was found at rest.
fn conversation(
    seed: u64,
    config: &Config,
    prepare: fn(&mut Tcp),
) -> (Vec<String>, [Info; 2], usize) {
    let link = Link {
        delay: Duration::from_micros(100 + seed % 40_000),
        loss: [0, 0, 100, 500][seed as usize % 4],
        reorder: [0, 200][seed as usize % 2],
        duplicate: [0, 0, 0, 100][seed as usize / 2 % 4],
        ce: [0, 0, 300][seed as usize % 3],
        ..Link::default()
    };
    let mut pair = Pair::new(seed, config, link);
    prepare(pair.end(Side::Client));
    prepare(pair.end(Side::Server));
    let (client, server) = pair.open();
    let ends = [(Side::Client, client), (Side::Server, server)];
    let mut rested = 0;
    for turn in 0..12 {
        let random = pair.random();
        let (side, id) = ends[random as usize % 2];
        let len = [1, 700, 3_000, 40_000, 200_000][random as usize / 2 % 5];
        say(&mut pair, side, id, ends, len);
        let pause = [0, 1, 30, 100, 300, 1_000, 3_000, 400_000][random as usize / 16 % 8] * MS;
        wait(&mut pair, pause);
        rested += pair.tcp.iter().map(Tcp::resting).sum::<usize>();
        if turn == 6 {
            let nodelay = |options: &mut SocketOptions| options.nodelay = true;
            let now = pair.now;
            let set = pair.end(Side::Server).set_options(now, server, nodelay);
            assert_eq!(set, Ok(()));
        }
    }
    let infos = ends.map(|(side, id)| {
        let now = pair.now;
        pair.end(side).info(now, id).expect("it is open")
    });
    let wire = pair.log.iter().map(|(at, side, sent)| {
        let segment = &sent.segment;
        let (seq, ack, window) = (segment.seq.0, segment.ack.0, segment.window.0);
        let (len, flags, ecn) = (segment.payload.len(), segment.flags, sent.ecn);
        let options = &segment.options;
        format!("{at:?} {side:?} {flags:?} {seq}+{len} {ack} {window} {ecn:?} {options:?}")
    });
    (wire.collect(), infos, rested)
}

/// One end sends `len` bytes, and the other reads them all.
fn say(pair: &mut Pair, from: Side, id: ConnId, ends: [(Side, ConnId); 2], len: usize) {
    let (_, to) = ends[from.peer() as usize];
    let data = pattern(0, len);
    let (mut written, mut read) = (0, 0);
    while read < len {
        let now = pair.now;
        written += pair
            .end(from)
            .write(now, id, &data.slice(written..))
            .expect("it is open");
        while let Read::Data(data) = pair
            .end(from.peer())
            .read(now, to, 1 << 20)
            .expect("it is open")
        {
            read += data.len();
        }
        assert!(read == len || pair.step(), "nothing moves");
    }
}

fn wait(pair: &mut Pair, by: Duration) {
    let until = pair.now + by;
    while pair.next_at().is_some_and(|at| at <= until) {
        pair.step();
    }
    pair.now = until;
}

/// Compares conversations of ends that are prepared so with those of ends that never rest; returns how
/// often one was found at rest.
fn compare(prepare: fn(&mut Tcp)) -> usize {
    let mut rested = 0;
    for seed in 0..60 {
        let mut config = Config::default();
        config.tso = seed % 3 == 0;
        config.quick_acks = [0, 0, 16][seed as usize % 3];
        config.ecn = if seed % 3 == 2 {
            EcnMode::On
        } else {
            EcnMode::Off
        };
        if seed % 7 == 0 {
            config.congestion = CongestionAlgorithm::Reno;
            config.loss_detection = LossDetection::Rfc6675;
        }
        let (wire, infos, count) = conversation(seed, &config, prepare);
        let (expected, expected_infos, none) = conversation(seed, &config, Tcp::keep_awake);
        for (index, (got, expected)) in wire.iter().zip(&expected).enumerate() {
            let before = &wire[index.saturating_sub(3)..index];
            assert_eq!(got, expected, "seed {seed}, after {before:#?}");
        }
        assert_eq!(wire.len(), expected.len(), "seed {seed}");
        assert_eq!(infos, expected_infos, "seed {seed}");
        assert_eq!(none, 0);
        rested += count;
    }
    rested
}

#[test]
fn nobody_can_tell_who_has_rested() {
    let rested = compare(|_| {});
    assert!(rested > 300, "{rested} rests");
}

/// Where very many are awake, who has nothing under way rests at once.
#[test]
fn nobody_can_tell_who_rests_early() {
    let (calm, crowded) = (compare(|_| {}), compare(Tcp::crowd));
    assert!(crowded > calm + 50, "{crowded} rests, and {calm} among few");
}
