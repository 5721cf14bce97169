//! `referee FILE`: which packet of a capture breaks which rule.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use referee::{Options, Referee, View, capture};

const USAGE: &str = "\
Says which TCP segments of a capture break which rule.

Usage: referee [--near ADDRESS]... [--offload] FILE.pcap[ng]

  --near ADDRESS  the capture was made at this host: it saw all of its packets, in order
  --offload       segments may be larger than the MSS, checksums unfinished

Exit codes: 0 no violation, 1 violations, 2 the file or the options cannot be read.";

struct Arguments {
    near: Vec<IpAddr>,
    options: Options,
    file: PathBuf,
}

fn arguments(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let (mut near, mut options, mut file) = (Vec::new(), Options::default(), None);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--near" => {
                let address = words.next().ok_or("--near needs an IP address")?;
                let parsed = address.parse();
                near.push(parsed.map_err(|_| format!("--near {address}: this is no IP address"))?);
            }
            "--offload" => options.offload = true,
            _ if word.starts_with('-') => return Err(format!("there is no option {word}")),
            _ if file.is_some() => return Err(format!("{word}: one file at a time")),
            _ => file = Some(word.into()),
        }
    }
    let file = file.ok_or("which file? It comes last")?;
    Ok(Arguments {
        near,
        options,
        file,
    })
}

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--help" || word == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let Arguments {
        near,
        options,
        file,
    } = match arguments(words.into_iter()) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("referee: {error}; see referee --help");
            return ExitCode::from(2);
        }
    };
    let packets = match capture::read(&file) {
        Ok(packets) => packets,
        Err(error) => {
            eprintln!("referee: {error}");
            return ExitCode::from(2);
        }
    };
    let mut referee = Referee::new(View::Point { near }, options);
    let mut last = Duration::ZERO;
    for packet in &packets {
        referee.on_seen(packet.number, packet.time, &packet.data, packet.lost);
        last = packet.time;
    }
    referee.finish(last);
    for violation in referee.violations() {
        println!("{violation}");
    }
    let (packets, conversations, count) = (packets.len(), referee.conversations(), referee.count());
    println!("{packets} packets, {conversations} conversations, {count} violations");
    if count == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
