//! What the kernel still holds of its connections.

use std::fs::read_to_string;
use std::io;

/// `TCP_TIME_WAIT` and `TCP_LISTEN` of `<netinet/tcp.h>`.
const EXPECTED: [&str; 2] = ["06", "0A"];

/// The kernel's sockets of the calling thread's network namespace that are neither in TIME-WAIT
/// nor listening: lines of `/proc/net/tcp`.
pub(super) fn kernel_sockets() -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for file in ["tcp", "tcp6"] {
        let table = read_to_string(format!("/proc/thread-self/net/{file}"))?;
        let lines = table.lines().skip(1).filter(|line| {
            let state = line.split_whitespace().nth(3);
            !state.is_some_and(|state| EXPECTED.contains(&state))
        });
        found.extend(lines.map(|line| line.trim().to_owned()));
    }
    Ok(found)
}
