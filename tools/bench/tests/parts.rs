//! The parts work with each other, in namespaces and with real devices: every client next to every
//! stack of this package that serves it. Nothing here says how fast.
//!
//! The tests move into namespaces of their own first, so they need no root. Where the machine forbids
//! that, they are ignored, and with `CI=true` they fail.

use std::io;
use std::path::Path;
use std::thread;

use bench::arena::{self, CLIENT_CPU};
use bench::subject::Programs;
use bench::subject::Subject::{self, *};
use bench::{Figures, during};
use libtest_mimic::{Arguments, Failed, Trial};
use link::namespace::{Namespace, become_root_of_a_namespace};

const BENCH: &str = env!("CARGO_BIN_EXE_bench");

/// Work for a moment.
const STREAMS: [(&str, &str); 5] = [
    ("up", "up 10.77.0.2:9 --seconds 0.1 --flows 4"),
    ("down", "down 10.77.0.2:19 --seconds 0.1"),
    ("rr", "rr 10.77.0.2:7 --seconds 0.1"),
    ("conn-rst", "conn 10.77.0.2:7 --seconds 0.1 --close rst"),
    (
        "conn-fin",
        "conn 10.77.0.2:7 --seconds 0.1 --close fin-wait",
    ),
];

/// Little enough for any machine.
const DATAGRAMS: [(&str, &str); 5] = [
    ("udp-rr", "udp-rr 10.77.0.2:7 --seconds 0.1"),
    ("udp-echo", "udp-echo 10.77.0.2:7 --seconds 0.2 --rate 1000"),
    (
        "udp-echo-single",
        "udp-echo 10.77.0.2:7 --seconds 0.2 --rate 1000 --single",
    ),
    ("udp-up", "udp-up 10.77.0.2:9 --seconds 0.2 --rate 1000"),
    (
        "udp-down",
        "udp-down 10.77.0.2:19 --seconds 0.2 --rate 1000",
    ),
];

fn main() {
    let mut arguments = Arguments::from_args();
    // They share two CPUs, and are of all things about time.
    arguments.test_threads = Some(1);
    let obstacle = become_root_of_a_namespace()
        .and_then(|()| Namespace::create().map(drop))
        .and_then(|()| two_cpus());
    let tests = match obstacle {
        Ok(()) => tests(),
        Err(error) => {
            println!("ignored: {error}");
            let is_ci = std::env::var("CI").is_ok_and(|value| value == "true");
            let test = Trial::test("namespaces", move || Err(error.into()));
            vec![test.with_ignored_flag(!is_ci)]
        }
    };
    libtest_mimic::run(&arguments, tests).exit();
}

fn two_cpus() -> io::Result<()> {
    match thread::available_parallelism()?.get() {
        1 => Err(io::Error::other("client and stack need a CPU each")),
        _ => Ok(()),
    }
}

fn tests() -> Vec<Trial> {
    let mut tests = Vec::new();
    for (name, subject) in [
        ("probe", Probe),
        ("probe-spin", ProbeSpin),
        ("probe-plain", ProbePlain),
        ("linux", Linux),
    ] {
        tests.extend(STREAMS.map(|work| test(name, subject, work)));
    }
    for (name, subject) in [
        ("probe", Probe),
        ("probe-plain", ProbePlain),
        ("library", Library),
        ("library-plain", LibraryPlain),
    ] {
        tests.extend(DATAGRAMS.map(|work| test(name, subject, work)));
    }
    let idle = ("idle", "idle 10.77.0.2:7 --count 20");
    tests.push(test("library", Library, idle));
    tests.push(Trial::test("what_a_dying_stack_said_is_told", dying));
    tests
}

fn test(name: &str, subject: Subject, (work, client): (&str, &'static str)) -> Trial {
    Trial::test(format!("{name}::{work}"), move || {
        let figures = run(subject, client)?;
        check(&figures).map_err(|what| format!("{what}: {figures:?}").into())
    })
}

fn run(subject: Subject, client: &str) -> Result<Figures, Failed> {
    let programs = Programs::parts(Path::new(BENCH));
    let command = subject.command(&programs);
    let text = arena::with(subject.place(), &command, |_| {
        let words = ["timeout", "60", BENCH, "load"].into_iter();
        let output = arena::pinned(CLIENT_CPU, words.chain(client.split(' '))).output()?;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(if output.status.success() {
            Ok(text)
        } else {
            Err(errors)
        })
    })?;
    let text = text.map_err(|errors| format!("the client failed: {errors}"))?;
    Ok(serde_json::from_str(text.trim()).map_err(during(text))?)
}

/// Whether something was moved, and nothing went wrong.
fn check(figures: &Figures) -> Result<(), &'static str> {
    let get = |name: &str| figures.get(name).copied();
    let moved = [
        "gbit_per_s",
        "p50_us",
        "connections_per_s",
        "arrived",
        "connections",
    ];
    if !moved
        .iter()
        .filter_map(|name| get(name))
        .any(|value| value > 0.0)
    {
        return Err("nothing was moved");
    }
    let wrong = ["flows_ended", "errors", "lost", "overflowed"];
    if wrong
        .iter()
        .filter_map(|name| get(name))
        .any(|value| value > 0.0)
    {
        return Err("something went wrong");
    }
    if get("sent") != get("arrived") {
        return Err("datagrams were lost");
    }
    Ok(())
}

fn dying() -> Result<(), Failed> {
    let command = [BENCH, "probe", "a-name-that-is-too-long", "offload"].map(str::to_owned);
    let done = arena::with(arena::Place::OwnDevice, &command, |_| Ok(()));
    let error = done.err().ok_or("it lives")?.to_string();
    if error.contains("a-name-that-is-too-long") {
        Ok(())
    } else {
        Err(error.into())
    }
}
