//! `--capture --annotate`: Wireshark shows a comment for every TCP packet, and what the comments say
//! agrees with what the packets themselves tell. `--events`: the same as lines of JSON.

mod common;

use std::collections::{BTreeMap, HashMap};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use common::data::Noise;
use common::{Setting, Test, command, run, run_ok, temp_dir};

const PATIENCE: Duration = Duration::from_secs(60);
const LENGTH: u64 = 3 << 20;
const IMPAIR: &str = "loss=1.5%,delay=4ms,jitter=1ms,reorder=0.5%,seed=11";

fn main() -> ExitCode {
    let mut all = Vec::new();
    for setting in Setting::ALL {
        all.push(Test::new(setting.name("comments_agree"), move || {
            agree(setting);
        }));
        all.push(Test::new(setting.name("every_packet"), move || {
            every_packet(setting);
        }));
    }
    let [setting, ..] = Setting::ALL;
    all.push(Test::new("a_cut_file_is_read", move || {
        cut_anywhere(setting);
    }));
    all.push(Test::new("two_shards", move || two_shards(setting)));
    all.push(Test::new("rotation", move || rotation(setting)));
    all.push(Test::new("secrets", move || secrets(setting)));
    all.push(Test::new("the_event_log", move || event_log(setting)));
    let all = all.into_iter().map(|test| {
        test.needs(&["ip", "curl", "tshark", "capinfos"])
            .limit(Duration::from_secs(300))
    });
    common::main_at_once(2, all.collect())
}

/// One packet as `tshark` shows it.
#[derive(Debug)]
struct Packet {
    #[expect(dead_code, reason = "for messages")]
    number: u64,
    is_sent: bool,
    stream: String,
    seq: u32,
    ack: u32,
    len: u64,
    flags: u16,
    sack: Vec<(u32, u32)>,
    comment: String,
}

const FIN: u16 = 1;
const SYN: u16 = 2;
const RST: u16 = 4;
const ACK: u16 = 16;

/// The TCP packets that pass `filter`.
fn packets(file: &Path, filter: &str) -> Vec<Packet> {
    let mut tshark = command("tshark -n -T fields -E separator=/t -E occurrence=a -E aggregator=|");
    tshark.args(["-o", "tcp.desegment_tcp_streams:FALSE"]);
    tshark.args(["-o", "tcp.relative_sequence_numbers:FALSE"]);
    tshark.args(["--disable-protocol", "http", "-Y", filter, "-r"]);
    tshark.arg(file);
    for field in [
        "frame.number",
        "frame.packet_flags_direction",
        "tcp.stream",
        "tcp.seq_raw",
        "tcp.ack_raw",
        "tcp.len",
        "tcp.flags",
        "tcp.options.sack_le",
        "tcp.options.sack_re",
        "frame.comment",
    ] {
        tshark.args(["-e", field]);
    }
    let text = run_ok(&mut tshark, PATIENCE).text();
    text.lines().map(packet).collect()
}

fn packet(line: &str) -> Packet {
    let fields: Vec<_> = line.split('\t').collect();
    let [
        number,
        direction,
        stream,
        seq,
        ack,
        len,
        flags,
        left,
        right,
        comment,
    ] = fields[..]
    else {
        panic!("{} fields: {line}", fields.len());
    };
    let number_in = |text: &str| text.parse().unwrap_or_else(|_| panic!("{text} in {line}"));
    let edges = |text: &str| -> Vec<u32> {
        let edges = text.split('|').filter(|edge| !edge.is_empty());
        edges.map(|edge| edge.parse().expect("an edge")).collect()
    };
    let direction = u32::from_str_radix(direction.trim_start_matches("0x"), 16);
    Packet {
        number: number_in(number),
        is_sent: direction.expect("a direction") == 2,
        stream: stream.to_owned(),
        seq: number_in(seq) as u32,
        ack: number_in(ack) as u32,
        len: number_in(len),
        flags: u16::from_str_radix(flags.trim_start_matches("0x"), 16).expect("flags"),
        sack: edges(left).into_iter().zip(edges(right)).collect(),
        comment: comment.to_owned(),
    }
}

fn transfer(setting: Setting, folder: &Path) {
    let curl = || command("curl --silent --show-error --fail --output /dev/null --max-time 50");
    let url = setting.url(&format!("/bytes/{LENGTH}"));
    run_ok(curl().arg(url), PATIENCE);
    let upload = folder.join("upload");
    std::fs::write(&upload, Noise::new(4, LENGTH).bytes()).expect("space on disk");
    run_ok(
        curl()
            .arg("--upload-file")
            .arg(&upload)
            .arg(setting.url("/discard")),
        PATIENCE,
    );
}

