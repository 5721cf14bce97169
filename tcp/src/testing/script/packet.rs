//! Lines of packets: TCP, UDP, ICMP.

use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use super::ast::{
    AccEcnField, Body, Direction, IcmpLine, IpLine, PacketLine, Quote, TcpLine, TcpOption, Tos,
    flag,
};
use super::scan::{Result, Scanner};

pub(super) fn parse_packet(scanner: &mut Scanner<'_>) -> Result<PacketLine> {
    let direction = if scanner.eat("<") {
        Direction::In
    } else {
        scanner.expect(">")?;
        Direction::Out
    };
    let mut encapsulation = parse_outer_headers(scanner);
    let quote = parse_early_quote(scanner)?;
    let ip = match quote {
        None => parse_ip(scanner)?,
        Some(_) => IpLine::default(),
    };
    let body = if scanner.eat_word("icmp") || scanner.eat_word("icmpv6") {
        let mut icmp = parse_icmp(scanner)?;
        icmp.quote = icmp.quote.or(quote);
        Body::Icmp(icmp)
    } else if scanner.eat_word("udp") {
        let ports = parse_ports(scanner)?;
        scanner.expect("(")?;
        let len = scanner.expect_number()?;
        scanner.expect(")")?;
        Body::Udp { ports, len }
    } else if let Some(word) = scanner.peek_word().filter(|word| !is_flags(word)) {
        encapsulation = Some(word.to_string());
        scanner.line_rest();
        Body::Udp {
            ports: None,
            len: 0,
        }
    } else {
        Body::Tcp(parse_tcp(scanner)?)
    };
    if scanner.eat("/") {
        encapsulation = Some(format!("/{}", scanner.line_rest()));
    }
    Ok(PacketLine {
        direction,
        ip,
        body,
        encapsulation,
    })
}

/// Old scripts write what an ICMP message quotes before it: `[1:1001(1000)] icmp …`.
fn parse_early_quote(scanner: &mut Scanner<'_>) -> Result<Option<Quote>> {
    let mut ahead = scanner.clone();
    if !ahead.eat("[") || ahead.number().is_none() {
        return Ok(None);
    }
    scanner.expect("[")?;
    let quote = parse_quote(scanner)?;
    scanner.expect("]")?;
    Ok(Some(quote))
}

/// `ipv4 a > b: gre: mpls (…): …`: everything up to the last colon that ends a header.
fn parse_outer_headers(scanner: &mut Scanner<'_>) -> Option<String> {
    let outer = ["ipv4", "ipv6", "gre", "mpls", "psp"];
    if !scanner
        .peek_word()
        .is_some_and(|word| outer.contains(&word))
    {
        return None;
    }
    Some(scanner.line_rest().to_string())
}

fn is_flags(word: &str) -> bool {
    word.chars().all(|c| "SFRPUEWAC0123456789".contains(c))
}

/// `[ect0]`, `(ttl 1)`, `[tos 0x10, flowlabel 0x1]`.
fn parse_ip(scanner: &mut Scanner<'_>) -> Result<IpLine> {
    let close = if scanner.eat("[") {
        "]"
    } else if scanner.eat("(") {
        ")"
    } else {
        return Ok(IpLine::default());
    };
    let mut ip = IpLine::default();
    loop {
        let Some(word) = scanner.word() else {
            return scanner.error("what of the IP header?");
        };
        match word {
            "noecn" => ip.tos = Some(Tos::Ecn(0)),
            "ect1" => ip.tos = Some(Tos::Ecn(1)),
            "ect0" => ip.tos = Some(Tos::Ecn(2)),
            "ce" => ip.tos = Some(Tos::Ecn(3)),
            "ect01" => ip.tos = Some(Tos::Ect),
            "tos" | "class" => ip.tos = Some(Tos::Byte(scanner.expect_number()?)),
            "ttl" | "hlim" => ip.ttl = Some(scanner.expect_number()?),
            "flowlabel" => ip.flow_label = Some(scanner.expect_number()?),
            other => return scanner.error(format!("unknown IP header field {other}")),
        }
        if scanner.eat(close) {
            return Ok(ip);
        }
        scanner.eat(",");
    }
}

