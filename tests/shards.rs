//! TUN devices with several queues, for real: the program on them, and the kernel moving flows.

mod common;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener as HostListener, TcpStream as HostStream, UdpSocket};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use common::capture::Verdict;
use common::{Setting, Test, Ustack, ip, run, run_ok, temp_dir};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use ustack::device::tun::{self, TunOptions};
use ustack::{Config, Stack, TcpStream};

const SHORT: Duration = Duration::from_secs(10);

/// Connections enough for every queue to get some, whatever the kernel's hash: of 24 none comes by
/// one of three queues once in 5,000 runs, and nothing depends on it.
const CONNECTIONS: usize = 24;

fn main() -> ExitCode {
    let mut tests = Vec::new();
    for setting in Setting::ALL
        .into_iter()
        .filter(|one| one.device == "offload")
    {
        let test = Test::new(setting.name("the_program_on_three_queues"), move || {
            three_queues(setting);
        });
        tests.push(test.needs(&["ip", "ping", "tshark"]));
    }
    tests.push(Test::new("a_flow_that_the_kernel_forgets_is_found", forgotten).needs(&["ip"]));
    tests.push(Test::new("more_queues_than_there_are", too_many).needs(&["ip"]));
    tests.push(Test::new("busy_polling_ends_by_itself", busy_poll).needs(&["ip"]));
    common::main(tests)
}

/// Every service there and back, over many flows; one capture of it all, without a fault.
fn three_queues(setting: Setting) {
    let folder = temp_dir();
    let path = folder.path().join("all.pcapng");
    let host = setting.start(&["--queues", "3", "--capture", path.to_str().unwrap()]);
    assert!(host.stdout().contains(", 3 queues, "), "{}", host.stdout());
    thread::scope(|scope| {
        for number in 0..CONNECTIONS {
            scope.spawn(move || echo(setting.port(7), 100_000 + number));
        }
    });
    // Whole and in fragments, by as many flows.
    for len in [16, 4000].repeat(CONNECTIONS / 2) {
        let socket = setting.udp_client(7);
        socket.send(&vec![7; len]).unwrap();
        let mut answer = vec![0; len + 1];
        assert_eq!(socket.recv(&mut answer).unwrap(), len);
    }
    let closed = setting.udp_client(99);
    closed.send(b"anybody?").unwrap();
    let refused = closed.recv(&mut [0; 8]).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    let refused = HostStream::connect(setting.port(81)).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    let ping = format!("ping -c 3 -i 0.2 -s 4000 {}", setting.address);
    run_ok(&mut common::command(&ping), SHORT);
    let page = get(setting.port(80));
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");

    let finished = host.terminate();
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    let text = finished.text();
    assert!(
        !text.contains("lost between") && !text.contains("missing"),
        "{text}"
    );
    Verdict::of(&path, "tcp").check_whole();
}

