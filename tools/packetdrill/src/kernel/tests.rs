use std::net::SocketAddr;
use std::time::Duration;

use super::*;

fn kernel() -> Kernel {
    Kernel::new(&Options::new(
        vec![("192.0.2.1".parse().unwrap(), 24)],
        1500,
    ))
    .unwrap()
}

fn peer() -> SocketAddr {
    "192.0.2.9:8080".parse().unwrap()
}

#[test]
fn a_connect_sends_a_syn_and_waits() {
    let mut kernel = kernel();
    let fd = kernel.socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
    assert_eq!(kernel.connect(fd, Some(peer())), Err(libc::EINPROGRESS));
    assert_eq!(kernel.connect(fd, Some(peer())), Err(libc::EALREADY));
    let (at, syn) = kernel.pop_sent().expect("a SYN");
    assert_eq!(at, kernel.now());
    assert_eq!(syn[33], 0x02);
    kernel.advance_to(at + Duration::from_secs(2));
    let (again, syn) = kernel.pop_sent().expect("the SYN again");
    assert_eq!(syn[33], 0x02);
    let waited = again - at;
    assert!(
        waited >= Duration::from_secs(1) && waited < Duration::from_millis(1010),
        "{waited:?}"
    );
}

#[test]
fn calls_that_make_no_sense_get_linux_errors() {
    let mut kernel = kernel();
    let fd = kernel.socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
    assert_eq!(kernel.accept(fd, 0), Err(libc::EINVAL));
    assert_eq!(kernel.write(fd, Data::Zeros(1)), Err(libc::EPIPE));
    let recv = Recv {
        len: 1,
        ..Recv::default()
    };
    assert_eq!(kernel.read(fd, recv), Err(libc::ENOTCONN));
    assert_eq!(kernel.shutdown(fd, libc::SHUT_WR), Err(libc::ENOTCONN));
    assert_eq!(kernel.read(99, recv), Err(libc::EBADF));
    kernel.close(fd).unwrap();
    assert_eq!(kernel.close(fd), Err(libc::EBADF));
}

/// Two hosts and a cable that takes no time.
struct Link {
    client: Kernel,
    server: Kernel,
}

impl Link {
    fn new(options: impl Fn(&str) -> Options) -> Self {
        Self {
            client: Kernel::new(&options("192.0.2.1")).unwrap(),
            server: Kernel::new(&options("192.0.2.9")).unwrap(),
        }
    }

    fn linux() -> Self {
        Self::new(|ip| Options::linux(vec![(ip.parse().unwrap(), 24)], 1500))
    }