fn parse_ports(scanner: &mut Scanner<'_>) -> Result<Option<(u16, u16)>> {
    let mut ahead = scanner.clone();
    if ahead.number().is_none() || !ahead.peek(">") {
        return Ok(None);
    }
    let from = scanner.expect_number()?;
    scanner.expect(">")?;
    Ok(Some((from, scanner.expect_number()?)))
}

fn parse_tcp(scanner: &mut Scanner<'_>) -> Result<TcpLine> {
    let ports = parse_ports(scanner)?;
    let Some(letters) = scanner.take(|c| "SFRPUEWAC.-0123456789".contains(c)) else {
        return scanner.error("the segment's flags expected");
    };
    let (flags, ae) = parse_flags(scanner, letters)?;
    let mut line = TcpLine {
        ports,
        flags,
        ae,
        seq: 0,
        any_seq: false,
        raw_seq: false,
        len: 0,
        ack: None,
        window: None,
        urgent: None,
        options: Some(Vec::new()),
    };
    parse_range(scanner, &mut line)?;
    if scanner.eat_word("ack") {
        line.ack = Some(scanner.expect_wire()?);
    }
    if scanner.eat_word("win") {
        line.window = Some(scanner.expect_number()?);
    }
    if scanner.eat_word("urg") {
        line.urgent = Some(scanner.expect_number()?);
    }
    // The next event's `<` stands after a time; this one belongs to the segment.
    if scanner.eat("<") {
        line.options = parse_options(scanner)?;
    }
    Ok(line)
}

/// `10:20(10)`, `...(0)`, and `!` after either.
fn parse_range(scanner: &mut Scanner<'_>, line: &mut TcpLine) -> Result<()> {
    let mut start = scanner.clone();
    let mut end = None;
    if scanner.eat("...") {
        line.any_seq = true;
    } else {
        line.seq = scanner.expect_wire()?;
        scanner.expect(":")?;
        end = Some(scanner.expect_wire()?);
    }
    scanner.expect("(")?;
    line.len = scanner.expect_number()?;
    scanner.expect(")")?;
    line.raw_seq = scanner.eat("!");
    if end.is_some_and(|end| end != line.seq.wrapping_add(line.len)) {
        return start.error("the range is not as long as it says");
    }
    Ok(())
}

/// Letters, `.` for ACK, or the ACE field's digit (RFC 9768) in place of `AWE`.
fn parse_flags(scanner: &mut Scanner<'_>, letters: &str) -> Result<(u8, bool)> {
    let (mut flags, mut ae) = (0, false);
    for letter in letters.chars() {
        flags |= match letter {
            'F' => flag::FIN,
            'S' => flag::SYN,
            'R' => flag::RST,
            'P' => flag::PSH,
            '.' => flag::ACK,
            'U' => flag::URG,
            'E' => flag::ECE,
            'W' | 'C' => flag::CWR,
            'A' => {
                ae = true;
                0
            }
            '-' => 0,
            '0'..='7' => {
                let ace = letter as u8 - b'0';
                ae = ace & 4 != 0;
                ((ace & 2) * (flag::CWR / 2)) | ((ace & 1) * flag::ECE)
            }
            other => return scanner.error(format!("unknown flag {other}")),
        };
    }
    Ok((flags, ae))
}

fn parse_options(scanner: &mut Scanner<'_>) -> Result<Option<Vec<TcpOption>>> {
    if scanner.eat("...") {
        scanner.expect(">")?;
        return Ok(None);
    }
    scanner.list(">", parse_option).map(Some)
}

