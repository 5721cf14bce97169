//! Switches of the kernel's TCP, drawn from a seed.

use std::fs::{read_to_string, write};
use std::io::{self, ErrorKind};

use crate::Random;

/// What a switch may be set to instead of what it is.
type Choices = (&'static str, &'static [&'static str]);

const SWITCHES: &[Choices] = &[
    ("tcp_abort_on_overflow", &["1"]),
    ("tcp_adv_win_scale", &["-2", "2", "3"]),
    ("tcp_app_win", &["0", "5"]),
    ("tcp_autocorking", &["0"]),
    ("tcp_backlog_ack_defer", &["0"]),
    ("tcp_comp_sack_nr", &["0", "1", "200"]),
    ("tcp_congestion_control", &["reno", "bbr"]),
    ("tcp_dsack", &["0"]),
    ("tcp_early_retrans", &["0", "4"]),
    ("tcp_ecn", &["0", "1", "1", "3", "4", "5"]),
    ("tcp_ecn_fallback", &["0"]),
    ("tcp_ecn_option", &["0", "1"]),
    ("tcp_frto", &["0"]),
    ("tcp_limit_output_bytes", &["4096", "20000"]),
    ("tcp_min_tso_segs", &["1", "8"]),
    ("tcp_moderate_rcvbuf", &["0"]),
    ("tcp_mtu_probing", &["1", "2"]),
    ("tcp_notsent_lowat", &["1", "4096", "20000"]),
    ("tcp_pingpong_thresh", &["1", "3"]),
    ("tcp_recovery", &["0", "2", "4"]),
    ("tcp_reordering", &["1", "10"]),
    ("tcp_retrans_collapse", &["1"]),
    ("tcp_rfc1337", &["1"]),
    ("tcp_rto_min_us", &["20000", "1000000"]),
    (
        "tcp_rmem",
        &[
            "4096 4096 4096",
            "4096 8192 32768",
            "4096 16384 65536",
            "4096 131072 300000",
        ],
    ),
    (
        "tcp_wmem",
        &["4096 4096 4096", "4096 8192 32768", "4096 16384 65536"],
    ),
    ("tcp_sack", &["0"]),
    ("tcp_shrink_window", &["1"]),
    ("tcp_slow_start_after_idle", &["0"]),
    ("tcp_syn_linear_timeouts", &["0"]),
    ("tcp_syncookies", &["0", "2"]),
    ("tcp_thin_linear_timeouts", &["1"]),
    ("tcp_timestamps", &["0", "2"]),
    ("tcp_tw_reuse", &["0", "1"]),
    ("tcp_window_scaling", &["0"]),
    ("tcp_workaround_signed_windows", &["1"]),
];

/// Orphans give up early enough for a run.
const ALWAYS: &[(&str, &str)] = &[
    ("tcp_fin_timeout", "10"),
    ("tcp_fastopen", "3"),
    ("tcp_no_metrics_save", "1"),
];

/// Some switches and their values.
pub(super) fn draw(random: &mut Random) -> Vec<(&'static str, &'static str)> {
    let percent = random.pick(&[0, 5, 10, 20, 40]);
    let mut drawn = Vec::new();
    for (name, values) in SWITCHES {
        let value = random.pick(values);
        if random.chance(percent) {
            drawn.push((*name, value));
        }
    }
    drawn
}

/// Sets switches of the calling thread's network namespace. A switch that this kernel does not
/// have is left out, and a congestion control that is not there.
pub(super) fn apply(switches: &[(&str, &str)]) -> io::Result<()> {
    let available = read_to_string(path("tcp_available_congestion_control"))?;
    for (name, value) in ALWAYS.iter().chain(switches) {
        let absent = *name == "tcp_congestion_control"
            && !available.split_whitespace().any(|found| found == *value);
        if absent {
            continue;
        }
        match write(path(name), value) {
            // Older kernels lack some switches, and some values of others.
            Err(error) if !is_unknown(&error) => {
                let what = format!("setting net.ipv4.{name} to `{value}`: {error}");
                return Err(io::Error::new(error.kind(), what));
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_unknown(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput)
}

fn path(name: &str) -> String {
    format!("/proc/sys/net/ipv4/{name}")
}
