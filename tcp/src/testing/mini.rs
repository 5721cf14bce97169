//! Runs a script, in virtual time, against one endpoint: the tests' own language.

use std::collections::VecDeque;
use std::format;
use std::net::{IpAddr, SocketAddr};
use std::string::{String, ToString};
use std::vec::Vec;

use bytes::Bytes;

use crate::config::{Config, SocketOptions};
use crate::endpoint::{ConnId, ListenOptions, ListenerId, Read, Tcp};
use crate::error::{CloseReason, SocketError};
use crate::segment::{Ecn, Flags, FlowKey, Segment};
use crate::seq::WireSeq;
use crate::time::{Duration, Instant};

use super::pair::{Recorder, pattern};
use super::script_line::{Action, Base, Line, describe, matches, parse, segment};

/// An outgoing segment may be this late, for the timer wheel's ticks.
const TOLERANCE: Duration = Duration::from_millis(2);

/// A script under way: one endpoint, one connection, and a peer that the script plays.
#[derive(Debug)]
pub struct Script {
    tcp: Tcp,
    mtu: u16,
    now: Instant,
    flow: FlowKey,
    base: Base,
    options: SocketOptions,
    listener: Option<ListenerId>,
    conn: Option<ConnId>,
    written: u64,
    read: u64,
    /// What left and no line has asked for yet.
    sent: VecDeque<(Instant, Segment)>,
    /// Whether our ISN is known.
    started: bool,
}

/// Runs `text` over IPv4 and IPv6; `Err` says which line failed, and how.
pub fn run_script(text: &str) -> Result<(), String> {
    for ipv6 in [false, true] {
        // The peer's ISN in the middle of the space, just before its end, and at its beginning.
        for peer_isn in [0x1234_5678, u32::MAX - 100, 0] {
            let family = if ipv6 { "IPv6" } else { "IPv4" };
            Script::new(ipv6, WireSeq(peer_isn))
                .run(text)
                .map_err(|why| format!("over {family}, ISN {peer_isn}: {why}"))?;
        }
    }
    Ok(())
}

impl Script {
    /// A script's endpoint: MSS 1000 for either family, so that numbers are round.
    pub fn new(ipv6: bool, peer_isn: WireSeq) -> Self {
        let mtu = if ipv6 { 1060 } else { 1040 };
        let config = Config {
            mtu,
            ..Config::default()
        };
        let address = |v4: &str, v6: &str| -> SocketAddr {
            if ipv6 { v6 } else { v4 }
                .parse()
                .unwrap_or_else(|_| unreachable!("an address"))
        };
        Self {
            tcp: Tcp::new(config, [7; 32]),
            mtu,
            now: Instant::from_millis(1_000),
            flow: FlowKey {
                local: address("10.0.0.1:80", "[fd00::1]:80"),
                remote: address("10.0.0.2:5000", "[fd00::2]:5000"),
            },
            base: Base {
                peer_isn,
                ..Base::default()
            },
            options: SocketOptions::default(),
            listener: None,
            conn: None,
            written: 0,
            read: 0,
            sent: VecDeque::new(),
            started: false,
        }
    }

    /// Runs the lines of `text`; what leaves without a line that asks for it is an error.
    pub fn run(&mut self, text: &str) -> Result<(), String> {
        for line in parse(text)? {
            self.line(&line)
                .map_err(|why| format!("line {}: {why}", line.number))?;
        }
        self.nothing_left()
            .map_err(|why| format!("at the end: {why}"))
    }

