//! Which packets vanish: at random, in bursts, by their numbers.

use super::chance::{Choice, Dice};
use super::spec::ImpairSpec;

/// The loss of one lane: whatever loses a packet, loses it.
#[derive(Debug, Default)]
pub(super) struct Loss {
    /// The channel of Gilbert and Elliott is in its bad state.
    bad: bool,
}

impl Loss {
    /// Whether this packet vanishes. To be asked once for every packet, in order.
    pub(super) fn takes(&mut self, spec: &ImpairSpec, dice: Dice, packet: u64) -> bool {
        let in_burst = self.is_lost_in_burst(spec, dice, packet);
        in_burst || dice.happens(Choice::Loss, packet, spec.loss) || spec.drop.holds(packet)
    }

    /// As netem's `gemodel`: the state changes first, then decides.
    fn is_lost_in_burst(&mut self, spec: &ImpairSpec, dice: Dice, packet: u64) -> bool {
        let Some(model) = &spec.gemodel else {
            return false;
        };
        let leaves = if self.bad { model.r } else { model.p };
        self.bad ^= dice.happens(Choice::Channel, packet, leaves);
        let lost = if self.bad {
            model.bad_loss
        } else {
            model.good_loss
        };
        // A number of its own: `loss` may be asked for beside it.
        dice.happens(Choice::Loss, !packet, lost)
    }
}
