//! Making a failing case smaller.

use std::time::Duration;

use ustack::device::ImpairSpec;

use super::{Case, Finding, Outcome, Settings, known};
use crate::script::{Flow, Pieces, Program, ReceiveOp, Script, SendOp, Start};

/// Runs that shrinking may take.
const RUNS: usize = 600;

/// A case that fails in the same way as `case`, which had these findings, and is as small as a
/// bounded number of attempts makes it.
pub fn shrink(case: &Case, findings: &[Finding]) -> Case {
    let wanted: Vec<_> = findings.iter().map(kind).collect();
    shrink_while(case, &mut |candidate, outcome| {
        let (_, found) = known::sort(candidate, outcome);
        found.iter().any(|finding| wanted.contains(&kind(finding)))
    })
}

/// A smaller case for whose outcome `fails` holds, too.
pub fn shrink_while(case: &Case, fails: &mut dyn FnMut(&Case, &Outcome) -> bool) -> Case {
    let mut runs = 0;
    let mut fails = |candidate: &Case| {
        runs += 1;
        runs <= RUNS && fails(candidate, &candidate.run())
    };
    let mut best = case.clone();
    loop {
        let before = best.clone();
        let script = shrink_script(&best.script, &mut |script| {
            fails(&Case {
                script: script.clone(),
                ..best.clone()
            })
        });
        best.script = script;
        shrink_around(&mut best, &mut fails);
        if best == before {
            return best;
        }
    }
}

/// What two findings have in common that are of one kind: the rule, or the words without numbers.
fn kind(finding: &Finding) -> String {
    let line = finding.what.lines().next().unwrap_or_default();
    finding.rule.map_or_else(
        || line.replace(|c: char| c.is_ascii_digit(), ""),
        |rule| rule.name().to_owned(),
    )
}

/// Settings, links, clocks: what is as usual is no reason.
fn shrink_around(best: &mut Case, fails: &mut dyn FnMut(&Case) -> bool) {
    let mut attempt = |change: &dyn Fn(&mut Case)| {
        let mut candidate = best.clone();
        change(&mut candidate);
        if candidate != *best && fails(&candidate) {
            *best = candidate;
        }
    };
    attempt(&|case| case.begin = Duration::from_secs(1));
    for end in 0..2 {
        attempt(&|case| case.settings[end] = Settings::default());
        attempt(&|case| {
            case.lanes[end] = ImpairSpec {
                delay: case.lanes[end].delay,
                seed: case.lanes[end].seed,
                ..ImpairSpec::default()
            };
        });
        for key in Settings::keys() {
            attempt(&|case| case.settings[end] = case.settings[end].without(&key));
        }
        let simpler: [fn(&mut ImpairSpec); 12] = [
            |lane| lane.loss = 0.0,
            |lane| lane.gemodel = None,
            |lane| lane.drop = ImpairSpec::default().drop,
            |lane| lane.jitter = Duration::ZERO,
            |lane| (lane.reorder, lane.hold) = (0.0, None),
            |lane| lane.duplicate = 0.0,
            |lane| lane.corrupt = 0.0,
            |lane| lane.ce = 0.0,
            |lane| lane.codel = None,
            |lane| (lane.rate, lane.queue, lane.codel) = (None, None, None),
            |lane| lane.queue = None,
            |lane| lane.mtu = None,
        ];
        for simpler in simpler {
            attempt(&|case| simpler(&mut case.lanes[end]));
        }
        attempt(&|case| case.lanes[end].delay = Duration::from_millis(10));
    }
}

/// A script that still `fails`, with fewer connections, fewer steps and smaller ones.
pub fn shrink_script(script: &Script, fails: &mut dyn FnMut(&Script) -> bool) -> Script {
    let mut best = script.clone();
    loop {
        let smaller = shrink_once(&best, fails);
        if smaller == best {
            return best;
        }
        best = smaller;
    }
}

