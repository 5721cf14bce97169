//! A failure made smaller, while it repeats.

use std::time::{Duration, Instant};

use super::case::Case;
use super::setting::Setting;
use crate::Script;
use crate::sim::shrink_script;

/// Time spent on one failure at most; what has been reached by then is what there is.
const PATIENCE: Duration = Duration::from_secs(60);

/// The smallest case that still fails, among those with parts left out.
pub(super) fn shrink(case: &Case, fails: impl Fn(&Case) -> bool) -> Case {
    let deadline = Instant::now() + PATIENCE;
    let in_time = || Instant::now() < deadline;
    let mut smallest = case.clone();
    smallest.script = shrink_script(&case.script, &mut |script: &Script| {
        let setting = case.setting.clone();
        let script = script.clone();
        in_time() && fails(&Case { script, setting })
    });
    loop {
        let candidates = settings(&smallest.setting).into_iter().map(|setting| Case {
            script: smallest.script.clone(),
            setting,
        });
        let found = candidates.take_while(|_| in_time()).find(&fails);
        let Some(smaller) = found else {
            break;
        };
        smallest = smaller;
    }
    smallest
}

/// The setting with one part less, each in turn.
fn settings(setting: &Setting) -> Vec<Setting> {
    let mut smaller = Vec::new();
    let mut try_one = |change: &dyn Fn(&mut Setting)| {
        let mut changed = setting.clone();
        change(&mut changed);
        smaller.push(changed);
    };
    if setting.to_ustack.is_some() {
        try_one(&|setting| setting.to_ustack = None);
    }
    if setting.to_kernel.is_some() {
        try_one(&|setting| setting.to_kernel = None);
    }
    if setting.fast_open {
        try_one(&|setting| setting.fast_open = false);
    }
    for index in 0..setting.sysctls.len() {
        try_one(&|setting| _ = setting.sysctls.remove(index));
    }
    for index in 0..setting.choices.len() {
        try_one(&|setting| _ = setting.choices.remove(index));
    }
    for index in 0..setting.kernel.len() {
        try_one(&|setting| _ = setting.kernel.remove(index));
    }
    smaller
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_part_in_a_failure_is_left_out() {
        let fails = |case: &Case| {
            let lossy = case.setting.to_kernel.is_some();
            lossy
                && case
                    .script
                    .flows
                    .iter()
                    .any(|flow| flow.programs[0].written() > 1000)
        };
        let mut shrunk = 0;
        for seed in 0..100 {
            let case = Case::draw(seed);
            if !fails(&case) {
                continue;
            }
            let small = shrink(&case, fails);
            assert!(fails(&small), "seed {seed}");
            assert_eq!(small.script.check(), Ok(()), "seed {seed}");
            assert!(small.setting.sysctls.is_empty(), "seed {seed}");
            assert!(small.setting.to_ustack.is_none(), "seed {seed}");
            assert!(small.script.flows.len() <= case.script.flows.len());
            shrunk += 1;
        }
        assert!(shrunk > 10);
    }
}
