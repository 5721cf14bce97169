//! Writes the inputs that fuzzing starts from into `fuzz/corpus`: packets of the captures in
//! `pcaps/`, texts of the kind that users write, and first steps of each target's own language.
//!
//! `cargo run -p fuzz-cases --bin seed-corpora`; files that are there already are written again.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use replay::capture;

/// Larger captures say nothing that smaller ones do not.
const MAX_CAPTURE: u64 = 6_000;
/// Packets of one capture that become one input.
const MAX_PACKETS: usize = 12;

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let corpora = Corpora(root.join("fuzz/corpus"));
    from_captures(&corpora, &root.join("pcaps"))?;
    from_scripts(&corpora, &root.join("tcp/tests/scripts"))?;
    from_scripts(&corpora, &root.join("tools/packetdrill/tests/packetimpact"))?;
    for (name, grammar, text) in TEXTS {
        let text = [&[*grammar][..], text.as_bytes()].concat();
        corpora.write("grammars", name, &text)?;
    }
    for name in lab::builtin::names() {
        let text = lab::builtin::text(name).unwrap_or_default();
        if text.len() < 1500 {
            corpora.write("grammars", name, &[b"\x04", text.as_bytes()].concat())?;
        }
    }
    for state in 0..11 {
        // Active and passive: settings, peer, state; then a segment, data, time, a reader.
        for shape in [0, 2] {
            let steps = [
                shape, 0, 0, 0x70, 4, state, 0, 1, 0, 8, 0x28, 0x29, 200, 0, 11, 9, 0, 12, 4, 0,
            ];
            corpora.write("tcp_endpoint", &format!("state-{state}-{shape}"), &steps)?;
        }
    }
    for (target, name, bytes) in STEPS {
        corpora.write(target, name, bytes)?;
    }
    Ok(())
}

struct Corpora(PathBuf);

impl Corpora {
    fn write(&self, target: &str, name: &str, bytes: &[u8]) -> Result<(), Box<dyn Error>> {
        let dir = self.0.join(target);
        fs::create_dir_all(&dir)?;
        Ok(fs::write(dir.join(format!("seed-{name}")), bytes)?)
    }
}

fn from_captures(corpora: &Corpora, dir: &Path) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let is_capture = path
            .extension()
            .is_some_and(|extension| extension == "pcapng");
        if !is_capture || fs::metadata(&path)?.len() > MAX_CAPTURE {
            continue;
        }
        let name = path
            .file_stem()
            .and_then(|name| name.to_str())
            .ok_or("a name")?;
        corpora.write("capture_reader", name, &fs::read(&path)?)?;
        let packets = capture::read(&path)?;
        let packets: Vec<_> = packets.iter().map(|packet| moved(&packet.data)).collect();
        let (mut host, mut datagrams) = (vec![0], Vec::new());
        for packet in packets
            .iter()
            .filter(|packet| packet.len() < 1600)
            .take(MAX_PACKETS)
        {
            host.extend([0, 2]);
            host.extend((packet.len() as u16).to_be_bytes());
            host.extend(packet);
            let body = if packet[0] >> 4 == 4 { 20 } else { 40 };
            match packet[if body == 20 { 9 } else { 6 }] {
                6 => header(corpora, name, packet, body)?,
                17 => datagrams.extend_from_slice(&packet[body..]),
                _ => {}
            }
        }
        corpora.write("ip_input", name, &host)?;
        if !datagrams.is_empty() {
            corpora.write("udp", name, &datagrams)?;
        }
    }
    Ok(())
}

/// The first header of a capture: for the parser of options, and as a super-segment's.
fn header(corpora: &Corpora, name: &str, packet: &[u8], body: usize) -> Result<(), Box<dyn Error>> {
    let tcp = &packet[body..];
    let options = &tcp[20..usize::from(tcp[12] >> 4) * 4];
    corpora.write("tcp_options", name, &[&[0, tcp[13]], options].concat())?;
    let kind = if body == 20 { 1 } else { 4 };
    let mut input = vec![1, kind];
    for number in [0, 3, body as u16, 16] {
        input.extend(number.to_ne_bytes());
    }
    input.extend_from_slice(packet);
    corpora.write("vnet_header", name, &input)
}

