//! Twelve ways in which conversations go wrong, each at five seeds and round trips, played by the
//! real stack: the cause stands in the first three lines. Between kernels: `kernels.rs`.

mod common;

use std::time::Duration;

use common::edit;
use common::{App, CLIENT, Passing, Rule, SERVER, Scene, Socket, Verdict, explain, headline, play};
use ustack::tcp::SocketOptions;

/// Seeds, and round trips in milliseconds.
const RUNS: [(u64, u64); 5] = [(1, 4), (2, 20), (3, 50), (4, 120), (5, 300)];

/// A small random number that follows from the seed.
fn draw(seed: u64, below: u64) -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678;
    state ^= state >> 31;
    state = state.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (state ^ (state >> 29)) % below
}

fn scene(seed: u64, millis: u64, apps: [App; 2], rule: Rule) -> Scene {
    Scene {
        seed,
        round_trip: Duration::from_millis(millis),
        point: [0.0, 0.5, 1.0][draw(seed, 3) as usize],
        middlebox: 0.75,
        options: [SocketOptions::default(); 2],
        apps,
        rule,
        until: Duration::from_secs(120),
    }
}

/// The path does nothing.
fn clear() -> Rule {
    Box::new(|_| Verdict::Pass)
}

/// Says nothing, reads everything, closes after the other end.
fn listens() -> App {
    Box::new(|socket: &mut Socket<'_>| {
        if socket.has_eof {
            socket.close();
        }
    })
}

/// Writes so many bytes and closes.
fn sends(count: usize) -> App {
    let mut left = Some(count);
    Box::new(move |socket| {
        if let Some(count) = left.take() {
            socket.write(count);
            socket.close();
        }
    })
}

/// Answers each `asked` bytes with `count`.
fn answers(asked: u64, count: usize) -> App {
    let mut answered = 0;
    Box::new(move |socket| {
        while socket.received / asked > answered {
            answered += 1;
            socket.write(count);
        }
        if socket.has_eof {
            socket.close();
        }
    })
}

/// Writes these pieces one after the other, waits for `expected` bytes, and so on, `rounds` times; then closes.
fn asks(rounds: u64, pieces: &'static [usize], expected: u64) -> App {
    let mut asked = 0;
    let mut left: &[usize] = &[];
    Box::new(move |socket| {
        if left.is_empty() && asked < rounds && socket.received >= asked * expected {
            asked += 1;
            left = pieces;
        }
        if let Some((&piece, rest)) = left.split_first() {
            left = rest;
            socket.write(piece);
            socket.wake_at(socket.now + Duration::from_micros(50));
        } else if asked == rounds && socket.received >= rounds * expected {
            socket.close();
        }
    })
}

fn is_data(passing: &Passing<'_>, from: usize) -> bool {
    passing.from == from && edit::payload(passing.data) > 0
}

/// Plays a fault at every seed, and looks for the name of the cause and for words in the headline.
fn holds(name: &str, words: &str, fault: impl Fn(u64, u64) -> Scene) {
    let mut failures = Vec::new();
    for (seed, millis) in RUNS {
        let packets = play(fault(seed, millis));
        let reports = explain(&packets);
        let report = reports.first().expect("there is a conversation");
        let headline = headline(report);
        let told = explain::text::describe(report);
        let about = format!("{name}, seed {seed}, {millis} ms:\n{told}");
        let found = report.findings.first().map(|finding| finding.name);
        if found != Some(name) || !headline.contains(words) {
            failures.push(about);
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_black_hole_after_the_handshake() {
    holds(
        "black-hole",
        "black hole: after the handshake",
        |seed, millis| {
            let rule = Box::new(|passing: &Passing<'_>| match passing.from {
                CLIENT if edit::payload(passing.data) > 0 => Verdict::Drop,
                _ => Verdict::Pass,
            });
            let mut scene = scene(
                seed,
                millis,
                [asks(1, &[400], 1000), answers(400, 1000)],
                rule,
            );
            // Behind the hole there is nothing to see.
            scene.point = [0.0, 0.5][draw(seed, 2) as usize];
            scene
        },
    );
}

#[test]
fn a_zero_window_for_ever() {
    holds("zero-window", "zero window for ever", |seed, millis| {
        let deaf: App = Box::new(|socket| socket.reads(false));
        let mut scene = scene(seed, millis, [sends(400_000), deaf], clear());
        scene.options[SERVER].recv_buffer = Some(16_384 << draw(seed, 3));
        scene
    });
}

#[test]
fn a_spurious_timeout() {
    holds(
        "spurious-timeout",
        "spurious retransmission timeout",
        |seed, millis| {
            let (mut count, mut until) = (0, None);
            let wanted = 4 + draw(seed, 4);
            let rule = Box::new(move |passing: &Passing<'_>| {
                if passing.from == SERVER {
                    return Verdict::Pass;
                }
                count += 1;
                if count == wanted {
                    until = Some(passing.now + Duration::from_millis(900 + 3 * millis));
                }
                match until {
                    Some(until) if passing.now < until => {
                        Verdict::Late(until.saturating_sub(passing.now))
                    }
                    _ => Verdict::Pass,
                }
            });
            scene(
                seed,
                millis,
                [asks(1, &[100], 120_000), answers(100, 120_000)],
                rule,
            )
        },
    );
}

#[test]
fn reordering_taken_for_loss() {
    holds("reordering", "reordering taken for loss", |seed, millis| {
        let mut count = 0;
        let late = Duration::from_millis(millis).mul_f64(0.6);
        let every = 20 + draw(seed, 5);
        let rule = Box::new(move |passing: &Passing<'_>| {
            if !is_data(passing, SERVER) {
                return Verdict::Pass;
            }
            count += 1;
            if count % every == 5 {
                Verdict::Late(late)
            } else {
                Verdict::Pass
            }
        });
        scene(
            seed,
            millis,
            [asks(1, &[100], 300_000), answers(100, 300_000)],
            rule,
        )
    });
}

