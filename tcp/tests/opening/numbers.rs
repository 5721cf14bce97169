//! Numbers that nobody outside may predict: ISNs (RFC 6528), ports (RFC 6056), timestamps
//! (RFC 7323 §7.1).

use std::collections::HashSet;

use covers::covers;
use ustack_tcp::seq::WireSeq;
use ustack_tcp::time::Duration;
use ustack_tcp::{Config, ConnectError, Flags, FlowKey, ListenOptions, SocketOptions, Tcp};

use crate::host::{Host, MS, SEC, address, each};

/// Connects and forgets; ISN and TSval of the SYN.
fn numbers(host: &mut Host, flow: FlowKey) -> (u32, u32) {
    let (id, _) = host
        .tcp
        .connect(host.now, flow, SocketOptions::default())
        .unwrap();
    let syn = host.drain().remove(0);
    host.tcp.abort(host.now, id);
    while host.tcp.poll_event().is_some() {}
    (syn.seq.0, syn.options.timestamps().unwrap().tsval)
}

/// Bits of numbers, all or the low ones, that look like coin tosses: how many are set, and how many
/// equal the one before, in units of standard deviations.
fn deviations(numbers: &[u32], bits: u32) -> (f64, f64) {
    let tosses: Vec<bool> = numbers
        .iter()
        .flat_map(|n| (0..bits).map(move |bit| n >> bit & 1 == 1))
        .collect();
    let off = |hits: usize, of: usize| {
        let of = of as f64;
        (hits as f64 - of / 2.0).abs() / (of / 4.0).sqrt()
    };
    let ones = tosses.iter().filter(|&&toss| toss).count();
    let runs = tosses.windows(2).filter(|pair| pair[0] == pair[1]).count();
    (off(ones, tosses.len()), off(runs, tosses.len() - 1))
}

#[test]
#[covers("MUST-8", "SHLD-1", "MUST-9")]
fn isns_of_different_flows_share_nothing() {
    for ipv6 in [false, true] {
        let mut host = Host::new(ipv6, 0, &Config::default());
        let mut isns = Vec::new();
        for n in 0..100_000u32 {
            let remote = address(ipv6, (n / 60_000) as u16 + 2, (n % 60_000) as u16 + 1);
            let local = address(ipv6, 1, (n.wrapping_mul(7919) % 60_000) as u16 + 1);
            isns.push(numbers(&mut host, FlowKey::new(local, remote)).0);
        }
        let (ones, runs) = deviations(&isns, 32);
        assert!(ones < 5.0 && runs < 5.0, "{ones} {runs}");
        // Neighbours differ by nothing that recurs.
        let steps: HashSet<_> = isns
            .windows(2)
            .map(|pair| pair[1].wrapping_sub(pair[0]))
            .collect();
        assert!(steps.len() > 99_990, "{}", steps.len());
        let distinct: HashSet<_> = isns.iter().collect();
        assert!(distinct.len() > 99_980);
    }
}

#[test]
#[covers("MUST-8")]
fn the_isn_of_a_flow_moves_with_a_clock_of_four_microseconds() {
    each(|mut host| {
        let flow = host.peer().flow;
        let first = numbers(&mut host, flow).0;
        assert_eq!(first, host.isn);
        for micros in [4, 400, 1_000_000, 600_000_000] {
            let before = numbers(&mut host, flow).0;
            host.now += Duration::from_micros(micros);
            let after = numbers(&mut host, flow).0;
            assert_eq!(u64::from(after.wrapping_sub(before)), micros / 4);
        }
    });
    // A listener's alike.
    each(|mut host| {
        host.listen(|_| {});
        let mut peer = host.peer();
        assert_eq!(host.syn(&mut peer).seq, WireSeq(host.isn));
        let _ = host.recv(&peer, peer.segment(Flags::RST, 1, 0, 0));
        host.now += SEC;
        assert_eq!(host.syn(&mut peer).seq.0.wrapping_sub(host.isn), 250_000);
    });
}

#[test]
#[covers("ISN-1", "MUST-9")]
fn two_starts_have_nothing_in_common() {
    // The seed has 256 bits: each of them changes every number, and the debug output shows none.
    let flow = Host::new(false, 0, &Config::default()).peer().flow;
    let start = |seed: [u8; 32]| {
        let mut host = Host::new(false, 0, &Config::default());
        host.tcp = Tcp::new(Config::default(), seed);
        numbers(&mut host, flow)
    };
    let base = start([9; 32]);
    assert_eq!(start([9; 32]), base);
    let mut seen = HashSet::from([base.0]);
    let mut changed = Vec::new();
    for bit in 0..256 {
        let mut seed = [9; 32];
        seed[bit / 8] ^= 1 << (bit % 8);
        let (isn, _) = start(seed);
        seen.insert(isn);
        changed.push(isn ^ base.0);
    }
    assert_eq!(seen.len(), 257);
    let (ones, runs) = deviations(&changed, 32);
    assert!(ones < 5.0 && runs < 5.0, "{ones} {runs}");
    let secret = *b"a secret of thirty-two bytes....";
    let shown = format!("{:?}", Tcp::new(Config::default(), secret));
    assert!(shown.contains("Secrets(..)"));
    let bytes = format!("{:?}", &secret[..4]);
    assert!(!shown.contains(bytes.trim_matches(['[', ']'])));
}

