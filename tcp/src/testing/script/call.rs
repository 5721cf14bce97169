//! System calls: their arguments and results.

use std::boxed::Box;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use super::ast::{Call, Expr};
use super::scan::{Result, Scanner};

pub(super) fn parse_call(scanner: &mut Scanner<'_>) -> Result<Call> {
    let Some(name) = scanner.word() else {
        return scanner.error("a packet, a call, a command or code expected");
    };
    scanner.expect("(")?;
    let args = scanner.list(")", parse_expr)?;
    scanner.expect("=")?;
    let result = if scanner.eat("?") {
        None
    } else {
        Some(parse_expr(scanner)?)
    };
    let errno = scanner
        .peek_word()
        .filter(|word| word.starts_with('E'))
        .map(ToString::to_string);
    if errno.is_some() {
        scanner.word();
    }
    if scanner.peek("(") {
        scanner.between("(", ")")?;
    }
    Ok(Call {
        name: name.to_string(),
        args,
        result,
        errno,
    })
}

/// Operators bind alike, from left to right: scripts use one kind at a time.
fn parse_expr(scanner: &mut Scanner<'_>) -> Result<Expr> {
    let mut left = parse_primary(scanner)?;
    loop {
        let op = if scanner.eat("|") {
            '|'
        } else if scanner.eat("<<") {
            '<'
        } else if let Some(op) = ['*', '+'].into_iter().find(|op| goes_on(scanner, *op)) {
            scanner.eat(op.encode_utf8(&mut [0; 4]));
            op
        } else {
            return Ok(left);
        };
        let right = parse_primary(scanner)?;
        left = Expr::Binary(op, Box::new(left), Box::new(right));
    }
}

/// Whether the `op` that is next joins two numbers: after a result, it begins the next event.
fn goes_on(scanner: &Scanner<'_>, op: char) -> bool {
    let mut ahead = scanner.clone();
    ahead.eat(op.encode_utf8(&mut [0; 4]))
        && (ahead.number().is_some() || ahead.word().is_some())
        && [")", ",", "]", "*", "+"]
            .iter()
            .any(|next| ahead.peek(next))
}

fn parse_primary(scanner: &mut Scanner<'_>) -> Result<Expr> {
    if scanner.eat("...") {
        return Ok(Expr::Ellipsis);
    }
    if scanner.eat("[") {
        return Ok(Expr::List(scanner.list("]", parse_expr)?));
    }
    if scanner.eat("{") {
        return Ok(Expr::Struct(scanner.list("}", parse_field)?));
    }
    if scanner.eat("(") {
        let inner = parse_expr(scanner)?;
        scanner.expect(")")?;
        return Ok(inner);
    }
    if scanner.peek("\"") {
        let text = scanner.between("\"", "\"")?;
        scanner.eat("...");
        return Ok(Expr::Text(text));
    }
    if let Some(number) = scanner.number() {
        return Ok(Expr::Number(number));
    }
    let Some(name) = scanner.word() else {
        return scanner.error("an expression expected");
    };
    let name = name.to_string();
    if !scanner.glued('(') {
        return Ok(Expr::Name(name));
    }
    scanner.expect("(")?;
    Ok(Expr::Function(name, scanner.list(")", parse_expr)?))
}

/// `name = value`, `msg_iov(1) = [...]`, or a value alone.
fn parse_field(scanner: &mut Scanner<'_>) -> Result<(String, Expr)> {
    let mut ahead = scanner.clone();
    if let Some(name) = ahead.word() {
        if ahead.peek("(") {
            ahead.between("(", ")")?;
        }
        if ahead.eat("=") {
            *scanner = ahead;
            return Ok((name.to_string(), parse_expr(scanner)?));
        }
    }
    Ok((String::new(), parse_expr(scanner)?))
}

/// Decodes the escapes of a C string.
pub fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.extend(c.to_string().bytes());
            continue;
        }
        match chars.next() {
            Some('x') => {
                let mut hex = String::new();
                while hex.len() < 2
                    && let Some(digit) = chars.next_if(char::is_ascii_hexdigit)
                {
                    hex.push(digit);
                }
                out.push(u8::from_str_radix(&hex, 16).unwrap_or(0));
            }
            Some('n') => out.push(b'\n'),
            Some('t') => out.push(b'\t'),
            Some('r') => out.push(b'\r'),
            Some(digit @ '0'..='7') => {
                let mut octal = format!("{digit}");
                while octal.len() < 3
                    && let Some(next) = chars.next_if(|c| ('0'..='7').contains(c))
                {
                    octal.push(next);
                }
                out.push(u8::from_str_radix(&octal, 8).unwrap_or(0));
            }
            Some(other) => out.extend(other.to_string().bytes()),
            None => {}
        }
    }
    out
}