fn echo(address: SocketAddr, len: usize) {
    let mut stream = HostStream::connect(address).expect("the echo service");
    let mut reader = stream.try_clone().unwrap();
    let data: Vec<u8> = (0..len).map(|at| (at ^ at >> 8) as u8).collect();
    let answer = thread::scope(|scope| {
        scope.spawn(|| {
            stream.write_all(&data).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut answer = Vec::new();
        reader.read_to_end(&mut answer).unwrap();
        answer
    });
    assert!(answer == data, "{} bytes of {len}", answer.len());
}

fn get(address: SocketAddr) -> String {
    let mut stream = HostStream::connect(address).expect("the web server");
    let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Connections from here to the kernel are silent until the kernel has forgotten by which queues
/// we sent; then it speaks, by whichever queues it likes.
fn forgotten() {
    let options = TunOptions {
        name: "us0".into(),
        host_addresses: vec![("10.77.0.1".parse().unwrap(), 24)],
        queues: 2,
        ..TunOptions::default()
    };
    let opened = tun::open(&options).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((opened.report.queues, opened.others.len()), (2, 1));
    let mut queues = vec![opened.tun];
    queues.extend(opened.others);
    let listener = HostListener::bind("10.77.0.1:4000").unwrap();
    let (stack, drivers) =
        Stack::with_queues(Config::new().address([10, 77, 0, 2], 24), queues).unwrap();
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap()
    };
    let shards: Vec<_> = drivers
        .into_iter()
        .map(|driver| thread::spawn(move || runtime().block_on(driver)))
        .collect();
    let handle = stack.clone();
    runtime().block_on(async move {
        let mut pairs = Vec::new();
        for _ in 0..CONNECTIONS {
            let near = TcpStream::connect(&handle, "10.77.0.1:4000".parse().unwrap());
            let near = near.await.unwrap();
            let (far, peer) = listener.accept().unwrap();
            assert_eq!(peer, near.local_addr());
            pairs.push((near, far));
        }
        let begin = Instant::now();
        while handle.stats().device.handed_over == 0 {
            assert!(
                begin.elapsed() < Duration::from_secs(40),
                "nothing was moved"
            );
            // Its memory lasts three seconds (TUN_FLOW_EXPIRE), and is looked through now and then.
            tokio::time::sleep(Duration::from_secs(4)).await;
            for (near, far) in &mut pairs {
                far.write_all(b"hello").unwrap();
                let mut heard = [0; 5];
                near.read_exact(&mut heard).await.unwrap();
                assert_eq!(&heard, b"hello");
            }
        }
        for (near, far) in &mut pairs {
            near.write_all(b"and back").await.unwrap();
            let mut heard = [0; 8];
            far.read_exact(&mut heard).unwrap();
        }
        let stats = handle.stats();
        assert_eq!(stats.tcp.counters.out_rsts, 0);
        assert_eq!(stats.device.handover_dropped, 0);
        drop(pairs);
        handle.shutdown(Duration::from_secs(5)).await;
    });
    for shard in shards {
        shard.join().unwrap().expect("ended in good order");
    }
}

fn too_many() {
    let refused = |arguments: &[&str], why: &str| {
        let finished = run(&mut Ustack::command(arguments), SHORT);
        assert!(finished.stderr.contains(why), "{}", finished.stderr);
        assert_eq!(finished.status.code(), Some(3), "{}", finished.stderr);
    };
    let plain = "--queues 2 is more than there are: without offload a device has one queue";
    refused(&["--queues", "2", "--device", "plain"], plain);
    ip("tuntap add dev us0 mode tun vnet_hdr");
    let single = "was made without multi_queue";
    refused(&["--queues", "2", "--tun", "us0"], single);
    let host = Ustack::start(&["--tun", "us0"]);
    assert!(!host.stdout().contains("queues"), "{}", host.stdout());
    assert_eq!(host.terminate().status.code(), Some(0));
}

/// With packets it looks for more; without them it sleeps as it would anyway.
fn busy_poll() {
    let host = Ustack::start(&["--busy-poll", "5ms", "--queues", "2"]);
    let socket = UdpSocket::bind("10.77.0.1:0").unwrap();
    socket.set_read_timeout(Some(SHORT)).unwrap();
    for _ in 0..1000 {
        socket.send_to(b"hello", "10.77.0.2:7").unwrap();
        assert_eq!(socket.recv(&mut [0; 8]).unwrap(), 5);
    }
    echo("10.77.0.2:7".parse().unwrap(), 1_000_000);
    let busy = ticks(host.pid());
    thread::sleep(Duration::from_secs(2));
    let idle = ticks(host.pid());
    assert!(
        idle - busy <= 20,
        "{busy} to {idle} ticks of 10 ms in two idle seconds"
    );
    assert_eq!(host.terminate().status.code(), Some(0));
}

/// Processor time of a process so far, in ticks.
fn ticks(pid: impl std::fmt::Display) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let number = |at: usize| {
        fields
            .split_whitespace()
            .nth(at)
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    number(11) + number(12)
}
