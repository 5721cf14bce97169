//! Eleven states × 512 flag sets × where SEG.SEQ and SEG.ACK lie × text or none × IPv4 and IPv6:
//! each has its one outcome.
//!
//! `table.txt` holds the outcomes as [`model`] gives them; the first test sees to it that it does,
//! the second that the stack agrees with it.

mod model;
mod stack;

use std::fmt::Write as _;

use covers::covers;

use model::{ACKS, Ack, Case, Outcome, Reply, SEQS, STATES, Seq, State};

const TABLE: &str = include_str!("table.txt");

/// FIN, SYN, RST and ACK: what decides.
const DECISIVE: u16 = 0x17;

fn case(state: State, seq: Seq, ack: Ack, text: bool, flags: u16) -> Case {
    Case {
        state,
        seq,
        ack,
        text,
        fin: flags & 0x01 != 0,
        syn: flags & 0x02 != 0,
        rst: flags & 0x04 != 0,
        ack_bit: flags & 0x10 != 0,
    }
}

/// The sixteen sets of decisive flags, in the order of the table's columns.
fn columns() -> impl Iterator<Item = u16> {
    (0..512).filter(|flags| flags & !DECISIVE == 0)
}

fn letters(flags: u16) -> String {
    let names = [(0x02, 'S'), (0x10, 'A'), (0x04, 'R'), (0x01, 'F')];
    let text: String = names
        .iter()
        .filter(|(bit, _)| flags & bit != 0)
        .map(|(_, letter)| letter)
        .collect();
    if text.is_empty() { "none".into() } else { text }
}

fn name(state: State) -> &'static str {
    match state {
        State::Closed => "CLOSED",
        State::Listen => "LISTEN",
        State::SynSent => "SYN-SENT",
        State::SynReceived => "SYN-RECEIVED",
        State::Established => "ESTABLISHED",
        State::FinWait1 => "FIN-WAIT-1",
        State::FinWait2 => "FIN-WAIT-2",
        State::CloseWait => "CLOSE-WAIT",
        State::Closing => "CLOSING",
        State::LastAck => "LAST-ACK",
        State::TimeWait => "TIME-WAIT",
    }
}

/// `A:EST+`: an ACK leaves, ESTABLISHED follows, the text is delivered.
fn cell(outcome: Outcome) -> String {
    let reply = match outcome.reply {
        Reply::Nothing => "-",
        Reply::Ack => "A",
        Reply::SynAck => "SA",
        Reply::Reset => "R",
        Reply::ResetAck => "RA",
    };
    let after = match outcome.after {
        State::Closed => "CLOSED",
        State::Listen => "LISTEN",
        State::SynSent => "SYNSENT",
        State::SynReceived => "SYNRCVD",
        State::Established => "ESTAB",
        State::FinWait1 => "FW1",
        State::FinWait2 => "FW2",
        State::CloseWait => "CLOSEWT",
        State::Closing => "CLOSING",
        State::LastAck => "LASTACK",
        State::TimeWait => "TIMEWT",
    };
    let delivered = if outcome.delivered { "+" } else { "" };
    format!("{reply}:{after}{delivered}")
}

/// Every row of the table: what it is about, and its cells.
fn rows() -> impl Iterator<Item = (State, Seq, Ack, bool)> {
    STATES.into_iter().flat_map(|state| {
        SEQS.into_iter().flat_map(move |seq| {
            ACKS.into_iter()
                .flat_map(move |ack| [false, true].map(|text| (state, seq, ack, text)))
        })
    })
}

fn table() -> String {
    let mut out = String::from(
        "# What comes of a segment: what leaves (- nothing, A ACK, SA SYN,ACK, R RST with seq = SEG.ACK,\n\
         # RA RST,ACK), the state that follows, + if its text is delivered. Columns: flags; PSH, URG, ECE,\n\
         # CWR and AE change nothing. Rows: state, SEG.SEQ, SEG.ACK, text.\n",
    );
    let _ = write!(out, "{:41}", "");
    for flags in columns() {
        let _ = write!(out, " {:<10}", letters(flags));
    }
    for (state, seq, ack, text) in rows() {
        let seq_name = format!("{seq:?}").to_lowercase();
        let ack_name = format!("{ack:?}").to_lowercase();
        let text_name = if text { "text" } else { "empty" };
        let _ = write!(
            out,
            "\n{:12} seq={seq_name:5} ack={ack_name:10} {text_name:5}",
            name(state)
        );
        for flags in columns() {
            let _ = write!(
                out,
                " {:<10}",
                cell(model::outcome(case(state, seq, ack, text, flags)))
            );
        }
    }
    let mut trimmed: String = out
        .lines()
        .map(|line| line.trim_end().to_string() + "\n")
        .collect();
    trimmed.shrink_to_fit();
    trimmed
}

/// The committed table is the model's; on a change of the model, this test's output is the new one.
#[test]
fn the_table_is_the_models() {
    let table = table();
    assert!(table == TABLE, "table.txt should be:\n{table}");
}

/// Every cell, with every flag set and over both families.
#[test]
#[covers(
    "SM-1", "SM-2", "SM-3", "SM-5", "SM-7", "SM-8", "SM-9", "SM-12", "BL-1", "BL-4", "TW-4"
)]
fn the_stack_does_what_the_table_says() {
    let cells: Vec<Vec<&str>> = TABLE
        .lines()
        .filter(|line| !line.starts_with(['#', ' ']))
        .map(|line| line.split_whitespace().skip(4).collect())
        .collect();
    let columns: Vec<u16> = columns().collect();
    let (mut cases, mut wrong) = (0, Vec::new());
    for ((state, seq, ack, text), row) in rows().zip(&cells) {
        for flags in 0..512 {
            let column = columns.iter().position(|&set| set == flags & DECISIVE);
            let expected = row[column.expect("each set has a column")];
            for ipv6 in [false, true] {
                cases += 1;
                let got = stack::outcome(state, seq, ack, text, flags, ipv6);
                let got = got.map_or_else(|why| why, cell);
                if got != expected {
                    wrong.push(format!(
                        "{} seq={seq:?} ack={ack:?} text={text} {} ({flags:#05x}) IPv6={ipv6}: {got}, not {expected}",
                        name(state),
                        letters(flags)
                    ));
                }
            }
        }
    }
    assert_eq!(cases, 11 * 4 * 3 * 2 * 512 * 2);
    assert!(
        wrong.is_empty(),
        "{} of {cases} deviate, the first:\n{}",
        wrong.len(),
        wrong
            .iter()
            .take(40)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n")
    );
}
