//! Random decisions that belong to a packet's number and to nothing else.

/// Kinds of decisions. Each has numbers of its own, so that one fault more or less changes nothing
/// for the others.
#[derive(Clone, Copy, Debug)]
pub(super) enum Choice {
    Loss = 1,
    Channel,
    Corrupt,
    Bit,
    Mark,
    Duplicate,
    Jitter,
    Reorder,
}

/// Draws by packet number: packet `n` meets the same fate whoever sends it and whatever happened
/// to the packets before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dice {
    key: u64,
}

/// Weyl's constant keeps neighbouring numbers apart before they are mixed.
const WEYL: u64 = 0x9e37_79b9_7f4a_7c15;

impl Dice {
    /// `stream` tells lanes with one seed apart.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        Self {
            key: mix(seed ^ mix(stream.wrapping_add(1).wrapping_mul(WEYL))),
        }
    }

    fn draw(self, choice: Choice, packet: u64) -> u64 {
        let stream = mix(self.key.wrapping_add((choice as u64).wrapping_mul(WEYL)));
        mix(stream.wrapping_add(packet.wrapping_mul(WEYL)))
    }

    /// Whether what has this probability happens to this packet.
    pub(super) fn happens(self, choice: Choice, packet: u64, probability: f64) -> bool {
        probability > 0.0 && unit(self.draw(choice, packet)) < probability
    }

    /// A whole number below `end`, 0 when there is none.
    pub(super) fn below(self, choice: Choice, packet: u64, end: u64) -> u64 {
        let product = u128::from(self.draw(choice, packet)) * u128::from(end);
        (product >> 64) as u64
    }
}

/// The finalizer of SplitMix64: every input bit changes half of the output bits.
const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The upper 53 bits as a number from 0 to below 1: exact, so the same on every machine.
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}
