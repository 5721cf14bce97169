//! Which handshakes agree on ECN (RFC 3168 §6.1.1), and what becomes of those that ask for more
//! (RFC 9768).

use covers::covers;
use ustack_tcp::testing::Recorder;
use ustack_tcp::{CloseReason, Config, Ecn, EcnMode, Flags, SocketOptions, State};

use crate::host::{ECN_SETUP, Host, MS, SEC, SYN_ACK, each_with};

const FLAGS: [Flags; 4] = [Flags::NONE, Flags::ECE, Flags::CWR, ECN_SETUP];
const MODES: [EcnMode; 3] = [EcnMode::Off, EcnMode::Passive, EcnMode::On];
/// The three flags of RFC 9768, in its order: AE, CWR, ECE.
fn accurate(bits: u16) -> Flags {
    let flag = |bit: u16, flag: Flags| {
        if bits >> bit & 1 == 1 {
            flag
        } else {
            Flags::NONE
        }
    };
    flag(2, Flags::AE) | flag(1, Flags::CWR) | flag(0, Flags::ECE)
}

fn config(ecn: EcnMode) -> Config {
    let mut config = Config::default();
    config.ecn = ecn;
    config
}

/// The ECN flags of a segment.
fn ecn(flags: Flags) -> Flags {
    Flags(flags.0 & (Flags::AE | ECN_SETUP).0)
}

#[test]
#[covers("EC-1")]
fn a_listener_agrees_to_both_flags_and_to_nothing_else() {
    for mode in MODES {
        for asked in FLAGS {
            each_with(&config(mode), |mut host| {
                host.listen(|_| {});
                let mut peer = host.peer();
                let mut syn = peer.syn_segment();
                syn.flags = syn.flags | asked;
                host.recv(&peer, syn).unwrap();
                let answer = host.one();
                peer.note(&answer);
                let agrees = mode != EcnMode::Off && asked == ECN_SETUP;
                let wanted = if agrees { Flags::ECE } else { Flags::NONE };
                assert_eq!(ecn(answer.flags), wanted, "{mode:?} {asked:?}");
                host.recv(&peer, peer.ack()).unwrap();
                assert_eq!(host.uses_ecn(&peer), agrees);
            });
        }
    }
}

#[test]
#[covers("EC-1")]
fn a_connecting_end_believes_ece_alone() {
    for mode in MODES {
        for answered in FLAGS {
            each_with(&config(mode), |mut host| {
                let mut peer = host.peer();
                let (_, syn) = host.connect(&mut peer, SocketOptions::default());
                let asked = mode == EcnMode::On;
                let wanted = if asked { ECN_SETUP } else { Flags::NONE };
                assert_eq!(ecn(syn.flags), wanted);
                let mut answer = peer.syn_ack(0);
                answer.flags = answer.flags | answered;
                host.recv(&peer, answer).unwrap();
                assert_eq!(host.uses_ecn(&peer), asked && answered == Flags::ECE);
                assert_eq!(ecn(host.one().flags), Flags::NONE);
            });
        }
    }
}

#[test]
#[covers("EC-2")]
fn no_packet_of_a_handshake_is_ecn_capable() {
    #[derive(Default)]
    struct Marks(Vec<Ecn>, Recorder);
    impl ustack_tcp::Transmit for Marks {
        fn budget(&self) -> usize {
            100
        }
        fn path_mtu(&self, _remote: std::net::IpAddr) -> u16 {
            1500
        }
        fn push(
            &mut self,
            meta: &ustack_tcp::TxMeta<'_>,
            payload: impl Iterator<Item = bytes::Bytes>,
        ) {
            self.0.push(meta.ecn);
            self.1.mtu = 1500;
            self.1.push(meta, payload);
        }
    }
    each_with(&config(EcnMode::On), |mut host| {
        let peer = host.peer();
        let mut marks = Marks::default();
        host.tcp
            .connect(host.now, peer.flow, SocketOptions::default())
            .unwrap();
        host.tcp.poll_transmit(host.now, &mut marks);
        let mut other = host.nth_peer(6000);
        host.listen(|_| {});
        let mut syn = other.syn_segment();
        syn.flags = syn.flags | ECN_SETUP;
        let done = host
            .tcp
            .on_segment(host.now, &other.flow, true, Ecn::Ect0, syn);
        assert_eq!(done, Ok(()));
        host.tcp.poll_transmit(host.now, &mut marks);
        other.note(&marks.1.sent[1].segment);
        assert_eq!(ecn(marks.1.sent[1].segment.flags), Flags::ECE);
        assert_eq!(marks.0, [Ecn::NotEct, Ecn::NotEct]);
    });
}

