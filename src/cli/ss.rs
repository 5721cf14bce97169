//! `ustack ss`: the connections of a running host, as `ss -ti` shows the kernel's.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write as _};
use std::process::ExitCode;

use ustack::control::{Client, Connection, Counters, Filter, TcpInfo};
use ustack::tcp::State;

use super::args::SsArgs;
use super::args::watching::Watched;
use super::control;
use super::error::{Error, ExitStatus, reason};

/// Prints once.
pub(crate) fn main(args: &SsArgs) -> Result<ExitCode, Error> {
    let filter = filter(&args.of)?;
    let mut client = connect(&args.of)?;
    let text = if args.counters {
        let (counters, _) = client.counters().map_err(|error| unanswered(&error))?;
        if args.json {
            json(&counters)?
        } else {
            counted(&counters)
        }
    } else {
        let connections = client.connections(&filter);
        let (mut all, _) = connections.map_err(|error| unanswered(&error))?;
        all.sort_by_key(|one| (one.local, one.remote));
        if args.json {
            all.iter().map(json).collect::<Result<String, Error>>()?
        } else {
            table(&all)
        }
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        // `ustack ss | head` is no failure.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(unanswered(&error)),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// The host that is meant.
pub(crate) fn connect(of: &Watched) -> Result<Client, Error> {
    let path = control::find(of.socket.as_deref())?;
    Client::connect(&path).map_err(|error| {
        let message = format!("no answer at {}: {}", path.display(), reason(&error));
        let error = Error::new(ExitStatus::Other, message);
        error.hint("Is it running, and this user's? Its first lines name its control socket")
    })
}

/// What the flags let through.
pub(crate) fn filter(of: &Watched) -> Result<Filter, Error> {
    let mut state = Vec::new();
    for text in &of.state {
        let Some(name) = state_named(text) else {
            let all: Vec<_> = STATES.iter().map(|(long, _)| *long).collect();
            let message = format!("--state {text} is no state of a connection");
            let hint = format!("There are: {}", all.join(", "));
            return Err(Error::new(ExitStatus::Usage, message).hint(hint));
        };
        state.push(name.to_owned());
    }
    Ok(Filter {
        state,
        port: of.port,
        host: of.host,
    })
}

/// The names that ss takes, and the states.
const STATES: [(&str, State); 9] = [
    ("established", State::Established),
    ("syn-sent", State::SynSent),
    ("syn-recv", State::SynReceived),
    ("fin-wait-1", State::FinWait1),
    ("fin-wait-2", State::FinWait2),
    ("close-wait", State::CloseWait),
    ("last-ack", State::LastAck),
    ("closing", State::Closing),
    ("time-wait", State::TimeWait),
];

/// By ss's name, by the one that it prints, or by RFC 9293's.
fn state_named(text: &str) -> Option<&'static str> {
    let same = |name: &str| name.eq_ignore_ascii_case(text);
    let found = STATES.iter().find(|(long, state)| {
        same(long) || same(ustack::control::state_name(*state)) || same(&state.to_string())
    });
    found.map(|&(_, state)| ustack::control::state_name(state))
}

pub(crate) fn unanswered(error: &io::Error) -> Error {
    Error::new(ExitStatus::Other, format!("no answer: {}", reason(error)))
}

/// A line of JSON.
fn json(value: &impl serde::Serialize) -> Result<String, Error> {
    let text = serde_json::to_string(value).map_err(|error| unanswered(&error.into()))?;
    Ok(text + "\n")
}

/// Counters that are not 0, as nstat writes them.
fn counted(counters: &Counters) -> String {
    let mut text = String::new();
    for (group, values) in counters {
        let separator = if group.starts_with(char::is_uppercase) {
            ""
        } else {
            "."
        };
        for (name, value) in values.iter().filter(|(_, value)| **value > 0) {
            let _ = writeln!(text, "{:<40} {value}", format!("{group}{separator}{name}"));
        }
    }
    text
}

/// Two lines for each.
fn table(all: &[Connection]) -> String {
    const HEAD: [&str; 5] = [
        "State",
        "Recv-Q",
        "Send-Q",
        "Local Address:Port",
        "Peer Address:Port",
    ];
    let cells = |one: &Connection| {
        let (recv_q, send_q) = (one.recv_q.to_string(), one.send_q.to_string());
        let (local, remote) = (one.local.to_string(), one.remote.to_string());
        [one.state.clone(), recv_q, send_q, local, remote]
    };
    let mut widths = HEAD.map(str::len);
    for one in all {
        for (width, cell) in widths.iter_mut().zip(cells(one)) {
            *width = (*width).max(cell.len());
        }
    }
    let row = |cells: [String; 5]| {
        let cells = cells.iter().zip(widths);
        let cells: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        cells.join(" ").trim_end().to_owned() + "\n"
    };
    let mut text = row(HEAD.map(str::to_owned));
    for one in all {
        text += &row(cells(one));
        let info = details(one);
        if !info.is_empty() {
            let _ = writeln!(text, "\t {info}");
        }
    }
    text
}

/// The line below a connection, in ss's words and order.
pub(crate) fn details(one: &Connection) -> String {
    let info = &one.tcp_info;
    if info.snd_mss == 0 {
        return String::new(); // a handshake, or TIME-WAIT
    }
    let mut words = Vec::new();
    let flags = [
        (1, "ts"),
        (2, "sack"),
        (8, "ecn"),
        (16, "ecnseen"),
        (32, "fastopen"),
    ];
    let set = flags.iter().filter(|(bit, _)| info.options & bit != 0);
    words.extend(set.map(|(_, name)| (*name).to_owned()));
    words.push(one.congestion.clone());
    if info.options & 4 != 0 {
        words.push(format!("wscale:{},{}", info.snd_wscale, info.rcv_wscale));
    }
    times(info, &mut words);
    sizes(info, &mut words);
    counts(info, &mut words);
    rates(info, &mut words);
    in_flight(info, &mut words);
    receiving(info, &mut words);
    words.join(" ")
}

fn times(info: &TcpInfo, words: &mut Vec<String>) {
    words.push(format!("rto:{}", millis(info.rto)));
    if info.backoff > 0 {
        words.push(format!("backoff:{}", info.backoff));
    }
    if let Some(rtt) = info.rtt {
        words.push(format!("rtt:{}/{}", millis(rtt), millis(info.rttvar)));
    }
    words.push(format!("ato:{}", millis(info.ato)));
}

fn sizes(info: &TcpInfo, words: &mut Vec<String>) {
    words.push(format!("mss:{}", info.snd_mss));
    words.push(format!("pmtu:{}", info.pmtu));
    words.push(format!("rcvmss:{}", info.rcv_mss));
    words.push(format!("advmss:{}", info.advmss));
    words.push(format!("cwnd:{}", info.snd_cwnd));
    words.extend(info.snd_ssthresh.map(|value| format!("ssthresh:{value}")));
}

fn counts(info: &TcpInfo, words: &mut Vec<String>) {
    let mut add = |name: &str, value: u64| {
        if value > 0 {
            words.push(format!("{name}:{value}"));
        }
    };
    add("bytes_sent", info.bytes_sent);
    add("bytes_retrans", info.bytes_retrans);
    add("bytes_acked", info.bytes_acked);
    add("bytes_received", info.bytes_received);
    add("segs_out", info.segs_out);
    add("segs_in", info.segs_in);
    add("data_segs_out", info.data_segs_out);
    add("data_segs_in", info.data_segs_in);
}

fn rates(info: &TcpInfo, words: &mut Vec<String>) {
    if let Some(rtt) = info.rtt.filter(|&rtt| rtt > 0) {
        let bits = f64::from(info.snd_cwnd) * f64::from(info.snd_mss) * 8e6;
        words.push(format!("send {}bps", scaled(bits / rtt as f64)));
    }
    words.extend(info.last_data_sent.map(|value| format!("lastsnd:{value}")));
    words.extend(info.last_data_recv.map(|value| format!("lastrcv:{value}")));
    words.push(format!("lastack:{}", info.last_ack_recv));
    let rate = |name: &str, bytes: u64| format!("{name} {}bps", scaled(bytes as f64 * 8.0));
    words.extend(info.pacing_rate.map(|bytes| rate("pacing_rate", bytes)));
    words.extend(info.delivery_rate.map(|bytes| rate("delivery_rate", bytes)));
    words.push(format!("delivered:{}", info.delivered));
    if info.delivered_ce > 0 {
        words.push(format!("delivered_ce:{}", info.delivered_ce));
    }
    if info.delivery_rate_app_limited {
        words.push("app_limited".to_owned());
    }
    if info.busy_time > 0 {
        words.push(format!("busy:{}ms", info.busy_time / 1000));
        let share = |part: u64| part as f64 * 100.0 / info.busy_time as f64;
        for (name, part) in [
            ("rwnd_limited", info.rwnd_limited),
            ("sndbuf_limited", info.sndbuf_limited),
        ] {
            if part > 0 {
                words.push(format!("{name}:{}ms({:.1}%)", part / 1000, share(part)));
            }
        }
    }
}

fn in_flight(info: &TcpInfo, words: &mut Vec<String>) {
    let some = |name: &str, value: u64| (value > 0).then(|| format!("{name}:{value}"));
    words.extend(some("unacked", info.unacked.into()));
    if info.total_retrans > 0 {
        words.push(format!("retrans:{}/{}", info.retrans, info.total_retrans));
    }
    words.extend(some("lost", info.lost.into()));
    words.extend(some("sacked", info.sacked.into()));
    words.extend(some("dsack_dups", info.dsack_dups));
    if info.reordering != 3 {
        words.extend(some("reordering", info.reordering.into()));
    }
    words.extend(some("reord_seen", info.reord_seen.into()));
}

fn receiving(info: &TcpInfo, words: &mut Vec<String>) {
    words.extend(info.rcv_rtt.map(|rtt| format!("rcv_rtt:{}", millis(rtt))));
    words.push(format!("rcv_space:{}", info.rcv_space));
    words.push(format!("rcv_ssthresh:{}", info.rcv_ssthresh));
    if info.notsent_bytes > 0 {
        words.push(format!("notsent:{}", info.notsent_bytes));
    }
    words.extend(info.min_rtt.map(|rtt| format!("minrtt:{}", millis(rtt))));
    if info.rcv_ooopack > 0 {
        words.push(format!("rcv_ooopack:{}", info.rcv_ooopack));
    }
    words.push(format!("snd_wnd:{}", info.snd_wnd));
    words.push(format!("rcv_wnd:{}", info.rcv_wnd));
}

/// Microseconds as milliseconds, with up to three digits behind the point.
pub(crate) fn millis(micros: u64) -> String {
    let text = format!("{}.{:03}", micros / 1000, micros % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A number with at most four digits and a unit of powers of 1000.
pub(crate) fn scaled(value: f64) -> String {
    const UNITS: [&str; 5] = ["", "k", "M", "G", "T"];
    let (mut value, mut unit) = (value, 0);
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && value < 99.95);
    format!("{value:.digits$}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one() -> Connection {
        Connection {
            id: "0:1:0".into(),
            state: "ESTAB".into(),
            local: "[fd77::2]:80".parse().unwrap(),
            remote: "[fd77::1]:40000".parse().unwrap(),
            recv_q: 0,
            send_q: 2896,
            congestion: "cubic".into(),
            tcp_info: TcpInfo {
                options: 7,
                snd_wscale: 7,
                rcv_wscale: 8,
                rto: 204_000,
                rtt: Some(1_250),
                rttvar: 600,
                ato: 40_000,
                snd_mss: 1448,
                pmtu: 1500,
                snd_cwnd: 10,
                bytes_sent: 5_000_000_000,
                total_retrans: 4,
                unacked: 2,
                delivery_rate: Some(125_000_000),
                ..TcpInfo::default()
            },
        }
    }

    #[test]
    fn a_connection_reads_as_in_ss() {
        let line = details(&one());
        for words in [
            "ts sack cubic wscale:7,8 rto:204 rtt:1.25/0.6 ato:40 mss:1448 pmtu:1500",
            " cwnd:10 bytes_sent:5000000000 ",
            " send 92.7Mbps ",
            " delivery_rate 1.0Gbps ",
            " unacked:2 retrans:0/4 ",
        ] {
            assert!(line.contains(words), "{words} in {line}");
        }
        let text = table(&[one()]);
        let mut lines = text.lines();
        assert_eq!(
            lines.next(),
            Some("State Recv-Q Send-Q Local Address:Port Peer Address:Port")
        );
        let row = "ESTAB 0      2896   [fd77::2]:80       [fd77::1]:40000";
        assert_eq!(lines.next(), Some(row));
        assert!(lines.next().unwrap().starts_with("\t ts sack"));
    }

    #[test]
    fn states_have_the_names_of_ss_and_of_the_rfc() {
        for (text, name) in [
            ("established", "ESTAB"),
            ("ESTAB", "ESTAB"),
            ("syn-recv", "SYN-RECV"),
            ("SYN-RECEIVED", "SYN-RECV"),
            ("time-wait", "TIME-WAIT"),
        ] {
            assert_eq!(state_named(text), Some(name), "{text}");
        }
        assert_eq!(state_named("open"), None);
    }

    #[test]
    fn numbers_for_people() {
        for (value, text) in [
            (0.0, "0"),
            (999.0, "999"),
            (1000.0, "1.0k"),
            (99_960.0, "100k"),
            (1.25e9, "1.2G"),
        ] {
            assert_eq!(scaled(value), text, "{value}");
        }
        for (micros, text) in [(0, "0"), (1, "0.001"), (1_500, "1.5"), (200_000, "200")] {
            assert_eq!(millis(micros), text);
        }
    }
}