#[test]
#[covers("TS-14")]
fn timestamps_tick_in_milliseconds_from_where_nobody_knows() {
    each(|mut host| {
        // Slope: 1000 a second, for any flow, and never backwards.
        let flow = host.peer().flow;
        let mut last = numbers(&mut host, flow).1;
        let first = last;
        for _ in 0..100 {
            host.now += 37 * MS;
            let next = numbers(&mut host, flow).1;
            assert!(next.wrapping_sub(last) <= 38);
            last = next;
        }
        assert!(last.wrapping_sub(first).abs_diff(3_700) <= 1);
        // Two flows at one time tell nothing of each other.
        let offsets: Vec<u32> = (1..2_000)
            .map(|port| {
                let flow = host.nth_peer(port).flow;
                numbers(&mut host, flow).1
            })
            .collect();
        let (ones, runs) = deviations(&offsets, 32);
        assert!(ones < 5.0 && runs < 5.0, "{ones} {runs}");
        // The connection goes on where its SYN began.
        host.listen(|_| {});
        let mut peer = host.peer().with_timestamps(4);
        let tsval = host.syn(&mut peer).options.timestamps().unwrap().tsval;
        host.pass(100 * MS);
        host.recv(&peer, peer.ack()).unwrap();
        let _ = host.recv(&peer, peer.segment(Flags::ACK, 70_000, 1, 9));
        let later = host.one().options.timestamps().unwrap().tsval;
        assert_eq!(later.wrapping_sub(tsval), 100);
    });
}

/// Ephemeral ports of `count` connections from this host, `remote` gives the peers.
fn ports(host: &mut Host, count: u32, remote: impl Fn(u32) -> u16) -> Vec<u16> {
    (0..count)
        .map(|n| {
            let mut local = host.local();
            local.set_port(0);
            let flow = FlowKey::new(local, address(host.ipv6, 2, remote(n)));
            let (id, flow) = host
                .tcp
                .connect(host.now, flow, SocketOptions::default())
                .unwrap();
            // Some live on, so that ports are taken.
            if n % 3 > 0 {
                host.tcp.abort(host.now, id);
            }
            host.drain();
            while host.tcp.poll_event().is_some() {}
            flow.local.port()
        })
        .collect()
}

#[test]
#[covers("PT-1")]
fn ephemeral_ports_are_hard_to_follow() {
    for ipv6 in [false, true] {
        for same_peer in [true, false] {
            let mut host = Host::new(ipv6, 0, &Config::default());
            let remote = |n: u32| {
                if same_peer {
                    80
                } else {
                    (n % 60_000) as u16 + 1
                }
            };
            let ports = ports(&mut host, 10_000, remote);
            assert!(
                ports.iter().all(|&port| port >= 1024),
                "the whole range, and no more"
            );
            let run = ports
                .windows(4)
                .filter(|four| four.windows(2).all(|two| two[1] == two[0].wrapping_add(1)));
            assert_eq!(run.count(), 0, "no run of more than three");
            // Over 63 parts of the range: chi square has 62 degrees of freedom, a mean of 62 and a
            // standard deviation of 11. For one peer it may be too even, for many not.
            let mut parts = [0u32; 63];
            for port in &ports {
                parts[usize::from(port - 1024) / 1024] += 1;
            }
            let wanted = 10_000.0 / 63.0;
            let chi2: f64 = parts
                .iter()
                .map(|&n| (f64::from(n) - wanted).powi(2) / wanted)
                .sum();
            assert!(chi2 < 62.0 + 5.0 * 11.2, "{chi2} same_peer {same_peer}");
        }
    }
}

#[test]
#[covers("PT-2")]
fn ports_of_listeners_are_left_alone() {
    for ipv6 in [false, true] {
        let mut config = Config::default();
        config.ephemeral_ports = (2_000, 2_099);
        let mut host = Host::new(ipv6, 0, &config);
        for port in 2_000..2_050 {
            host.tcp
                .listen(ListenOptions::new(address(ipv6, 1, port)))
                .unwrap();
        }
        let mut local = host.local();
        local.set_port(0);
        let flow = FlowKey::new(local, address(ipv6, 2, 80));
        let mut seen = HashSet::new();
        for _ in 0..50 {
            let (_, flow) = host
                .tcp
                .connect(host.now, flow, SocketOptions::default())
                .unwrap();
            assert!((2_050..2_100).contains(&flow.local.port()));
            assert!(seen.insert(flow.local.port()));
        }
        // All are taken towards this peer, and none towards another.
        let full = host.tcp.connect(host.now, flow, SocketOptions::default());
        assert_eq!(full, Err(ConnectError::AddrNotAvailable));
        let other = FlowKey::new(flow.local, address(ipv6, 3, 80));
        assert!(
            host.tcp
                .connect(host.now, other, SocketOptions::default())
                .is_ok()
        );
    }
}

#[test]
#[covers("PT-2")]
fn the_last_free_port_is_found() {
    let mut config = Config::default();
    config.max_syn_backlog = 1;
    let mut host = Host::new(false, 0, &config);
    let mut local = host.local();
    local.set_port(0);
    let flow = FlowKey::new(local, address(false, 2, 80));
    let mut last = None;
    for n in 0..64_512 {
        let (id, flow) = host
            .tcp
            .connect(host.now, flow, SocketOptions::default())
            .unwrap();
        if n == 30_000 {
            last = Some((id, flow.local.port()));
        }
        host.drain();
    }
    assert_eq!(
        host.tcp.connect(host.now, flow, SocketOptions::default()),
        Err(ConnectError::AddrNotAvailable)
    );
    let (id, port) = last.unwrap();
    host.tcp.abort(host.now, id);
    let (_, found) = host
        .tcp
        .connect(host.now, flow, SocketOptions::default())
        .unwrap();
    assert_eq!(found.local.port(), port);
}
