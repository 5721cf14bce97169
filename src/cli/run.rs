//! `ustack run`: a command in a network of its own, with the stack as its only neighbour.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitCode, ExitStatus as ProcessStatus};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, Signal, getpgrp, pidfd_open, pidfd_send_signal};
use rustix::termios::tcgetpgrp;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};
use ustack::device::tun::{FdOptions, Tun};

use super::args::{DeviceMode, RunArgs};
use super::error::{Error, ExitStatus, reason};
use super::forward;
use super::host::{Attached, Ending, Host};
use super::settings::{DEFAULT_MTU, Settings, TunChoice};
use crate::namespace::{Device, Namespaces, Obstacle, Setup, resolver};

/// How long connections may go on that the command has left behind.
const FINISH: Duration = Duration::from_secs(2);

/// How long they may flush and close after that.
const FLUSH: Duration = Duration::from_secs(1);

/// Port of name servers.
const DNS: u16 = 53;

/// Runs the command and returns its exit code.
pub(crate) fn main(args: RunArgs) -> Result<ExitCode, Error> {
    let RunArgs { options, command } = args;
    let mut settings = super::prepare(options)?;
    let setup = set_up(&mut settings)?;
    let mtu = setup.mtu;
    // On the main thread, for the command dies with the thread that starts it.
    let (namespaces, device) =
        Namespaces::enter(&command, setup).map_err(|obstacle| explain(&obstacle))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| other("no event loop", &error))?;
    let status = runtime.block_on(async {
        let host = Host::start(&settings, attach(device, mtu)?)?;
        let mut signals = Signals::listen().map_err(|error| other("no signals", &error))?;
        let child = namespaces
            .exec()
            .map_err(|error| other("the command cannot start", &error))?;
        let mut command = Running::new(child).map_err(|error| other("no process", &error))?;
        let mut status = None;
        let until = async {
            status = Some(command.wait(&mut signals).await);
            Ending {
                why: "the command has ended".to_owned(),
                finish: FINISH,
                flush: FLUSH,
            }
        };
        let ended = host.run(until, pending()).await;
        match (ended, status) {
            (result, Some(status)) => {
                match result {
                    Ok(line) => info!("{line}"),
                    Err(error) => warn!("{}", error.render().trim_end()),
                }
                status.map_err(|error| other("the command's end is unknown", &error))
            }
            // The stack has failed under the command, which dies with us.
            (Err(error), None) => Err(error),
            (Ok(line), None) => Err(Error::new(ExitStatus::Other, line)),
        }
    })?;
    // What is still running on other threads (a file being read) is not waited for.
    runtime.shutdown_background();
    Ok(exit_code(status))
}

/// What the inner process is to make; completes the settings by the resolver's part.
fn set_up(settings: &mut Settings) -> Result<Setup, Error> {
    let TunChoice::Name(name) = settings.tun.clone() else {
        let message = "--tun-fd makes no sense for run, which makes a device of its own";
        return Err(Error::new(ExitStatus::Usage, message));
    };
    settings.check_shards(1, "run uses one queue")?;
    let stack = settings.example_address();
    let rules = forward::rules(settings);
    let reaches = |address| rules.check(address).is_ok();
    let forward = settings
        .forward
        .then_some((stack, &reaches as &dyn Fn(_) -> bool));
    let plan = resolver::plan(forward);
    settings.resolver = plan
        .relay
        .map(|server| (SocketAddr::new(stack, DNS), server));
    Ok(Setup {
        name,
        mtu: settings.mtu.unwrap_or(DEFAULT_MTU),
        mode: match settings.device {
            DeviceMode::Auto => "auto",
            DeviceMode::Offload => "offload",
            DeviceMode::Plain => "plain",
        }
        .to_owned(),
        addresses: settings
            .host_addresses
            .iter()
            .map(|prefix| (prefix.addr, prefix.len))
            .collect(),
        resolv_conf: plan.text,
    })
}