#[test]
#[covers("EC-1")]
fn crossed_syns_agree_only_if_both_ask() {
    for mode in MODES {
        for asked in FLAGS {
            each_with(&config(mode), |mut host| {
                let mut peer = host.peer();
                let (_, syn) = host.connect(&mut peer, SocketOptions::default());
                assert_eq!(ecn(syn.flags) == ECN_SETUP, mode == EcnMode::On);
                let mut theirs = peer.syn_segment();
                theirs.flags = theirs.flags | asked;
                host.recv(&peer, theirs).unwrap();
                let agrees = mode == EcnMode::On && asked == ECN_SETUP;
                let wanted = if agrees { Flags::ECE } else { Flags::NONE };
                assert_eq!(ecn(host.one().flags), wanted, "{mode:?} {asked:?}");
                host.recv(&peer, peer.ack()).unwrap();
                assert_eq!(host.uses_ecn(&peer), agrees, "{mode:?} {asked:?}");
            });
        }
    }
}

#[test]
#[covers("EC-9")]
fn a_lost_ecn_syn_is_followed_by_a_plain_one() {
    each_with(&config(EcnMode::On), |mut host| {
        let mut peer = host.peer();
        let (_, syn) = host.connect(&mut peer, SocketOptions::default());
        assert_eq!(ecn(syn.flags), ECN_SETUP);
        host.pass(SEC + MS);
        let again = host.one();
        assert_eq!((again.flags, again.seq), (Flags::SYN, syn.seq));
        // Who sent one SYN without ECN does not use it (RFC 3168 §6.1.1).
        let mut answer = peer.syn_ack(0);
        answer.flags = answer.flags | Flags::ECE;
        host.recv(&peer, answer).unwrap();
        assert!(!host.uses_ecn(&peer));
    });
}

#[test]
#[covers("EC-9")]
fn a_reset_ecn_syn_is_followed_by_a_plain_one() {
    each_with(&config(EcnMode::On), |mut host| {
        let mut peer = host.peer();
        let (id, syn) = host.connect(&mut peer, SocketOptions::default());
        let refusal = peer.segment(Flags::RST | Flags::ACK, 0, 1, 0);
        host.recv(&peer, refusal.clone()).unwrap();
        let again = host.one();
        assert_eq!((again.flags, again.seq), (Flags::SYN, syn.seq));
        assert_eq!(host.closed(id), None);
        // The second time it is meant.
        let _ = host.recv(&peer, refusal);
        host.none();
        assert_eq!(host.closed(id), Some(CloseReason::Refused));
    });
}

#[test]
#[covers("EC-1", "EC-9")]
fn a_peer_that_falls_back_is_answered_without_ecn() {
    each_with(&config(EcnMode::Passive), |mut host| {
        host.listen(|_| {});
        let mut peer = host.peer();
        let mut syn = peer.syn_segment();
        syn.flags = syn.flags | ECN_SETUP;
        host.recv(&peer, syn).unwrap();
        assert_eq!(ecn(host.one().flags), Flags::ECE);
        host.recv(&peer, peer.syn_segment()).unwrap();
        let answer = host.one();
        peer.note(&answer);
        assert_eq!(answer.flags, SYN_ACK);
        host.recv(&peer, peer.ack()).unwrap();
        assert!(!host.uses_ecn(&peer));
    });
}

/// RFC 9768 §3.1.1 and table 2, of a server that knows RFC 3168 only: AE is a reserved bit to it.
#[test]
#[covers("AE-3")]
fn accurate_ecn_is_answered_with_classic_ecn() {
    for mode in MODES {
        for bits in 0..8 {
            each_with(&config(mode), |mut host| {
                host.listen(|_| {});
                let mut peer = host.peer();
                let mut syn = peer.syn_segment();
                syn.flags = syn.flags | accurate(bits);
                host.recv(&peer, syn).unwrap();
                let answer = host.one();
                peer.note(&answer);
                let agrees = mode != EcnMode::Off && bits & 0b011 == 0b011;
                // 001 is classic ECN, 000 none; nothing that claims more.
                let wanted = if agrees { accurate(0b001) } else { Flags::NONE };
                assert_eq!(ecn(answer.flags), wanted, "{mode:?} {bits:03b}");
                host.recv(&peer, peer.ack()).unwrap();
                assert_eq!(host.uses_ecn(&peer), agrees);
                assert_eq!(host.state(&peer), State::Established);
            });
        }
    }
}

/// The same as a client, for what a server might answer to our classic SYN.
#[test]
#[covers("AE-3")]
fn a_classic_client_takes_no_accurate_answer_for_more_than_it_is() {
    for bits in 0..8 {
        each_with(&config(EcnMode::On), |mut host: Host| {
            let mut peer = host.peer();
            let (_, syn) = host.connect(&mut peer, SocketOptions::default());
            assert_eq!(ecn(syn.flags), accurate(0b011), "no AE");
            let mut answer = peer.syn_ack(0);
            answer.flags = answer.flags | accurate(bits);
            host.recv(&peer, answer).unwrap();
            assert_eq!(host.uses_ecn(&peer), bits & 0b011 == 0b001, "{bits:03b}");
            assert_eq!(host.state(&peer), State::Established);
        });
    }
}
