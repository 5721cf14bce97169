//! The link with real stacks at its ends: every byte arrives, faults happen as asked, and the
//! program says what it should.
//!
//! It moves into namespaces of its own first, so it needs no root. Where the machine forbids that,
//! the tests are ignored, and with `CI=true` they fail.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, ExitCode, Output};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use link::compare::cell::{Algorithm, Cell};
use link::compare::run::{Job, Outcome, run};
use link::compare::sender::Sender;
use link::host::{self, make_end};
use link::joint::{Joint, Report, Specs};
use link::namespace::{Namespace, become_root_of_a_namespace};

const LENGTH: usize = 3_000_000;
const PORT: u16 = 4000;
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let obstacle = become_root_of_a_namespace().and_then(|()| Namespace::create().map(drop));
    let obstacle: Option<Arc<str>> = obstacle.err().map(|error| error.to_string().into());
    let tests: [(&str, Body); 7] = [
        ("kernels_exchange_bytes_over_a_lossy_link", lossy),
        ("a_path_mtu_is_found", path_mtu),
        ("a_delay_is_that_long", delay),
        ("every_sender_fills_a_clean_path", senders),
        ("losses_happen_and_are_repaired", losses),
        ("a_command_runs_at_the_near_end", near_end),
        ("what_is_missing_is_named", missing),
    ];
    let trials = tests.map(|(name, test)| match obstacle.clone() {
        None => Trial::test(name, move || test().map_err(Failed::from)),
        Some(reason) => {
            println!("ignored: {name}: {reason}");
            let is_ci = std::env::var("CI").is_ok_and(|value| value == "true");
            Trial::test(name, move || Err(Failed::from(&*reason))).with_ignored_flag(!is_ci)
        }
    });
    libtest_mimic::run(&arguments, trials.into()).exit_code()
}

type Body = fn() -> io::Result<()>;

/// Two hosts and their link.
struct Setting {
    near: Namespace,
    far: Namespace,
    link: Joint,
}

impl Setting {
    fn new(ab: &str, ba: &str) -> io::Result<Self> {
        let (near, far) = (Namespace::create()?, Namespace::create()?);
        let ends = [make_end(&near, host::A)?, make_end(&far, host::B)?];
        let parse = |text: &str| text.parse().map_err(io::Error::other);
        let specs = Specs {
            ab: parse(ab)?,
            ba: parse(ba)?,
        };
        let link = Joint::start(ends, specs, false)?;
        Ok(Self { near, far, link })
    }

    /// Both ends send all they have to each other; what has arrived is compared.
    fn exchange(&self, far_address: IpAddr) -> io::Result<()> {
        let far = SocketAddr::from((far_address, PORT));
        let listener = self.far.run(|| TcpListener::bind(far))?;
        thread::scope(|scope| {
            let there = scope.spawn(|| talk(&listener.accept()?.0, 1));
            let stream = self
                .near
                .run(|| TcpStream::connect_timeout(&far, PATIENCE))?;
            let here = talk(&stream, 2)?;
            let there = there.join().expect("a thread")?;
            assert!(here == pattern(1), "{} bytes came back", here.len());
            assert!(there == pattern(2), "{} bytes arrived", there.len());
            Ok(())
        })
    }
}

/// Sends one pattern and returns what comes meanwhile.
fn talk(stream: &TcpStream, seed: u64) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut writer = stream;
            writer.write_all(&pattern(seed))?;
            stream.shutdown(Shutdown::Write)
        });
        let mut received = Vec::new();
        let mut reader = stream;
        reader.read_to_end(&mut received)?;
        sender.join().expect("a thread")?;
        Ok(received)
    })
}

fn pattern(seed: u64) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    (0..LENGTH).map(|_| rng.u8(..)).collect()
}

fn lossy() -> io::Result<()> {
    let faults = "loss=1%,delay=2ms,jitter=1ms,reorder=1%,duplicate=1%,corrupt=0.1%,seed=3";
    let setting = Setting::new(&format!("{faults},rate=200mbit,queue=300kB"), faults)?;
    setting.exchange(host::B.v4.into())?;
    setting.exchange(host::B.v6.into())?;
    let report = setting.link.stop()?;
    for lane in &report.lanes {
        assert!(lane.packets.load(Ordering::Relaxed) > 4000, "{report}");
        for fault in [
            &lane.lost,
            &lane.duplicated,
            &lane.corrupted,
            &lane.reordered,
        ] {
            assert!(fault.load(Ordering::Relaxed) > 0, "{report}");
        }
    }
    Ok(())
}

