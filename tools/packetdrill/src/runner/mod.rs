//! Runs a script against a [`Kernel`], in virtual time.

mod calls;
mod cookies;
mod flow;
mod inbound;
mod messages;
mod outbound;
mod payload;
mod setup;
mod shell;
mod sockets;
mod values;

use std::collections::{BTreeSet, HashMap, VecDeque};

use ustack::tcp::testing::script::ast::{Action, Direction, Event, Nanos, Script, Time};
use ustack::tcp::testing::script::parse;
use ustack::tcp::time::{Duration, Instant};

use crate::code::{self, Variables};
use crate::kernel::{Blocking, Fd, Kernel};
use crate::options::{Addresses, Options, Suite, Tolerance};
use crate::report::{Report, Row, Verdict};
use crate::{symbols, tcp_info};

use calls::Pending;
use cookies::Cookies;
use flow::Flow;
use outbound::Sent;
use payload::Streams;

/// Why a script did not go on.
#[derive(Clone, Debug)]
enum Stop {
    Failed(String),
    NotRunnable(String),
}

type Result<T> = std::result::Result<T, Stop>;

fn failed<T>(reason: impl Into<String>) -> Result<T> {
    Err(Stop::Failed(reason.into()))
}

fn not_runnable(reason: impl Into<String>) -> Stop {
    Stop::NotRunnable(reason.into())
}

/// A call that never comes back is given up after so long.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// Timer turns within one wait, after which the host is taken for mad.
const MAX_TURNS: usize = 1_000_000;

/// Rows of the table that are kept.
const MAX_ROWS: usize = 10_000;

/// Runs the script `text`.
pub fn run(text: &str, options: &Options) -> Report {
    let script = match parse(text, &options.defines) {
        Ok(script) => script,
        Err(error) => {
            return Report {
                verdict: Verdict::NotRunnable {
                    line: error.line,
                    reason: format!("syntax: {}", error.reason),
                },
                rows: Vec::new(),
                notes: Vec::new(),
                isn: None,
            };
        }
    };
    let mut runner = match Runner::new(&script, options) {
        Ok(runner) => runner,
        Err(stop) => {
            return Report {
                verdict: verdict(1, stop),
                rows: Vec::new(),
                notes: Vec::new(),
                isn: None,
            };
        }
    };
    let verdict = match runner.play(&script) {
        Ok(()) => Verdict::Passed,
        Err(stop) => verdict(runner.line, stop),
    };
    Report {
        verdict,
        isn: runner.flows.first().and_then(|flow| flow.first_isn),
        rows: runner.rows,
        notes: runner.notes.into_iter().collect(),
    }
}

fn verdict(line: usize, stop: Stop) -> Verdict {
    match stop {
        Stop::Failed(reason) => Verdict::Failed { line, reason },
        Stop::NotRunnable(reason) => Verdict::NotRunnable { line, reason },
    }
}

struct Runner<'a> {
    options: &'a Options,
    /// What the script's own options say.
    settings: setup::Settings,
    kernel: Kernel,
    /// The script's time 0.
    start: Instant,
    addresses: Addresses,
    /// The script's descriptors and the host's.
    files: HashMap<i64, Fd>,
    /// Files of zeroes that `open` made, by the script's descriptor.
    zeroes: BTreeSet<i64>,
    flows: Vec<Flow>,
    cookies: Cookies,
    /// A `listen` since the newest flow: the next SYN begins another.
    has_listened: bool,
    /// The script's descriptor that connects, until its SYN is seen.
    connecting: Option<i64>,
    /// The descriptor that the script used last for a connection.
    last_fd: Option<i64>,
    pending: Option<Pending>,
    /// FreeBSD's `kern.ipc.maxsockbuf`.
    max_buffer: String,
    /// The bytes of each of the script's descriptors.
    streams: Streams,
    /// Sends that the script takes for done.
    background: Vec<Blocking>,
    sent: VecDeque<Sent>,
    /// When the event before happened, by the script.
    last: Nanos,
    /// The line under way.
    line: usize,
    next_port: u16,
    variables: Variables,
    rows: Vec<Row>,
    notes: BTreeSet<String>,
}

