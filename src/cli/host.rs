//! A stack on an open device with its services: what `serve` and `run` have in common.

use std::fmt::Write as _;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use ustack::control::About;
use ustack::device::{
    CaptureCounters, Device, FlightRecorder, Impair, ImpairCounters, ImpairSpec, LaneCounters,
};
use ustack::observe::EventLogCounters;
use ustack::service::forward::{ForwardCounters, Forwarder};
use ustack::service::{self, Stopper};
use ustack::tcp::CongestionAlgorithm;
use ustack::{Config, Stack, Stats};

use super::args::Congestion;
use super::control::Outlook;
use super::error::{Error, ExitStatus, reason};
use super::settings::Settings;
use super::threads::Threads;
use super::{events, flight, forward, services};

/// What devices have lost, with what it was lost to.
type Losses = Box<dyn Fn() -> Vec<(u64, &'static str)> + Send>;

/// An open device, and what is known of it besides.
pub(crate) struct Attached {
    /// The device's queues, at least one.
    pub(crate) queues: Vec<Box<dyn Device>>,
    /// Its name, for captures.
    pub(crate) name: String,
    /// Counts of frames lost at the device, each with the clause that explains it. Asked while
    /// the device still exists.
    pub(crate) losses: Losses,
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
    drivers: JoinSet<io::Result<()>>,
    services: JoinSet<()>,
    stopper: Stopper,
    counters: Counters,
    impairment: [Option<ImpairSpec>; 2],
    outlook: Outlook,
    /// Last, so that nothing runs any more when they end.
    threads: Threads,
}

struct Counters {
    started: Instant,
    forward: Option<Arc<ForwardCounters>>,
    losses: Losses,
    impair: Option<Arc<ImpairCounters>>,
    capture: Option<Arc<CaptureCounters>>,
    events: Option<Arc<EventLogCounters>>,
    recorder: Option<FlightRecorder>,
}

impl Counters {
    fn new(losses: Losses) -> Self {
        Self {
            started: Instant::now(),
            forward: None,
            losses,
            impair: None,
            capture: None,
            events: None,
            recorder: None,
        }
    }
}

impl Host {
    /// Starts stack and services, within a tokio runtime, which is the first shard's. Once this
    /// returns, clients are answered.
    pub(crate) fn start(settings: &Settings, attached: Attached) -> Result<Self, Error> {
        let Attached {
            mut queues,
            name: interface,
            losses,
        } = attached;
        let mut counters = Counters::new(losses);
        let about = about(settings, &interface, &queues);
        let impairment = impair(settings, &mut queues, &mut counters);
        if let Some(capture) = &settings.capture {
            (queues, counters.capture) = capture.record(queues, interface.clone(), &impairment)?;
        }
        if let Some(recorder) = &settings.recorder {
            let recorder = flight::record(recorder, queues, interface, &impairment);
            (queues, counters.recorder) = (recorder.0, Some(recorder.1));
        }
        let mut config = config(settings);
        if let Some(path) = &settings.events {
            let log = events::open(path, queues.len(), &impairment)?;
            counters.events = Some(log.counters());
            config = config.events(Arc::new(log));
        }
        let failed = |what: &'static str| {
            move |error| Error::new(ExitStatus::Other, format!("{what} cannot start: {error}"))
        };
        let threads = Threads::start(queues.len()).map_err(failed("a thread"))?;
        let started = Stack::with_queues(config, queues);
        let (stack, drivers_of_shards) = started.map_err(failed("the stack"))?;
        let mut drivers = JoinSet::new();
        for (driver, handle) in drivers_of_shards.into_iter().zip(threads.handles()) {
            drivers.spawn_on(driver, handle);
        }
        let (stopper, stop) = service::stop();
        let mut services = services::start(settings, &stack, threads.handles(), &stop)
            .map_err(failed("a service"))?;
        if settings.forward {
            let forwarders = Forwarder::bind_each(&stack, &forward::config(settings));
            let forwarders = forwarders.map_err(failed("a service"))?;
            counters.forward = forwarders.first().map(Forwarder::counters);
            for (forwarder, handle) in forwarders.into_iter().zip(threads.handles()) {
                services.spawn_on(forwarder.run(stop.clone()), handle);
            }
        }
        let outlook = Outlook::start(settings, &stack, about)?;
        Ok(Self {
            stack,
            drivers,
            services,
            stopper,
            counters,
            impairment,
            outlook,
            threads,
        })
    }

    /// What happens to packets to the stack and from it, seeds included: given again, the same
    /// will happen.
    pub(crate) fn impairment(&self) -> &[Option<ImpairSpec>; 2] {
        &self.impairment
    }

    /// By what it can be looked at.
    pub(crate) fn outlook(&self) -> &Outlook {
        &self.outlook
    }

    /// The flight recorder, if there is one.
    pub(crate) fn recorder(&self) -> Option<FlightRecorder> {
        self.counters.recorder.clone()
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
            mut drivers,
            services,
            stopper,
            counters,
            impairment: _,
            outlook,
            threads: _threads,
        } = self;
        let Ending { why, finish, flush } = tokio::select! {
            Some(ended) = drivers.join_next() => return Err(device_gone(ended, drivers).await),
            ending = until => ending,
        };
        stopper.stop();
        drop(outlook);
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
        drivers.shutdown().await;
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

/// What the control socket tells of the host.
fn about(settings: &Settings, device: &str, queues: &[Box<dyn Device>]) -> About {
    let caps = queues.first().map(Device::caps);
    About {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        device: device.to_owned(),
        addresses: settings.addresses.iter().map(ToString::to_string).collect(),
        mtu: caps.map_or(0, |caps| caps.mtu),
        offload: caps.is_some_and(|caps| caps.tso),
        shards: queues.len(),
        ..About::default()
    }
}

/// Puts faults before the device, if any were asked for; returns them, seeds included.
fn impair(
    settings: &Settings,
    queues: &mut Vec<Box<dyn Device>>,
    counters: &mut Counters,
) -> [Option<ImpairSpec>; 2] {
    let (inbound, outbound) = (settings.impair_in.clone(), settings.impair_out.clone());
    if inbound.is_none() && outbound.is_none() {
        return [None, None];
    }
    // One queue only, as the settings have seen to.
    let device = queues.swap_remove(0);
    let impair = Impair::new(device, inbound, outbound);
    counters.impair = Some(impair.counters());
    let specs = impair.specs().into();
    queues.push(Box::new(impair));
    specs
}

fn config(settings: &Settings) -> Config {
    let congestion = match settings.congestion {
        Congestion::Reno => CongestionAlgorithm::Reno,
        Congestion::Cubic => CongestionAlgorithm::Cubic,
        Congestion::Bbr => CongestionAlgorithm::Bbr,
    };
    let config = Config::new()
        .congestion(congestion)
        .busy_poll(settings.busy_poll)
        .memory(settings.memory)
        .transparent(settings.forward);
    let addresses = settings.addresses.iter();
    addresses.fold(config, |config, prefix| {
        config.address(prefix.addr, prefix.len)
    })
}

type Ended = Result<io::Result<()>, tokio::task::JoinError>;

/// A driver ended although nobody had asked it to, and so do the others.
async fn device_gone(mut ended: Ended, mut others: JoinSet<io::Result<()>>) -> Error {
    let is_removal =
        |ended: &Ended| matches!(ended, Ok(Err(error)) if error.kind() == ErrorKind::NetworkDown);
    // Who was only told of the end does not know why it came.
    let all_told = async {
        while !is_removal(&ended)
            && let Some(other) = others.join_next().await
        {
            ended = if is_removal(&other) { other } else { ended };
        }
        ended
    };
    let Ok(ended) = tokio::time::timeout(Duration::from_secs(2), all_told).await else {
        return Error::new(ExitStatus::DeviceGone, "the device failed");
    };
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
            ..
        } = self;
        let device = &stats.device;
        let mut line = format!(
            "{why} after {} s: {} frames in ({}), {} out ({}){}",
            started.elapsed().as_secs(),
            device.rx_frames,
            bytes(device.rx_bytes),
            device.tx_frames,
            bytes(device.tx_bytes),
            memory(stats),
        );
        let mut add = |count: u64, what: &str| {
            if count > 0 {
                let _ = write!(line, "; {count} {what}");
            }
        };
        for &(count, what) in losses {
            add(count, what);
        }
        add(device.handed_over, "handed over between shards");
        add(device.handover_dropped, "lost between shards");
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
        self.report_files(&mut line);
        line
    }

    /// How much was written to files.
    fn report_files(&self, line: &mut String) {
        let recordings = self.recorder.as_ref().map(FlightRecorder::counters);
        let recordings = recordings.map_or(0, |counters| counters.files.load(Ordering::Relaxed));
        if recordings > 0 {
            let plural = if recordings > 1 { "s" } else { "" };
            let _ = write!(line, "; {recordings} flight recording{plural}");
        }
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let capture = self.capture.as_ref();
        let capture = capture.map(|files| (count(&files.written), count(&files.dropped)));
        let events = self.events.as_ref();
        let events = events.map(|log| (count(&log.written), count(&log.dropped)));
        for (counts, what, file) in [(capture, "captured", "capture"), (events, "events", "log")] {
            let Some((written, dropped)) = counts else {
                continue;
            };
            let _ = write!(line, "; {written} {what}");
            if dropped > 0 {
                let _ = write!(line, ", {dropped} missing from the {file}");
            }
        }
        let left_out = self.capture.as_ref();
        let left_out = left_out.map_or(0, |files| count(&files.events_left_out));
        if left_out > 0 {
            let _ = write!(line, "; {left_out} events in no comment of the capture");
        }
    }
}

/// How the budget of memory stands, and what its shortness has cost; nothing without one.
fn memory(stats: &Stats) -> String {
    let memory = &stats.memory;
    if memory.limit == 0 {
        return String::new();
    }
    let (used, limit) = (bytes(memory.used as u64), bytes(memory.limit as u64));
    let mut text = format!("; memory {used} of {limit}");
    let tcp = &stats.tcp.counters;
    for (count, what) in [
        (tcp.memory_pressures, "times short of it"),
        (
            tcp.rcv_q_drop + tcp.ofo_drop + stats.udp.mem_errors,
            "dropped for want of it",
        ),
        (tcp.ofo_pruned, "pruned above gaps"),
        (tcp.writers_starved, "waits for it"),
    ] {
        if count > 0 {
            let _ = write!(text, ", {count} {what}");
        }
    }
    text
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
