//! Loads the object as packetdrill does, and plays a connection through its function table.

use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::path::PathBuf;

use libloading::os::unix::Library;

/// `userdata` and 32 function pointers.
type Table = [*mut c_void; 33];

type Init = unsafe extern "C" fn(*const c_char, *mut Table);
type Free = unsafe extern "C" fn(*mut c_void);
type Socket = unsafe extern "C" fn(*mut c_void, c_int, c_int, c_int) -> c_int;
type Bind = unsafe extern "C" fn(*mut c_void, c_int, *const libc::sockaddr, u32) -> c_int;
type Listen = unsafe extern "C" fn(*mut c_void, c_int, c_int) -> c_int;
type Accept = unsafe extern "C" fn(*mut c_void, c_int, *mut libc::sockaddr, *mut u32) -> c_int;
type Read = unsafe extern "C" fn(*mut c_void, c_int, *mut c_void, usize) -> isize;
type Write = unsafe extern "C" fn(*mut c_void, c_int, *const c_void, usize) -> isize;
type Close = unsafe extern "C" fn(*mut c_void, c_int) -> c_int;
type Send = unsafe extern "C" fn(*mut c_void, *const c_void, usize) -> c_int;
type Receive = unsafe extern "C" fn(*mut c_void, *mut c_void, *mut usize, *mut i64) -> c_int;
type Usleep = unsafe extern "C" fn(*mut c_void, c_uint) -> c_int;

const LOCAL: [u8; 4] = [192, 168, 0, 1];
const REMOTE: [u8; 4] = [192, 0, 2, 1];
const PORTS: [u16; 2] = [40_000, 8080];

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const ACK: u8 = 16;

/// The object under its table, as one script uses it.
struct Object {
    table: Table,
    /// Keeps the functions where they are.
    _library: Library,
}

impl Object {
    fn load() -> Self {
        let flags = libc::RTLD_NOW | libc::RTLD_LOCAL | libc::RTLD_NODELETE | libc::RTLD_DEEPBIND;
        // SAFETY: our own object, whose initialisers do nothing.
        let library = unsafe { Library::open(Some(path()), flags) }.expect("built with this test");
        let mut table: Table = [std::ptr::null_mut(); 33];
        let flags = CString::new("local=192.168.0.1/16,mtu=1500").expect("a C string");
        // SAFETY: the symbol has this type, and both pointers are what it wants.
        unsafe {
            let init = library
                .get::<Init>(b"packetdrill_interface_init\0")
                .expect("the symbol that packetdrill looks for");
            init(flags.as_ptr(), &raw mut table);
        }
        assert!(table.iter().all(|entry| !entry.is_null()));
        Self {
            table,
            _library: library,
        }
    }

    /// The function at `index` of the table, 1 being `free`.
    ///
    /// # Safety
    ///
    /// `F` is the type of that function.
    unsafe fn function<F: Copy>(&self, index: usize) -> F {
        assert_eq!(size_of::<F>(), size_of::<*mut c_void>());
        // SAFETY: the caller says that it is one; the size is right.
        unsafe { std::mem::transmute_copy(&self.table[index]) }
    }

    fn userdata(&self) -> *mut c_void {
        self.table[0]
    }

    fn listener(&self) -> c_int {
        // SAFETY: these are their places in the table.
        let (socket, bind, listen): (Socket, Bind, Listen) =
            unsafe { (self.function(2), self.function(3), self.function(4)) };
        let address = libc::sockaddr_in {
            sin_family: libc::AF_INET as u16,
            sin_port: PORTS[1].to_be(),
            sin_addr: libc::in_addr {
                s_addr: u32::from_ne_bytes(LOCAL),
            },
            sin_zero: [0; 8],
        };
        let len = size_of_val(&address) as u32;
        // SAFETY: the address is one, and outlives the call.
        unsafe {
            let fd = socket(self.userdata(), libc::AF_INET, libc::SOCK_STREAM, 0);
            assert!(fd >= 0);
            assert_eq!(
                bind(self.userdata(), fd, (&raw const address).cast(), len),
                0
            );
            assert_eq!(listen(self.userdata(), fd, 1), 0);
            fd
        }
    }