/// What headers alone tell of one connection, seen from the stack.
#[derive(Default)]
struct Reckoner {
    iss: u32,
    irs: u32,
    una: u64,
    nxt: u64,
    sacked: Ranges,
    rcv_nxt: u64,
    received: Ranges,
}

/// Ranges that do not touch, by their start.
#[derive(Default)]
struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    fn insert(&mut self, mut left: u64, mut right: u64) {
        self.0.retain(|&start, &mut end| {
            let touches = start <= right && left <= end;
            if touches {
                (left, right) = (left.min(start), right.max(end));
            }
            !touches
        });
        self.0.insert(left, right);
    }

    fn cut_below(&mut self, edge: u64) {
        let above = self.0.iter().filter(|&(_, &end)| end > edge);
        self.0 = above.map(|(&start, &end)| (start.max(edge), end)).collect();
    }

    fn bytes(&self) -> u64 {
        self.0.iter().map(|(start, end)| end - start).sum()
    }
}

/// The number nearest to `near` that the wire carries as `wire`.
fn expand(near: u64, initial: u32, wire: u32) -> u64 {
    let distance = wire.wrapping_sub(initial).wrapping_sub(near as u32) as i32;
    near.saturating_add_signed(distance.into())
}

impl Reckoner {
    /// Whether it repeats what was sent before.
    fn on_sent(&mut self, packet: &Packet) -> bool {
        if packet.flags & SYN != 0 {
            self.iss = packet.seq;
            (self.una, self.nxt) = (1, 1);
            return false;
        }
        let seq = expand(self.nxt, self.iss, packet.seq);
        let end = seq + packet.len + u64::from(packet.flags & FIN != 0);
        let again = end > seq && seq < self.nxt;
        self.nxt = self.nxt.max(end);
        again
    }

    fn on_received(&mut self, packet: &Packet) {
        if packet.flags & SYN != 0 {
            self.irs = packet.seq;
            self.rcv_nxt = 1;
            return;
        }
        if packet.comment.starts_with("dropped: stale timestamp") {
            return; // overtaken by a repair (RFC 7323 §5.3, R1)
        }
        let seq = expand(self.rcv_nxt, self.irs, packet.seq);
        let end = seq + packet.len + u64::from(packet.flags & FIN != 0);
        if end > self.rcv_nxt {
            self.received.insert(seq.max(self.rcv_nxt), end);
            if let Some((&start, &end)) = self.received.0.first_key_value()
                && start <= self.rcv_nxt
            {
                self.rcv_nxt = end;
                self.received.0.pop_first();
            }
        }
        let ack = expand(self.una, self.iss, packet.ack);
        if packet.flags & ACK == 0 || ack > self.nxt {
            return;
        }
        self.una = self.una.max(ack);
        for &(left, right) in &packet.sack {
            let edge = |wire| expand(self.una, self.iss, wire);
            let (left, right) = (edge(left), edge(right));
            if left >= self.una && left < right && right <= self.nxt {
                self.sacked.insert(left, right);
            }
        }
        self.sacked.cut_below(self.una);
    }
}

/// The number behind these words of a comment.
fn number(comment: &str, words: &str) -> Option<u64> {
    let (_, rest) = comment.split_once(words)?;
    let digits = rest.trim_start();
    let end = digits.find(|c: char| !c.is_ascii_digit());
    digits[..end.unwrap_or(digits.len())].parse().ok()
}

