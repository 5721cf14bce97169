//! Scripts from a seed.

use std::time::Duration;

use super::{End, Flow, Opener, Pieces, Program, ReceiveOp, Script, SendOp, Start};
use crate::random::Random;

/// What scripts may be like.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Connections at most.
    pub flows: u64,
    /// Bytes that one end of a connection writes at most.
    pub bytes: u64,
    /// What the waits of one list may add up to.
    pub wait: Duration,
    /// Both ends may connect at once.
    pub simultaneous: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            flows: 200,
            bytes: 2_000_000,
            wait: Duration::from_secs(30),
            simultaneous: true,
        }
    }
}

impl Script {
    /// The script of `seed`: the same for ever.
    pub fn generate(seed: u64, shape: &Shape) -> Self {
        let mut random = Random::new(seed);
        let count = match random.below(100) {
            0..45 => 1,
            45..90 => random.between(2, 6),
            90..99 => random.between(7, 30),
            _ => random.between(31, 200),
        };
        let count = count.min(shape.flows);
        // Many connections share what one may write.
        let shape = Shape {
            bytes: (shape.bytes / count).max(100),
            ..*shape
        };
        let crowd = random.chance(30);
        let mut script = Self::default();
        for index in 0..count {
            let flow = flow(&mut random.fork(), &shape, index as usize, crowd);
            script.flows.push(flow);
        }
        script
    }
}

fn flow(random: &mut Random, shape: &Shape, index: usize, crowd: bool) -> Flow {
    let opener = match random.below(100) {
        0..5 if shape.simultaneous => Opener::Both,
        0..65 => Opener::One(End::A),
        _ => Opener::One(End::B),
    };
    let start = match random.below(100) {
        0..15 if index > 0 => Start::After(random.below(index as u64) as usize),
        _ if crowd => Start::At(Duration::ZERO),
        _ => Start::At(time(random, shape.wait / 4)),
    };
    let mut programs = match random.below(100) {
        0..4 => [Program::default(), Program::default()],
        4..25 => conversation(random, shape),
        _ => transfers(random, shape),
    };
    let written = [programs[0].written(), programs[1].written()];
    for end in End::BOTH {
        let program = &mut programs[end as usize];
        let conversing = program.send.iter().any(|op| matches!(op, SendOp::Await(_)));
        program.receive = reader(random, shape, written[end.peer() as usize], conversing);
    }
    if random.chance(18) {
        let victim = random.pick(&End::BOTH);
        break_off(random, &mut programs[victim as usize], shape);
    }
    Flow {
        opener,
        start,
        programs,
    }
}

/// Questions and answers, in turns.
fn conversation(random: &mut Random, shape: &Shape) -> [Program; 2] {
    let turns = random.scaled(1, 40);
    let most = (shape.bytes / turns).clamp(1, 20_000);
    let asker = random.pick(&End::BOTH);
    let thinks = random.chance(30);
    let mut programs = [Program::default(), Program::default()];
    let mut heard = [0, 0];
    for _ in 0..turns {
        for end in [asker, asker.peer()] {
            let size = random.scaled(1, most);
            let send = &mut programs[end as usize].send;
            if heard[end as usize] > 0 {
                send.push(SendOp::Await(heard[end as usize]));
            }
            if thinks {
                send.push(SendOp::Wait(time(random, shape.wait / turns as u32)));
            }
            // Two writes before a read are what Nagle's algorithm and delayed ACKs make slow.
            let first = if random.chance(40) {
                random.below(size)
            } else {
                0
            };
            if first > 0 {
                send.push(SendOp::Write(first, Pieces::WHOLE));
            }
            send.push(SendOp::Write(size - first, Pieces::WHOLE));
            heard[end.peer() as usize] += size;
        }
    }
    for program in &mut programs {
        if random.chance(60) {
            program.send.push(SendOp::Shutdown);
        }
    }
    programs
}

/// Each end writes what it likes.
fn transfers(random: &mut Random, shape: &Shape) -> [Program; 2] {
    let mut programs = [Program::default(), Program::default()];
    for program in &mut programs {
        let writes = random.pick(&[0, 1, 1, 1, 2, 3, 5, 8]);
        for _ in 0..writes {
            if random.chance(35) {
                program
                    .send
                    .push(SendOp::Wait(time(random, shape.wait / 16)));
            }
            let most = (shape.bytes / writes).max(1);
            let size = random.scaled(1, most);
            let pieces = pieces(random, size, shape.wait / 16);
            program.send.push(SendOp::Write(size, pieces));
        }
        if random.chance(25) {
            program
                .send
                .push(SendOp::Wait(time(random, shape.wait / 8)));
        }
        if random.chance(50) {
            program.send.push(SendOp::Shutdown);
        }
    }
    if random.chance(15) {
        // One end closes only when the other has.
        let last = random.pick(&End::BOTH);
        let send = &mut programs[last as usize].send;
        send.retain(|op| *op != SendOp::Shutdown);
        send.push(SendOp::Await(u64::MAX));
    }
    programs
}

