//! A stack on an open device with its services: what `serve` and `run` have in common.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, JoinSet};
use tracing::debug;
use ustack::device::{
    Capture, CaptureCounters, CaptureOptions, Device, Impair, ImpairCounters, ImpairSpec,
    LaneCounters,
};
use ustack::service::forward::{ForwardCounters, Forwarder};
use ustack::service::http::{self, HttpConfig};
use ustack::service::{self, IdleTimeout, Limits, Stop, Stopper};
use ustack::tcp::CongestionAlgorithm;
use ustack::{Config, Stack, Stats, TcpListener, TcpStream, UdpSocket};

use super::args::Congestion;
use super::error::{Error, ExitStatus, reason};
use super::forward;
use super::settings::{self, Settings};

/// What the small services grant; HTTP grants the defaults.
const SMALL: Limits = Limits {
    connections: 256,
    idle: Duration::from_secs(600),
};

/// Ports of the services (RFC 9110, 862, 863, 864).
const HTTP: u16 = 80;
const ECHO: u16 = 7;
const DISCARD: u16 = 9;
const CHARGEN: u16 = 19;

/// An open device, and what is known of it besides.
pub(crate) struct Attached {
    /// The device.
    pub(crate) device: Box<dyn Device>,
    /// Its name, for captures.
    pub(crate) name: String,
    /// Counts of frames lost at the device, each with the clause that explains it. Asked while
    /// the device still exists.
    pub(crate) losses: Box<dyn Fn() -> Vec<(u64, &'static str)> + Send>,
}

/// Why a host ends, and how long its connections may take.
#[derive(Debug)]
pub(crate) struct Ending {
    /// For the last line: "stopped by SIGTERM".
    pub(crate) why: String,
    /// How long requests under way may go on.
    pub(crate) finish: Duration,
    /// How long connections may flush and close after that.
    pub(crate) flush: Duration,
}

/// A host that is up.
pub(crate) struct Host {
    stack: Stack,
    driver: JoinHandle<io::Result<()>>,
    services: JoinSet<()>,
    stopper: Stopper,
    counters: Counters,
    impairment: [Option<ImpairSpec>; 2],
}

struct Counters {
    started: Instant,
    forward: Option<Arc<ForwardCounters>>,
    losses: Box<dyn Fn() -> Vec<(u64, &'static str)> + Send>,
    impair: Option<Arc<ImpairCounters>>,
    capture: Option<Arc<CaptureCounters>>,
}

impl Host {
    /// Starts stack and services, within a tokio runtime. Once this returns, clients are answered.
    pub(crate) fn start(settings: &Settings, attached: Attached) -> Result<Self, Error> {
        let Attached {
            mut device,
            name,
            losses,
        } = attached;
        let mut counters = Counters {
            started: Instant::now(),
            forward: None,
            losses,
            impair: None,
            capture: None,
        };
        let mut impairment = [None, None];
        if settings.impair_in.is_some() || settings.impair_out.is_some() {
            let (inbound, outbound) = (settings.impair_in.clone(), settings.impair_out.clone());
            let impair = Impair::new(device, inbound, outbound);
            counters.impair = Some(impair.counters());
            impairment = impair.specs().into();
            device = Box::new(impair);
        }
        if let Some(path) = &settings.capture {
            let capture = open_capture(path, device, name)?;
            counters.capture = Some(capture.counters());
            device = Box::new(capture);
        }
        let (stack, driver) = Stack::new(config(settings), device).map_err(|error| {
            Error::new(
                ExitStatus::Other,
                format!("the stack cannot start: {error}"),
            )
        })?;
        let driver = tokio::spawn(driver);
        let (stopper, stop) = service::stop();
        let failed = |error| {
            Error::new(
                ExitStatus::Other,
                format!("a service cannot start: {error}"),
            )
        };
        let mut services = start_services(settings, &stack, &stop).map_err(failed)?;
        if settings.forward {
            let forwarder = Forwarder::bind(&stack, forward::config(settings)).map_err(failed)?;
            counters.forward = Some(forwarder.counters());
            services.spawn(forwarder.run(stop));
        }
        Ok(Self {
            stack,
            driver,
            services,
            stopper,
            counters,
            impairment,
        })
    }

