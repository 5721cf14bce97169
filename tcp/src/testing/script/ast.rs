//! What a script says: its syntax tree.

use std::string::{String, ToString};
use std::vec::Vec;

/// A time or a span in a script, in nanoseconds.
pub type Nanos = i64;

/// A whole script.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// The `--name=value` lines before the first event.
    pub options: Vec<ScriptOption>,
    /// The command that stands before the first event, without a time.
    pub init: Option<Command>,
    /// The events, in the script's order.
    pub events: Vec<Event>,
    /// The command after the last event, without a time.
    pub cleanup: Option<Command>,
}

/// One `--name=value` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptOption {
    /// The name, without its dashes.
    pub name: String,
    /// The value; empty for a mere flag.
    pub value: String,
}

/// A shell command, between backticks in the script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The line it starts on, from 1.
    pub line: usize,
    /// What stands between the backticks.
    pub text: String,
}

/// Something that happens, or must happen, at a time.
#[derive(Clone, Debug)]
pub struct Event {
    /// The line it starts on, from 1.
    pub line: usize,
    /// When.
    pub time: Time,
    /// When a call that blocks must return, on the same base as [`Event::time`].
    pub end: Option<Nanos>,
    /// What.
    pub action: Action,
}

/// When an event happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// `1.5`: so long after the script's start.
    Absolute(Nanos),
    /// `+1.5`: so long after the event before.
    Relative(Nanos),
    /// `1.5~1.6`: between the two.
    AbsoluteRange(Nanos, Nanos),
    /// `+.1~+.2`: between the two, after the event before.
    RelativeRange(Nanos, Nanos),
    /// `*`: whenever.
    Any,
}

/// What an event is.
#[derive(Clone, Debug)]
pub enum Action {
    /// A packet that arrives or must leave.
    Packet(PacketLine),
    /// A system call.
    Call(Call),
    /// A shell command.
    Command(Command),
    /// `%{ … }%`: Python, over the names of `struct tcp_info`.
    Code(String),
}

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// `<`: it arrives.
    In,
    /// `>`: it must leave.
    Out,
}

/// A packet's line.
#[derive(Clone, Debug)]
pub struct PacketLine {
    /// Which way it goes.
    pub direction: Direction,
    /// What the line says of the IP header.
    pub ip: IpLine,
    /// What is in the packet.
    pub body: Body,
    /// Headers around the packet that a reader of this language may not know: `gre`, `/udp(1 > 2)`.
    pub encapsulation: Option<String>,
}

/// What a line says of the IP header; what it does not say is not compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IpLine {
    /// The ECN field, or all of TOS / traffic class.
    pub tos: Option<Tos>,
    /// TTL or hop limit.
    pub ttl: Option<u8>,
    /// The IPv6 flow label.
    pub flow_label: Option<u32>,
}

/// The TOS byte, as far as a line names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tos {
    /// `ect0`, `ect1`, `ce`, `noecn`: the two bits of RFC 3168.
    Ecn(u8),
    /// `ect01`: either of the two ECT code points.
    Ect,
    /// `tos 0x…`, `class 0x…`: the whole byte.
    Byte(u8),
}

/// What is in a packet.
#[derive(Clone, Debug)]
pub enum Body {
    /// A TCP segment.
    Tcp(TcpLine),
    /// A UDP datagram with so many bytes of payload.
    Udp {
        /// Source and destination port, where written.
        ports: Option<(u16, u16)>,
        /// Bytes of payload.
        len: u16,
    },
    /// An ICMP or ICMPv6 message.
    Icmp(IcmpLine),
}

/// A TCP segment's line, or (decoded and made relative) a segment that left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpLine {
    /// Source and destination port, where written.
    pub ports: Option<(u16, u16)>,
    /// CWR to FIN, as in the header's byte.
    pub flags: u8,
    /// The flag that RFC 9768 calls AE.
    pub ae: bool,
    /// The sequence number that a line starts with.
    pub seq: u32,
    /// `...(0)`: whatever sequence number.
    pub any_seq: bool,
    /// `0:0(0)!`: the number is the one on the wire.
    pub raw_seq: bool,
    /// Bytes of payload.
    pub len: u32,
    /// The acknowledgment number.
    pub ack: Option<u32>,
    /// The window field, unscaled.
    pub window: Option<u16>,
    /// The urgent pointer.
    pub urgent: Option<u16>,
    /// The options; `None` stands for `<...>`, any at all.
    pub options: Option<Vec<TcpOption>>,
}

/// The flags of a TCP header, in the order of their bits.
pub mod flag {
    /// No more data.
    pub const FIN: u8 = 1;
    /// A connection's first segment.
    pub const SYN: u8 = 2;
    /// The connection is gone.
    pub const RST: u8 = 4;
    /// Push.
    pub const PSH: u8 = 8;
    /// The acknowledgment number counts.
    pub const ACK: u8 = 16;
    /// The urgent pointer counts.
    pub const URG: u8 = 32;
    /// ECN echo.
    pub const ECE: u8 = 64;
    /// Congestion window reduced.
    pub const CWR: u8 = 128;
}