impl<'a> Runner<'a> {
    fn new(script: &Script, options: &'a Options) -> Result<Self> {
        let settings = setup::Settings::of(script, options)?;
        let mut kernel = Kernel::new(&settings.host(options))
            .map_err(|error| not_runnable(format!("the host cannot be set up: {error}")))?;
        kernel.advance_to(kernel.now() + options.uptime);
        Ok(Self {
            options,
            addresses: settings.addresses,
            next_port: settings.first_port,
            settings,
            start: kernel.now(),
            kernel,
            files: HashMap::new(),
            zeroes: BTreeSet::new(),
            flows: Vec::new(),
            cookies: Cookies::new(options.family),
            has_listened: false,
            connecting: None,
            last_fd: None,
            pending: None,
            max_buffer: "2097152".to_string(),
            streams: Streams::new(),
            background: Vec::new(),
            sent: VecDeque::new(),
            last: 0,
            line: 1,
            variables: Variables::new(),
            rows: Vec::new(),
            notes: BTreeSet::new(),
        })
    }

    fn play(&mut self, script: &Script) -> Result<()> {
        for (key, value) in &self.options.sysctls {
            self.sysctl(key, value)?;
        }
        if let Some(init) = &script.init {
            self.line = init.line;
            self.shell(&init.text)?;
        }
        for event in &script.events {
            self.line = event.line;
            self.event(event)?;
        }
        if let Some(pending) = &self.pending {
            return failed(format!("{} still waits at the end", pending.name()));
        }
        if self.options.suite == Suite::Own {
            self.nothing_left()?;
        }
        if let Some(cleanup) = &script.cleanup {
            self.line = cleanup.line;
            self.shell(&cleanup.text)?;
        }
        Ok(())
    }

    fn event(&mut self, event: &Event) -> Result<()> {
        let (from, to) = match event.time {
            Time::Absolute(at) => (at, at),
            Time::Relative(after) => (self.last + after, self.last + after),
            Time::AbsoluteRange(from, to) => (from, to),
            Time::RelativeRange(from, to) => (self.last + from, self.last + to),
            Time::Any => (self.elapsed(), Nanos::MAX),
        };
        if from < self.last {
            return Err(not_runnable("time runs backwards"));
        }
        let window = Window {
            from,
            to,
            slack: self.slack(from),
        };
        if let Action::Packet(packet) = &event.action
            && packet.direction == Direction::Out
        {
            let at = self.expect(packet, window)?;
            // After a range or `*`, what happened is what the next event counts from.
            self.last = if from == to { from } else { at };
            return Ok(());
        }
        self.advance(self.instant(from))?;
        if self.options.suite == Suite::Own && !matches!(event.action, Action::Command(_)) {
            self.nothing_left()?;
        }
        match &event.action {
            Action::Packet(packet) => self.inject(packet)?,
            Action::Call(call) => {
                let base = match event.time {
                    Time::Relative(_) | Time::RelativeRange(..) => self.last,
                    _ => 0,
                };
                self.call(call, event.end.map(|end| base + end))?;
            }
            Action::Command(command) => self.shell(&command.text)?,
            Action::Code(code) => self.code(code)?,
        }
        self.last = from;
        self.retry()
    }

    /// How much `from` may be missed by.
    fn slack(&self, from: Nanos) -> Nanos {
        let Tolerance { nanos, part } = self.settings.tolerance;
        nanos.max(((from - self.last) as f64 * part) as i64)
    }

    /// The script's time.
    fn elapsed(&self) -> Nanos {
        self.at(self.kernel.now())
    }

    fn at(&self, instant: Instant) -> Nanos {
        instant.saturating_since(self.start).as_nanos() as Nanos
    }

    fn instant(&self, at: Nanos) -> Instant {
        self.start + Duration::from_nanos(at.max(0) as u64)
    }

