//! Linux sysctls that scripts set, where ustack has the same knob.

use std::time::Duration;

use ustack::tcp::{Config, EcnMode};

use super::Kernel;
use super::sockopt::algorithm;

/// What belongs to the socket layer, not to the stack.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sysctls {
    /// `tcp_fastopen`: 1 is the client's bit, 2 the server's.
    pub(super) fastopen: u64,
    /// `tcp_notsent_lowat`.
    pub(super) notsent_lowat: u32,
    /// `tcp_min_tso_segs`.
    pub(super) min_tso_segs: u32,
}

impl Default for Sysctls {
    fn default() -> Self {
        Self {
            fastopen: 1,
            notsent_lowat: u32::MAX,
            min_tso_segs: 2,
        }
    }
}

impl Kernel {
    /// Sets a sysctl by its Linux name, with dots or slashes. True when ustack knows it. It counts
    /// from now on; connections that exist keep theirs.
    pub fn set_sysctl(&mut self, key: &str, value: &str) -> bool {
        let key = key.replace('/', ".");
        let key = key.strip_prefix("net.ipv4.").unwrap_or(&key);
        let value = value.trim();
        let numbers: Vec<u64> = value.split_whitespace().filter_map(number).collect();
        let is_known = set_text(&mut self.options.tcp, key, value)
            || set_numbers(&mut self.options.tcp, key, &numbers)
            || self.set_own(key, &numbers);
        if is_known {
            let fixed = self.host.tcp_mut().config_mut();
            let (mtu, tso) = (fixed.mtu, fixed.tso);
            fixed.clone_from(&self.options.tcp);
            (fixed.mtu, fixed.tso) = (mtu, tso);
        }
        is_known
    }

    fn set_own(&mut self, key: &str, numbers: &[u64]) -> bool {
        let Some(&first) = numbers.first() else {
            return false;
        };
        match key {
            "tcp_fastopen" => self.sysctls.fastopen = first,
            // How Linux's Fast Open cookies are thrown away (with `ip tcp_metrics flush`).
            "tcp_fastopen_cookies" => self.host.tcp_mut().forget_cookies(),
            "tcp_notsent_lowat" => self.sysctls.notsent_lowat = first as u32,
            "tcp_min_tso_segs" => self.sysctls.min_tso_segs = first.clamp(1, 64) as u32,
            _ => return false,
        }
        true
    }
}

/// A number as C writes them: decimal, or hexadecimal after `0x`.
fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

fn set_text(tcp: &mut Config, key: &str, value: &str) -> bool {
    match key {
        "tcp_congestion_control" => match algorithm(value) {
            Ok(algorithm) => tcp.congestion = algorithm,
            Err(_) => return false,
        },
        "tcp_fastopen_key" => match fastopen_key(value) {
            Some(key) => tcp.fast_open_key = Some(key),
            None => return false,
        },
        _ => return false,
    }
    true
}

/// The first key of `xxxxxxxx-xxxxxxxx-xxxxxxxx-xxxxxxxx[,…]`: four words, least byte first.
fn fastopen_key(value: &str) -> Option<[u8; 16]> {
    let mut key = [0; 16];
    let words: Vec<&str> = value.split(',').next()?.split('-').collect();
    if words.len() != 4 {
        return None;
    }
    for (bytes, word) in key.chunks_exact_mut(4).zip(words) {
        bytes.copy_from_slice(&u32::from_str_radix(word, 16).ok()?.to_le_bytes());
    }
    Some(key)
}

fn set_numbers(tcp: &mut Config, key: &str, numbers: &[u64]) -> bool {
    let Some(&first) = numbers.first() else {
        return false;
    };
    let byte = first.min(u8::MAX.into()) as u8;
    match (key, numbers) {
        ("tcp_rmem", &[_, initial, max]) => {
            (tcp.recv_buffer_initial, tcp.recv_buffer_max) = (initial as u32, max as u32);
        }
        ("tcp_wmem", &[_, initial, max]) => {
            (tcp.send_buffer_initial, tcp.send_buffer_max) = (initial as u32, max as u32);
        }
        ("tcp_fin_timeout", _) => tcp.fin_timeout = Duration::from_secs(first),
        ("tcp_retries2", _) => tcp.retries = byte,
        ("tcp_syn_retries", _) => tcp.syn_retries = byte,
        ("tcp_synack_retries", _) => tcp.synack_retries = byte,
        ("tcp_rto_min_us", _) => {
            tcp.rto_min = Duration::from_micros(first);
            tcp.rto_granularity = tcp.rto_min;
        }
        ("tcp_timestamps", _) => tcp.timestamps = first != 0,
        ("tcp_syncookies", _) => tcp.syn_cookies = first != 0,
        ("tcp_max_syn_backlog", _) => tcp.max_syn_backlog = first as usize,
        ("tcp_max_tw_buckets", _) => tcp.max_tw_buckets = first as usize,
        ("tcp_max_orphans", _) => tcp.max_orphans = first as usize,
        ("tcp_rfc1337", _) => tcp.rfc1337 = first != 0,
        ("tcp_ecn", _) => {
            tcp.ecn = match first {
                0 => EcnMode::Off,
                2 | 4 => EcnMode::Passive,
                _ => EcnMode::On,
            }
        }
        _ => return false,
    }
    true
}