/// A reader of `coming` bytes, who takes all of them and their end.
fn reader(random: &mut Random, shape: &Shape, coming: u64, conversing: bool) -> Vec<ReceiveOp> {
    let mut ops = Vec::new();
    if !conversing && random.chance(25) {
        ops.push(ReceiveOp::Pause(time(random, shape.wait / 3)));
    }
    for _ in 0..random.pick(&[0, 0, 0, 1, 2, 4]) {
        let size = random.scaled(1, coming.max(1));
        let pieces = pieces(random, size, shape.wait / 12);
        ops.push(ReceiveOp::Read(size, pieces));
        if random.chance(40) {
            ops.push(ReceiveOp::Pause(time(random, shape.wait / 12)));
        }
    }
    ops.push(ReceiveOp::ReadToEnd(pieces(random, coming, shape.wait / 6)));
    ops
}

/// Makes an end reset its connection, or let go of it before it has read all.
fn break_off(random: &mut Random, program: &mut Program, shape: &Shape) {
    match random.below(3) {
        0 => {
            let at = random.below(program.send.len() as u64 + 1) as usize;
            program.send.truncate(at);
            if random.chance(50) {
                program
                    .send
                    .push(SendOp::Wait(time(random, shape.wait / 8)));
            }
            program.send.push(SendOp::Abort);
        }
        1 => {
            let at = random.below(program.receive.len() as u64 + 1) as usize;
            program.receive.truncate(at);
            if random.chance(50) {
                let pause = ReceiveOp::Pause(time(random, shape.wait / 8));
                program.receive.push(pause);
            }
            program.receive.push(ReceiveOp::Abort);
        }
        _ => {
            program.receive.pop();
        }
    }
}

/// Calls of some size, some time apart; never so small that a list outlasts `wait`, or makes more
/// than some thousand calls.
fn pieces(random: &mut Random, size: u64, wait: Duration) -> Pieces {
    if random.chance(60) {
        return Pieces::WHOLE;
    }
    let least = (size / 3_000).clamp(1, 100_000);
    let piece = random.scaled(least, least * 2_000);
    let calls = size.div_ceil(piece).max(1);
    let gap = if random.chance(50) {
        time(random, wait / calls as u32)
    } else {
        Duration::ZERO
    };
    Pieces {
        size: Some(piece as u32),
        gap,
    }
}

/// A time up to `most`, every order of magnitude as likely as the others.
fn time(random: &mut Random, most: Duration) -> Duration {
    let micros = most.as_micros() as u64;
    if micros < 2 {
        return Duration::ZERO;
    }
    Duration::from_micros(random.scaled(1, micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_can_be_played_and_stay_in_their_shape() {
        let shape = Shape::default();
        let mut kinds = [false; 6];
        for seed in 0..3_000 {
            let script = Script::generate(seed, &shape);
            assert_eq!(script.check(), Ok(()), "seed {seed}");
            assert!((1..=200).contains(&script.flows.len()), "seed {seed}");
            for flow in &script.flows {
                for (program, peer) in
                    [(0, 1), (1, 0)].map(|(a, b)| (&flow.programs[a], &flow.programs[b]))
                {
                    assert!(program.written() <= shape.bytes.max(800), "seed {seed}");
                    assert!(program.waits() <= shape.wait * 3, "seed {seed}: {flow}");
                    awaits_are_met(program, peer, seed);
                }
            }
            let flows = &script.flows;
            kinds[0] |= flows.iter().any(|flow| flow.opener == Opener::Both);
            kinds[1] |= flows
                .iter()
                .any(|flow| matches!(flow.start, Start::After(_)));
            kinds[2] |= script.resets();
            kinds[3] |= script.bytes() > 1_000_000;
            kinds[4] |= flows.len() > 100;
            kinds[5] |= script.bytes() == 0;
        }
        assert_eq!(kinds, [true; 6]);
    }

    /// What a writer waits for is written, unless a connection is broken off.
    fn awaits_are_met(program: &Program, peer: &Program, seed: u64) {
        let most = program.send.iter().map(|op| match *op {
            SendOp::Await(size) if size < u64::MAX => size,
            _ => 0,
        });
        let most = most.max().unwrap_or(0);
        assert!(
            peer.resets() || program.resets() || most <= peer.written(),
            "seed {seed}"
        );
    }
}
