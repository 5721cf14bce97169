//! Sysctls that a script's shell commands have set: lines `key=value` in a file that the stub of
//! `set_sysctls.py` writes and that is named by packetdrill's process id.

use std::path::PathBuf;

/// How far the file has been read.
#[derive(Debug)]
pub(crate) struct SysctlFile {
    path: PathBuf,
    lines: usize,
}

impl SysctlFile {
    pub(crate) fn new() -> Self {
        let name = format!("packetdrill_sysctls_{}", std::process::id());
        Self {
            path: std::env::temp_dir().join(name),
            lines: 0,
        }
    }

    /// What has been written since the last call; no file is no settings.
    pub(crate) fn take_new(&mut self) -> Vec<(String, String)> {
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        let new = text.lines().skip(self.lines).map(setting).collect();
        self.lines = text.lines().count();
        new
    }
}

/// `/proc/sys/net/ipv4/tcp_x=1` or `net.ipv4.tcp_x=1`.
fn setting(line: &str) -> (String, String) {
    let (key, value) = line.split_once('=').unwrap_or((line, ""));
    let key = key
        .trim()
        .trim_start_matches("/proc/sys/")
        .replace('/', ".");
    (key, value.trim().trim_matches('"').into())
}
