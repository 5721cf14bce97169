//! What the kernel of a namespace counts.

use std::collections::HashMap;
use std::fs::read_to_string;
use std::io;

use crate::during;

/// The counters of `/proc/net/snmp` and `/proc/net/netstat` in the calling thread's namespace, by
/// their own names.
pub(super) fn read() -> io::Result<HashMap<String, u64>> {
    let mut counters = HashMap::new();
    for file in ["snmp", "netstat"] {
        let path = format!("/proc/thread-self/net/{file}");
        let text = read_to_string(&path).map_err(during(format_args!("reading {path}")))?;
        // A line of names, then one of values.
        let mut lines = text.lines();
        while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
            let pairs = names.split_whitespace().zip(values.split_whitespace());
            counters.extend(
                pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))),
            );
        }
    }
    Ok(counters)
}
