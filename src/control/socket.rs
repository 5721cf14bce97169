//! The socket in the file system: its owner's alone, and never another program's.

use std::fs;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// Clients that may wait to be accepted.
const BACKLOG: i32 = 16;

/// A socket that listens, and its file, which is removed with it.
#[derive(Debug)]
pub struct Bound {
    listener: UnixListener,
    path: PathBuf,
}

impl Bound {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path); // somebody else may have been faster
    }
}

/// Makes the socket at `path`, readable and writable by this user alone (0600). Directories that
/// are missing are made, for this user alone too.
///
/// What a program that is gone has left there is replaced. Fails with
/// [`io::ErrorKind::AddrInUse`] where a program answers, and with
/// [`io::ErrorKind::AlreadyExists`] where something else lies.
pub fn bind(path: &Path) -> io::Result<Bound> {
    if let Some(parent) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        make_directory(parent)?;
    }
    clear(path)?;
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // Before it has a name: so it is never open to others.
    rustix::fs::fchmod(&fd, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&fd, &address)?;
    let bound = Bound {
        listener: UnixListener::from(fd),
        path: path.to_owned(),
    };
    rustix::net::listen(&bound.listener, BACKLOG)?;
    Ok(bound)
}

fn make_directory(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(dir)
}

/// Removes a socket that nobody listens at.
fn clear(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt as _;
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!("{} exists and is no socket", path.display()),
        ));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            format!("a running program has the socket {}", path.display()),
        )),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn it_is_its_owners_alone_and_goes_with_its_program() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/one.sock");
        let bound = bind(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert!(UnixStream::connect(&path).is_ok());
        drop(bound);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("one.sock");
        let live = bind(&path).unwrap();
        let error = bind(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{error}");
        assert!(UnixStream::connect(&path).is_ok(), "it still answers");
        // A program that is killed leaves its file.
        let stale = dir.path().join("stale.sock");
        fs::rename(&path, &stale).unwrap();
        drop(live);
        assert!(stale.exists());
        let bound = bind(&stale).unwrap();
        assert!(UnixStream::connect(bound.path()).is_ok());
    }

    #[test]
    fn a_file_of_somebody_elses_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes");
        fs::write(&path, "mine").unwrap();
        let error = bind(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists, "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        let long = dir.path().join("x".repeat(200));
        assert!(bind(&long).is_err(), "longer than a socket's name can be");
    }
}