/// The number before this word of a comment.
fn number_before(comment: &str, word: &str) -> u64 {
    let Some((before, _)) = comment.split_once(word) else {
        return 0;
    };
    let last = before.rsplit(' ').next();
    last.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

const AGAIN: [&str; 5] = [
    "tail probe (again)",
    "fast retransmit",
    "timeout retransmit",
    "path MTU retransmit",
    "hole retransmit",
];

/// Compares the variables of a comment, if it has any; whether they are all as reckoned.
fn compare(comment: &str, reckoner: &Reckoner, context: &str) -> Option<bool> {
    let (_, send) = comment.split_once("snd una ")?; // else the handshake, or after the end
    assert_eq!(number(comment, "snd una "), Some(reckoner.una), "{context}");
    assert_eq!(number(send, "nxt "), Some(reckoner.nxt), "{context}");
    assert_eq!(
        number(comment, "rcv nxt "),
        Some(reckoner.rcv_nxt),
        "{context}"
    );
    if comment.contains("CLOSED") {
        return Some(true); // nothing is in flight any more
    }
    let (_, flight) = comment.split_once("; flight ").expect("it is there");
    let outstanding = number_before(flight, " out");
    assert_eq!(outstanding, reckoner.nxt - reckoner.una, "{context}");
    let sacked = number_before(flight, " sacked");
    let uncounted = reckoner.sacked.bytes().checked_sub(sacked);
    // A SACK of part of a segment says nothing of it.
    assert!(uncounted.is_some_and(|bytes| bytes < 4 * 1460), "{context}");
    let less = sacked + number_before(flight, " lost") + number_before(flight, " by dup");
    let more = outstanding + number_before(flight, " twice");
    assert_eq!(number(comment, "; flight "), Some(more - less), "{context}");
    Some(uncounted == Some(0))
}

/// The comments of a lossy transfer, both ways, agree with a reckoning from headers for every
/// packet.
fn agree(setting: Setting) {
    let folder = temp_dir();
    let file = folder.path().join("lossy.pcapng");
    let path = file.to_str().expect("a path in UTF-8");
    let ustack = setting.start(&["--impair", IMPAIR, "--capture", path, "--annotate"]);
    transfer(setting, folder.path());
    let finished = ustack.terminate();
    assert!(finished.status.success(), "{}", finished.stderr);
    assert!(!finished.text().contains("missing from the capture"));

    let packets = packets(&file, "tcp && frame.interface_id == 0");
    let mut streams = HashMap::<_, Reckoner>::new();
    let (mut again, mut with_variables, mut exact) = (0, 0, 0);
    for packet in &packets {
        let context = format!("{}: {packet:?}", setting.name("agree"));
        assert!(!packet.comment.is_empty(), "{context}");
        let reckoner = streams.entry(&packet.stream).or_default();
        let repeats = if packet.is_sent {
            reckoner.on_sent(packet)
        } else {
            reckoner.on_received(packet);
            false
        };
        if packet.is_sent && packet.flags & (SYN | RST) == 0 {
            let told = AGAIN.iter().any(|words| packet.comment.starts_with(words));
            assert_eq!(told, repeats, "{context}");
            again += u32::from(repeats);
        }
        if let Some(is_exact) = compare(&packet.comment, reckoner, &context) {
            with_variables += 1;
            exact += u32::from(is_exact);
        }
    }
    println!(
        "{}: {} packets, {again} sent again, {exact} exact of {with_variables}",
        setting.name("agree"),
        packets.len()
    );
    assert!(again > 10 && with_variables > packets.len() as u32 * 9 / 10);
    assert!(
        exact * 100 >= with_variables * 98,
        "{exact} of {with_variables}"
    );
    lost_packets(&file, &finished.text());
}

/// What `--impair` has lost stands on an interface of its own.
fn lost_packets(file: &Path, last_line: &str) {
    let mut tshark = command(
        "tshark -n -T fields -e frame.interface_name -e frame.comment -Y frame.interface_id==1 -r",
    );
    let text = run_ok(tshark.arg(file), PATIENCE).text();
    let told = number_before(last_line, " lost on purpose");
    assert_eq!(text.lines().count() as u64, told, "{last_line}");
    for line in text.lines() {
        assert_eq!(line, "ustack0-impair\tdropped by --impair: loss");
    }
}

/// A comment for every TCP packet of all kinds of conversation, resets and refusals too.
fn every_packet(setting: Setting) {
    let folder = temp_dir();
    let file = folder.path().join("all.pcapng");
    let path = file.to_str().expect("a path in UTF-8");
    let arguments = ["--capture", path, "--annotate", "--snaplen", "128"];
    let ustack = setting.start(&[&arguments[..], &["--queues", "1"]].concat());
    transfer(setting, folder.path());
    let closed = format!("http://{}/", setting.port(81));
    assert_eq!(
        run(command("curl -s").arg(closed), PATIENCE).status.code(),
        Some(7)
    );
    // Unread bytes mean a reset.
    let mut stream = TcpStream::connect(setting.port(19)).expect("a connection");
    let mut some = [0; 1000];
    stream.read_exact(&mut some).expect("characters");
    drop(stream);
    let mut stream = TcpStream::connect(setting.port(7)).expect("a connection");
    stream.write_all(b"hello").expect("a word");
    stream.read_exact(&mut some[..5]).expect("its echo");
    drop(stream);
    let finished = ustack.terminate();
    assert!(finished.status.success(), "{}", finished.stderr);
    let packets = packets(&file, "tcp");
    let silent: Vec<_> = packets
        .iter()
        .filter(|packet| packet.comment.is_empty())
        .collect();
    assert!(
        silent.is_empty(),
        "{} of {}: {:?}",
        silent.len(),
        packets.len(),
        silent[0]
    );
    let says = |words: &str| packets.iter().any(|packet| packet.comment.contains(words));
    for words in [
        "SYN,ACK; SYN-RECEIVED",
        "new data; ESTABLISHED",
        "ACK: ",
        "accepted ",
        "acknowledges ",
        "reply; CLOSED",
        "dropped: no socket",
        "reset by peer",
        "ESTABLISHED → CLOSE-WAIT",
        "slow start",
    ] {
        assert!(says(words), "no packet says '{words}'");
    }
}

/// Of several shards, too: a packet that is another shard's says where it went.
fn two_shards(setting: Setting) {
    let folder = temp_dir();
    let file = folder.path().join("two.pcapng");
    let path = file.to_str().expect("a path in UTF-8");
    let ustack = setting.start(&["--capture", path, "--annotate", "--queues", "2"]);
    for _ in 0..4 {
        transfer(setting, folder.path());
    }
    let finished = ustack.terminate();
    assert!(finished.status.success(), "{}", finished.stderr);
    let packets = packets(&file, "tcp");
    let silent = packets.iter().filter(|packet| packet.comment.is_empty());
    assert_eq!(silent.count(), 0, "of {}", packets.len());
}

/// Wherever a file ends, `tshark` shows all packets that are whole.
fn cut_anywhere(setting: Setting) {
    let folder = temp_dir();
    let file = folder.path().join("whole.pcapng");
    let path = file.to_str().expect("a path in UTF-8");
    let ustack = setting.start(&["--capture", path, "--annotate"]);
    let url = setting.url("/bytes/20000");
    run_ok(
        command("curl --silent --output /dev/null").arg(url),
        PATIENCE,
    );
    let finished = ustack.terminate();
    assert!(finished.status.success(), "{}", finished.stderr);
    let whole = std::fs::read(&file).expect("the capture");
    let blocks = blocks(&whole);
    let headers = blocks
        .iter()
        .position(|block| block.kind == 6)
        .expect("a packet");
    let beginning = blocks[headers].start;
    assert_eq!(headers, 3, "a section and two interfaces");
    // Around the edges of each block, and in the middle of its header, packet and options.
    let middle = |block: &Block| block.start + (block.end - block.start) / 2;
    let mut cuts: Vec<_> = blocks[headers..]
        .iter()
        .take(12)
        .flat_map(|block| {
            let start = block.start;
            [
                start,
                start + 1,
                start + 6,
                start + 30,
                middle(block),
                block.end - 5,
                block.end - 1,
            ]
        })
        .collect();
    cuts.extend(
        blocks
            .iter()
            .rev()
            .take(3)
            .flat_map(|block| [block.start, middle(block)]),
    );
    cuts.retain(|&cut| cut >= beginning);
    let short = folder.path().join("cut.pcapng");
    for cut in cuts {
        std::fs::write(&short, &whole[..cut]).expect("space on disk");
        let expected = blocks
            .iter()
            .filter(|block| block.kind == 6 && block.end <= cut)
            .count();
        let read = run(
            command("tshark -n -T fields -e frame.number -r").arg(&short),
            PATIENCE,
        );
        assert_eq!(read.text().lines().count(), expected, "cut at {cut}");
    }
}

struct Block {
    kind: u32,
    start: usize,
    end: usize,
}

fn blocks(file: &[u8]) -> Vec<Block> {
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("four bytes"));
    let mut blocks = Vec::new();
    let mut start = 0;
    while start < file.len() {
        let end = start + word(start + 4) as usize;
        blocks.push(Block {
            kind: word(start),
            start,
            end,
        });
        start = end;
    }
    blocks
}

