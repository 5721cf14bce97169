//! Shell commands: those that set up a host are carried out on the host under test.

use ustack::tcp::time::Duration;

use super::{Result, Runner, failed, not_runnable};
use crate::code::{self, Variables};
use crate::symbols;

/// What the suites' `defaults.sh` sets that is not Linux's own default.
const DEFAULTS: &[(&str, &str)] = &[
    ("net.ipv4.tcp_rmem", "4096 540000 15728640"),
    ("net.ipv4.tcp_wmem", "4096 262144 4194304"),
    ("net.ipv4.tcp_timestamps", "1"),
    ("net.ipv4.tcp_syn_retries", "5"),
    ("net.ipv4.tcp_synack_retries", "5"),
    ("net.ipv4.tcp_sack", "1"),
    ("net.ipv4.tcp_dsack", "1"),
    ("net.ipv4.tcp_congestion_control", "cubic"),
    ("net.ipv4.tcp_slow_start_after_idle", "0"),
    ("net.ipv4.tcp_ecn", "0"),
    ("net.ipv4.tcp_ecn_option", "2"),
    ("net.ipv4.tcp_fastopen", "0x70403"),
    (
        "net.ipv4.tcp_fastopen_key",
        "a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4",
    ),
    ("net.ipv4.tcp_syncookies", "1"),
];

/// Options that the host always offers.
const ALWAYS_ON: [&str; 3] = [
    "net.ipv4.tcp_sack",
    "net.ipv4.tcp_window_scaling",
    "net.ipv4.tcp_dsack",
];

impl Runner<'_> {
    pub(super) fn shell(&mut self, text: &str) -> Result<()> {
        let text = arithmetic(&text.replace("\\\n", " "));
        for line in text.lines() {
            let line = line.split(" #").next().unwrap_or("").trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if line.contains("sockstat") {
                self.sockstat(line)?;
                continue;
            }
            for command in line.split("||").next().unwrap_or("").split([';', '&']) {
                let words = words(command);
                if let Some((program, args)) = words.split_first() {
                    self.command(program, args)?;
                }
            }
        }
        Ok(())
    }

    fn command(&mut self, program: &str, args: &[String]) -> Result<()> {
        let name = program.rsplit('/').next().unwrap_or(program);
        match name {
            "defaults.sh" => {
                let mut defaults = DEFAULTS.iter();
                defaults.try_for_each(|(key, value)| self.sysctl(key, value))
            }
            "sysctl" | "set_sysctls.py" => {
                let mut assignments = args.iter().filter_map(|arg| arg.split_once('='));
                assignments.try_for_each(|(key, value)| self.sysctl(key, value))
            }
            "sleep" => {
                let seconds = args.first().and_then(|arg| arg.parse::<f64>().ok());
                let pause = Duration::from_secs_f64(seconds.unwrap_or(0.0).clamp(0.0, 3_600.0));
                self.advance(self.kernel.now() + pause)
            }
            _ if name.starts_with("sysctl_restore") => Ok(()),
            // The queue before the device is none of TCP's business while it lets packets pass.
            "tc" if args.iter().any(|arg| arg == "limit") => {
                Err(not_runnable("a queue that drops packets"))
            }
            "ip" if args.iter().any(|arg| arg == "change") => {
                Err(not_runnable("routes with an MTU of their own"))
            }
            "tc" | "ip" | "ethtool" | "nstat" | "cat" | "echo" | "rm" | "dd" | "tcpdrop"
            | "true" | ":" | "1" => {
                self.note(format!("`{name}` is not carried out"));
                Ok(())
            }
            _ => Err(not_runnable(format!("the command {name}"))),
        }
    }

    pub(super) fn sysctl(&mut self, key: &str, value: &str) -> Result<()> {
        let mut key = key.trim_start_matches("/proc/sys/").replace('/', ".");
        let mut value = value.to_string();
        if key == "kern.ipc.maxsockbuf" {
            self.max_buffer.clone_from(&value);
            key = "net.ipv4.tcp_rmem".to_string();
            value = format!("4096 65536 {value}");
        }
        if let Some(name) = key.strip_prefix("net.inet.tcp.") {
            match freebsd_sysctl(name, &value, &self.max_buffer) {
                Freebsd::Same(linux, same) => (key, value) = (format!("net.ipv4.{linux}"), same),
                Freebsd::Ours => return Ok(()),
                Freebsd::NotOurs => return Err(not_runnable(format!("{key}={value}"))),
                Freebsd::Unknown => {}
            }
        }
        if self.kernel.set_sysctl(&key, &value) {
            return Ok(());
        }
        // What cannot be switched off, a script would miss.
        if value == "0" && ALWAYS_ON.contains(&key.as_str()) {
            return Err(not_runnable(format!("{key}=0")));
        }
        self.note(format!("sysctl {key} is not known"));
        Ok(())
    }

    /// `sockstat … | grep -c STATE | grep N`: so many connections are in that state (FreeBSD).
    fn sockstat(&mut self, line: &str) -> Result<()> {
        let words = words(line);
        let state = words.iter().find_map(|word| symbols::state_value(word));
        let count = words.last().and_then(|word| word.parse::<usize>().ok());
        let (Some(state), Some(wanted)) = (state, count) else {
            return Err(not_runnable("this use of sockstat"));
        };
        let tcp = self.kernel.host().tcp();
        let in_state = tcp
            .connections()
            .filter(|c| symbols::state_value(&c.state.to_string()) == Some(state));
        let got = in_state.count();
        self.row(' ', line.to_string(), format!("{got} connections"));
        if got == wanted {
            Ok(())
        } else {
            failed(format!("{got} connections in that state, not {wanted}"))
        }
    }
}