#[test]
fn a_reset_from_a_middlebox() {
    holds("forged-reset", "RST from a middlebox", |seed, millis| {
        let mut count = 0;
        let wanted = 3 + draw(seed, 6);
        let ttl = [40, 57, 128, 251, 255][draw(seed, 5) as usize];
        let rule = Box::new(move |passing: &Passing<'_>| {
            if !is_data(passing, SERVER) {
                return Verdict::Pass;
            }
            count += 1;
            if count != wanted {
                return Verdict::Pass;
            }
            let to_client = edit::reset(passing.data, false, ttl);
            let to_server = edit::reset(passing.data, true, ttl);
            Verdict::Inject(vec![(CLIENT, to_client), (SERVER, to_server)])
        });
        scene(
            seed,
            millis,
            [asks(1, &[100], 100_000), answers(100, 100_000)],
            rule,
        )
    });
}

#[test]
fn an_mtu_black_hole() {
    holds("mtu-black-hole", "MTU black hole", |seed, millis| {
        let mtu = [1280, 1400, 1420, 1450, 1492][draw(seed, 5) as usize];
        let rule = Box::new(move |passing: &Passing<'_>| match passing.data.len() {
            length if length > mtu => Verdict::Drop,
            _ => Verdict::Pass,
        });
        let mut scene = scene(
            seed,
            millis,
            [asks(1, &[300], 60_000), answers(300, 60_000)],
            rule,
        );
        scene.middlebox = 0.25;
        scene.point = [0.5, 1.0][draw(seed, 2) as usize];
        scene
    });
}

#[test]
fn a_tiny_window() {
    holds("small-window", "tiny window", |seed, millis| {
        let mut scene = scene(seed, millis, [sends(100_000), listens()], clear());
        scene.options[SERVER].recv_buffer = Some(2048 << draw(seed, 2));
        scene
    });
}

#[test]
fn nagle_against_delayed_acknowledgments() {
    holds(
        "nagle-delayed-ack",
        "Nagle against delayed acknowledgments",
        |seed, millis| {
            let all: [&[usize]; 3] = [&[90, 200], &[20, 600], &[300, 10]];
            let pieces = all[draw(seed, 3) as usize];
            let all: usize = pieces.iter().sum();
            let apps = [asks(30, pieces, 500), answers(all as u64, 500)];
            scene(seed, millis, apps, clear())
        },
    );
}

#[test]
fn a_lost_syn() {
    holds("syn-lost", "SYN loss", |seed, millis| {
        let mut left = 1 + draw(seed, 3);
        let end = if draw(seed, 2) == 0 { CLIENT } else { SERVER };
        let rule = Box::new(move |passing: &Passing<'_>| {
            if passing.from == end && edit::flags(passing.data) & edit::SYN != 0 && left > 0 {
                left -= 1;
                return Verdict::Drop;
            }
            Verdict::Pass
        });
        let mut scene = scene(
            seed,
            millis,
            [asks(1, &[100], 5000), answers(100, 5000)],
            rule,
        );
        scene.point = if end == CLIENT { 0.0 } else { 1.0 };
        scene
    });
}

