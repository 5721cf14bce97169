//! The control socket: where a running host makes it, and where others find it. Beside it the
//! metrics.

use std::env;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use tracing::{info, warn};
use ustack::Stack;
use ustack::control::{self, About, Bound, Limits};
use ustack::service::{self, Stopper};

use super::error::{Error, ExitStatus, reason};
use super::settings::{ControlChoice, Settings};

/// Everything by which the host can be looked at from outside; dropped, it ends.
#[derive(Debug)]
pub(crate) struct Outlook {
    /// Where the control socket is.
    pub(crate) socket: Option<PathBuf>,
    /// Where metrics are.
    pub(crate) metrics: Option<SocketAddr>,
    /// Both end with it.
    _stopper: Stopper,
}

impl Outlook {
    /// Starts what the settings ask for, within a tokio runtime.
    pub(crate) fn start(settings: &Settings, stack: &Stack, about: About) -> Result<Self, Error> {
        let bound = bind(&settings.control, &about.device)?;
        let metrics = settings.metrics.map(listen).transpose()?;
        let (stopper, stop) = service::stop();
        let outlook = Self {
            socket: bound.as_ref().map(|bound| bound.path().to_owned()),
            metrics: metrics.as_ref().and_then(|it| it.local_addr().ok()),
            _stopper: stopper,
        };
        if let Some(listener) = metrics {
            let (stack, stop) = (stack.clone(), stop.clone());
            tokio::spawn(async move {
                if let Err(error) = ustack::metrics::serve(listener, stack, stop).await {
                    warn!(%error, "no more metrics");
                }
            });
        }
        if let Some(bound) = bound {
            let stack = stack.clone();
            tokio::spawn(async move {
                let done = control::serve(bound, stack, about, Limits::default(), stop);
                if let Err(error) = done.await {
                    warn!(%error, "the control socket is closed");
                }
            });
        }
        Ok(outlook)
    }
}

/// The socket that was asked for. Where nobody asked, one that cannot be made is no failure.
fn bind(choice: &ControlChoice, device: &str) -> Result<Option<Bound>, Error> {
    let path = match choice {
        ControlChoice::Off => return Ok(None),
        ControlChoice::Path(path) => {
            return control::bind(path).map(Some).map_err(|error| {
                let path = path.display();
                let message = format!("cannot make --control {path}: {}", reason(&error));
                Error::new(ExitStatus::File, message)
                    .hint("Name another path, or use --control off")
            });
        }
        ControlChoice::Default => directories().into_iter().next(),
    };
    let Some(directory) = path else {
        info!("no control socket: there is no $XDG_RUNTIME_DIR; --control PATH makes one");
        return Ok(None);
    };
    sweep(&directory);
    let name = directory.join(format!("{device}.sock"));
    let bound = control::bind(&name).or_else(|error| match error.kind() {
        // A device of that name in another network namespace, such as that of `ustack run`.
        ErrorKind::AddrInUse => {
            let name = format!("{device}-{}.sock", std::process::id());
            control::bind(&directory.join(name))
        }
        _ => Err(error),
    });
    match bound {
        Ok(bound) => Ok(Some(bound)),
        Err(error) => {
            warn!(path = %name.display(), %error, "no control socket; --control PATH makes one");
            Ok(None)
        }
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    let listener = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    listener.map_err(|error| {
        let message = format!("cannot offer --metrics at {address}: {}", reason(&error));
        Error::new(ExitStatus::Conflict, message).hint("Choose another port or address of the host")
    })
}

/// The control socket to talk to: the one named, or else the only one there is.
pub(crate) fn find(named: Option<&Path>) -> Result<PathBuf, Error> {
    if let Some(path) = named {
        return Ok(path.to_owned());
    }
    let mut living: Vec<_> = directories().iter().flat_map(|dir| sockets(dir)).collect();
    living.retain(|path| UnixStream::connect(path).is_ok());
    match &living[..] {
        [only] => Ok(only.clone()),
        [] => Err(Error::new(
            ExitStatus::Other,
            "no ustack is running that this user may look at",
        )
        .hint("Start one: sudo ./ustack. Of another user's: sudo ustack ss")
        .hint("Elsewhere: --socket PATH, as its first lines say")),
        several => {
            let error = Error::new(ExitStatus::Other, "several ustacks are running: choose one");
            Err(several.iter().fold(error, |error, path| {
                error.hint(format!("--socket {}", path.display()))
            }))
        }
    }
}

/// Where sockets are by default, the place for new ones first.
fn directories() -> Vec<PathBuf> {
    let user = geteuid();
    let is_ours = |dir: &PathBuf| fs::metadata(dir).is_ok_and(|dir| dir.uid() == user.as_raw());
    let of_user = |uid: &str| PathBuf::from(format!("/run/user/{uid}"));
    let mut bases = Vec::new();
    let session = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    bases.extend(session.filter(|dir| dir.is_absolute() && is_ours(dir)));
    bases.extend(Some(of_user(&user.as_raw().to_string())).filter(is_ours));
    if user.is_root() {
        bases.push(PathBuf::from("/run"));
        // Under sudo, the program has become the one who called it.
        bases.extend(env::var("SUDO_UID").ok().map(|uid| of_user(&uid)));
    }
    bases.dedup();
    bases.iter().map(|base| base.join("ustack")).collect()
}

fn sockets(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "sock"))
        .collect();
    paths.sort();
    paths
}

/// Removes what programs left behind that were killed.
fn sweep(directory: &Path) {
    for path in sockets(directory) {
        let refused = |error: io::Error| error.kind() == ErrorKind::ConnectionRefused;
        if UnixStream::connect(&path).is_err_and(refused) {
            let _ = fs::remove_file(&path); // or somebody else has
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_behind_is_swept_and_the_living_stays() {
        let dir = tempfile::tempdir().unwrap();
        let living = control::bind(&dir.path().join("a.sock")).unwrap();
        let gone = dir.path().join("b.sock");
        let left = control::bind(&dir.path().join("c.sock")).unwrap();
        fs::rename(left.path(), &gone).unwrap();
        drop(left);
        fs::write(dir.path().join("notes"), "").unwrap();
        assert_eq!(sockets(dir.path()).len(), 2);
        sweep(dir.path());
        assert_eq!(sockets(dir.path()), [living.path()]);
    }

    #[test]
    fn a_socket_that_was_asked_for_and_cannot_be_made_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let _living = control::bind(&path).unwrap();
        let error = bind(&ControlChoice::Path(path), "tun")
            .unwrap_err()
            .render();
        assert!(
            error.contains("a running program has the socket"),
            "{error}"
        );
        assert!(bind(&ControlChoice::Off, "tun").unwrap().is_none());
    }
}