/// The packet, in the network that the targets play in.
fn moved(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    let (places, from, to): (_, &[u8], [u8; 2]) = if packet[0] >> 4 == 4 {
        ([12, 16], &[10, 88], [10, 77])
    } else {
        ([8, 24], &[0xfd, 0x88], [0xfd, 0x77])
    };
    for at in places {
        if packet[at..].starts_with(from) {
            packet[at..at + 2].copy_from_slice(&to);
        }
    }
    packet
}

/// Short scripts of packetdrill.
fn from_scripts(corpora: &Corpora, dir: &Path) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            from_scripts(corpora, &path)?;
        } else if path.extension().is_some_and(|extension| extension == "pkt") {
            let text = fs::read(&path)?;
            let name = path
                .file_stem()
                .and_then(|name| name.to_str())
                .ok_or("a name")?;
            if text.len() < 700 {
                corpora.write("grammars", name, &[b"\x05", &text[..]].concat())?;
            }
        }
    }
    Ok(())
}

/// Name, grammar, text.
const TEXTS: &[(&str, u8, &str)] = &[
    (
        "impair",
        0,
        "loss=1%,delay=10ms,jitter=2ms,reorder=1%,duplicate=0.5%,corrupt=0.1%",
    ),
    (
        "impair-rate",
        0,
        "rate=100mbit,queue=500kB,codel=drop,target=5ms,interval=100ms,ce=1%",
    ),
    (
        "impair-lists",
        0,
        "gemodel=1%/30%/70%/0.1%,drop=5;8-12;every:100,hold=5ms,reorder=2%,mtu=1400,seed=7",
    ),
    (
        "file",
        1,
        "mtu = 1400\naddr = [\"10.1.0.2/24\", \"fd01::2/64\"]\nforward = true\nimpair = \"loss=1%\"\n",
    ),
    (
        "file-all",
        1,
        "tun = \"u0\"\ndevice = \"plain\"\ncc = \"bbr\"\nhost-addr = \"10.1.0.1/24\"\nforward-allow = \"127.0.0.1\"\nlog = \"debug\"\nkeep-root = false\n",
    ),
    (
        "flags",
        2,
        "--mtu 1400 --addr 10.1.0.2/24,fd01::2/64 --cc reno --impair-in loss=1% --forward=false",
    ),
    (
        "flags-run",
        2,
        "run --forward --impair delay=50ms -- curl http://10.77.0.2/",
    ),
    (
        "flags-more",
        2,
        "serve --tun-fd 3 --device offload --host-addr 192.168.50.1/24 --forward-allow 127.0.0.1/32",
    ),
    (
        "addresses",
        3,
        "10.77.0.2/24,fd77::2/64;10.77.0.1/24,fd77::1/64",
    ),
    ("address-alone", 3, "192.168.1.7/28"),
    ("address-host", 3, ";10.1.0.1/30"),
];

