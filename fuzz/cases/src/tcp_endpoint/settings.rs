//! Settings of the endpoint and of its connections, from the input.

use std::num::NonZeroU64;
use std::time::Duration;

use ustack_tcp::memory::{Budget, Charge, Lease};
use ustack_tcp::{
    Config, CongestionAlgorithm, EcnMode, Keepalive, LossDetection, Pacing, SocketOptions, Tcp,
};

use crate::input::Input;

pub(super) const RECV_BUFFER_MAX: u32 = 64 << 10;

/// Settings that matter to the peer, with small buffers so that their edges are near.
pub(super) fn config(input: &mut Input<'_>) -> Config {
    let (first, second) = (input.byte(), input.byte());
    let bit = |byte: u8, bit: u8| byte >> bit & 1 != 0;
    let mut config = Config::default();
    config.congestion = algorithm(first);
    config.mtu = [1500, 1500, 1280, 9000][usize::from(first >> 2 & 3)];
    config.tso = bit(first, 4);
    config.timestamps = !bit(first, 5);
    config.timestamps_required = !bit(first, 6);
    config.mtu_probing = !bit(first, 7);
    config.loss_detection = if bit(second, 0) {
        LossDetection::Rfc6675
    } else {
        LossDetection::Rack
    };
    config.pacing =
        [Pacing::SlowStart, Pacing::Off, Pacing::On, Pacing::Off][usize::from(second >> 1 & 3)];
    config.ecn =
        [EcnMode::Passive, EcnMode::On, EcnMode::Off, EcnMode::On][usize::from(second >> 3 & 3)];
    config.rfc1337 = !bit(second, 5);
    config.hystart = !bit(second, 6);
    config.quick_acks = second >> 7 << 3;
    config.recv_buffer_max = RECV_BUFFER_MAX;
    config.recv_buffer_initial = 16 << 10;
    config.send_buffer_max = 64 << 10;
    config.send_buffer_initial = 16 << 10;
    config
}

/// Spends from a budget of which others hold so much that memory becomes short within a
/// connection's buffers.
pub(super) fn scarce_memory(tcp: &mut Tcp) -> Lease {
    let budget = Budget::new(2 * Budget::MIN, 2);
    tcp.share_budget(&budget);
    let mut others = Lease::new(budget);
    let held = Charge {
        sent: 0,
        received: 160 << 10,
    };
    assert!(others.settle(Charge::default(), held));
    others
}

const fn algorithm(choice: u8) -> CongestionAlgorithm {
    match choice & 3 {
        0 | 1 => CongestionAlgorithm::Cubic,
        2 => CongestionAlgorithm::Reno,
        _ => CongestionAlgorithm::Bbr,
    }
}

/// What a socket may be asked for.
pub(super) fn change(options: &mut SocketOptions, input: &mut Input<'_>) {
    let value = input.byte();
    let some = value & 1 != 0;
    let millis = Duration::from_millis(u64::from(value) * 20);
    match input.below(15) {
        0 => options.nodelay = some,
        1 => {
            options.keepalive = some.then_some(Keepalive {
                idle: millis,
                interval: millis / 4,
                count: value >> 5,
            });
        }
        2 => options.user_timeout = some.then_some(millis),
        3 => options.recv_buffer = some.then_some(u32::from(value) * 64),
        4 => options.send_buffer = some.then_some(u32::from(value) * 64),
        5 => options.minshall = some,
        6 => options.max_pacing_rate = NonZeroU64::new(u64::from(value) * 1000),
        7 => options.cork = some,
        8 => options.max_segment = some.then_some(u16::from(value) * 8),
        9 => options.notsent_lowat = some.then_some(u32::from(value) * 16),
        10 => options.linger2 = some.then_some(millis),
        11 => options.linger = some.then_some(Duration::ZERO),
        12 => options.quickack = some,
        13 => options.congestion = Some(algorithm(value)),
        _ => options.dscp = value & 63,
    }
}