    fn line(&mut self, line: &Line) -> Result<(), String> {
        let target = self.now + line.after;
        match &line.action {
            Action::Out(expected) => self.expect(target, expected),
            Action::In(text) => {
                self.advance(target);
                self.nothing_left()?;
                let segment = segment(text, &self.base)?;
                let flow = self.flow;
                // A drop is fine: what counts is what leaves.
                let _ = self
                    .tcp
                    .on_segment(self.now, &flow, true, Ecn::NotEct, segment);
                self.turn();
                Ok(())
            }
            Action::Call {
                name,
                argument,
                result,
            } => {
                self.advance(target);
                self.nothing_left()?;
                let got = self.call(name, argument)?;
                self.turn();
                match result {
                    Some(wanted) if *wanted != got => {
                        Err(format!("{name}({argument}) = {got}, not {wanted}"))
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    fn expect(&mut self, target: Instant, expected: &str) -> Result<(), String> {
        // Timers of the line before may still have to fire.
        self.advance(target + TOLERANCE);
        let Some((at, sent)) = self.sent.pop_front() else {
            return Err(format!("nothing left; expected\n  > {expected}"));
        };
        let got = describe(&sent, &self.base);
        if !matches(expected, &got) {
            return Err(format!("expected\n  > {expected}\ngot\n  > {got}"));
        }
        let slack = target.saturating_before(TOLERANCE);
        if at < slack {
            return Err(format!("{got} left at {at:?}, {:?} early", target - at));
        }
        self.now = self.now.max(at).min(target.max(at));
        Ok(())
    }

    /// Lets time pass up to `target`, deadline by deadline.
    fn advance(&mut self, target: Instant) {
        self.turn();
        while let Some(deadline) = self.tcp.poll_timeout()
            && deadline <= target
        {
            self.now = self.now.max(deadline);
            self.turn();
        }
        self.now = self.now.max(target);
    }

    fn turn(&mut self) {
        self.tcp.on_timeout(self.now);
        while self.tcp.poll_event().is_some() {}
        while self.tcp.has_ready() {
            let mut recorder = Recorder {
                sent: Vec::new(),
                mtu: self.mtu,
                tso: false,
            };
            self.tcp.poll_transmit(self.now, &mut recorder);
            for sent in recorder.sent {
                self.on_sent(sent.segment);
            }
        }
    }

    fn on_sent(&mut self, segment: Segment) {
        if segment.has(Flags::SYN) && !self.started {
            self.started = true;
            self.base.our_isn = segment.seq;
            self.base.our_ts = segment.options.timestamps().map_or(0, |ts| ts.tsval);
        }
        self.sent.push_back((self.now, segment));
    }

    fn nothing_left(&mut self) -> Result<(), String> {
        match self.sent.front() {
            None => Ok(()),
            Some((at, sent)) => Err(format!(
                "unexpected, at {at:?}:\n  > {}",
                describe(sent, &self.base)
            )),
        }
    }

    /// The application's calls, named after the system's; `set` changes a socket option.
    fn call(&mut self, name: &str, argument: &str) -> Result<String, String> {
        let now = self.now;
        let number = || {
            argument
                .parse::<usize>()
                .map_err(|_| format!("{argument} is no number"))
        };
        Ok(match name {
            "listen" => self.listen(argument == "hold")?,
            "connect" => {
                let opened = self.tcp.connect(now, self.flow, self.options);
                self.conn = Some(opened.map_err(|e| format!("{e:?}"))?.0);
                "0".to_string()
            }
            "accept" => {
                let listener = self.listener.ok_or("no listener")?;
                self.conn = self.tcp.accept(listener).map(|(id, _)| id);
                if self.conn.is_some() { "0" } else { "again" }.to_string()
            }
            "set" => self.set(argument)?,
            "state" => {
                let flow = self.flow;
                let state = self
                    .tcp
                    .connections()
                    .find(|c| c.flow == flow)
                    .map(|c| c.state);
                state.map_or_else(|| "CLOSED".to_string(), |state| state.to_string())
            }
            "write" => {
                let data: Bytes = pattern(self.written, number()?);
                let taken = self.tcp.write(now, self.id()?, &data);
                self.written += *taken.as_ref().unwrap_or(&0) as u64;
                taken.map_or_else(|error| errno(error).to_string(), |n| n.to_string())
            }
            "read" => self.call_read(if argument.is_empty() {
                1 << 20
            } else {
                number()?
            })?,
            "shutdown" => match self.tcp.shutdown(now, self.id()?) {
                Ok(()) => "0".to_string(),
                Err(error) => errno(error).to_string(),
            },
            "close" => {
                self.tcp.release(now, self.id()?);
                "0".to_string()
            }
            "abort" => {
                self.tcp.abort(now, self.id()?);
                "0".to_string()
            }
            other => return Err(format!("unknown call {other}")),
        })
    }

    fn listen(&mut self, hold: bool) -> Result<String, String> {
        let options = ListenOptions {
            local: self.flow.local,
            backlog: 8,
            transparent: false,
            hold,
            socket: self.options,
        };
        self.listener = Some(self.tcp.listen(options).map_err(|e| format!("{e:?}"))?);
        Ok("0".to_string())
    }

    /// Reads once; `eof`, `again` or an error's name when there is nothing.
    fn call_read(&mut self, max: usize) -> Result<String, String> {
        Ok(match self.tcp.read(self.now, self.id()?, max) {
            Ok(Read::Data(data)) => {
                if data != pattern(self.read, data.len()) {
                    return Err(format!("wrong bytes from {} on", self.read));
                }
                self.read += data.len() as u64;
                data.len().to_string()
            }
            Ok(Read::Eof) => "eof".to_string(),
            Ok(Read::Empty) => "again".to_string(),
            Err(error) => errno(error).to_string(),
        })
    }

    fn set(&mut self, argument: &str) -> Result<String, String> {
        let mut options = self.options;
        let (name, value) = argument.split_once(' ').unwrap_or((argument, ""));
        let number = || {
            value
                .trim()
                .parse::<u32>()
                .map_err(|_| format!("{value} is no number"))
        };
        match name.trim() {
            "nodelay" => options.nodelay = true,
            "keepalive" => options.keepalive = Some(crate::Keepalive::default()),
            "user_timeout" => {
                options.user_timeout = Some(Duration::from_secs(number()?.into()));
            }
            "recv_buffer" => options.recv_buffer = Some(number()?),
            "reno" => options.congestion = Some(crate::CongestionAlgorithm::Reno),
            other => return Err(format!("unknown option {other}")),
        }
        self.options = options;
        if let Some(id) = self.conn {
            let _ = self.tcp.set_options(self.now, id, |live| *live = options);
        }
        Ok("0".to_string())
    }

    fn id(&self) -> Result<ConnId, String> {
        self.conn.ok_or_else(|| "no connection yet".to_string())
    }
}

fn errno(error: SocketError) -> &'static str {
    match error {
        SocketError::Closed(CloseReason::Reset) => "reset",
        SocketError::Closed(CloseReason::Refused) => "refused",
        SocketError::Closed(CloseReason::TimedOut) => "timeout",
        SocketError::Closed(CloseReason::Unreachable) => "unreachable",
        SocketError::Closed(_) => "aborted",
        SocketError::BrokenPipe => "pipe",
        SocketError::NotConnected => "notconn",
        SocketError::NotFound => "badf",
    }
}

/// Where both ends of a script are: for assertions beside the script.
impl Script {
    /// The endpoint under test.
    pub const fn tcp(&self) -> &Tcp {
        &self.tcp
    }

    /// The peer's address.
    pub const fn peer(&self) -> IpAddr {
        self.flow.remote_ip()
    }
}
