//! Sets of options, kept once for all connections that have the same: hosts use few, and a connection
//! carries a reference where it would carry two hundred bytes.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::config::SocketOptions;

/// Sets that are remembered; of more, those in use are there as often as they were asked for.
const MAX_SETS: usize = 16;

/// The sets asked for last.
#[derive(Debug, Default)]
pub(super) struct OptionSets(Vec<Arc<SocketOptions>>);

impl OptionSets {
    /// These options, shared with all who have asked for the same.
    pub(super) fn share(&mut self, options: &SocketOptions) -> Arc<SocketOptions> {
        if let Some(same) = self.0.iter().find(|shared| ***shared == *options) {
            return Arc::clone(same);
        }
        if self.0.len() == MAX_SETS {
            self.0.remove(0);
        }
        let shared = Arc::new(*options);
        self.0.push(Arc::clone(&shared));
        shared
    }

    /// `options` with a change.
    pub(super) fn changed(
        &mut self,
        options: &SocketOptions,
        change: impl FnOnce(&mut SocketOptions),
    ) -> Arc<SocketOptions> {
        let mut options = *options;
        change(&mut options);
        self.share(&options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_the_same_options_shares_them() {
        let mut sets = OptionSets::default();
        let plain = sets.share(&SocketOptions::default());
        let nodelay = sets.changed(&plain, |options| options.nodelay = true);
        assert!(nodelay.nodelay && !plain.nodelay);
        assert!(Arc::ptr_eq(&plain, &sets.share(&SocketOptions::default())));
        let again = sets.changed(&plain, |options| options.nodelay = true);
        assert!(Arc::ptr_eq(&nodelay, &again));
    }

    #[test]
    fn sets_are_bounded() {
        let mut sets = OptionSets::default();
        for dscp in 0..64 {
            let set = sets.changed(&SocketOptions::default(), |options| options.dscp = dscp);
            assert_eq!(set.dscp, dscp);
            assert!(sets.0.len() <= MAX_SETS);
        }
    }
}