fn path_mtu() -> io::Result<()> {
    let setting = Setting::new("mtu=1400", "mtu=1300")?;
    setting.exchange(host::B.v4.into())?;
    setting.exchange(host::B.v6.into())?;
    let report = setting.link.stop()?;
    let refused = |lane: usize| report.lanes[lane].oversized.load(Ordering::Relaxed);
    assert!(
        (1..1000).contains(&refused(0)) && (1..1000).contains(&refused(1)),
        "{report}"
    );
    Ok(())
}

fn delay() -> io::Result<()> {
    let setting = Setting::new("delay=30ms", "delay=20ms")?;
    let far = SocketAddr::from((host::B.v4, PORT));
    let _listener = setting.far.run(|| TcpListener::bind(far))?;
    let shortest = (0..5)
        .map(|_| {
            let started = Instant::now();
            setting
                .near
                .run(|| TcpStream::connect_timeout(&far, PATIENCE))?;
            Ok(started.elapsed())
        })
        .collect::<io::Result<Vec<_>>>()?
        .into_iter()
        .min()
        .expect("five tries");
    let bounds = Duration::from_millis(50)..Duration::from_millis(80);
    assert!(bounds.contains(&shortest), "{shortest:?}");
    let Report { lateness, .. } = setting.link.stop()?;
    assert!(lateness.turns >= 10, "{lateness:?}");
    Ok(())
}

fn job(sender: Sender, loss: f64) -> Job {
    Job {
        cell: Cell {
            rate: 20,
            rtt: 20,
            loss,
            reorder: 0.0,
            algorithm: Algorithm::Cubic,
        },
        sender,
        repeat: 1,
        duration: Duration::from_secs(2),
        pacing: None,
        real_time: false,
    }
}

fn senders() -> io::Result<()> {
    for (sender, least) in [
        (Sender::Linux, 5.0),
        (Sender::Ustack, 5.0),
        (Sender::Smoltcp, 0.5),
    ] {
        let outcome = run(&job(sender, 0.0))?;
        assert!(
            outcome.goodput > least && outcome.goodput < 20.0,
            "{outcome}"
        );
        assert_eq!(outcome.lost, 0);
        assert_eq!(outcome.to_string().parse::<Outcome>(), Ok(rounded(outcome)));
    }
    Ok(())
}

/// With the digits that a file keeps.
fn rounded(outcome: Outcome) -> Outcome {
    Outcome {
        goodput: (outcome.goodput * 1e3).round() / 1e3,
        late: (outcome.late * 1e6).round() / 1e6,
        ..outcome
    }
}

fn losses() -> io::Result<()> {
    for sender in [Sender::Linux, Sender::Ustack] {
        let outcome = run(&job(sender, 1.0))?;
        assert!(outcome.lost > 0 && outcome.goodput > 1.0, "{outcome}");
        // What was lost last is not repaired when the time is over.
        let repaired = outcome.stats.retransmits.expect("a count") * 2;
        assert!(repaired >= outcome.lost, "{outcome}");
    }
    Ok(())
}

fn program(arguments: &[&str]) -> io::Result<Output> {
    Command::new(env!("CARGO_BIN_EXE_link"))
        .args(arguments)
        .output()
}

fn near_end() -> io::Result<()> {
    let command = "test \"$LINK_FAR\" = 10.99.0.2 && ip route get 10.99.0.2 && exit 7";
    let done = program(&["run", "--both", "delay=1ms", "--", "sh", "-c", command])?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(7), "{said}");
    assert!(String::from_utf8_lossy(&done.stdout).contains("dev link0"));
    assert!(said.contains("A to B (delay=1ms,seed="), "{said}");
    assert!(said.contains("worst lateness"), "{said}");
    Ok(())
}

fn missing() -> io::Result<()> {
    for (arguments, message) in [
        (
            &["join", "--a", "nowhere", "--b", "nowhere"][..],
            "link: error: no namespace `nowhere` (/run/netns/nowhere)",
        ),
        (
            &["run", "--", "no-such-program"],
            "link: error: no-such-program: ",
        ),
        (
            &["run", "--both", "loss=2", "--", "true"],
            "loss takes a share from 0% to 100%",
        ),
        (&["report", "no-such-file"], "link: error: no-such-file: "),
    ] {
        let done = program(arguments)?;
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(!done.status.success() && said.contains(message), "{said}");
    }
    Ok(())
}
