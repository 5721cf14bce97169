//! Linux sysctls that scripts set, where ustack has the same knob.

use std::time::Duration;

use ustack::tcp::CongestionAlgorithm;

use super::{Kernel, host};

impl Kernel {
    /// Sets a sysctl by its Linux name. True when ustack knows it. Settings of the host count
    /// from now on; sockets that exist keep theirs, so scripts set them first.
    pub fn set_sysctl(&mut self, key: &str, value: &str) -> bool {
        let known = self.apply_sysctl(key, value.trim());
        if known
            && self.files.fds().is_empty()
            && let Ok(host) = host(&self.options)
        {
            self.host = host;
        }
        known
    }

    fn apply_sysctl(&mut self, key: &str, value: &str) -> bool {
        let key = key.replace('/', ".");
        let key = key.strip_prefix("net.ipv4.").unwrap_or(&key);
        let tcp = &mut self.options.tcp;
        let numbers: Vec<u64> = value
            .split_whitespace()
            .filter_map(|n| n.parse().ok())
            .collect();
        let first = numbers.first().copied();
        match (key, first) {
            ("tcp_congestion_control", _) => match value {
                "reno" => tcp.congestion = CongestionAlgorithm::Reno,
                "cubic" => tcp.congestion = CongestionAlgorithm::Cubic,
                _ => return false,
            },
            ("tcp_rmem", _) if numbers.len() == 3 => {
                tcp.recv_buffer_initial = numbers[1] as u32;
                tcp.recv_buffer_max = numbers[2] as u32;
            }
            ("tcp_wmem", _) if numbers.len() == 3 => {
                tcp.send_buffer_initial = numbers[1] as u32;
                tcp.send_buffer_max = numbers[2] as u32;
            }
            ("tcp_fin_timeout", Some(n)) => tcp.fin_timeout = Duration::from_secs(n),
            ("tcp_retries2", Some(n)) => tcp.retries = n as u8,
            ("tcp_syn_retries", Some(n)) => tcp.syn_retries = n as u8,
            ("tcp_synack_retries", Some(n)) => tcp.synack_retries = n as u8,
            ("tcp_rto_min_us", Some(n)) => tcp.rto_min = Duration::from_micros(n),
            _ => return false,
        }
        true
    }
}
