//! Huge pages for what is large: with one of a million connections each look at memory would else begin
//! with a walk through page tables that no cache holds.

use std::ffi::c_void;

use rustix::mm::{Advice, madvise};

/// Addresses of advice are multiples of a page, of the largest that the architecture has.
const PAGE: usize = if cfg!(target_arch = "x86_64") {
    4 << 10
} else {
    64 << 10
};

/// Asks the kernel for huge pages in a piece of memory, for
/// [`Config::on_large_memory`](ustack_tcp::Config::on_large_memory). It is a wish, for which
/// `/sys/kernel/mm/transparent_hugepage/enabled` must say `madvise` or `always`: what the kernel cannot
/// give stays as it is. Where it gives them, memory is taken 2 MiB at a time.
#[allow(
    unsafe_code,
    reason = "advice on memory by its address: rustix cannot tell harmless advice from other"
)]
pub fn ask(start: *const u8, bytes: usize) {
    // Whole pages, those at both ends too: pieces that lie side by side become one.
    let before = start.addr() % PAGE;
    let len = (before + bytes).next_multiple_of(PAGE);
    let first = start.wrapping_sub(before).cast_mut().cast::<c_void>();
    // SAFETY: MADV_HUGEPAGE changes how memory is mapped, neither what is in it nor who may use it;
    // of what is not mapped the kernel complains.
    let done = unsafe { madvise(first, len, Advice::LinuxHugepage) };
    if let Err(error) = done {
        tracing::debug!(%error, bytes, "no huge pages: the kernel does not take the advice");
    }
}
