//! What happens, on stderr, with `FUZZ_TRACE` set: for whoever looks into an input that fails.

use std::env;
use std::sync::LazyLock;

static IS_ON: LazyLock<bool> = LazyLock::new(|| env::var_os("FUZZ_TRACE").is_some());

/// Prints a line, if anybody wants to see it.
pub(crate) fn trace(line: impl FnOnce() -> String) {
    if *IS_ON {
        eprintln!("{}", line());
    }
}
