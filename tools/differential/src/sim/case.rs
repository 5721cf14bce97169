//! Everything that one run follows from, drawn from a seed or read from a file.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use ustack::device::ImpairSpec;

use crate::random::Random;
use crate::script::{Script, Shape};
use crate::sim::fault::Fault;
use crate::sim::lanes;
use crate::sim::settings::{Settings, Stack};

/// All ordered pairs of stacks.
pub const PAIRS: [[Stack; 2]; 4] = [
    [Stack::Ustack, Stack::Ustack],
    [Stack::Ustack, Stack::Smoltcp],
    [Stack::Smoltcp, Stack::Ustack],
    [Stack::Smoltcp, Stack::Smoltcp],
];

/// One run: stacks, settings, link and script.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Where it comes from.
    pub seed: u64,
    /// The stacks at A and B.
    pub stacks: [Stack; 2],
    /// Whether the hosts have IPv6 addresses.
    pub v6: bool,
    /// The hosts' secrets are drawn from this.
    pub secret: u64,
    /// What the clocks show at the beginning: sequence numbers and timestamps follow from it.
    pub begin: Duration,
    /// The settings of A and B.
    pub settings: [Settings; 2],
    /// From A to B, from B to A.
    pub lanes: [ImpairSpec; 2],
    /// What the applications do.
    pub script: Script,
    /// What is wrong with A's host, to see that it is found.
    pub fault: Option<Fault>,
}

impl Case {
    /// The case of `seed`. Without `stacks` it draws those, too.
    pub fn generate(seed: u64, stacks: Option<[Stack; 2]>) -> Self {
        let mut random = Random::new(seed);
        let drawn = random.pick(&PAIRS);
        let stacks = stacks.unwrap_or(drawn);
        let v6 = random.chance(30);
        let secret = random.next();
        let begin = begin(&mut random.fork());
        let mut settings = [(); 2].map(|()| Settings::generate(&mut random.fork(), v6));
        let mut lanes = lanes::generate(&mut random.fork());
        let seeds = [random.next(), random.next()];
        for (lane, seed) in lanes.iter_mut().zip(seeds) {
            lane.seed = Some(seed);
        }
        if stacks.contains(&Stack::Smoltcp) {
            // It does not know of smaller paths.
            for lane in &mut lanes {
                lane.mtu = None;
            }
            // With small segments it sends single bytes, for hours.
            for host in &mut settings {
                host.mtu = host.mtu.max(576);
                host.max_segment = host.max_segment.map(|most| most.max(536));
            }
        } else {
            // No path is taken to be narrower: RFC 8200 §5, and Linux's min_pmtu for IPv4.
            let least = if v6 { 1280 } else { 552 };
            let largest = settings[0].mtu.max(settings[1].mtu);
            if random.chance(12) {
                let mtu = random.between(least, u64::from(largest).max(least));
                lanes[random.below(2) as usize].mtu = Some(mtu as u16);
            }
        }
        let shape = Shape {
            bytes: most_bytes(&lanes, &settings),
            ..Shape::default()
        };
        Self {
            seed,
            stacks,
            v6,
            secret,
            begin,
            settings,
            lanes,
            script: Script::generate(random.next(), &shape),
            fault: None,
        }
    }

    /// Whether the way may lose packets, for whatever reason.
    pub fn loses(&self) -> bool {
        self.lanes.iter().any(|lane| {
            lane.loss > 0.0
                || lane.gemodel.is_some()
                || !lane.drop.is_empty()
                || lane.corrupt > 0.0
                || lane.rate.is_some()
                || lane.queue.is_some()
                || lane.mtu.is_some()
        })
    }
}

/// Nothing, or hours to weeks: clocks wrap somewhere there.
fn begin(random: &mut Random) -> Duration {
    match random.below(4) {
        0 | 1 => Duration::from_secs(1),
        2 => Duration::from_micros(random.below(1 << 34)),
        // 32 bits of milliseconds.
        _ => Duration::from_millis((1 << 32) - random.below(20_000)),
    }
}

/// What a link can carry in bounded time, whatever it loses.
fn most_bytes(lanes: &[ImpairSpec; 2], settings: &[Settings; 2]) -> u64 {
    let rates = lanes.iter().filter_map(|lane| lane.rate);
    let paces = settings.iter().filter_map(|host| host.max_pacing_rate);
    let rate = rates.chain(paces.map(|rate| u64::from(rate) * 8)).min();
    let lossy = lanes
        .iter()
        .any(|lane| lane.loss > 0.02 || lane.gemodel.is_some());
    let small = settings.iter().any(|host| host.mtu < 500);
    let most = match (lossy, small) {
        (true, true) => 20_000,
        (true, false) | (false, true) => 200_000,
        (false, false) => 3_000_000,
    };
    rate.map_or(most, |rate| most.min(rate / 8 * 20)).max(2_000)
}

/// A case as it stands in a file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    seed: u64,
    stacks: [Stack; 2],
    #[serde(default)]
    v6: bool,
    secret: u64,
    begin_us: u64,
    lanes: [String; 2],
    flows: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fault: Option<Fault>,
    a: toml::Table,
    b: toml::Table,
}

/// Why a file is no case.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// Not TOML, or not a case's.
    #[error("not a case: {0}")]
    Toml(#[from] toml::de::Error),
    /// Links that do not exist.
    #[error("not a link: {0}")]
    Lane(#[from] ustack::device::ImpairParseError),
    /// Scripts that cannot be played.
    #[error("not a script: {0}")]
    Script(#[from] crate::script::ScriptParseError),
}

impl Case {
    /// The case as text that [`Case::parse`] reads.
    pub fn to_toml(&self) -> String {
        let [a, b] = self.settings.each_ref().map(Settings::differences);
        let file = File {
            seed: self.seed,
            stacks: self.stacks,
            v6: self.v6,
            secret: self.secret,
            begin_us: self.begin.as_micros() as u64,
            lanes: self.lanes.each_ref().map(ToString::to_string),
            flows: self.script.flows.iter().map(ToString::to_string).collect(),
            fault: self.fault,
            a,
            b,
        };
        toml::to_string(&file).expect("plain values")
    }

    /// A case that was written before.
    pub fn parse(text: &str) -> Result<Self, CaseError> {
        let file: File = toml::from_str(text)?;
        let [there, back] = &file.lanes;
        Ok(Self {
            seed: file.seed,
            stacks: file.stacks,
            v6: file.v6,
            secret: file.secret,
            begin: Duration::from_micros(file.begin_us),
            settings: [file.a.try_into()?, file.b.try_into()?],
            lanes: [spec(there)?, spec(back)?],
            script: file.flows.join("\n").parse()?,
            fault: file.fault,
        })
    }
}

fn spec(text: &str) -> Result<ImpairSpec, ustack::device::ImpairParseError> {
    if text.is_empty() {
        return Ok(ImpairSpec::default());
    }
    text.parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_reads_back_as_it_was_written() {
        for seed in 0..1_000 {
            let case = Case::generate(seed, None);
            let text = case.to_toml();
            assert_eq!(Case::parse(&text).expect("a case"), case, "{text}");
        }
    }
}
