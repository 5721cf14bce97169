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