    fn accept(&self, listener: c_int) -> c_int {
        let mut address = [0u8; 16];
        let mut len = 16;
        // SAFETY: its place in the table; there is room for the address.
        let fd = unsafe {
            let accept: Accept = self.function(5);
            accept(
                self.userdata(),
                listener,
                address.as_mut_ptr().cast(),
                &raw mut len,
            )
        };
        assert_eq!(
            (len, &address[2..4], &address[4..8]),
            (16, &PORTS[0].to_be_bytes()[..], &REMOTE[..])
        );
        fd
    }

    fn send(&self, packet: &[u8]) {
        // SAFETY: its place in the table; the packet outlives the call.
        let result = unsafe {
            let send: Send = self.function(24);
            send(self.userdata(), packet.as_ptr().cast(), packet.len())
        };
        assert_eq!(result, 0);
    }

    /// The next packet and its time in microseconds.
    fn receive(&self) -> (Vec<u8>, i64) {
        let (mut packet, mut len, mut time) = (vec![0; 65_536], 65_536, 0);
        // SAFETY: its place in the table; there is room for so many bytes.
        let result = unsafe {
            let receive: Receive = self.function(25);
            receive(
                self.userdata(),
                packet.as_mut_ptr().cast(),
                &raw mut len,
                &raw mut time,
            )
        };
        assert_eq!(result, 0);
        packet.truncate(len);
        (packet, time)
    }

    fn write(&self, fd: c_int, bytes: &[u8]) -> isize {
        // SAFETY: its place in the table; the bytes outlive the call.
        unsafe {
            let write: Write = self.function(12);
            write(self.userdata(), fd, bytes.as_ptr().cast(), bytes.len())
        }
    }

    fn read(&self, fd: c_int) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        // SAFETY: its place in the table; there is room for so many bytes.
        let len = unsafe {
            let read: Read = self.function(7);
            read(self.userdata(), fd, bytes.as_mut_ptr().cast(), bytes.len())
        };
        bytes.truncate(usize::try_from(len).expect("bytes"));
        bytes
    }

    fn close(&self, fd: c_int) -> c_int {
        // SAFETY: its place in the table.
        unsafe {
            let close: Close = self.function(19);
            close(self.userdata(), fd)
        }
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: its place in the table, and the last call.
        unsafe {
            let free: Free = self.function(1);
            free(self.userdata());
        }
    }
}

/// Where cargo has put the object: beside the folder of this test.
fn path() -> PathBuf {
    let test = std::env::current_exe().expect("this test");
    let name = libloading::library_filename("packetdrill_so");
    let mut folders = test.ancestors().skip(1);
    let found = folders.find_map(|folder| Some(folder.join(&name)).filter(|path| path.exists()));
    found.expect("cargo builds the object before its tests")
}

fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let mut sum = 0u32;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

/// A segment from the peer, without options.
fn segment(seq: u32, ack: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let len = (40 + payload.len()) as u16;
    let mut ip = vec![0x45, 0, 0, 0, 0, 1, 0, 0, 64, 6, 0, 0];
    ip[2..4].copy_from_slice(&len.to_be_bytes());
    ip.extend(REMOTE);
    ip.extend(LOCAL);
    let sum = checksum(&[&ip]);
    ip[10..12].copy_from_slice(&sum);
    let mut tcp = Vec::new();
    tcp.extend(PORTS[0].to_be_bytes());
    tcp.extend(PORTS[1].to_be_bytes());
    tcp.extend(seq.to_be_bytes());
    tcp.extend(ack.to_be_bytes());
    tcp.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    tcp.extend(payload);
    let pseudo = [&REMOTE[..], &LOCAL, &[0, 6], &(len - 20).to_be_bytes()].concat();
    let sum = checksum(&[&pseudo, &tcp]);
    tcp[16..18].copy_from_slice(&sum);
    [ip, tcp].concat()
}

