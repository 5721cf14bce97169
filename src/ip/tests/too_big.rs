use super::*;

/// "Fragmentation needed" or "packet too big" about `quoted`.
fn too_big((us, them): (&str, &str), mtu: u16, quoted: &[u8]) -> Vec<u8> {
    let [high, low] = mtu.to_be_bytes();
    let (header, most) = if us == US4 {
        ([3, 4, 0, 0, 0, 0, high, low], 548)
    } else {
        ([2, 0, 0, 0, 0, 0, high, low], 1232)
    };
    icmp_message(them, us, header, &quoted[..quoted.len().min(most)])
}

static DATA: [u8; 1400] = [7; 1400];

/// What a full-sized segment of ours looks like on the wire.
fn sent_segment(ip: &mut Ip, ends: (&str, &str)) -> Vec<u8> {
    let mut tx = TxBatch::new();
    send_segment(ip, &mut tx, ends, 1000, &[&DATA], None);
    packets(&tx).remove(0)
}

/// The report arrives; TCP believes whatever gets past IP, and says so.
fn on_believed(ip: &mut Ip, ends: (&str, &str), report: Vec<u8>) {
    use ustack_tcp::Transmit;
    if let Ok(Some(Input::IcmpError { error, .. })) = ip.on_frame(at(1), frame(report))
        && let IcmpError::PacketTooBig { mtu } = error
    {
        let mut tx = TxBatch::new();
        ip.output(at(1), &mut tx).lower_path_mtu(addr(ends.1), mtu);
    }
}

/// PM-1, PM-2, PM-5: believed when it quotes what was sent; never raises; TCP is told.
#[test]
#[covers("PM-1", "PM-2", "PM-5", "PM-6", "PM-7")]
fn a_right_report_lowers_the_path_mtu() {
    for ends in FAMILIES {
        let mut ip = ip();
        let quoted = sent_segment(&mut ip, ends);
        let result = ip.on_frame(at(1), frame(too_big(ends, 1400, &quoted)));
        let Ok(Some(Input::IcmpError { seq, error, .. })) = result else {
            panic!("{result:?}");
        };
        assert_eq!(seq, Some(WireSeq(1000)));
        assert_eq!(error, IcmpError::PacketTooBig { mtu: 1400 });
        assert_eq!(ip.path_mtu(addr(ends.1)), 1500, "TCP decides (BL-9)");
        on_believed(&mut ip, ends, too_big(ends, 1400, &quoted));
        assert_eq!(ip.path_mtu(addr(ends.1)), 1400);
        for mtu in [1420, 9000] {
            on_believed(&mut ip, ends, too_big(ends, mtu, &quoted));
            assert_eq!(ip.path_mtu(addr(ends.1)), 1400, "{mtu}");
        }
        // PM-7: forgotten after ten minutes, not before.
        ip.on_timeout(at(599_000));
        assert_eq!(ip.path_mtu(addr(ends.1)), 1400);
        assert_eq!(ip.poll_timeout(), Some(at(600_001)));
        ip.on_timeout(at(600_001));
        assert_eq!(ip.path_mtu(addr(ends.1)), 1500);
    }
}

/// PM-5, B-9, B-12: other ports, other sequence numbers, other protocols: no effect.
#[test]
#[covers("PM-5")]
fn forged_reports_have_no_effect() {
    for ends in FAMILIES {
        let mut ip = ip();
        let quoted = sent_segment(&mut ip, ends);
        let transport = if ends.0 == US4 { 20 } else { 40 };
        for byte in 0..4 {
            let mut forged = quoted.clone();
            forged[transport + byte] ^= 1;
            let dropped = ip
                .on_frame(at(1), frame(too_big(ends, 1300, &forged)))
                .err();
            assert_eq!(dropped, Some(Dropped::IcmpUnsolicited), "port byte {byte}");
        }
        let mut forged = quoted.clone();
        forged[transport + 4] ^= 0x80;
        let echo = icmp_message(ends.0, ends.1, [8, 0, 0, 0, 0, 1, 0, 1], &DATA);
        for forged in [forged, echo, udp(ends.0, ends.1, &DATA)] {
            let dropped = ip
                .on_frame(at(1), frame(too_big(ends, 1300, &forged)))
                .err();
            assert_eq!(dropped, Some(Dropped::IcmpUnsolicited));
        }
        assert_eq!(ip.path_mtu(addr(ends.1)), 1500);
        assert_eq!(ip.counters().path_mtu_updates, 0);
    }
}

/// PM-2, PM-4: 0 means a plateau, tiny values the floor; IPv6 has a floor that is not negotiable.
#[test]
#[covers("PM-2", "PM-4", "V6-12")]
fn small_reports() {
    for (mtu, expected) in [(0, 1006), (68, 552), (100, 552), (551, 552), (1279, 1279)] {
        let mut ip = ip();
        let quoted = sent_segment(&mut ip, FAMILIES[0]);
        on_believed(&mut ip, FAMILIES[0], too_big(FAMILIES[0], mtu, &quoted));
        assert_eq!(ip.path_mtu(addr(PEER4)), expected, "{mtu}");
    }
    for (mtu, expected) in [(0, 1500), (68, 1500), (1279, 1500), (1280, 1280)] {
        let mut ip = ip();
        let quoted = sent_segment(&mut ip, FAMILIES[1]);
        on_believed(&mut ip, FAMILIES[1], too_big(FAMILIES[1], mtu, &quoted));
        assert_eq!(ip.path_mtu(addr(PEER6)), expected, "{mtu}");
    }
}

/// Datagrams: the report is believed, the next one leaves in fragments that fit.
#[test]
#[covers("PM-1")]
fn datagrams_follow_the_path() {
    for ends in FAMILIES {
        let mut ip = ip();
        let mut tx = TxBatch::new();
        send_datagram(&mut ip, &mut tx, ends, &DATA);
        let quoted = packets(&tx).remove(0);
        let result = ip.on_frame(at(1), frame(too_big(ends, 1300, &quoted)));
        assert!(matches!(
            result,
            Ok(Some(Input::IcmpError { protocol: 17, .. }))
        ));
        tx.clear();
        send_datagram(&mut ip, &mut tx, ends, &DATA);
        assert_eq!(tx.len(), 2);
        assert!(tx.iter().all(|frame| frame.len() <= 1300));
    }
}
