//! Commands that read what was recorded.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};

pub(super) const REPLAY_EXAMPLES: &str = "\
Examples:
  ustack replay trace.pcapng                   the stack as either end of each conversation
  ustack replay trace.pcap --as client         as the client only
  ustack replay trace.pcap --port 443 --show   every segment of these conversations
  ustack replay trace.pcap --conversation 3

The packets of the other end go into the stack under virtual time, in its own sequence numbers and
timestamps. It may cut and time its segments as it likes; a divergence that matters is one that the
other end or an application is served otherwise. Conversations must be recorded from their SYN on.

Exit codes:
  0 no divergence that matters   1 a divergence, or a rule broken by a recorded end
  2 nothing there that can be replayed";

pub(super) const EXPLAIN_EXAMPLES: &str = "\
Examples:
  ustack explain trace.pcapng                  every TCP connection of the file, in words
  ustack explain trace.pcap --port 443         only these
  ustack explain trace.pcap --flow 10.0.0.1:50000,10.0.0.2:443
  ustack explain trace.pcap --json             an object a line, for programs

Any capture will do, whoever's stacks are in it and wherever it was made: at either end, between
them, before or after offload. The first line of a connection says who spoke with whom, the second
what went wrong, the third what shows it and where that is written.

Exit codes:
  0 nothing unusual   1 something is   2 nothing there that can be told";

pub(super) const PLOT_EXAMPLES: &str = "\
Examples:
  sudo ustack --events events.jsonl            record what the stack thinks, then
  ustack plot events.jsonl                     a page for each connection
  ustack plot annotated.pcapng                 the same from a capture with --annotate
  ustack plot events.jsonl --port 5201 --out plots
  ustack plot events.jsonl --conversation 3 --from 1.2 --to 1.5 --svg

A page needs no other file and no network: open it in a browser, or print it. Time counts from the
start of the stack, in a capture from its first packet. docs/plots.md explains what the figures show.

Exit codes:
  0 drawn   1 other failure   2 nothing there that can be drawn   5 a file cannot be read or written";

/// `ustack replay`.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The capture: pcap or pcapng
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The end whose place the stack takes [default: one after the other]
    #[arg(long = "as", value_name = "END")]
    pub(crate) end: Option<End>,
    /// Print every segment: the recorded ones, and the stack's beside them
    #[arg(long)]
    pub(crate) show: bool,
    /// Only this conversation, by its number in the list
    #[arg(long, value_name = "NUMBER")]
    pub(crate) conversation: Option<usize>,
    /// Only conversations in which an end has this port
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// Only conversations in which an end has this address
    #[arg(long, value_name = "ADDR")]
    pub(crate) host: Option<IpAddr>,
}

/// One end of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum End {
    /// It was connected to.
    Server,
    /// It connected.
    Client,
}

/// `ustack explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The capture: pcap or pcapng
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Print a JSON object a line instead of text; the last one is of the whole file
    #[arg(long)]
    pub(crate) json: bool,
    /// Only this conversation, by its number in the list
    #[arg(long, value_name = "NUMBER")]
    pub(crate) conversation: Option<usize>,
    /// Only conversations in which an end has this port
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// Only conversations in which an end has this address
    #[arg(long, value_name = "ADDR")]
    pub(crate) host: Option<IpAddr>,
    /// Only conversations between these two ends
    #[arg(long, value_name = "ADDR:PORT,ADDR:PORT")]
    pub(crate) flow: Option<Flow>,
}

/// One TCP connection by both of its ends, in either order: `10.0.0.1:50000,10.0.0.2:80`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flow([SocketAddr; 2]);

impl Flow {
    /// Whether these are its ends.
    pub(crate) fn is_between(self, ends: [SocketAddr; 2]) -> bool {
        self.0 == ends || self.0 == [ends[1], ends[0]]
    }
}

impl FromStr for Flow {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (one, other) = text
            .split_once(',')
            .ok_or("two ends with a comma between them")?;
        let end = |text: &str| {
            let error =
                |_| format!("{text} is no ADDRESS:PORT, such as 10.0.0.1:80 or [fd00::1]:80");
            text.trim().parse().map_err(error)
        };
        Ok(Self([end(one)?, end(other)?]))
    }
}

/// `ustack plot`.
#[derive(Debug, Args)]
pub(crate) struct PlotArgs {
    /// The event log (--events), or the annotated capture (--capture with --annotate)
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Where the pages go
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) out: PathBuf,
    /// Only this connection, by its number in the list
    #[arg(long, value_name = "NUMBER")]
    pub(crate) conversation: Option<usize>,
    /// Only connections in which an end has this port
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// Only connections in which an end has this address
    #[arg(long, value_name = "ADDR")]
    pub(crate) host: Option<IpAddr>,
    /// Begin here, in seconds
    #[arg(long, value_name = "SECONDS")]
    pub(crate) from: Option<f64>,
    /// End here, in seconds
    #[arg(long, value_name = "SECONDS")]
    pub(crate) to: Option<f64>,
    /// Write the figures alone, as SVG files
    #[arg(long)]
    pub(crate) svg: bool,
    /// Draw no more connections than this: those that carried most
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    pub(crate) most: usize,
}
