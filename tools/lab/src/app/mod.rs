//! Applications on simulated hosts: state machines that are woken, use the sockets of their host,
//! and write down what they saw.

mod bulk;
mod messages;
mod relay;
mod requests;

use std::net::SocketAddr;

use bytes::Bytes;
use ustack::testing::VirtualHost;
use ustack_tcp::time::{Duration, Instant};
use ustack_tcp::{
    CloseReason, ConnId, FlowKey, ListenOptions, ListenerId, Read, SocketError, SocketOptions, Tcp,
};

pub use self::bulk::{Bulk, Phases};
pub use self::messages::{Messages, Transport};
pub use self::requests::{RequestStep, Requests};
use crate::recording::{Message, Step};

/// The port of every server.
pub const PORT: u16 = 5001;
/// What readers take at once.
const READ: usize = 1 << 20;

/// Zeros that every sender sends: one allocation, counted references.
static FILLER: [u8; 1 << 16] = [0; 1 << 16];

/// What an application runs with.
#[derive(Debug)]
pub struct Context<'a> {
    /// The time.
    pub now: Instant,
    /// Its host.
    pub host: &'a mut VirtualHost,
    /// What its flow has experienced.
    pub log: &'a mut FlowLog,
}

impl Context<'_> {
    fn tcp(&mut self) -> &mut Tcp {
        self.host.tcp_mut()
    }
}

/// What the applications of a flow saw, both ends together.
#[derive(Clone, Debug, Default)]
pub struct FlowLog {
    /// When the flow began: its first packet may leave.
    pub began: Option<Instant>,
    /// Payload bytes that the receiving application has read.
    pub received: u64,
    /// When the last byte of a flow that ends was read.
    pub completed: Option<Instant>,
    /// Messages, by number.
    pub messages: Vec<Message>,
    /// Steps that are over.
    pub steps: Vec<Step>,
    /// How a connection broke.
    pub failure: Option<String>,
}

impl FlowLog {
    fn fail(&mut self, reason: impl std::fmt::Debug) {
        self.failure
            .get_or_insert_with(|| format!("{reason:?}").to_lowercase());
    }
}

/// An application.
pub trait App: std::fmt::Debug + Send {
    /// Goes as far as it can: at the start, after whatever happened on its host, at its deadline.
    fn on_wake(&mut self, cx: &mut Context<'_>);

    /// When it wants to be woken in any case.
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// The connection that carries the flow's data away from here, to be looked into.
    fn watched(&self) -> Option<ConnId> {
        None
    }
}

/// What an application does; both ends are made of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Job {
    /// As many bytes as the connection takes.
    Bulk(Bulk),
    /// Messages at a fixed pace.
    Messages(Messages),
    /// Round trips of requests and answers.
    Requests(Requests),
}

impl Job {
    /// The end that begins.
    pub fn client(&self, socket: Socket) -> Box<dyn App> {
        match self {
            Self::Bulk(bulk) => Box::new(bulk::Sender::new(*bulk, socket)),
            Self::Messages(messages) => messages.sender(socket),
            Self::Requests(requests) => Box::new(requests::Client::new(requests.clone(), socket)),
        }
    }

    /// The end that is connected to.
    pub fn server(&self, socket: Socket) -> Box<dyn App> {
        match self {
            Self::Bulk(bulk) => Box::new(bulk::Sink::new(*bulk, socket)),
            Self::Messages(messages) => messages.receiver(socket),
            Self::Requests(requests) => Box::new(requests::Server::new(requests.clone(), socket)),
        }
    }
}

/// An application that passes on what it reads.
pub fn relay(socket: Socket) -> Box<dyn App> {
    Box::new(relay::Relay::new(socket))
}

/// Where an application's connections are.
#[derive(Clone, Copy, Debug)]
pub struct Socket {
    /// Its own address; the port is that of servers.
    pub local: SocketAddr,
    /// The server it connects to.
    pub remote: SocketAddr,
    /// Options of its connections.
    pub options: SocketOptions,
    /// When it begins.
    pub start: Instant,
}

impl Socket {
    fn flow(&self) -> FlowKey {
        FlowKey {
            local: SocketAddr::new(self.local.ip(), 0),
            remote: self.remote,
        }
    }

    fn connect(&self, cx: &mut Context<'_>) -> Option<ConnId> {
        let (now, flow, options) = (cx.now, self.flow(), self.options);
        match cx.tcp().connect(now, flow, options) {
            Ok((id, _)) => Some(id),
            Err(error) => {
                cx.log.fail(error);
                None
            }
        }
    }

    /// Listens, once.
    fn listen(
        &self,
        listener: &mut Option<ListenerId>,
        cx: &mut Context<'_>,
    ) -> Option<ListenerId> {
        if listener.is_none() {
            let options = ListenOptions {
                socket: self.options,
                ..ListenOptions::new(self.local)
            };
            *listener = cx.tcp().listen(options).map_err(|e| cx.log.fail(e)).ok();
        }
        *listener
    }
}

/// So many zeros.
fn filler(len: usize) -> Bytes {
    Bytes::from_static(&FILLER[..len.min(FILLER.len())])
}

/// What there is to read, up to the end of the stream.
fn read(cx: &mut Context<'_>, id: ConnId, max: usize) -> Option<Read> {
    let now = cx.now;
    match cx.tcp().read(now, id, max) {
        Ok(Read::Empty) | Err(SocketError::NotConnected) => None,
        Ok(read) => Some(read),
        Err(error) => {
            if error != SocketError::Closed(CloseReason::Finished) {
                cx.log.fail(error);
            }
            None
        }
    }
}

/// How many bytes of `data` the connection took; a connection that is not yet open takes none.
fn write(cx: &mut Context<'_>, id: ConnId, data: &Bytes) -> usize {
    let now = cx.now;
    match cx.tcp().write(now, id, data) {
        Ok(taken) => taken,
        Err(SocketError::NotConnected) => 0,
        Err(error) => {
            cx.log.fail(error);
            0
        }
    }
}

/// Seconds from the flow's beginning.
fn since(began: Option<Instant>, now: Instant) -> f64 {
    seconds(now.saturating_since(began.unwrap_or(now)))
}

/// A time in seconds.
pub fn seconds(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e9
}