fn parse_option(scanner: &mut Scanner<'_>) -> Result<TcpOption> {
    let Some(word) = scanner.word() else {
        return scanner.error("an option expected");
    };
    Ok(match word {
        "nop" => TcpOption::Nop,
        "eol" => TcpOption::Eol,
        "mss" => TcpOption::Mss(scanner.expect_number()?),
        "wscale" => TcpOption::WindowScale(scanner.expect_number()?),
        "sackOK" => TcpOption::SackPermitted,
        "sack" => TcpOption::Sack(parse_blocks(scanner)?),
        "TS" => {
            if !scanner.eat_word("val") {
                return scanner.error("`val` expected");
            }
            let val = scanner.expect_wire()?;
            if !scanner.eat_word("ecr") {
                return scanner.error("`ecr` expected");
            }
            let ecr = scanner.expect_wire()?;
            TcpOption::Timestamps { val, ecr }
        }
        "FO" => TcpOption::FastOpen(parse_hex(scanner)?),
        "FOEXP" => TcpOption::FastOpenExperimental(parse_hex(scanner)?),
        "md5" if scanner.eat_word("valid") => TcpOption::Md5(Vec::new()),
        "md5" => TcpOption::Md5(parse_hex(scanner)?),
        "ECN" => TcpOption::AccEcn(parse_counters(scanner)?),
        "kind" => {
            let kind = scanner.expect_number()?;
            TcpOption::Other(kind, parse_hex(scanner)?)
        }
        other => return scanner.error(format!("unknown option {other}")),
    })
}

fn parse_blocks(scanner: &mut Scanner<'_>) -> Result<Vec<(u32, u32)>> {
    let mut blocks = Vec::new();
    while !scanner.peek(",") && !scanner.peek(">") {
        let left = scanner.expect_wire()?;
        scanner.expect(":")?;
        blocks.push((left, scanner.expect_wire()?));
    }
    Ok(blocks)
}

fn parse_counters(scanner: &mut Scanner<'_>) -> Result<Vec<(AccEcnField, u32)>> {
    let mut counters = Vec::new();
    while let Some(word) = scanner.word() {
        let field = match word {
            "e0b" => AccEcnField::E0b,
            "ceb" => AccEcnField::Ceb,
            "e1b" => AccEcnField::E1b,
            other => return scanner.error(format!("unknown counter {other}")),
        };
        counters.push((field, scanner.expect_wire()?));
    }
    Ok(counters)
}

fn parse_hex(scanner: &mut Scanner<'_>) -> Result<Vec<u8>> {
    let digits = scanner.take(|c| c.is_ascii_hexdigit()).unwrap_or("");
    if !digits.len().is_multiple_of(2) {
        return scanner.error("an even number of hexadecimal digits, please");
    }
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap_or(0);
    Ok((0..digits.len()).step_by(2).map(byte).collect())
}

fn parse_icmp(scanner: &mut Scanner<'_>) -> Result<IcmpLine> {
    let Some(kind) = scanner.word() else {
        return scanner.error("the ICMP message's type expected");
    };
    let mut line = IcmpLine {
        kind: kind.to_string(),
        code: None,
        mtu: None,
        id: None,
        quote: None,
    };
    while let Some(word) = scanner.word() {
        match word {
            "mtu" => line.mtu = Some(scanner.expect_number()?),
            "id" => line.id = Some(scanner.expect_number()?),
            code => line.code = Some(String::from(code)),
        }
    }
    if scanner.eat("[") {
        line.quote = Some(parse_quote(scanner)?);
        scanner.expect("]")?;
    }
    Ok(line)
}

fn parse_quote(scanner: &mut Scanner<'_>) -> Result<Quote> {
    if scanner.peek_word().is_some() {
        let udp = scanner.eat_word("udp");
        if !udp && !scanner.eat_word("raw") {
            return scanner.error("this quote is not known");
        }
        scanner.expect("(")?;
        let len = scanner.expect_number()?;
        scanner.expect(")")?;
        return Ok(if udp {
            Quote::Udp(len)
        } else {
            Quote::Raw(len)
        });
    }
    let seq = scanner.expect_wire()?;
    scanner.expect(":")?;
    scanner.expect_wire()?;
    scanner.expect("(")?;
    let len = scanner.expect_number()?;
    scanner.expect(")")?;
    Ok(Quote::Tcp { seq, len })
}
