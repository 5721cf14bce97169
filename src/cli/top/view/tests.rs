use std::collections::BTreeSet;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ustack::control::{About, TcpInfo};

use super::super::keys::{Effect, press};
use super::super::source::Snapshot;
use super::*;

const STATES: [(&str, u8); 4] = [
    ("ESTAB", 1),
    ("FIN-WAIT-1", 4),
    ("TIME-WAIT", 6),
    ("CLOSE-WAIT", 8),
];

fn connection(number: u16) -> Connection {
    let v6 = number.is_multiple_of(2);
    let (local, remote) = if v6 {
        let peer = format!(
            "[2001:db8:85a3:1111:2222:8a2e:370:{number:x}]:{}",
            40_000 + number
        );
        (
            "[fd77:1234:5678:9abc:def0:1234:5678:9abc]:80".to_owned(),
            peer,
        )
    } else {
        (
            "10.77.0.2:8080".to_owned(),
            format!("192.168.100.{number}:{}", 40_000 + number),
        )
    };
    let (state, linux) = STATES[usize::from(number) % STATES.len()];
    Connection {
        id: format!("0:{number}:0"),
        state: state.into(),
        local: local.parse().unwrap(),
        remote: remote.parse().unwrap(),
        recv_q: 0,
        send_q: u32::from(number) * 100_000,
        congestion: "cubic".into(),
        tcp_info: TcpInfo {
            state: linux,
            snd_mss: 1428,
            snd_cwnd: 10 + u32::from(number),
            rtt: Some(u64::from(number) * 12_345 + 17),
            total_retrans: u64::from(number),
            ..TcpInfo::default()
        },
    }
}

fn snapshot(count: u16, second: u64) -> Snapshot {
    let mut connections: Vec<_> = (1..=count).map(connection).collect();
    for one in &mut connections {
        let rate = u64::from(one.tcp_info.snd_cwnd) * 1_000_000;
        one.tcp_info.bytes_acked = rate * second;
        one.tcp_info.snd_cwnd += second as u32;
    }
    let mut snapshot = Snapshot {
        connections,
        time: second * 1_000_000_000,
        ..Snapshot::default()
    };
    let device = snapshot.counters.entry("device".into()).or_default();
    device.insert("tx_bytes".into(), second * 125_000_000);
    snapshot
}

fn model(count: u16) -> Model {
    let mut model = Model::new(About {
        version: "0.1.0".into(),
        device: "ustack0".into(),
        addresses: vec!["10.77.0.2/24".into(), "fd77::2/64".into()],
        ..About::default()
    });
    for second in 1..=9 {
        model.take(snapshot(count, second));
    }
    model
}

/// The lines of the screen.
fn shown(model: &mut Model, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, model)).unwrap();
    let buffer = terminal.backend().buffer();
    let rows = buffer.content().chunks(usize::from(width));
    let line = |row: &[ratatui::buffer::Cell]| {
        row.iter()
            .map(ratatui::buffer::Cell::symbol)
            .collect::<String>()
    };
    rows.map(|row| line(row).trim_end().to_owned()).collect()
}

fn hit(model: &mut Model, code: KeyCode) -> Effect {
    press(model, KeyEvent::new(code, KeyModifiers::NONE))
}

/// Every cell of the list lies within its column: between two of them is nothing.
fn check_columns(lines: &[String], width: u16, rows: &[Row]) {
    let drawn = columns(width, rows);
    let mut at = 0;
    let mut borders = BTreeSet::new();
    for column in &drawn[..drawn.len() - 1] {
        at += column.width;
        borders.insert(at);
        at += 1;
    }
    let last = drawn.last().map_or(0, |column| column.width);
    assert!(at + last <= usize::from(width), "no column is cut off");
    for line in lines {
        let letters: Vec<char> = line.chars().collect();
        for border in &borders {
            let letter = letters.get(*border).copied().unwrap_or(' ');
            assert_eq!(letter, ' ', "at {border} in\n{line}");
        }
    }
}