impl TcpLine {
    /// Whether all of `flags` are set.
    pub const fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// Bytes of sequence space.
    pub fn space(&self) -> u32 {
        self.len + u32::from(self.has(flag::SYN)) + u32::from(self.has(flag::FIN))
    }

    /// The first option that `pick` knows.
    pub fn option<T>(&self, pick: impl FnMut(&TcpOption) -> Option<T>) -> Option<T> {
        self.options.as_ref()?.iter().find_map(pick)
    }
}

/// One TCP option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TcpOption {
    /// End of the list, or padding after it.
    Eol,
    /// Padding.
    Nop,
    /// Maximum segment size.
    Mss(u16),
    /// Window scale's shift.
    WindowScale(u8),
    /// SACK permitted.
    SackPermitted,
    /// SACK blocks, each from `.0` up to before `.1`.
    Sack(Vec<(u32, u32)>),
    /// Timestamps.
    Timestamps {
        /// TSval.
        val: u32,
        /// TSecr.
        ecr: u32,
    },
    /// TCP Fast Open cookie; empty for a request.
    FastOpen(Vec<u8>),
    /// The same in the experimental option of RFC 6994.
    FastOpenExperimental(Vec<u8>),
    /// An RFC 2385 digest; empty for `md5 valid`.
    Md5(Vec<u8>),
    /// AccECN byte counters, in the order in which they are written.
    AccEcn(Vec<(AccEcnField, u32)>),
    /// Anything else: the kind and its value.
    Other(u8, Vec<u8>),
}

/// A counter of the AccECN option (RFC 9768 §3.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccEcnField {
    /// ECT(0) bytes.
    E0b,
    /// CE bytes.
    Ceb,
    /// ECT(1) bytes.
    E1b,
}

/// An ICMP message's line. The names are the same for both families.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IcmpLine {
    /// `unreachable`, `packet_too_big`, …
    pub kind: String,
    /// `host_unreachable`, `frag_needed`, …
    pub code: Option<String>,
    /// The next hop's MTU.
    pub mtu: Option<u32>,
    /// The identifier of an echo.
    pub id: Option<u16>,
    /// The packet of ours that it quotes.
    pub quote: Option<Quote>,
}

/// What an ICMP message quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quote {
    /// A TCP segment: its sequence number and length.
    Tcp {
        /// Sequence number, relative as in the script.
        seq: u32,
        /// Bytes of payload.
        len: u32,
    },
    /// A UDP datagram with so many bytes.
    Udp(u16),
    /// A bare payload of so many bytes.
    Raw(u16),
}

/// A system call, and what it must return.
#[derive(Clone, Debug)]
pub struct Call {
    /// The call's name.
    pub name: String,
    /// Its arguments.
    pub args: Vec<Expr>,
    /// The result; `None` for `?`, whatever it is.
    pub result: Option<Expr>,
    /// The name of the error, when the result is −1.
    pub errno: Option<String>,
}

/// An expression among a call's arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expr {
    /// `...`: whatever suits.
    Ellipsis,
    /// A number.
    Number(i64),
    /// A symbol of the C headers.
    Name(String),
    /// A string, without its quotes.
    Text(String),
    /// `a|b`, `a << b`, `a * b`.
    Binary(char, std::boxed::Box<Self>, std::boxed::Box<Self>),
    /// `htons(8080)`, `inet_addr("…")`, `sizeof(…)`.
    Function(String, Vec<Self>),
    /// `[a, b]`.
    List(Vec<Self>),
    /// `{name=value, …}`; a field without a name has an empty one.
    Struct(Vec<(String, Self)>),
}

impl Expr {
    /// The value of a struct's field.
    pub fn field(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Struct(fields) => fields.iter().find(|(n, _)| n == name).map(|(_, e)| e),
            _ => None,
        }
    }

    /// The elements of a list; an expression that is no list stands for itself.
    pub fn elements(&self) -> &[Self] {
        match self {
            Self::List(elements) => elements,
            other => std::slice::from_ref(other),
        }
    }

    /// How the expression reads.
    pub fn describe(&self) -> String {
        let join = |list: &[Self]| {
            list.iter()
                .map(Self::describe)
                .collect::<Vec<_>>()
                .join(", ")
        };
        match self {
            Self::Ellipsis => "...".to_string(),
            Self::Number(n) => n.to_string(),
            Self::Name(name) => name.clone(),
            Self::Text(text) => std::format!("\"{text}\""),
            Self::Binary(op, a, b) => std::format!("{}{op}{}", a.describe(), b.describe()),
            Self::Function(name, args) => std::format!("{name}({})", join(args)),
            Self::List(list) => std::format!("[{}]", join(list)),
            Self::Struct(fields) => {
                let field = |(name, value): &(String, Self)| match name.as_str() {
                    "" => value.describe(),
                    name => std::format!("{name}={}", value.describe()),
                };
                std::format!(
                    "{{{}}}",
                    fields.iter().map(field).collect::<Vec<_>>().join(", ")
                )
            }
        }
    }
}
