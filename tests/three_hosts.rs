//! Forwarding between real hosts: a client in `ustack run --forward`, ustack in the middle, a
//! server at the other end of a veth pair. Each is in a network namespace of its own.

mod common;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use common::data::{Noise, sha256};
use common::{Background, Finished, Namespace, Test, Ustack, command, run, temp_dir, veth};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::UdpGsoSegment;
use rustix::net::sockopt::set_socket_linger;

const LIMIT: Duration = Duration::from_secs(100);
const SERVERS: [&str; 2] = ["192.0.2.2", "2001:db8::2"];

fn main() -> ExitCode {
    let mut tests = vec![
        Test::new("failures_are_told_apart", failures).needs(&["ip", "curl"]),
        Test::new("datagrams_go_through", datagrams).needs(&["ip", "python3"]),
        Test::new("pings_are_answered_by_who_was_asked", pings).needs(&["ip", "ping"]),
    ];
    for device in ["offload", "plain"] {
        let name = format!("a_download_is_byte_exact_{device}");
        let test = Test::new(name, move || download(device)).limit(2 * LIMIT);
        tests.push(test.needs(&["ip", "curl", "python3"]));
    }
    common::main(tests)
}

/// The server's namespace, joined to this one.
fn server() -> Namespace {
    let (here, server) = (Namespace::current(), Namespace::new());
    veth(
        (&here, "v0", &["192.0.2.1/24", "2001:db8::1/64"]),
        (&server, "v0", &["192.0.2.2/24", "2001:db8::2/64"]),
    );
    server
}

/// Runs a command behind the stack.
fn client(options: &[&str], command: &[&str]) -> Finished {
    let mut program = Ustack::command(&["run", "--forward"]);
    program.args(options).arg("--").args(command);
    run(&mut program, LIMIT)
}

fn url(address: &str, rest: &str) -> String {
    if address.contains(':') {
        format!("http://[{address}]{rest}")
    } else {
        format!("http://{address}{rest}")
    }
}

fn download(device: &str) {
    const SIZE: u64 = 200 << 20;
    let (server, folder) = (server(), temp_dir());
    let mut file = File::create(folder.path().join("file")).unwrap();
    std::io::copy(&mut Noise::new(4, SIZE), &mut file).unwrap();
    let expected = sha256(Noise::new(4, SIZE)).unwrap();
    for address in SERVERS {
        let web = server.run(|| {
            let mut python = command("python3 -u -m http.server 8000 --bind");
            Background::start(python.arg(address).current_dir(folder.path()))
        });
        web.wait_stdout("Serving HTTP", LIMIT);
        let got = folder.path().join("got");
        let url = url(address, ":8000/file");
        let curl = ["curl", "-sSf", "-o", got.to_str().unwrap(), &url];
        let finished = client(&["--device", device], &curl);
        assert!(finished.status.success(), "{address}: {}", finished.stderr);
        assert_eq!(sha256(File::open(&got).unwrap()).unwrap(), expected);
    }
}

fn failures() {
    let server = server();
    for address in SERVERS {
        let fetch = |address: &str, port: u16| {
            client(&[], &["curl", "-sS", &url(address, &format!(":{port}/"))])
        };
        let refused = fetch(address, 8001);
        assert_eq!(refused.status.code(), Some(7), "{}", refused.stderr);
        assert!(
            !refused.stderr.contains("oute to host"),
            "{}",
            refused.stderr
        );
        assert!(
            refused.elapsed < Duration::from_secs(2),
            "{:?}",
            refused.elapsed
        );

        let nobody = address.replace("192.0.2.2", "192.0.2.9");
        let nobody = nobody.replace("db8::2", "db8::9");
        let unreachable = fetch(&nobody, 8001);
        assert_eq!(unreachable.status.code(), Some(7), "{}", unreachable.stderr);
        assert!(unreachable.elapsed > refused.elapsed);

        let listener = server.run(|| TcpListener::bind((address, 0)).unwrap());
        let port = listener.local_addr().unwrap().port();
        let serving = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]).unwrap();
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nthe beginning";
            stream.write_all(answer).unwrap();
            set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        });
        let reset = fetch(address, port);
        serving.join().unwrap();
        assert_eq!(reset.status.code(), Some(56), "{}", reset.stderr);
    }
    for forbidden in ["169.254.169.254", "10.77.0.9"] {
        let finished = client(&[], &["curl", "-sS", &url(forbidden, "/")]);
        assert_eq!(finished.status.code(), Some(7), "{}", finished.stderr);
    }
}

fn datagrams() {
    let server = server();
    for address in SERVERS {
        let echo = server.run(|| UdpSocket::bind((address, 0)).unwrap());
        let port = echo.local_addr().unwrap().port();
        thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while let Ok((len, from)) = echo.recv_from(&mut buffer) {
                let _ = echo.send_to(&buffer[..len], from);
            }
        });
        let burst = server.run(|| UdpSocket::bind((address, 0)).unwrap());
        let burst_port = burst.local_addr().unwrap().port();
        setsockopt(&burst, UdpGsoSegment, &1000).unwrap();
        thread::spawn(move || {
            while let Ok((_, from)) = burst.recv_from(&mut [0; 1]) {
                let _ = burst.send_to(&[b'z'; 10_500], from);
            }
        });
        let script = format!(
            "import socket, sys\n\
             s = socket.socket(socket.AF_INET6 if ':' in '{address}' else socket.AF_INET, socket.SOCK_DGRAM)\n\
             s.settimeout(10)\n\
             for size in (0, 1, 1400, 9000):\n\
             \x20   s.sendto(b'x' * size, ('{address}', {port}))\n\
             \x20   data, peer = s.recvfrom(65536)\n\
             \x20   assert (data, peer[:2]) == (b'x' * size, ('{address}', {port})), peer\n\
             s.setsockopt(17, 103, 1200) # SOL_UDP, UDP_SEGMENT\n\
             s.sendto(b'y' * 3000, ('{address}', {port}))\n\
             lengths = [len(s.recv(65536)) for _ in range(3)]\n\
             assert lengths == [1200, 1200, 600], lengths\n\
             s.sendto(b'!', ('{address}', {burst_port}))\n\
             lengths = [len(s.recv(65536)) for _ in range(11)]\n\
             assert lengths == [1000] * 10 + [500], lengths\n\
             s.connect(('{address}', 9))\n\
             s.send(b'nobody')\n\
             try: s.recv(1)\n\
             except ConnectionRefusedError: sys.exit(42)\n"
        );
        let finished = client(&[], &["python3", "-c", &script]);
        assert_eq!(finished.status.code(), Some(42), "{}", finished.stderr);
    }
}

fn pings() {
    let server = server();
    // In a new namespace nobody may ping without privilege: nobody answers.
    let group_range = "/proc/sys/net/ipv4/ping_group_range";
    let ping = |address| client(&[], &["ping", "-c", "1", "-W", "1", address]);
    assert_eq!(ping(SERVERS[0]).status.code(), Some(1));
    std::fs::write(group_range, "0 0").unwrap();
    for address in SERVERS {
        let finished = client(&[], &["ping", "-c", "3", "-i", "0.1", "-W", "5", address]);
        assert!(
            finished.status.success(),
            "{}{}",
            finished.text(),
            finished.stderr
        );
    }
    assert_eq!(ping("192.0.2.9").status.code(), Some(1), "nobody is there");
    drop(server);
}
