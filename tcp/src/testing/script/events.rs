//! The outermost level: options, commands, events and their times.

use std::string::{String, ToString};
use std::vec::Vec;

use super::ast::{Action, Command, Event, Nanos, Script, ScriptOption, Time};
use super::call::parse_call;
use super::packet::parse_packet;
use super::scan::{ParseError, Result, Scanner};

/// Reads a script. Every word that `defines` names is replaced by its value first.
pub fn parse(text: &str, defines: &[(String, String)]) -> std::result::Result<Script, ParseError> {
    let text = substitute(&choose(text, defines), defines);
    let mut scanner = Scanner::new(&text);
    let mut script = Script::default();
    while scanner.peek("--") {
        parse_option(&mut scanner, &mut script);
    }
    if scanner.peek("`") {
        script.init = Some(parse_command(&mut scanner)?);
    }
    while !scanner.at_end() {
        if scanner.peek("`") {
            script.cleanup = Some(parse_command(&mut scanner)?);
            break;
        }
        script.events.push(parse_event(&mut scanner)?);
    }
    if !scanner.at_end() {
        return scanner.error("nothing may follow the last command");
    }
    Ok(script)
}

fn parse_option(scanner: &mut Scanner<'_>, script: &mut Script) {
    scanner.eat("--");
    let text = scanner.line_rest();
    let text = text.split(" //").next().unwrap_or("").trim();
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    script.options.push(ScriptOption {
        name: name.trim().to_string(),
        value: value.trim().trim_matches('"').to_string(),
    });
}

fn parse_command(scanner: &mut Scanner<'_>) -> Result<Command> {
    Ok(Command {
        line: scanner.line(),
        text: scanner.between("`", "`")?,
    })
}

fn parse_event(scanner: &mut Scanner<'_>) -> Result<Event> {
    let line = scanner.line();
    let time = parse_time(scanner)?;
    let end = if scanner.eat("...") {
        Some(parse_seconds(scanner)?)
    } else {
        None
    };
    let action = if scanner.peek("<") || scanner.peek(">") {
        Action::Packet(parse_packet(scanner)?)
    } else if scanner.peek("`") {
        Action::Command(parse_command(scanner)?)
    } else if scanner.peek("%{") {
        Action::Code(scanner.between("%{", "}%")?)
    } else {
        Action::Call(parse_call(scanner)?)
    };
    Ok(Event {
        line,
        time,
        end,
        action,
    })
}

fn parse_seconds(scanner: &mut Scanner<'_>) -> Result<Nanos> {
    match scanner.seconds() {
        Some(nanos) => Ok(nanos),
        None => scanner.error("a time expected"),
    }
}

fn parse_time(scanner: &mut Scanner<'_>) -> Result<Time> {
    if scanner.eat("*") {
        return Ok(Time::Any);
    }
    let relative = scanner.eat("+");
    let from = parse_seconds(scanner)?;
    if !scanner.eat("~") {
        return Ok(if relative {
            Time::Relative(from)
        } else {
            Time::Absolute(from)
        });
    }
    let to_relative = scanner.eat("+");
    let to = parse_seconds(scanner)?;
    if relative != to_relative || to < from {
        return scanner.error("a range of times needs two of one kind, the earlier one first");
    }
    Ok(if relative {
        Time::RelativeRange(from, to)
    } else {
        Time::AbsoluteRange(from, to)
    })
}

/// Keeps what stands between `#ifdef NAME` and `#endif` only where `NAME` is defined.
fn choose(text: &str, defines: &[(String, String)]) -> String {
    let mut keep = true;
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("#ifdef ") {
            keep = defines.iter().any(|(defined, _)| defined == name.trim());
        } else if line.starts_with("#else") {
            keep = !keep;
        } else if line.starts_with("#endif") {
            keep = true;
        } else if keep {
            out.push_str(line);
        }
        out.push('\n');
    }
    out
}

/// Replaces the words (and `${words}`) that are defined, outside of comments' and strings' concern:
/// a defined word is one that scripts use for nothing else.
fn substitute(text: &str, defines: &[(String, String)]) -> String {
    if defines.is_empty() {
        return text.to_string();
    }
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let plain = rest.find(is_word).unwrap_or(rest.len());
        out.push_str(&rest[..plain]);
        rest = &rest[plain..];
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let word = &rest[..end];
        rest = &rest[end..];
        match defines.iter().find(|(name, _)| name == word) {
            Some((_, value)) if out.ends_with("${") && rest.starts_with('}') => {
                out.truncate(out.len() - 2);
                out.push_str(value);
                rest = &rest[1..];
            }
            Some((_, value)) => out.push_str(value),
            None => out.push_str(word),
        }
    }
    out
}

/// The requirement identifiers that a script's `# covers: …` lines name.
pub fn covers(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| {
            line.trim()
                .trim_start_matches(['#', '/'])
                .trim()
                .strip_prefix("covers:")
        })
        .flat_map(|ids| ids.split([',', ' ']))
        .map(str::trim)
        .filter(|id| !id.is_empty())
        .map(ToString::to_string)
        .collect()
}