#[test]
fn a_half_open_peer() {
    holds("half-open", "half-open connection", |seed, millis| {
        let pause = Duration::from_secs(3 + draw(seed, 60));
        let mut asked = false;
        let client: App = Box::new(move |socket| {
            if socket.now < Duration::from_millis(2) {
                socket.write(100);
                socket.wake_at(pause);
            } else if socket.now >= pause && !asked {
                asked = true;
                socket.write(100);
            } else if !asked {
                socket.wake_at(pause);
            }
        });
        let mut answered = false;
        let server: App = Box::new(move |socket| {
            if socket.received >= 100 && !answered {
                answered = true;
                socket.write(200);
                socket.wake_at(pause / 2 + Duration::from_secs(1));
            } else if socket.now >= pause / 2 + Duration::from_secs(1) {
                socket.reboot();
            } else {
                socket.wake_at(pause / 2 + Duration::from_secs(1));
            }
        });
        scene(seed, millis, [client, server], clear())
    });
}

#[test]
fn a_corrupted_option() {
    holds(
        "corrupted-option",
        "corrupted TCP options",
        |seed, millis| {
            let kind = [2, 3, 8][draw(seed, 3) as usize];
            let length = [0, 1, 39, 0, 60][draw(seed, 5) as usize];
            let end = if draw(seed, 2) == 0 { CLIENT } else { SERVER };
            let mut left = 2;
            let rule = Box::new(move |passing: &Passing<'_>| {
                let is_syn = edit::flags(passing.data) & edit::SYN != 0;
                if passing.from != end || !is_syn || left == 0 {
                    return Verdict::Pass;
                }
                left -= 1;
                let mut data = passing.data.to_vec();
                if let Some(at) = edit::option(&data, kind) {
                    data[at + 1] = length;
                    edit::finish(&mut data);
                }
                Verdict::Changed(data)
            });
            let mut scene = scene(
                seed,
                millis,
                [asks(1, &[100], 5000), answers(100, 5000)],
                rule,
            );
            scene.middlebox = 0.5;
            // Before the middlebox the options are as they were.
            scene.point = if end == CLIENT { 1.0 } else { 0.0 };
            scene
        },
    );
}

#[test]
fn a_silly_window() {
    holds("silly-window", "silly window", |seed, millis| {
        let step = 60 + draw(seed, 200) as u32;
        let mut edge: Option<u32> = None;
        let rule = Box::new(move |passing: &Passing<'_>| {
            let mut data = passing.data.to_vec();
            let is_syn = edit::flags(&data) & edit::SYN != 0;
            if is_syn {
                edit::strip(&mut data, 3);
            }
            if passing.from == SERVER {
                let ack = edit::ack(&data);
                let before = *edge.get_or_insert(ack.wrapping_add(8000));
                let least = ack.wrapping_add(step);
                let now = if (least.wrapping_sub(before) as i32) > 0 {
                    least
                } else {
                    before
                };
                edge = Some(now);
                edit::set_window(&mut data, now.wrapping_sub(ack) as u16);
            }
            Verdict::Changed(data)
        });
        let mut scene = scene(seed, millis, [sends(20_000), listens()], rule);
        // The window is written at the middlebox.
        scene.point = [0.0, 0.5][draw(seed, 2) as usize];
        scene
    });
}

/// What goes well on a path that does nothing.
fn healthy(number: usize) -> [App; 2] {
    match number {
        0 => [asks(1, &[100], 5000), answers(100, 5000)],
        1 => [asks(1, &[300], 300_000), answers(300, 300_000)],
        2 => [sends(200_000), listens()],
        _ => [asks(20, &[200], 900), answers(200, 900)],
    }
}

#[test]
fn what_is_healthy_is_not_accused() {
    for (seed, millis) in RUNS {
        for (number, point) in
            (0..4).flat_map(|number| [0.0, 0.5, 1.0].map(|point| (number, point)))
        {
            let mut scene = scene(seed, millis, healthy(number), clear());
            scene.point = point;
            let packets = play(scene);
            let reports = explain(&packets);
            assert_eq!(reports.len(), 1);
            assert!(
                reports[0].ends[0].bytes >= 100
                    && reports[0].ends.iter().all(|end| end.fin.is_some())
            );
            let told = explain::text::describe(&reports[0]);
            assert!(
                reports[0].findings.is_empty(),
                "seed {seed}, number {number}:\n{told}"
            );
            assert!(told.contains("\n   nothing unusual\n"), "{told}");
        }
    }
}
