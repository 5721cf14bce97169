//! What the datagram services agree on. Port 7 echoes; port 9 counts what comes and tells when
//! asked [`QUESTION`]; port 19 sends what an [`Order`] asks for. Peers that are programs of their
//! own speak the same.

/// Payload of each datagram that is measured, in bytes.
pub const SIZE: usize = 1200;

/// Asked at port 9, answered by the count so far: 8 bytes, big-endian. Not counted itself.
pub const QUESTION: &[u8; 8] = b"counted?";

/// Asked at port 19: datagrams of [`SIZE`] bytes at a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// How many.
    pub count: u64,
    /// How many in a second.
    pub per_second: u64,
}

/// More is not sent for one order.
const MAX_COUNT: u64 = 1 << 30;

impl Order {
    /// As it travels.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.count.to_be_bytes());
        bytes[8..].copy_from_slice(&self.per_second.to_be_bytes());
        bytes
    }

    /// Reads one that makes sense.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; 16] = bytes.try_into().ok()?;
        let word = |at: usize| u64::from_be_bytes(std::array::from_fn(|i| bytes[at + i]));
        let (count, per_second) = (word(0), word(8));
        (count <= MAX_COUNT && per_second > 0).then_some(Self { count, per_second })
    }

    /// How many should have left after so many nanoseconds.
    pub fn due(self, nanos: u64) -> u64 {
        let due = u128::from(nanos) * u128::from(self.per_second) / 1_000_000_000;
        self.count.min(u64::try_from(due).unwrap_or(u64::MAX))
    }

    /// After how many nanoseconds the one with this number, from 1, is due.
    pub fn due_at(self, number: u64) -> u64 {
        let nanos = u128::from(number) * 1_000_000_000;
        u64::try_from(nanos.div_ceil(u128::from(self.per_second))).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_travel() {
        let order = Order {
            count: 70_000,
            per_second: 1 << 40,
        };
        assert_eq!(Order::from_bytes(&order.to_bytes()), Some(order));
        assert_eq!(Order::from_bytes(&[0; 16]), None, "no rate");
        assert_eq!(Order::from_bytes(&[255; 16]), None, "too many");
        assert_eq!(Order::from_bytes(b"counted?"), None);
    }

    #[test]
    fn what_is_due_and_when_agree() {
        for per_second in [1, 3, 999, 1_000_000, 7_654_321] {
            let order = Order {
                count: 1000,
                per_second,
            };
            for number in [1, 2, 999, 1000] {
                let at = order.due_at(number);
                assert!(order.due(at) >= number, "{number} at {per_second}/s");
                assert!(order.due(at - 1) < number, "{number} at {per_second}/s");
            }
            assert_eq!(order.due(u64::MAX), 1000);
        }
    }
}