#[test]
fn nothing_overlaps_and_what_is_cut_says_so() {
    for (width, height) in [(80, 24), (100, 30), (110, 24), (200, 60)] {
        let mut model = model(12);
        let lines = shown(&mut model, width, height);
        println!("{}", lines.join("\n"));
        check_columns(&lines[2..15], width, &model.rows);
        for number in 1..=12_u16 {
            let port = (40_000 + number).to_string();
            let line = lines
                .iter()
                .find(|line| line.contains(&format!(":{port} ")));
            let line = line.unwrap_or_else(|| panic!("no connection of port {port}"));
            let peer = connection(number).remote.to_string();
            assert!(line.contains(&peer) || line.contains('…'), "{line}");
        }
        for title in [
            "STATE", "PEER", "IN", "OUT▼", "RTT ms", "CWND", "RETR", "SENDQ",
        ] {
            assert!(lines[2].contains(title), "{title} in {}", lines[2]);
        }
        assert!(
            lines[0].starts_with("ustack 0.1.0 · ustack0"),
            "{}",
            lines[0]
        );
        assert!(lines[1].starts_with("12 connections"), "{}", lines[1]);
        assert!(lines[1].contains("out 1.0Gbit/s"), "{}", lines[1]);
        let keys = lines.last().unwrap();
        for (_, what) in HELP {
            assert!(keys.contains(what), "{what} in {keys}");
        }
    }
}

#[test]
fn addresses_are_whole_where_there_is_room() {
    let lines = shown(&mut model(2), 200, 60);
    let peer = connection(2).remote.to_string();
    let local = connection(2).local.to_string();
    let line = lines.iter().find(|line| line.contains(&peer)).unwrap();
    assert!(line.contains(&local) && !line.contains('…'), "{line}");
}

#[test]
fn any_size_is_drawn() {
    for width in (1..=130).step_by(3) {
        for height in [1, 2, 3, 5, 8, 24, 40] {
            let mut model = model(40);
            model.detail = true;
            shown(&mut model, width, height);
            hit(&mut model, KeyCode::Char('k'));
            shown(&mut model, width, height);
            let mut empty = Model::new(About::default());
            empty.detail = true;
            shown(&mut empty, width, height);
        }
    }
}

#[test]
fn the_largest_rate_comes_first_until_told_otherwise() {
    let mut model = model(5);
    let first = |model: &Model| model.rows[0].connection.id.clone();
    assert_eq!(first(&model), "0:5:0");
    hit(&mut model, KeyCode::Char('r'));
    assert_eq!(first(&model), "0:1:0");
    hit(&mut model, KeyCode::Char('>'));
    assert_eq!((model.sort, first(&model).as_str()), (Column::Rtt, "0:5:0"));
    for _ in 0..Column::ALL.len() {
        hit(&mut model, KeyCode::Char('<'));
    }
    assert_eq!(model.sort, Column::Rtt, "once round");
    while model.sort != Column::Peer {
        hit(&mut model, KeyCode::Left);
    }
    assert_eq!(first(&model), "0:1:0", "IPv4 before IPv6, upwards");
}

#[test]
fn a_filter_hides_what_it_does_not_match() {
    let mut model = model(12);
    hit(&mut model, KeyCode::Char('/'));
    for letter in "192.168 estab".chars() {
        hit(&mut model, KeyCode::Char(letter));
    }
    let none = model.rows.len();
    hit(&mut model, KeyCode::Enter);
    assert_eq!(
        (model.mode, none),
        (Mode::List, 0),
        "odd ones are never ESTAB here"
    );
    hit(&mut model, KeyCode::Char('/'));
    for _ in 0.."estab".len() {
        hit(&mut model, KeyCode::Backspace);
    }
    assert_eq!(model.rows.len(), 6);
    let lines = shown(&mut model, 80, 24);
    assert!(lines[1].starts_with("6 of 12 connections"), "{}", lines[1]);
    assert!(lines[23].starts_with("filter: 192.168 "), "{}", lines[23]);
    hit(&mut model, KeyCode::Esc);
    assert_eq!(model.rows.len(), 12);
}