    /// What happens to packets to the stack and from it, seeds included: given again, the same
    /// will happen.
    pub(crate) fn impairment(&self) -> &[Option<ImpairSpec>; 2] {
        &self.impairment
    }

    /// Serves until `until`, then ends in good order, or at once when `hurry` is ready. Returns
    /// the last line for the user.
    pub(crate) async fn run(
        self,
        until: impl Future<Output = Ending>,
        hurry: impl Future<Output = ()>,
    ) -> Result<String, Error> {
        let Self {
            stack,
            mut driver,
            services,
            stopper,
            counters,
            impairment: _,
        } = self;
        let Ending { why, finish, flush } = tokio::select! {
            ended = &mut driver => return Err(device_gone(ended)),
            ending = until => ending,
        };
        stopper.stop();
        let closed = tokio::select! {
            () = close(&stack, services, finish, flush) => true,
            () = hurry => false,
        };
        let left = stack.connections().len();
        if !closed {
            // A reset for each, so that no peer waits in vain.
            let reset = stack.shutdown(Duration::ZERO);
            let _ = tokio::time::timeout(Duration::from_millis(200), reset).await;
        }
        let losses = (counters.losses)();
        // Drops the device, which completes a capture.
        driver.abort();
        let _ = driver.await;
        let mut line = counters.report(&why, &stack.stats(), &losses);
        if !closed && left > 0 {
            let _ = write!(line, "; {left} connections cut off");
        }
        Ok(line)
    }
}

/// Lets services finish and connections flush, each for its time.
async fn close(stack: &Stack, mut services: JoinSet<()>, finish: Duration, flush: Duration) {
    let all_done = async { while services.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(finish, all_done).await;
    services.shutdown().await;
    let _ = tokio::time::timeout(flush + Duration::from_millis(500), stack.shutdown(flush)).await;
}

fn config(settings: &Settings) -> Config {
    let congestion = match settings.congestion {
        Congestion::Reno => CongestionAlgorithm::Reno,
        Congestion::Cubic => CongestionAlgorithm::Cubic,
        Congestion::Bbr => CongestionAlgorithm::Bbr,
    };
    let config = Config::new()
        .congestion(congestion)
        .transparent(settings.forward);
    let addresses = settings.addresses.iter();
    addresses.fold(config, |config, prefix| {
        config.address(prefix.addr, prefix.len)
    })
}

fn open_capture(
    path: &Path,
    device: Box<dyn Device>,
    interface: String,
) -> Result<Capture<Box<dyn Device>>, Error> {
    let options = CaptureOptions {
        interface,
        ..CaptureOptions::default()
    };
    File::create(path)
        .and_then(|file| Capture::new(device, file, options))
        .map_err(|error| settings::capture_error(path, &error))
}

fn start_services(settings: &Settings, stack: &Stack, stop: &Stop) -> io::Result<JoinSet<()>> {
    let mut services = JoinSet::new();
    let listen = |port| TcpListener::bind(stack, (Ipv6Addr::UNSPECIFIED, port).into());

    let live = stack.clone();
    let router = http::router(HttpConfig {
        connections: Arc::new(move || live.connections()),
        root: settings.http_root.clone(),
    });
    let limits = Limits::default();
    services.spawn(service::serve(
        "http",
        listen(HTTP)?,
        limits,
        stop.clone(),
        move |io, _, stop| http::connection(io, router.clone(), stop),
    ));
    let (echo, discard, chargen) = (listen(ECHO)?, listen(DISCARD)?, listen(CHARGEN)?);
    services.spawn(small("echo", echo, stop, service::echo));
    services.spawn(small("discard", discard, stop, service::discard));
    services.spawn(small("chargen", chargen, stop, service::chargen));

    for any in [
        IpAddr::from(Ipv4Addr::UNSPECIFIED),
        Ipv6Addr::UNSPECIFIED.into(),
    ] {
        let bind = |port| UdpSocket::bind(stack, SocketAddr::new(any, port));
        let (echo, discard) = (bind(ECHO)?, bind(DISCARD)?);
        let (stop_echo, stop_discard) = (stop.clone(), stop.clone());
        services.spawn(async { log_end("echo", service::udp_echo(echo, stop_echo).await) });
        services.spawn(async {
            log_end("discard", service::udp_discard(discard, stop_discard).await);
        });
    }
    Ok(services)
}

/// One of the services that talk to every client alike.
fn small<H, F>(
    name: &'static str,
    listener: TcpListener,
    stop: &Stop,
    talk: H,
) -> impl Future<Output = ()> + use<H, F>
where
    H: Fn(IdleTimeout<TcpStream>, Stop) -> F,
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    service::serve(name, listener, SMALL, stop.clone(), move |io, _, stop| {
        talk(io, stop)
    })
}

fn log_end(service: &str, result: io::Result<()>) {
    if let Err(error) = result {
        debug!(service, %error, "the service ended");
    }
}

/// The driver ended although nobody had asked it to.
fn device_gone(ended: Result<io::Result<()>, tokio::task::JoinError>) -> Error {
    match ended {
        Ok(Err(error)) if error.kind() == ErrorKind::NetworkDown => {
            Error::new(ExitStatus::DeviceGone, error.to_string())
                .hint("Somebody deleted it (ip link delete) or its network namespace; start again")
        }
        Ok(Err(error)) => Error::new(
            ExitStatus::DeviceGone,
            format!("the device failed: {}", reason(&error)),
        ),
        Ok(Ok(())) => Error::new(ExitStatus::Other, "the stack ended by itself"),
        Err(error) => Error::new(
            ExitStatus::Other,
            format!("the packet loop failed: {error}"),
        ),
    }
}

impl Counters {
    /// What happened, in one line; losses are named, and only if there were any.
    fn report(&self, why: &str, stats: &Stats, losses: &[(u64, &str)]) -> String {
        let Self {
            started,
            forward,
            losses: _,
            impair,
            capture,
        } = self;
        let device = &stats.device;
        let mut line = format!(
            "{why} after {} s: {} frames in ({}), {} out ({})",
            started.elapsed().as_secs(),
            device.rx_frames,
            bytes(device.rx_bytes),
            device.tx_frames,
            bytes(device.tx_bytes),
        );
        let mut add = |count: u64, what: &str| {
            if count > 0 {
                let _ = write!(line, "; {count} {what}");
            }
        };
        for &(count, what) in losses {
            add(count, what);
        }
        if let Some(forward) = forward.as_ref().map(|forward| forward.stats()) {
            add(forward.tcp_relayed, "connections forwarded");
            add(forward.prohibited, "attempts at forbidden addresses");
        }
        if let Some(impair) = impair {
            let both =
                |count: fn(&LaneCounters) -> u64| count(&impair.inbound) + count(&impair.outbound);
            add(
                both(|lane| lane.lost.load(Ordering::Relaxed)),
                "lost on purpose",
            );
            add(
                both(|lane| lane.overflowed.load(Ordering::Relaxed)),
                "beyond the queue of --impair",
            );
            add(
                both(|lane| lane.codel_dropped.load(Ordering::Relaxed)),
                "dropped by CoDel",
            );
            add(
                both(|lane| lane.oversized.load(Ordering::Relaxed)),
                "larger than the mtu of --impair",
            );
        }
        if let Some(capture) = capture {
            let written = capture.written.load(Ordering::Relaxed);
            let _ = write!(line, "; {written} captured");
            let dropped = capture.dropped.load(Ordering::Relaxed);
            if dropped > 0 {
                let _ = write!(line, ", {dropped} missing from the capture");
            }
        }
        line
    }
}

/// A size for people: three digits and a unit.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && value < 9.95);
    format!("{value:.digits$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_for_people() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (9_960, "10 kB"),
            (999_600, "1.0 MB"),
            (1_073_741_824, "1.1 GB"),
            (u64::MAX, "18446744 TB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }
}