/// Target, name, input: where fuzzing would take long to get by itself.
const STEPS: &[(&str, &str, &[u8])] = &[
    (
        "fragments",
        "in-order",
        &[0, 0, 0x10, 0, 0, 16, 0, 0x10, 0, 2, 8],
    ),
    ("fragments", "backwards", &[0, 3, 0x21, 1, 0x8c, 3, 0x21, 0]),
    (
        "fragments",
        "overlap",
        &[
            0, 5, 0x20, 0, 5, 0x20, 1, 5, 0x00, 0, 0, 1, 15, 121, 5, 0x20, 2,
        ],
    ),
    (
        "fragments",
        "tight",
        &[
            1, 6, 0x60, 1, 6, 0x60, 2, 7, 0x60, 3, 6, 0x60, 4, 15, 255, 7, 0x60, 5,
        ],
    ),
    (
        "icmp",
        "too-big",
        &[
            3, 0, 0, 4, 1, 128, 0, 3, 4, 0, 0, 2, 0, 1, 128, 1, 3, 1, 0, 9,
        ],
    ),
    (
        "icmp",
        "echo",
        &[
            2, 0, 0, 5, 0, 1, 0, 2, b'h', b'e', b'l', b'l', b'o', 2, 1, 0, 0, 1, 2, 3, 4,
        ],
    ),
    (
        "icmp",
        "unreachable",
        &[
            3, 0, 0, 3, 0, 0, 0, 0, 0, 1, 3, 1, 2, 4, 0, 0, 0, 0, 0, 2, 3, 1,
        ],
    ),
    (
        "udp",
        "to-all",
        &[
            0, 0, 0, 0, 3, 1, 2, 3, 1, 1, 1, 0, 2, 9, 9, 4, 0, 1, 4, 1, 9,
        ],
    ),
    (
        "udp",
        "to-nobody",
        &[
            0, 0, 4, 0x30, 0x39, 0, 1, 7, 7, 50, 0, 1, 4, 0x30, 0x39, 0, 1, 7,
        ],
    ),
    (
        "udp",
        "joined",
        &[
            0, 8, 0, 0, 2, 0, 10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 4, 0, 9, 6, 0, 0, 9, 0, 0x20, 0,
        ],
    ),
    (
        "ip_input",
        "open-and-talk",
        &[
            0, 10, 0, 7, 1, 2, 3, 4, 0xff, 0xff, 0, 4, 1, 0, 14, 0, 4, 2, 32, 0, 100, 14, 4, 1, 14,
            5, 1, 0, 200, 4, 3, 0, 14, 6, 1, 4, 4, 4, 0x11,
        ],
    ),
    (
        "ip_input",
        "client",
        &[
            0, 4, 0, 4, 0x12, 4, 1, 32, 1, 0, 14, 5, 0, 1, 0, 4, 2, 0, 14, 7, 0, 4, 3, 4, 0x14,
        ],
    ),
    (
        "ip_input",
        "fast-open",
        &[
            0, 10, 0x22, 7, 1, 2, 3, 4, 0xff, 0xff, 34, 2, 1, 1, 0, 4, 1, 0, 14, 0, 4, 1, 4, 0x11,
            13, 12,
        ],
    ),
    (
        "ip_input",
        "syn-flood",
        &[
            0, 10, 0, 1, 0, 0, 0, 0, 1, 0, 0, 10, 0, 2, 0, 0, 0, 0, 1, 0, 0, 10, 0, 3, 0, 0, 0, 0,
            1, 0, 0, 10, 1, 4, 0, 0, 0, 0, 1, 0, 0, 10, 0, 5, 0, 0, 0, 0, 1, 0, 0, 4, 5, 0, 13, 14,
        ],
    ),
    (
        "operations",
        "talk",
        &[
            0, 0, 0, 0, 10, 40, 0, 128, 10, 0, 9, 40, 133, 255, 255, 128, 64, 0, 26, 200, 5, 255,
            255, 8, 136,
        ],
    ),
    (
        "operations",
        "losses",
        &[
            1, 64, 192, 16, 0, 1, 0, 0, 1, 1, 3, 44, 5, 13, 2, 0, 1, 1, 0, 3, 10, 255, 0, 255, 255,
            128, 255, 255, 0x3a, 255, 133, 255, 255, 0, 200, 0, 0x4a, 255, 8, 136,
        ],
    ),
    (
        "operations",
        "reset",
        &[
            0, 3, 32, 0, 10, 200, 0, 255, 255, 10, 255, 0x79, 10, 90, 5, 1, 0,
        ],
    ),
    (
        "tcp_options",
        "all",
        &[
            0, 2, 2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7, 34, 10, 1, 2, 3,
            4, 5, 6, 7, 8,
        ],
    ),
    (
        "tcp_options",
        "experimental",
        &[
            0, 2, 254, 8, 0xf9, 0x89, 1, 2, 3, 4, 30, 3, 7, 1, 1, 0, 9, 9,
        ],
    ),
    (
        "tcp_options",
        "sack",
        &[
            0, 16, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1, 5, 18, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0,
            0, 5, 0, 0, 0, 9,
        ],
    ),
    (
        "vnet_header",
        "plain",
        &[1, 0, 0, 0, 0, 0, 4, 0, 2, 0, 0x45, 0, 0, 9, 1, 2, 3, 4],
    ),
];
