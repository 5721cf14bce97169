//! Sequence numbers without their wrap.

/// Where a wire number lies from an ISN, near to what is known so far. Numbers below the ISN (a
/// keep-alive before the first byte) count as 0.
pub fn position(isn: u32, near: u64, wire: u32) -> u64 {
    let expected = isn.wrapping_add(near as u32);
    unwrapped(near, expected, wire)
}

/// The number with the low half `wire` that is nearest to `near`, whose low half is `expected`.
pub(crate) fn unwrapped(near: u64, expected: u32, wire: u32) -> u64 {
    let distance = wire.wrapping_sub(expected) as i32;
    near.saturating_add_signed(distance as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_go_on_over_the_wrap() {
        assert_eq!(position(u32::MAX, 0, 0), 1);
        assert_eq!(position(7, 1 << 32, 5), (1 << 32) - 2);
        assert_eq!(position(7, 10, 6), 0);
        assert_eq!(position(0xffff_fff0, 0x7fff_0000, 0x7fff_0000), 0x7fff_0010);
    }
}