/// Replaces `$((1024*4))` by its value; what is no arithmetic stays.
fn arithmetic(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("$((") {
        out.push_str(before);
        let (inner, behind) = after.split_once("))").unwrap_or((after, ""));
        let mut variables = Variables::new();
        let value = code::run(&format!("x = {inner}"), &mut variables, &|_| None)
            .ok()
            .and_then(|()| variables.get("x"));
        match value {
            Some(value) => out.push_str(&value.to_string()),
            None => out.push_str(inner),
        }
        rest = behind;
    }
    out + rest
}

/// The words of a command; quotes keep blanks together, redirections are left out.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    for c in command.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            _ => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words.retain(|word| !word.contains('>') && word != "/dev/null");
    words
}

/// What a sysctl of FreeBSD means here.
enum Freebsd {
    /// Linux's name for it, and its value there.
    Same(&'static str, String),
    /// The host always does so.
    Ours,
    /// The host never does so.
    NotOurs,
    Unknown,
}

fn freebsd_sysctl(name: &str, value: &str, max: &str) -> Freebsd {
    let same = |name| Freebsd::Same(name, value.to_string());
    let millis = || {
        value
            .parse::<u64>()
            .map_or(String::new(), |n| (n / 1000).to_string())
    };
    match (name, value) {
        ("sack.enable", _) => same("tcp_sack"),
        ("ecn.enable", _) => same("tcp_ecn"),
        ("syncookies", _) => same("tcp_syncookies"),
        // Window scale and timestamps at once.
        ("rfc1323", "0") => same("tcp_window_scaling"),
        ("rfc1323", _) => same("tcp_timestamps"),
        ("keepcnt", _) => same("tcp_keepalive_probes"),
        ("keepidle", _) => Freebsd::Same("tcp_keepalive_time", millis()),
        ("keepintvl", _) => Freebsd::Same("tcp_keepalive_intvl", millis()),
        ("recvspace", _) => Freebsd::Same("tcp_rmem", format!("4096 {value} {max}")),
        ("sendspace", _) => Freebsd::Same("tcp_wmem", format!("4096 {value} {max}")),
        // RFC 5961, and no answer to SYN with FIN, are not to be switched off or on.
        (
            "insecure_rst"
            | "insecure_syn"
            | "blackhole"
            | "drop_synfin"
            | "syncookies_only"
            | "rexmit_drop_options",
            "0",
        )
        | ("fastopen.client_enable" | "path_mtu_discovery", _) => Freebsd::Ours,
        (
            "insecure_rst"
            | "insecure_syn"
            | "blackhole"
            | "drop_synfin"
            | "syncookies_only"
            | "rexmit_drop_options",
            _,
        ) => Freebsd::NotOurs,
        _ => Freebsd::Unknown,
    }
}
