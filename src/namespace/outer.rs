//! The outer process's part: start the inner one, map the ids, take the device.

use std::ffi::OsString;
use std::fs::{OpenOptions, read_to_string, write};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::process::{Child, Command};

use command_fds::{CommandFdExt as _, FdMapping};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{getegid, geteuid, getpid};

use super::channel::{FromInner, ToInner, recv, send};
use super::obstacle::NODE;
use super::{INNER, Obstacle, Setup, Step};

/// A TUN device that was made in the namespace.
#[derive(Debug)]
pub(crate) struct Device {
    /// Reads and writes its packets. Holds the namespace until closed.
    pub(crate) fd: OwnedFd,
    /// Its name inside.
    pub(crate) name: String,
    /// Frames carry a `virtio_net_hdr`.
    pub(crate) vnet_hdr: bool,
    /// What could not be done and does not matter much.
    pub(crate) notes: Vec<String>,
}

/// The namespaces, with a process in them that waits to become the command. Dropped, it ends.
#[derive(Debug)]
pub(crate) struct Namespaces {
    child: Option<Child>,
    socket: OwnedFd,
}

impl Namespaces {
    /// Makes the namespaces and the device. `command` is the program and its arguments.
    ///
    /// The command dies when the *thread* that calls this ends; call it on the main one.
    pub(crate) fn enter(command: &[OsString], setup: Setup) -> Result<(Self, Device), Obstacle> {
        // The inner process would find the same, but a closed node is the likeliest obstacle and
        // has nothing to do with namespaces.
        let node = OpenOptions::new().read(true).write(true).open(NODE);
        drop(node.map_err(|error| obstacle(Step::Node, &error))?);
        let mut namespaces = Self::spawn(command).map_err(|error| obstacle(Step::Start, &error))?;
        let device = namespaces.set_up(setup)?;
        Ok((namespaces, device))
    }

    /// Lets the inner process become the command.
    pub(crate) fn exec(mut self) -> io::Result<Child> {
        send(&self.socket, &ToInner::Exec {}, None)?;
        // Never `None`: only this method takes it, and by value.
        self.child
            .take()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn spawn(command: &[OsString]) -> io::Result<Self> {
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let (socket, theirs) = socketpair(family, kind, SocketFlags::CLOEXEC, None)?;
        // Its number stays, so that it covers none that the caller passes to the command.
        let number = theirs.as_raw_fd();
        let mut inner = Command::new("/proc/self/exe");
        inner
            .arg(INNER)
            .arg(number.to_string())
            .arg(getpid().to_string())
            .args(command);
        let mapping = FdMapping {
            parent_fd: theirs,
            child_fd: number,
        };
        inner.fd_mappings(vec![mapping]).map_err(io::Error::other)?;
        let child = Some(inner.spawn()?);
        Ok(Self { child, socket })
    }

    fn set_up(&mut self, setup: Setup) -> Result<Device, Obstacle> {
        let FromInner::Moved {} = self.receive()?.0 else {
            return Err(out_of_turn());
        };
        let pid = self.child.as_ref().map_or(0, Child::id);
        map_ids(pid).map_err(|error| obstacle(Step::IdMap, &error))?;
        send(&self.socket, &ToInner::Enter(setup), None)
            .map_err(|error| obstacle(Step::Start, &error))?;
        match self.receive()? {
            (
                FromInner::Device {
                    name,
                    vnet_hdr,
                    notes,
                },
                Some(fd),
            ) => Ok(Device {
                fd,
                name,
                vnet_hdr,
                notes,
            }),
            _ => Err(out_of_turn()),
        }
    }

    fn receive(&mut self) -> Result<(FromInner, Option<OwnedFd>), Obstacle> {
        match recv(&self.socket).map_err(|error| obstacle(Step::Start, &error))? {
            Some((
                FromInner::Failed {
                    step,
                    errno,
                    detail,
                },
                _,
            )) => Err(Obstacle::new(step, errno, detail)),
            Some(message) => Ok(message),
            None => Err(Obstacle::new(Step::Start, None, "it ended early")),
        }
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn obstacle(step: Step, error: &io::Error) -> Obstacle {
    let errno = error.raw_os_error();
    let detail = if errno.is_some() {
        String::new()
    } else {
        error.to_string()
    };
    Obstacle::new(step, errno, detail)
}

fn out_of_turn() -> Obstacle {
    Obstacle::new(Step::Start, None, "it spoke out of turn")
}

/// Gives the user namespace of process `pid` the ids of this one: root all of them, so that a
/// command which changes its user still can; anybody else their own (`user_namespaces(7)`).
fn map_ids(pid: u32) -> io::Result<()> {
    let path = |file: &str| format!("/proc/{pid}/{file}");
    if geteuid().is_root() {
        let all = |map: &str| read_to_string(map).map(|text| identity(&text));
        let whole = all("/proc/self/gid_map")
            .and_then(|map| write(path("gid_map"), map))
            .and_then(|()| all("/proc/self/uid_map"))
            .and_then(|map| write(path("uid_map"), map));
        match whole {
            // Root without CAP_SETUID or CAP_SETGID is like anybody else.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            result => return result,
        }
    }
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    write(path("setgroups"), "deny")?;
    write(path("gid_map"), format!("{gid} {gid} 1"))?;
    write(path("uid_map"), format!("{uid} {uid} 1"))
}

/// The map that leaves all ids of a map (`first parent's-first count` a line) as they are.
fn identity(map: &str) -> String {
    let lines = map.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (first, count) = (words.next()?, words.nth(1)?);
        Some(format!("{first} {first} {count}\n"))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_map_keeps_what_is_mapped() {
        assert_eq!(
            identity("         0          0 4294967295\n"),
            "0 0 4294967295\n"
        );
        assert_eq!(identity("0 1000 1\n1 100000 65536\n"), "0 0 1\n1 1 65536\n");
    }
}