/// Files of a size, of which the last stay, each for itself a capture.
fn rotation(setting: Setting) {
    let folder = temp_dir();
    let file = folder.path().join("part.pcapng");
    let path = file.to_str().expect("a path in UTF-8");
    let ustack = setting.start(&[
        "--capture",
        path,
        "--annotate",
        "--capture-rotate",
        "200K",
        "--capture-files",
        "3",
        "--capture-filter",
        "tcp port 80",
    ]);
    transfer(setting, folder.path());
    let finished = ustack.terminate();
    assert!(finished.status.success(), "{}", finished.stderr);
    let mut files: Vec<_> = std::fs::read_dir(folder.path())
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "pcapng"))
        .collect();
    files.sort();
    assert_eq!(files.len(), 3, "{files:?}");
    for file in &files {
        let packets = packets(file, "tcp.port == 80");
        assert!(!packets.is_empty(), "{}", file.display());
        let others = run_ok(command("tshark -n -Y tcp.port!=80 -r").arg(file), PATIENCE);
        assert_eq!(others.text(), "");
    }
    let last = files[2].file_name().expect("a name").to_string_lossy();
    assert!(last.as_ref() > "part_00010", "{last}: many files were made");
}

/// The secrets of `SSLKEYLOGFILE` stand in the file, before the packets that need them, and the
/// section says how it came about.
fn secrets(setting: Setting) {
    let folder = temp_dir();
    let file = folder.path().join("secret.pcapng");
    let keys = folder.path().join("keys");
    let line = format!("CLIENT_RANDOM {} {}\n", "0a".repeat(32), "0b".repeat(48));
    std::fs::write(&keys, &line).expect("space on disk");
    let mut program = common::Ustack::command(&["--capture"]);
    program.arg(&file).args(["--device", setting.device]);
    program.env("SSLKEYLOGFILE", &keys);
    let ustack = common::Ustack::started(&mut program);
    run_ok(command("curl --silent").arg(setting.url("/")), PATIENCE);
    let finished = ustack.terminate();
    assert!(finished.status.success(), "{}", finished.stderr);
    let bytes = std::fs::read(&file).expect("the capture");
    let blocks = blocks(&bytes);
    let secrets = blocks
        .iter()
        .position(|block| block.kind == 10)
        .expect("secrets");
    let packet = blocks
        .iter()
        .position(|block| block.kind == 6)
        .expect("packets");
    assert!(secrets < packet);
    let block = &bytes[blocks[secrets].start..blocks[secrets].end];
    assert!(
        block
            .windows(line.len())
            .any(|part| part == line.as_bytes())
    );
    let infos = run_ok(command("capinfos").arg(&file), PATIENCE).text();
    assert!(
        infos.contains("Number of decryption secrets in file: 1"),
        "{infos}"
    );
    assert!(infos.contains("--capture"), "the command line: {infos}");
}

