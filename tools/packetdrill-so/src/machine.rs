//! One script's kernel, and packetdrill's two threads on its clock.
//!
//! The *main* thread runs the script and moves the clock: in `usleep`, and while it waits for a
//! packet. The *other* one makes calls that block. It sleeps on a condition variable; the main
//! thread asks again for it whenever something changes, and when the call is over it stops until
//! the sleeper has taken the result. The sleeper's first look at the clock then shows the instant
//! at which its call ended, so runs are deterministic.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::num::NonZeroU16;
use std::os::fd::{IntoRawFd, RawFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

use packetdrill::kernel::{Blocking, Call, Errno, Fd, Kernel, Reply, Result};
use ustack::tcp::time::Instant;

use crate::flags::Flags;
use crate::sysctls::SysctlFile;

/// Virtual time that somebody waits at most for something that never comes.
const PATIENCE: Duration = Duration::from_secs(1_000);

thread_local! {
    /// When the blocking call of this thread ended: its next look at the clock shows that.
    static ENDED: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// What lives from `packetdrill_interface_init` to `free`.
#[derive(Debug)]
pub(crate) struct Machine {
    state: Mutex<State>,
    changed: Condvar,
    main: ThreadId,
    mss: Option<NonZeroU16>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) kernel: Kernel,
    /// The kernel's descriptors behind real ones. Those that a script leaves open are closed by
    /// packetdrill, with `close(2)`.
    files: HashMap<RawFd, Fd>,
    sysctls: SysctlFile,
    /// The call that the other thread sleeps in.
    asleep: Option<Blocking>,
    /// Its outcome, until it takes it.
    awake: Option<(Result<Reply>, Instant)>,
}

impl State {
    /// The kernel's descriptor behind a real one.
    pub(crate) fn fd(&self, real: RawFd) -> Result<Fd> {
        self.files.get(&real).copied().ok_or(libc::EBADF)
    }

    /// A real descriptor for one of the kernel's: packetdrill closes those with `close(2)`.
    pub(crate) fn real(&mut self, fd: Fd) -> Result<RawFd> {
        let file = File::open("/dev/null").map_err(|_| libc::EMFILE)?;
        let real = file.into_raw_fd();
        self.files.insert(real, fd);
        Ok(real)
    }

    /// The real descriptor goes; the kernel's has gone.
    pub(crate) fn close(&mut self, real: RawFd) {
        if self.files.remove(&real).is_some() {
            // SAFETY: `real` opened it, gave it away as a number, and forgets it now.
            unsafe { libc::close(real) };
        }
    }

    /// Settings that the script's shell commands made since the last call.
    pub(crate) fn read_sysctls(&mut self) {
        for (key, value) in self.sysctls.take_new() {
            self.kernel.set_sysctl(&key, &value);
        }
    }
}

impl Machine {
    pub(crate) fn new(flags: &Flags) -> io::Result<Self> {
        let mut kernel = Kernel::new(&flags.options)?;
        for (key, value) in &flags.sysctls {
            if !kernel.set_sysctl(key, value) {
                return Err(io::Error::other(format!("{key}={value}: no such setting")));
            }
        }
        Ok(Self {
            state: Mutex::new(State {
                kernel,
                files: HashMap::new(),
                sysctls: SysctlFile::new(),
                asleep: None,
                awake: None,
            }),
            changed: Condvar::new(),
            main: std::thread::current().id(),
            mss: flags.mss,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call that never waits.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        let result = f(&mut state);
        drop(self.settle(state));
        result
    }

    /// A call that may wait: with the clock standing still on the other thread, by moving it on
    /// the main one.
    pub(crate) fn call(&self, call: impl FnOnce(&State) -> Result<Call>) -> Result<Reply> {
        let mut state = self.lock();
        state.read_sysctls();
        let call = call(&state)?;
        let mut blocking = Blocking::new(&state.kernel, call);
        let first = blocking.attempt(&mut state.kernel);
        if std::thread::current().id() == self.main {
            return self.wait_on_main(state, blocking, first);
        }
        if let Some(result) = first {
            ENDED.set(Some(state.kernel.now()));
            return result;
        }
        state.asleep = Some(blocking);
        loop {
            if let Some((result, at)) = state.awake.take() {
                ENDED.set(Some(at));
                self.changed.notify_all();
                return result;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn wait_on_main<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        mut blocking: Blocking,
        first: Option<Result<Reply>>,
    ) -> Result<Reply> {
        let mut outcome = first;
        let patience = state.kernel.now() + PATIENCE;
        loop {
            state = self.settle(state);
            if let Some(result) = outcome {
                return result;
            }
            let limit = blocking.deadline().unwrap_or(patience).min(patience);
            if !state.kernel.advance_to_next(limit) {
                state.kernel.advance_to(limit);
                let last = blocking.attempt(&mut state.kernel);
                return last.unwrap_or_else(|| {
                    eprintln!("packetdrill-so: this call would wait for ever");
                    Err(libc::EDEADLK)
                });
            }
            outcome = blocking.attempt(&mut state.kernel);
        }
    }

    /// Lets the time pass until `to`, with everything that falls due.
    pub(crate) fn sleep(&self, time: Duration) {
        let mut state = self.lock();
        let to = state.kernel.now() + time;
        loop {
            let sleeper = state.asleep.as_ref().and_then(Blocking::deadline);
            let limit = sleeper.map_or(to, |deadline| deadline.min(to));
            if !state.kernel.advance_to_next(limit) {
                state.kernel.advance_to(limit);
                state = self.settle(state);
                if limit == to {
                    return;
                }
            }
            state = self.settle(state);
        }
    }

    /// A packet arrives. Whoever sleeps is woken before anything leaves, so that what it has to
    /// send can carry the ACK.
    pub(crate) fn inject(&self, packet: &[u8]) {
        let mut state = self.lock();
        match (self.mss, header_len(packet)) {
            (Some(mss), Some(header)) if packet.len() - header > usize::from(mss.get()) => {
                state.kernel.inject_merged(packet, header as u16, mss);
            }
            _ => state.kernel.inject_held(packet),
        }
        state = self.settle(state);
        state.kernel.flush();
        drop(self.settle(state));
    }

    /// The next packet that leaves, for which time passes; `None`: none ever will.
    pub(crate) fn receive(&self) -> Option<(Instant, Vec<u8>)> {
        let mut state = self.lock();
        let patience = state.kernel.now() + PATIENCE;
        loop {
            state = self.settle(state);
            if let Some(packet) = state.kernel.pop_sent() {
                return Some(packet);
            }
            if !state.kernel.advance_to_next(patience) {
                return None;
            }
        }
    }

    /// The clock, which moves by a microsecond with every look; on the thread whose call has just
    /// ended, the instant when it did.
    pub(crate) fn look_at_clock(&self) -> Instant {
        if let Some(ended) = ENDED.take() {
            return ended;
        }
        self.sleep(Duration::from_micros(1));
        self.lock().kernel.now()
    }

    /// After anything happened: if the sleeper's call is over, hands it its result and waits until
    /// it has it.
    fn settle<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let Some(mut blocking) = state.asleep.take() else {
            return state;
        };
        match blocking.attempt(&mut state.kernel) {
            None => state.asleep = Some(blocking),
            Some(result) => {
                state.awake = Some((result, state.kernel.now()));
                self.changed.notify_all();
                while state.awake.is_some() {
                    state = self
                        .changed
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
        state
    }
}

/// Bytes before the text of a TCP segment; `None`: it is none, or has a header that lies.
fn header_len(packet: &[u8]) -> Option<usize> {
    let (ip, protocol) = match packet.first()? >> 4 {
        4 => (usize::from(packet[0] & 0xf) * 4, *packet.get(9)?),
        _ => (40, *packet.get(6)?),
    };
    let tcp = usize::from(packet.get(ip + 12)? >> 4) * 4;
    (protocol == 6 && ip + tcp <= packet.len()).then_some(ip + tcp)
}

/// An error number for a call that panicked.
pub(crate) const PANICKED: Errno = libc::EIO;