    /// Lets time pass up to `target`, timer by timer: whoever is blocked is asked after each.
    fn advance(&mut self, target: Instant) -> Result<()> {
        for _ in 0..MAX_TURNS {
            self.retry()?;
            if !self.step(target) {
                return Ok(());
            }
        }
        failed("the host's timers fire without end")
    }

    /// Moves the clock to the next timer or to `target`; false once it is there.
    fn step(&mut self, target: Instant) -> bool {
        let deadline = self.pending.as_ref().and_then(Pending::deadline);
        let limit = deadline.map_or(target, |deadline| deadline.min(target));
        if self.kernel.advance_to_next(limit) {
            return true;
        }
        let here = self.kernel.now();
        if here >= target {
            return false;
        }
        self.kernel.advance_to(limit.max(here));
        limit > here && limit < target
    }

    fn code(&mut self, text: &str) -> Result<()> {
        let (info, memory) = (self.info(), self.memory());
        let lookup = |name: &str| {
            if name.starts_with("tcpi_") {
                tcp_info::field(&info, name)
            } else if name.starts_with("SK_MEMINFO_") {
                tcp_info::memory(&memory, name)
            } else {
                symbols::code_value(name)
            }
        };
        let result = code::run(text, &mut self.variables, &lookup);
        let text = text.trim().lines().next().unwrap_or("").to_string();
        let got = match &result {
            Ok(()) => text.clone(),
            Err(code::Stop::Failed(why) | code::Stop::Unknown(why)) => why.clone(),
        };
        self.row(' ', text, got);
        match result {
            Ok(()) => Ok(()),
            Err(code::Stop::Failed(why)) => failed(why),
            Err(code::Stop::Unknown(why)) => Err(not_runnable(why)),
        }
    }

    /// The host's descriptor of the connection that the script is about.
    fn live_fd(&self) -> Option<Fd> {
        let fd = match self.flows.last() {
            Some(flow) => flow.fd,
            None => self.last_fd,
        };
        self.files.get(&fd?).copied()
    }

    /// `SO_MEMINFO` of that connection.
    fn memory(&mut self) -> Vec<u8> {
        let live = self.live_fd().unwrap_or(-1);
        let memory = self
            .kernel
            .getsockopt(live, libc::SOL_SOCKET, libc::SO_MEMINFO, 36);
        memory.unwrap_or_default()
    }

    /// `TCP_INFO` of that connection.
    fn info(&mut self) -> Vec<u8> {
        let live = self.live_fd();
        if let Some(live) = live {
            let info =
                self.kernel
                    .getsockopt(live, libc::IPPROTO_TCP, libc::TCP_INFO, tcp_info::LEN);
            if let Ok(info) = info {
                return info;
            }
        }
        // No descriptor stands for it (any more): its state is all there is to know.
        let state = self.flow_state();
        let number = symbols::state_value(state.as_deref().unwrap_or("CLOSE"));
        vec![number.unwrap_or(7) as u8]
    }

    /// The state of the newest flow's connection, whoever holds it; `None` when there is none.
    fn flow_state(&self) -> Option<String> {
        let flow = self.flows.last()?;
        let tcp = self.kernel.host().tcp();
        let mut connections = tcp.connections();
        connections
            .find(|c| c.flow.local == flow.local && c.flow.remote == flow.remote)
            .map(|c| c.state.to_string())
    }

    fn row(&mut self, way: char, wanted: String, got: String) {
        if self.rows.len() < MAX_ROWS {
            self.rows.push(Row {
                line: self.line,
                at: self.elapsed(),
                way,
                wanted,
                got,
            });
        }
    }

    fn note(&mut self, note: impl Into<String>) {
        self.notes.insert(note.into());
    }
}

/// When something must happen.
#[derive(Clone, Copy, Debug)]
struct Window {
    from: Nanos,
    to: Nanos,
    slack: Nanos,
}

impl Window {
    /// The last moment that is not late.
    const fn end(&self) -> Nanos {
        self.to.saturating_add(self.slack)
    }

    const fn has(&self, at: Nanos) -> bool {
        at >= self.from - self.slack && at <= self.end()
    }
}