/// Flags, SEQ, ACK and payload of a packet from the object.
fn parse(packet: &[u8]) -> (u8, u32, u32, &[u8]) {
    let tcp = &packet[20..];
    let number = |at: usize| u32::from_be_bytes(*tcp[at..].first_chunk().expect("a header"));
    let data = usize::from(tcp[12] >> 4) * 4;
    (tcp[13], number(4), number(8), &tcp[data..])
}

#[test]
fn a_connection_through_the_function_table() {
    let object = Object::load();
    let listener = object.listener();
    object.send(&segment(1000, 0, SYN, &[]));
    let (packet, began) = object.receive();
    let (flags, iss, ack, _) = parse(&packet);
    assert_eq!((flags, ack), (SYN | ACK, 1001));
    // Nobody answers: it leaves again, a second of virtual time later.
    let (again, later) = object.receive();
    assert_eq!(parse(&again).0, SYN | ACK);
    assert!((1_000_000..1_010_000).contains(&(later - began)));
    object.send(&segment(1001, iss.wrapping_add(1), ACK, &[]));
    let fd = object.accept(listener);

    object.send(&segment(1001, iss.wrapping_add(1), ACK | PSH, b"hello"));
    let (packet, _) = object.receive();
    assert_eq!(parse(&packet).2, 1006);
    assert_eq!(object.read(fd), b"hello");
    assert_eq!(object.write(fd, b"good-bye"), 8);
    let (packet, _) = object.receive();
    let (flags, seq, _, payload) = parse(&packet);
    assert_eq!(
        (flags, seq, payload),
        (ACK | PSH, iss.wrapping_add(1), &b"good-bye"[..])
    );
    object.send(&segment(1006, iss.wrapping_add(9), ACK, &[]));

    assert_eq!(object.close(fd), 0);
    assert_eq!(object.close(fd), -1, "it is closed");
    let (packet, _) = object.receive();
    let (flags, seq, ..) = parse(&packet);
    assert_eq!((flags, seq), (ACK | FIN, iss.wrapping_add(9)));
    object.send(&segment(1006, iss.wrapping_add(10), ACK | FIN, &[]));
    let (packet, _) = object.receive();
    assert_eq!((parse(&packet).0, parse(&packet).2), (ACK, 1007));
    assert_eq!(object.close(listener), 0);
}

#[test]
fn what_never_comes_is_a_packet_of_no_bytes() {
    let object = Object::load();
    assert!(object.receive().0.is_empty());
    // A closed port answers a SYN with a reset; then, again, nothing.
    object.send(&segment(5, 0, SYN, &[]));
    let (packet, _) = object.receive();
    assert_eq!((parse(&packet).0, parse(&packet).2), (RST | ACK, 6));
    assert!(object.receive().0.is_empty());
}

#[test]
fn a_blocked_thread_sleeps_until_virtual_time_brings_its_peer() {
    let object = Object::load();
    let listener = object.listener();
    std::thread::scope(|scope| {
        let shared = Shared(&object);
        let blocked = scope.spawn(move || {
            let Shared(object) = { shared };
            object.accept(listener)
        });
        object.send(&segment(1000, 0, SYN, &[]));
        let (packet, _) = object.receive();
        let iss = parse(&packet).1;
        // SAFETY: its place in the table.
        let usleep: Usleep = unsafe { object.function(26) };
        // SAFETY: the call takes a number only.
        assert_eq!(unsafe { usleep(object.userdata(), 5_000) }, 0);
        assert!(!blocked.is_finished());
        object.send(&segment(1001, iss.wrapping_add(1), ACK, &[]));
        let fd = blocked.join().expect("it returns");
        assert_eq!(object.close(fd), 0);
    });
}

/// A table that two threads use, as packetdrill's do.
#[derive(Clone, Copy)]
struct Shared<'a>(&'a Object);

// SAFETY: the functions behind the table lock what they share.
unsafe impl std::marker::Send for Shared<'_> {}