    /// Carries packets until both are silent.
    fn settle(&mut self) {
        loop {
            let there: Vec<_> = std::iter::from_fn(|| self.client.pop_sent()).collect();
            let back: Vec<_> = std::iter::from_fn(|| self.server.pop_sent()).collect();
            if there.is_empty() && back.is_empty() {
                return;
            }
            for (_, packet) in there {
                self.server.inject(&packet);
            }
            for (_, packet) in back {
                self.client.inject(&packet);
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        for kernel in [&mut self.client, &mut self.server] {
            kernel.advance_to(kernel.now() + time);
        }
        self.settle();
    }

    /// The client's and the server's descriptor of a connection.
    fn connect(&mut self) -> (Fd, Fd) {
        let listener = self
            .server
            .socket(libc::AF_INET, libc::SOCK_STREAM, 0)
            .unwrap();
        self.server.bind(listener, peer()).unwrap();
        self.server.listen(listener, 1).unwrap();
        assert_eq!(self.server.accept(listener, 0), Err(libc::EAGAIN));
        let fd = self
            .client
            .socket(libc::AF_INET, libc::SOCK_STREAM, 0)
            .unwrap();
        assert_eq!(
            self.client.connect(fd, Some(peer())),
            Err(libc::EINPROGRESS)
        );
        self.settle();
        assert_eq!(self.client.connect(fd, Some(peer())), Ok(()));
        assert_eq!(self.client.connect(fd, Some(peer())), Err(libc::EISCONN));
        let (accepted, from) = self.server.accept(listener, 0).unwrap();
        assert_eq!(self.client.local_addr(fd), Ok(from));
        (fd, accepted)
    }
}

fn room(len: usize) -> Recv {
    Recv {
        len,
        ..Recv::default()
    }
}

#[test]
fn bytes_go_through_and_the_end_is_told() {
    let mut link = Link::linux();
    let (client, server) = link.connect();
    assert_eq!(
        link.client.write(client, Data::Bytes(b"hello".to_vec())),
        Ok(5)
    );
    link.settle();
    let peek = Recv {
        flags: libc::MSG_PEEK,
        ..room(99)
    };
    assert_eq!(link.server.read(server, peek).unwrap(), b"hello");
    assert_eq!(link.server.ioctl(server, SIOCINQ), Ok(5));
    assert_eq!(link.server.read(server, room(2)).unwrap(), b"he");
    assert_eq!(link.server.read(server, room(99)).unwrap(), b"llo");
    assert_eq!(link.server.read(server, room(99)), Err(libc::EAGAIN));
    let fault = Recv {
        fault: true,
        ..room(1)
    };
    assert_eq!(link.client.write(client, Data::Fault(3)), Err(libc::EFAULT));
    assert_eq!(link.client.write(client, Data::Zeros(3)), Ok(3));
    link.settle();
    assert_eq!(link.server.read(server, fault), Err(libc::EFAULT));
    link.client.shutdown(client, libc::SHUT_WR).unwrap();
    assert_eq!(link.client.write(client, Data::Zeros(1)), Err(libc::EPIPE));
    link.settle();
    assert_eq!(link.server.read(server, room(99)).unwrap().len(), 3);
    assert_eq!(link.server.read(server, room(99)).unwrap(), b"");
}

#[test]
fn a_reset_is_told_once_and_a_refusal_too() {
    let mut link = Link::linux();
    let (client, server) = link.connect();
    let linger = [1i32.to_ne_bytes(), 0i32.to_ne_bytes()].concat();
    link.server
        .setsockopt(server, libc::SOL_SOCKET, libc::SO_LINGER, &linger)
        .unwrap();
    link.server.close(server).unwrap();
    link.settle();
    assert_eq!(link.client.read(client, room(1)), Err(libc::ECONNRESET));
    assert_eq!(link.client.read(client, room(1)), Ok(Vec::new()));
    assert_eq!(link.client.write(client, Data::Zeros(1)), Err(libc::EPIPE));
    let fd = link
        .client
        .socket(libc::AF_INET, libc::SOCK_STREAM, 0)
        .unwrap();
    let nobody = "192.0.2.9:9".parse().unwrap();
    assert_eq!(
        link.client.connect(fd, Some(nobody)),
        Err(libc::EINPROGRESS)
    );
    link.settle();
    let error = link
        .client
        .getsockopt(fd, libc::SOL_SOCKET, libc::SO_ERROR, 4)
        .unwrap();
    assert_eq!(error, libc::ECONNREFUSED.to_ne_bytes());
    let error = link
        .client
        .getsockopt(fd, libc::SOL_SOCKET, libc::SO_ERROR, 4)
        .unwrap();
    assert_eq!(error, 0i32.to_ne_bytes());
}

#[test]
fn an_edge_is_reported_once_and_a_level_while_it_lasts() {
    let mut link = Link::linux();
    let (client, server) = link.connect();
    let epoll = link.server.epoll_create().unwrap();
    let event = |events: i32| EpollEvent {
        events: events as u32,
        data: 7,
    };
    let edge = event(libc::EPOLLIN | libc::EPOLLET);
    link.server
        .epoll_ctl(epoll, libc::EPOLL_CTL_ADD, server, edge)
        .unwrap();
    assert_eq!(link.server.epoll_wait(epoll, 9), Ok(Vec::new()));
    for _ in 0..2 {
        link.client.write(client, Data::Zeros(10)).unwrap();
        link.settle();
        assert_eq!(
            link.server.epoll_wait(epoll, 9),
            Ok(vec![event(libc::EPOLLIN)])
        );
        assert_eq!(link.server.epoll_wait(epoll, 9), Ok(Vec::new()));
    }
    let level = event(libc::EPOLLIN);
    link.server
        .epoll_ctl(epoll, libc::EPOLL_CTL_MOD, server, level)
        .unwrap();
    for _ in 0..2 {
        assert_eq!(link.server.epoll_wait(epoll, 9), Ok(vec![level]));
    }
    link.server.read(server, room(99)).unwrap();
    assert_eq!(link.server.epoll_wait(epoll, 9), Ok(Vec::new()));
    link.server.close(server).unwrap();
    assert_eq!(
        link.server
            .epoll_ctl(epoll, libc::EPOLL_CTL_DEL, server, level),
        Err(libc::EBADF)
    );
}

#[test]
fn splice_moves_bytes_from_a_connection_through_a_pipe_to_another() {
    let mut link = Link::linux();
    let (client, server) = link.connect();
    let [reader, writer] = link.server.pipe().unwrap();
    assert_eq!(link.server.splice(server, writer, 99), Err(libc::EAGAIN));
    link.client
        .write(client, Data::Bytes(b"abc".to_vec()))
        .unwrap();
    link.settle();
    assert_eq!(link.server.splice(server, writer, 99), Ok(3));
    assert_eq!(link.server.splice(reader, server, 99), Ok(3));
    link.settle();
    assert_eq!(link.client.read(client, room(9)).unwrap(), b"abc");
    link.server.close(writer).unwrap();
    assert_eq!(link.server.splice(reader, server, 99), Ok(0));
}

#[test]
fn completions_follow_acknowledgments_and_are_joined() {
    let mut link = Link::linux();
    let (client, _) = link.connect();
    let on = 1i32.to_ne_bytes();
    link.client
        .setsockopt(client, libc::SOL_SOCKET, libc::SO_ZEROCOPY, &on)
        .unwrap();
    let errors = Recv {
        flags: libc::MSG_ERRQUEUE,
        ..Recv::default()
    };
    for _ in 0..2 {
        link.client
            .send(client, Data::Zeros(100), libc::MSG_ZEROCOPY)
            .unwrap();
    }
    assert_eq!(link.client.recvmsg(client, &errors), Err(libc::EAGAIN));
    link.settle();
    link.pass(Duration::from_secs(1));
    let told = link.client.recvmsg(client, &errors).unwrap();
    assert_eq!(
        (told.flags, told.control[0].level),
        (libc::MSG_ERRQUEUE, libc::SOL_IP)
    );
    assert_eq!(told.control[0].data[8..16], [0, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(link.client.recvmsg(client, &errors), Err(libc::EAGAIN));
}

#[test]
fn options_are_checked_kept_and_inherited() {
    let mut kernel = kernel();
    let fd = kernel.socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
    let mut set =
        |name, value: i32| kernel.setsockopt(fd, libc::IPPROTO_TCP, name, &value.to_ne_bytes());
    assert_eq!(set(libc::TCP_MAXSEG, 87), Err(libc::EINVAL));
    assert_eq!(set(libc::TCP_MAXSEG, 1100), Ok(()));
    assert_eq!(set(libc::TCP_KEEPCNT, 128), Err(libc::EINVAL));
    assert_eq!(set(libc::TCP_USER_TIMEOUT, -1), Err(libc::EINVAL));
    assert_eq!(set(9999, 1), Err(libc::ENOPROTOOPT));
    let get = kernel.getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_MAXSEG, 4);
    assert_eq!(get, Ok(1100i32.to_ne_bytes().to_vec()));
    let buffer = 21_000i32.to_ne_bytes();
    kernel
        .setsockopt(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, &buffer)
        .unwrap();
    let get = kernel.getsockopt(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, 4);
    assert_eq!(get, Ok(42_000i32.to_ne_bytes().to_vec()));
    let name = kernel
        .getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_CONGESTION, 16)
        .unwrap();
    assert!(name.starts_with(b"cubic\0"));
    let unknown = kernel.setsockopt(fd, libc::IPPROTO_TCP, libc::TCP_CONGESTION, b"none");
    assert_eq!(unknown, Err(libc::ENOENT));
}

#[test]
fn sysctls_count_from_now_on() {
    let mut kernel = kernel();
    assert!(kernel.set_sysctl("net/ipv4/tcp_timestamps", "0"));
    assert!(!kernel.set_sysctl("net.ipv4.tcp_no_such_thing", "0"));
    assert!(!kernel.set_sysctl("net.ipv4.tcp_congestion_control", "none"));
    let fd = kernel.socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
    let _ = kernel.connect(fd, Some(peer()));
    let (_, syn) = kernel.pop_sent().expect("a SYN");
    assert_eq!(
        syn.len(),
        52,
        "MSS, SACK and window scale, but no timestamps"
    );
}

#[test]
fn a_blocking_call_ends_with_what_it_waits_for_or_with_its_timeout() {
    let mut link = Link::linux();
    let (client, server) = link.connect();
    let recv = Call::Recv(server, room(9));
    let mut blocked = Blocking::new(&link.server, recv.clone());
    assert_eq!(blocked.attempt(&mut link.server), None);
    link.client.write(client, Data::Zeros(4)).unwrap();
    link.settle();
    let reply = blocked
        .attempt(&mut link.server)
        .expect("it is over")
        .unwrap();
    assert!(matches!(reply, Reply::Received(received) if received.len == 4));
    let timeout = [0i64.to_ne_bytes(), 250_000i64.to_ne_bytes()].concat();
    link.server
        .setsockopt(server, libc::SOL_SOCKET, libc::SO_RCVTIMEO, &timeout)
        .unwrap();
    let mut blocked = Blocking::new(&link.server, recv);
    assert_eq!(blocked.attempt(&mut link.server), None);
    let deadline = blocked.deadline().expect("a timeout");
    assert_eq!(deadline - link.server.now(), Duration::from_millis(250));
    link.server.advance_to(deadline);
    assert_eq!(blocked.attempt(&mut link.server), Some(Err(libc::EAGAIN)));
}