/// Every line of the log is JSON as `docs/events.md` has it, and says what the capture says.
fn event_log(setting: Setting) {
    let folder = temp_dir();
    let (file, log) = (
        folder.path().join("e.pcapng"),
        folder.path().join("e.jsonl"),
    );
    let ustack = setting.start(&[
        "--impair",
        IMPAIR,
        "--annotate",
        "--capture",
        file.to_str().expect("a path in UTF-8"),
        "--events",
        log.to_str().expect("a path in UTF-8"),
    ]);
    transfer(setting, folder.path());
    let finished = ustack.terminate();
    assert!(finished.status.success(), "{}", finished.stderr);
    assert!(!finished.text().contains("missing"), "{}", finished.text());
    let text = std::fs::read_to_string(&log).expect("the log");
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}")))
        .collect();
    let start = &lines[0];
    assert_eq!(start["event"], "start");
    assert_eq!(start["schema"], 1);
    assert!(
        start["command"]
            .as_str()
            .expect("a command")
            .contains("--events")
    );
    assert!(
        start["impair_in"]
            .as_str()
            .expect("faults")
            .contains("seed=11")
    );
    let count = |event: &str| lines.iter().filter(|line| line["event"] == event).count();
    for event in [
        "sent", "received", "state", "timer", "loss", "recovery", "reduced",
    ] {
        assert!(count(event) > 0, "no {event}");
    }
    let time = |line: &serde_json::Value| line["t"].as_u64().expect("a time");
    let times: Vec<_> = lines[1..].iter().map(time).collect();
    assert!(times.is_sorted() && times[0] > 0);
    // The capture tells of as many segments again.
    let again = lines.iter().filter(|line| line["again"] == true).count();
    let told = packets(&file, "tcp && frame.interface_id == 0");
    let told = told.iter().filter(|packet| {
        let mut words = AGAIN.iter().chain(&["SYN again"]); // a SYN,ACK may be lost, too
        words.any(|words| packet.comment.starts_with(words))
    });
    assert_eq!(told.count(), again);
    let acked: u64 = lines.iter().filter_map(|line| line["acked"].as_u64()).sum();
    assert!(acked > LENGTH, "{acked}");
}