fn attach(device: Device, mtu: u16) -> Result<Attached, Error> {
    let Device {
        fd,
        name,
        vnet_hdr,
        notes,
    } = device;
    for note in notes {
        warn!("in the namespace: {note}");
    }
    let options = FdOptions {
        mtu,
        vnet_hdr: Some(vnet_hdr),
    };
    let tun = Tun::from_fd(fd, &options).map_err(|error| {
        Error::new(
            ExitStatus::Device,
            format!("device {name}: {}", reason(&error)),
        )
    })?;
    Ok(Attached::new(vec![tun], None))
}

fn explain(obstacle: &Obstacle) -> Error {
    let status = if obstacle.is_device() {
        ExitStatus::Device
    } else {
        ExitStatus::Other
    };
    let error = Error::new(status, obstacle.message());
    obstacle.ways_out().into_iter().fold(error, Error::hint)
}

fn other(what: &str, error: &io::Error) -> Error {
    Error::new(ExitStatus::Other, format!("{what}: {}", reason(error)))
}

/// The command's exit code, as a shell gives it.
fn exit_code(status: ProcessStatus) -> ExitCode {
    let signal = status.signal().map(|signal| 128 + signal);
    let code = status.code().or(signal).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// The command, while it runs.
struct Running {
    child: Child,
    pidfd: OwnedFd,
    /// SIGCHLD.
    ended: tokio::signal::unix::Signal,
}

impl Running {
    fn new(child: Child) -> io::Result<Self> {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(io::ErrorKind::NotFound)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        let ended = signal(SignalKind::child())?;
        Ok(Self {
            child,
            pidfd,
            ended,
        })
    }

    /// Waits for the end, passing signals on meanwhile.
    async fn wait(&mut self, signals: &mut Signals) -> io::Result<ProcessStatus> {
        loop {
            // The end may have come before we listened for it.
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            tokio::select! {
                _ = self.ended.recv() => {}
                signal = signals.next() => {
                    // An error says that it has just ended.
                    let _ = pidfd_send_signal(&self.pidfd, signal);
                }
            }
        }
    }
}

/// Signals to us that are meant for the command.
struct Signals(Vec<(tokio::signal::unix::Signal, Signal)>);

impl Signals {
    fn listen() -> io::Result<Self> {
        let kinds = [
            (SignalKind::interrupt(), Signal::INT),
            (SignalKind::quit(), Signal::QUIT),
            (SignalKind::terminate(), Signal::TERM),
            (SignalKind::hangup(), Signal::HUP),
            (SignalKind::user_defined1(), Signal::USR1),
            (SignalKind::user_defined2(), Signal::USR2),
        ];
        let streams = kinds
            .into_iter()
            .map(|(kind, name)| Ok((signal(kind)?, name)));
        Ok(Self(streams.collect::<io::Result<_>>()?))
    }

    /// The next one to pass on.
    async fn next(&mut self) -> Signal {
        loop {
            let waits = self.0.iter_mut().map(|(stream, name)| {
                Box::pin(async {
                    stream.recv().await;
                    *name
                })
            });
            let (name, ..) = futures_util::future::select_all(waits).await;
            let from_keyboard = matches!(name, Signal::INT | Signal::QUIT);
            if !(from_keyboard && is_in_foreground()) {
                return name;
            }
        }
    }
}

/// Whether what is typed at the terminal reaches us, and with us the command: it is in the same
/// process group, so it has had its ^C already.
fn is_in_foreground() -> bool {
    let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::CLOEXEC;
    let terminal = rustix::fs::open("/dev/tty", flags, Mode::empty());
    terminal.is_ok_and(|terminal| tcgetpgrp(&terminal).is_ok_and(|group| group == getpgrp()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_the_shells() {
        let code = |raw| format!("{:?}", exit_code(ProcessStatus::from_raw(raw)));
        let shell = |code: u8| format!("{:?}", ExitCode::from(code));
        assert_eq!(code(0), shell(0));
        assert_eq!(code(7 << 8), shell(7));
        assert_eq!(code(255 << 8), shell(255));
        assert_eq!(code(9), shell(137));
        assert_eq!(code(15), shell(143));
    }
}
