//! The inner process: makes the namespaces and what is in them, then becomes the command.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use rustix::io::{Errno, FdFlags};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::channel::{FromInner, ToInner, recv, send};
use super::obstacle::{Failure, NODE};
use super::{INNER, Setup, Step, network, resolver};

/// The shell's word for a command that is not there.
const NOT_FOUND: u8 = 127;
/// The shell's word for a command that cannot be executed.
const NOT_EXECUTABLE: u8 = 126;

/// Runs the inner process if that is what this process was started as. Call it first thing in
/// `main`: a process with a second thread cannot enter a user namespace.
pub(crate) fn main_if_inner() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != INNER {
        return None;
    }
    let number = |arg: Option<OsString>| arg?.to_str()?.parse::<i32>().ok();
    let (fd, outer) = (number(args.next()), number(args.next()));
    let (Some(fd), Some(outer), Some(program)) = (fd, outer, args.next()) else {
        return Some(ExitCode::FAILURE);
    };
    // Not worth a message: without the outer process there is nobody to read it.
    Some(become_command(fd, outer, &program, args).unwrap_or(ExitCode::FAILURE))
}

#[allow(
    unsafe_code,
    reason = "a descriptor by number is all that a new process gets"
)]
fn become_command(
    fd: RawFd,
    outer: i32,
    program: &OsString,
    args: impl Iterator<Item = OsString>,
) -> io::Result<ExitCode> {
    if fd <= 2 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: the outer process passed this descriptor for us alone to own; standard input,
    // output and error are ruled out above, and nothing else in this process has opened any yet.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    rustix::io::fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
    die_with(outer)?;
    let device = match enter(&socket, outer) {
        Ok(device) => device,
        Err(Failure { step, error }) => {
            let errno = error.raw_os_error();
            let detail = if errno.is_some() {
                String::new()
            } else {
                error.to_string()
            };
            send(
                &socket,
                &FromInner::Failed {
                    step,
                    errno,
                    detail,
                },
                None,
            )?;
            return Ok(ExitCode::FAILURE);
        }
    };
    let network::Device {
        fd,
        name,
        vnet_hdr,
        notes,
    } = device;
    send(
        &socket,
        &FromInner::Device {
            name,
            vnet_hdr,
            notes,
        },
        Some(fd.as_fd()),
    )?;
    // The outer process alone keeps the device, so that it can see its end.
    drop(fd);
    let Some((ToInner::Exec {}, _)) = recv(&socket)? else {
        return Ok(ExitCode::FAILURE);
    };
    let error = Command::new(program).args(args).exec();
    Ok(report(program, &error))
}

/// Asks the kernel to kill this process, and later the command, when the outer one ends.
fn die_with(outer: i32) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have ended before the kernel knew.
    if getppid().map(Pid::as_raw_pid) != Some(outer) {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    Ok(())
}

#[allow(unsafe_code, reason = "rustix's safe unshare is deprecated")]
fn enter(socket: &OwnedFd, outer: i32) -> Result<network::Device, Failure> {
    // SAFETY: no file descriptor table is unshared.
    unsafe { unshare_unsafe(UnshareFlags::NEWUSER) }
        .map_err(|errno| Step::UserNamespace.failed()(errno.into()))?;
    send(socket, &FromInner::Moved {}, None).map_err(Step::Start.failed())?;
    let Some((ToInner::Enter(setup), _)) = recv(socket).map_err(Step::Start.failed())? else {
        return Err(Step::Start.failed()(io::ErrorKind::UnexpectedEof.into()));
    };
    // SAFETY: no file descriptor table is unshared.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWNS) }
        .map_err(|errno| Step::NetNamespace.failed()(errno.into()))?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(|errno| Step::NetNamespace.failed()(errno.into()))?;
    // A change of credentials may have cancelled it.
    die_with(outer).map_err(Step::Start.failed())?;
    make(&setup)
}

fn make(setup: &Setup) -> Result<network::Device, Failure> {
    let node = OpenOptions::new().read(true).write(true).open(NODE);
    drop(node.map_err(Step::Node.failed())?);
    let mut device = network::make(setup)?;
    if let Err(error) = resolver::cover(&setup.resolv_conf) {
        // Names do not resolve, which the command may not need.
        device
            .notes
            .push(format!("/etc/resolv.conf stays as it is: {error}"));
    }
    Ok(device)
}

/// Says what a shell says, and returns what it exits with.
fn report(program: &OsString, error: &io::Error) -> ExitCode {
    let name = program.display();
    if error.kind() == io::ErrorKind::NotFound {
        eprintln!("ustack: {name}: command not found");
        return NOT_FOUND.into();
    }
    match Errno::from_io_error(error) {
        Some(Errno::ACCESS) => eprintln!("ustack: {name}: permission denied"),
        _ => eprintln!("ustack: {name}: {error}"),
    }
    NOT_EXECUTABLE.into()
}