fn shrink_once(script: &Script, fails: &mut dyn FnMut(&Script) -> bool) -> Script {
    let mut best = script.clone();
    // Halves first, then single connections.
    let mut width = best.flows.len() / 2;
    while width > 0 {
        let mut from = 0;
        while from < best.flows.len() {
            let candidate = without_flows(&best, from, (from + width).min(best.flows.len()));
            if !candidate.flows.is_empty() && fails(&candidate) {
                best = candidate;
            } else {
                from += width;
            }
        }
        width /= 2;
    }
    for flow in 0..best.flows.len() {
        let mut attempt = |change: &dyn Fn(&mut Flow)| {
            let mut candidate = best.clone();
            change(&mut candidate.flows[flow]);
            let is_sound = candidate.check().is_ok() && candidate.flows[flow].comes_to_an_end();
            if candidate != best && is_sound && fails(&candidate) {
                best = candidate;
            }
        };
        attempt(&|flow| flow.start = Start::At(Duration::ZERO));
        for end in 0..2 {
            attempt(&|flow| flow.programs[end].send.clear());
            for step in (0..MAX_STEPS).rev() {
                attempt(&|flow| remove(&mut flow.programs[end].send, step));
                attempt(&|flow| remove(&mut flow.programs[end].receive, step));
            }
            for step in 0..MAX_STEPS {
                attempt(&|flow| plain(&mut flow.programs[end], step));
                for divisor in [10, 2] {
                    attempt(&|flow| less(&mut flow.programs[end], step, divisor));
                }
            }
        }
    }
    best
}

/// Steps of a list that are tried one by one.
const MAX_STEPS: usize = 40;

fn remove<T>(steps: &mut Vec<T>, at: usize) {
    if at < steps.len() {
        steps.remove(at);
    }
}

/// Calls without pieces.
fn plain(program: &mut Program, step: usize) {
    if let Some(SendOp::Write(_, pieces)) = program.send.get_mut(step) {
        *pieces = Pieces::WHOLE;
    }
    if let Some(ReceiveOp::Read(_, pieces) | ReceiveOp::ReadToEnd(pieces)) =
        program.receive.get_mut(step)
    {
        *pieces = Pieces::WHOLE;
    }
}

/// Smaller numbers.
fn less(program: &mut Program, step: usize, divisor: u32) {
    match program.send.get_mut(step) {
        Some(SendOp::Write(size, _)) => *size = (*size / u64::from(divisor)).max(1),
        Some(SendOp::Wait(time)) => *time = part(*time, divisor),
        _ => {}
    }
    match program.receive.get_mut(step) {
        Some(ReceiveOp::Read(size, _)) => *size = (*size / u64::from(divisor)).max(1),
        Some(ReceiveOp::Pause(time)) => *time = part(*time, divisor),
        _ => {}
    }
}

/// In whole microseconds, as scripts are written.
fn part(time: Duration, divisor: u32) -> Duration {
    Duration::from_micros((time / divisor).as_micros() as u64)
}

/// The script without some of its connections; what began after one of those begins with what that
/// one waited for.
fn without_flows(script: &Script, from: usize, to: usize) -> Script {
    let kept = |index: usize| !(from..to).contains(&index);
    let resolve = |mut start: Start| {
        while let Start::After(other) = start {
            if kept(other) {
                let gone = to.min(other).saturating_sub(from);
                return Start::After(other - gone);
            }
            start = script.flows[other].start;
        }
        start
    };
    let flows = script
        .flows
        .iter()
        .enumerate()
        .filter(|(index, _)| kept(*index));
    let flows = flows.map(|(_, flow)| Flow {
        start: resolve(flow.start),
        ..flow.clone()
    });
    Script {
        flows: flows.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::Shape;

    #[test]
    fn a_script_shrinks_to_what_matters() {
        for seed in 0..50 {
            let script = Script::generate(seed, &Shape::default());
            let mut fails = |script: &Script| script.bytes() > 100;
            if !fails(&script) {
                continue;
            }
            let small = shrink_script(&script, &mut fails);
            assert!(small.check().is_ok(), "seed {seed}");
            assert_eq!(small.flows.len(), 1, "seed {seed}:\n{small}");
            assert!(
                (101..=2_000).contains(&small.bytes()),
                "seed {seed}:\n{small}"
            );
        }
    }
}
