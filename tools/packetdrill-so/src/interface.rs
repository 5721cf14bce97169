//! The table that packetdrill calls through.

use std::ffi::{c_char, c_int, c_long, c_uint, c_ulong, c_void};
use std::sync::Arc;

use libc::{
    epoll_event, iovec, msghdr, nfds_t, pollfd, size_t, sockaddr, socklen_t, ssize_t, timeval,
};

use crate::calls;
use crate::flags::parse;
use crate::machine::Machine;

type Ud = *mut c_void;

/// `struct packetdrill_interface`: what the tool passes as `userdata`, then 32 functions in its
/// order.
///
/// `fcntl` and `ioctl` are variadic in C; on the ABIs of Linux a fixed third argument is passed
/// alike, and holds garbage when the caller gave none.
#[repr(C)]
pub struct Interface {
    userdata: Ud,
    free: unsafe extern "C" fn(Ud),
    socket: unsafe extern "C" fn(Ud, c_int, c_int, c_int) -> c_int,
    bind: unsafe extern "C" fn(Ud, c_int, *const sockaddr, socklen_t) -> c_int,
    listen: unsafe extern "C" fn(Ud, c_int, c_int) -> c_int,
    accept: unsafe extern "C" fn(Ud, c_int, *mut sockaddr, *mut socklen_t) -> c_int,
    connect: unsafe extern "C" fn(Ud, c_int, *const sockaddr, socklen_t) -> c_int,
    read: unsafe extern "C" fn(Ud, c_int, *mut c_void, size_t) -> ssize_t,
    readv: unsafe extern "C" fn(Ud, c_int, *const iovec, c_int) -> ssize_t,
    recv: unsafe extern "C" fn(Ud, c_int, *mut c_void, size_t, c_int) -> ssize_t,
    recvfrom: unsafe extern "C" fn(
        Ud,
        c_int,
        *mut c_void,
        size_t,
        c_int,
        *mut sockaddr,
        *mut socklen_t,
    ) -> ssize_t,
    recvmsg: unsafe extern "C" fn(Ud, c_int, *mut msghdr, c_int) -> ssize_t,
    write: unsafe extern "C" fn(Ud, c_int, *const c_void, size_t) -> ssize_t,
    writev: unsafe extern "C" fn(Ud, c_int, *const iovec, c_int) -> ssize_t,
    send: unsafe extern "C" fn(Ud, c_int, *const c_void, size_t, c_int) -> ssize_t,
    sendto: unsafe extern "C" fn(
        Ud,
        c_int,
        *const c_void,
        size_t,
        c_int,
        *const sockaddr,
        socklen_t,
    ) -> ssize_t,
    sendmsg: unsafe extern "C" fn(Ud, c_int, *const msghdr, c_int) -> ssize_t,
    fcntl: unsafe extern "C" fn(Ud, c_int, c_int, c_long) -> c_int,
    ioctl: unsafe extern "C" fn(Ud, c_int, c_ulong, *mut c_int) -> c_int,
    close: unsafe extern "C" fn(Ud, c_int) -> c_int,
    shutdown: unsafe extern "C" fn(Ud, c_int, c_int) -> c_int,
    getsockopt: unsafe extern "C" fn(Ud, c_int, c_int, c_int, *mut c_void, *mut socklen_t) -> c_int,
    setsockopt: unsafe extern "C" fn(Ud, c_int, c_int, c_int, *const c_void, socklen_t) -> c_int,
    poll: unsafe extern "C" fn(Ud, *mut pollfd, nfds_t, c_int) -> c_int,
    netdev_send: unsafe extern "C" fn(Ud, *const c_void, size_t) -> c_int,
    netdev_receive: unsafe extern "C" fn(Ud, *mut c_void, *mut size_t, *mut i64) -> c_int,
    usleep: unsafe extern "C" fn(Ud, c_uint) -> c_int,
    gettimeofday: unsafe extern "C" fn(Ud, *mut timeval, *mut c_void) -> c_int,
    epoll_create: unsafe extern "C" fn(Ud, c_int) -> c_int,
    epoll_ctl: unsafe extern "C" fn(Ud, c_int, c_int, c_int, *const epoll_event) -> c_int,
    epoll_wait: unsafe extern "C" fn(Ud, c_int, *mut epoll_event, c_int, c_int) -> c_int,
    pipe: unsafe extern "C" fn(Ud, *mut c_int) -> c_int,
    splice: unsafe extern "C" fn(Ud, c_int, *mut i64, c_int, *mut i64, size_t, c_uint) -> ssize_t,
}

const _: () = assert!(size_of::<Interface>() == 33 * size_of::<usize>());

/// What packetdrill calls once per script, on the thread that runs it: `flags` is what
/// `--so_flags` says, null when absent. Flags that make no sense end the program, with a message:
/// the tool takes no error here.
///
/// # Safety
///
/// `flags` is null or a C string, `interface` points to room for an [`Interface`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn packetdrill_interface_init(
    flags: *const c_char,
    interface: *mut Interface,
) {
    let machine = std::panic::catch_unwind(|| {
        // SAFETY: the caller passes null or a C string.
        let flags = unsafe { crate::memory::text(flags) };
        parse(&flags).and_then(|options| Machine::new(&options).map_err(|error| error.to_string()))
    });
    let machine = match machine {
        Ok(Ok(machine)) => Arc::new(machine),
        Ok(Err(why)) => fail(&why),
        Err(_) => fail("panic"),
    };
    crate::preload::enter(&machine);
    let userdata = Arc::into_raw(machine).cast_mut().cast();
    // SAFETY: the caller has room for an `Interface` there.
    unsafe { interface.write(table(userdata)) };
}

fn fail(why: &str) -> ! {
    eprintln!("packetdrill-so: cannot begin: {why}");
    std::process::exit(1)
}

fn table(userdata: Ud) -> Interface {
    Interface {
        userdata,
        free: calls::free,
        socket: calls::socket,
        bind: calls::bind,
        listen: calls::listen,
        accept: calls::accept,
        connect: calls::connect,
        read: calls::read,
        readv: calls::readv,
        recv: calls::recv,
        recvfrom: calls::recvfrom,
        recvmsg: calls::recvmsg,
        write: calls::write,
        writev: calls::writev,
        send: calls::send,
        sendto: calls::sendto,
        sendmsg: calls::sendmsg,
        fcntl: calls::fcntl,
        ioctl: calls::ioctl,
        close: calls::close,
        shutdown: calls::shutdown,
        getsockopt: calls::getsockopt,
        setsockopt: calls::setsockopt,
        poll: calls::poll,
        netdev_send: calls::netdev_send,
        netdev_receive: calls::netdev_receive,
        usleep: calls::usleep,
        gettimeofday: calls::gettimeofday,
        epoll_create: calls::epoll_create,
        epoll_ctl: calls::epoll_ctl,
        epoll_wait: calls::epoll_wait,
        pipe: calls::pipe,
        splice: calls::splice,
    }
}
