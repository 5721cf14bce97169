//! What all queues of a direction hold together.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};

/// The memory of all queues of one direction, shared by them; without a limit there is none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter(Option<Arc<Total>>);

/// In bytes. Only the endpoint's owner changes them: nothing is ordered by them.
#[derive(Debug, Default)]
struct Total {
    charged: AtomicUsize,
    limit: AtomicUsize,
}

impl Meter {
    /// A limit of nothing, until [`Meter::set_limit`] says more.
    pub(crate) fn limited() -> Self {
        Self(Some(Arc::default()))
    }

    pub(crate) fn set_limit(&self, limit: usize) {
        if let Some(total) = &self.0 {
            total.limit.store(limit, Ordering::Relaxed);
        }
    }

    /// Bytes charged to all queues; 0 without a limit.
    pub(crate) fn charged(&self) -> usize {
        let total = self.0.as_ref();
        total.map_or(0, |total| total.charged.load(Ordering::Relaxed))
    }

    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.0.as_ref().is_none_or(|total| {
            let charged = total.charged.load(Ordering::Relaxed);
            charged + bytes <= total.limit.load(Ordering::Relaxed)
        })
    }

    pub(crate) fn charge(&self, bytes: usize) {
        if let Some(total) = &self.0 {
            total.charged.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    pub(crate) fn release(&self, bytes: usize) {
        if let Some(total) = &self.0 {
            total.charged.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}