#[test]
fn the_selection_stays_with_its_connection() {
    let mut model = model(30);
    for _ in 0..3 {
        hit(&mut model, KeyCode::Down);
    }
    let id = model.current().unwrap().connection.id.clone();
    hit(&mut model, KeyCode::Char('r'));
    assert_eq!(model.current().unwrap().connection.id, id);
    model.take(snapshot(29, 10));
    assert_eq!(model.current().unwrap().connection.id, id);
    hit(&mut model, KeyCode::End);
    assert_eq!(model.cursor, 28);
    let lines = shown(&mut model, 80, 24);
    let port = model.current().unwrap().connection.remote.port();
    assert!(
        lines.iter().any(|line| line.contains(&port.to_string())),
        "it is on the screen"
    );
    model.take(snapshot(3, 11));
    assert!(model.cursor < 3 && model.current().is_some());
}

#[test]
fn paused_is_paused() {
    let mut model = model(3);
    hit(&mut model, KeyCode::Char(' '));
    let before = shown(&mut model, 80, 24);
    assert!(before[0].contains("PAUSED"), "{}", before[0]);
    model.take(snapshot(5, 10));
    assert_eq!(shown(&mut model, 80, 24), before);
    hit(&mut model, KeyCode::Char(' '));
    model.take(snapshot(5, 11));
    assert_eq!(model.count(), 5);
}

#[test]
fn a_reset_needs_a_yes() {
    let mut model = model(3);
    let victim = model.current().unwrap().connection.clone();
    assert_eq!(hit(&mut model, KeyCode::Char('k')), Effect::None);
    let lines = shown(&mut model, 80, 24).join("\n");
    assert!(
        lines.contains("Reset this connection?") && lines.contains("y: reset it"),
        "{lines}"
    );
    assert!(lines.contains(&victim.remote.to_string()), "{lines}");
    assert_eq!(hit(&mut model, KeyCode::Char('x')), Effect::None);
    assert_eq!(hit(&mut model, KeyCode::Char('n')), Effect::None);
    assert_eq!(
        hit(&mut model, KeyCode::Char('y')),
        Effect::None,
        "no longer asked"
    );
    hit(&mut model, KeyCode::Char('k'));
    // What is asked for stays what it was, whatever moves meanwhile.
    model.take(snapshot(2, 10));
    assert_eq!(
        hit(&mut model, KeyCode::Char('y')),
        Effect::Reset(Box::new(victim))
    );
    assert_eq!(model.mode, Mode::List);
}

#[test]
fn the_detail_shows_all_that_is_known() {
    let mut model = model(3);
    hit(&mut model, KeyCode::Enter);
    let lines = shown(&mut model, 80, 24).join("\n");
    for words in ["cubic", "mss:1428", "cwnd:", "segments"] {
        assert!(lines.contains(words), "{words} in\n{lines}");
    }
    assert!(lines.contains('█'), "the history of cwnd");
    hit(&mut model, KeyCode::Esc);
    assert!(!shown(&mut model, 80, 24).join("\n").contains("mss:1428"));
}

#[test]
fn ctrl_c_and_q_end_it() {
    let mut model = model(1);
    let ctrl_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(press(&mut model, ctrl_c), Effect::Quit);
    hit(&mut model, KeyCode::Char('/'));
    assert_eq!(
        hit(&mut model, KeyCode::Char('q')),
        Effect::None,
        "a letter of the filter"
    );
    assert_eq!(press(&mut model, ctrl_c), Effect::Quit);
    hit(&mut model, KeyCode::Esc);
    assert_eq!(hit(&mut model, KeyCode::Char('q')), Effect::Quit);
}

#[test]
fn pieces() {
    assert_eq!(end("[2001:db8::1]:40000", 30), "[2001:db8::1]:40000");
    assert_eq!(end("[2001:db8:1:2:3:4:5:6]:40000", 16), "[2001:db8…:40000");
    assert_eq!(cut("abcdef", 4), "abc…");
    assert_eq!(cut("abcd", 4), "abcd");
    assert_eq!(spark([1, 2, 4, 8].into_iter(), 3), "▂▄█");
    assert_eq!(spark([0, 0].into_iter(), 5), "▁▁");
    assert_eq!(uptime(3_723_000_000_000), "1:02:03");
    assert_eq!(fit_millis(12_345_678, 6), "12.3k");
    assert_eq!(fit_millis(12_345, 6), "12.345");
    assert_eq!(fit_millis(123_456, 6), "123.5");
}
