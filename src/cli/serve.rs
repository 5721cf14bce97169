//! `ustack serve`: opens the device, gives up root, serves until a signal.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::args::Options;
use super::device;
use super::error::{Error, ExitStatus};
use super::flight;
use super::host::{Ending, Host};
use super::privilege::Caller;
use super::settings::{self, Settings};

/// How long requests under way may go on after the first signal.
const FINISH: Duration = Duration::from_secs(4);

/// How long connections may flush and close after that.
const FLUSH: Duration = Duration::from_secs(5);

/// The whole life of the program.
pub(crate) fn main(options: Options) -> Result<ExitCode, Error> {
    let settings = super::prepare(options)?;
    let (attached, made) = device::open(&settings)?;
    let user = give_up_root(&settings)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::new(ExitStatus::Other, format!("no event loop: {error}")))?;
    let last = runtime.block_on(async {
        let mut interrupts = Interrupts::listen()
            .map_err(|error| Error::new(ExitStatus::Other, format!("no signals: {error}")))?;
        let mut again = interrupts.clone();
        let host = Host::start(&settings, attached)?;
        if let Some(recorder) = host.recorder() {
            flight::write_on_signal(recorder)
                .map_err(|error| Error::new(ExitStatus::Other, format!("no signals: {error}")))?;
        }
        say(&announcement(&settings, &host, &made, user.as_deref()));
        let until = async {
            let signal = interrupts.wait(1).await;
            say(&format!(
                "ustack: {signal}: ending; once more ends at once\n"
            ));
            Ending {
                why: format!("stopped by {signal}"),
                finish: FINISH,
                flush: FLUSH,
            }
        };
        let hurry = async {
            again.wait(2).await;
        };
        host.run(until, hurry).await
    })?;
    // What is still running on other threads (a file being read) is not waited for.
    runtime.shutdown_background();
    say(&format!("ustack: {last}\n"));
    Ok(ExitCode::SUCCESS)
}

/// Becomes the user who called `sudo`, and checks that they can use what root could. Returns
/// their name.
fn give_up_root(settings: &Settings) -> Result<Option<String>, Error> {
    let Some(caller) = Caller::from_env().filter(|_| !settings.keep_root) else {
        return Ok(None);
    };
    let name = caller.become_them()?;
    if let Some(dir) = &settings.http_root {
        settings::check_http_root(dir)?;
    }
    Ok(Some(name))
}

/// Prints for the user; nobody listening is no failure.
fn say(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
}

/// What was made, what runs on it, and what to try.
fn announcement(settings: &Settings, host: &Host, made: &str, user: Option<&str>) -> String {
    let list = |prefixes: &[super::address::Prefix]| {
        let texts: Vec<_> = prefixes.iter().map(ToString::to_string).collect();
        texts.join(", ")
    };
    let addresses: Vec<_> = settings
        .addresses
        .iter()
        .map(|prefix| prefix.addr.to_string())
        .collect();
    let mut text = format!("ustack: {made}\n");
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<10} {value}");
    };
    row("stack", &addresses.join(", "));
    row("host side", &list(&settings.host_addresses));
    row(
        "services",
        "HTTP 80, echo 7 and discard 9 (TCP and UDP), chargen 19",
    );
    if let Some(root) = &settings.http_root {
        row("files", &root.display().to_string());
    }
    if settings.forward {
        row("forward", "connections to other addresses");
    }
    for (name, spec) in ["impair in", "impair out"].iter().zip(host.impairment()) {
        if let Some(spec) = spec {
            row(name, &spec.to_string());
        }
    }
    if let Some(capture) = &settings.capture {
        row("capture", &capture.path.display().to_string());
    }
    if let Some(events) = &settings.events {
        row("events", &events.display().to_string());
    }
    let outlook = host.outlook();
    if let Some(socket) = &outlook.socket {
        row("control", &socket.display().to_string());
    }
    if let Some(address) = outlook.metrics {
        row("metrics", &format!("http://{address}/metrics"));
    }
    if let Some(user) = user {
        row("user", &format!("{user} (root given up)"));
    }
    let first = settings.example_address();
    let other = settings
        .addresses
        .last()
        .map_or(first, |prefix| prefix.addr);
    let (page, other) = (in_url(first), in_url(other));
    let _ = write!(
        text,
        "Try:\n  curl http://{page}/\n  \
         curl -s http://{other}/bytes/1GiB | curl -T - http://{other}/discard\n  \
         ping -c 3 {first}\n"
    );
    text
}

/// An address as a URL holds it.
fn in_url(addr: IpAddr) -> String {
    match addr {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

/// SIGINT, SIGTERM and SIGHUP, counted.
#[derive(Clone)]
struct Interrupts(watch::Receiver<(u32, &'static str)>);

impl Interrupts {
    fn listen() -> io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let (sender, receiver) = watch::channel((0, ""));
        tokio::spawn(async move {
            loop {
                let name = tokio::select! {
                    _ = interrupt.recv() => "SIGINT",
                    _ = terminate.recv() => "SIGTERM",
                    _ = hangup.recv() => "SIGHUP",
                };
                sender.send_modify(|(count, last)| {
                    *count += 1;
                    *last = name;
                });
            }
        });
        Ok(Self(receiver))
    }

    /// Ready once `count` signals have come; the last one's name.
    async fn wait(&mut self, count: u32) -> &'static str {
        match self.0.wait_for(|(seen, _)| *seen >= count).await {
            Ok(seen) => seen.1,
            // The task above ends only with the runtime.
            Err(_) => "the end",
        }
    }
}
