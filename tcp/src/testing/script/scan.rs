//! A cursor over a script's text: skips blanks and comments, reads words and numbers.

use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use super::ast::Nanos;

/// Why a script can't be read, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

pub(super) type Result<T> = std::result::Result<T, ParseError>;

#[derive(Clone, Debug)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    pos: usize,
}

impl<'a> Scanner<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text, pos: 0 }
    }

    /// What is left, from the next token on.
    pub(super) fn rest(&mut self) -> &'a str {
        self.skip();
        &self.text[self.pos..]
    }

    /// The line of the next token.
    pub(super) fn line(&mut self) -> usize {
        self.skip();
        let read = &self.text[..self.pos.min(self.text.trim_end().len())];
        1 + read.matches('\n').count()
    }

    pub(super) fn error<T>(&mut self, reason: impl Into<String>) -> Result<T> {
        let near: String = self
            .rest()
            .chars()
            .take(30)
            .take_while(|c| *c != '\n')
            .collect();
        Err(ParseError {
            line: self.line(),
            reason: format!("{} at `{near}`", reason.into()),
        })
    }

    fn skip(&mut self) {
        loop {
            let rest = &self.text[self.pos..];
            let trimmed = rest.trim_start();
            self.pos += rest.len() - trimmed.len();
            let comment = if trimmed.starts_with("//") || trimmed.starts_with('#') {
                trimmed.find('\n').unwrap_or(trimmed.len())
            } else if trimmed.starts_with("/*") {
                trimmed.find("*/").map_or(trimmed.len(), |end| end + 2)
            } else {
                return;
            };
            self.pos += comment;
        }
    }

    pub(super) fn at_end(&mut self) -> bool {
        self.rest().is_empty()
    }

    pub(super) fn peek(&mut self, token: &str) -> bool {
        self.rest().starts_with(token)
    }

    /// Takes `token` if it is next.
    pub(super) fn eat(&mut self, token: &str) -> bool {
        let found = self.peek(token);
        if found {
            self.pos += token.len();
        }
        found
    }

    pub(super) fn expect(&mut self, token: &str) -> Result<()> {
        if self.eat(token) {
            Ok(())
        } else {
            self.error(format!("`{token}` expected"))
        }
    }

    /// Whether the character right here, without skipping blanks, is `c`.
    pub(super) fn glued(&self, c: char) -> bool {
        self.text[self.pos..].starts_with(c)
    }

    /// The characters that `wanted` accepts, if there is at least one.
    pub(super) fn take(&mut self, wanted: impl Fn(char) -> bool) -> Option<&'a str> {
        let rest = self.rest();
        let len = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.pos += len;
        (len > 0).then(|| &rest[..len])
    }

    /// A name: a letter or underscore, then letters, digits, underscores.
    pub(super) fn word(&mut self) -> Option<&'a str> {
        let starts = |c: char| c.is_ascii_alphabetic() || c == '_';
        if !self.rest().starts_with(starts) {
            return None;
        }
        self.take(|c| c.is_ascii_alphanumeric() || c == '_')
    }

    pub(super) fn peek_word(&mut self) -> Option<&'a str> {
        self.clone().word()
    }

    /// Takes the word `wanted` if it is next, whole.
    pub(super) fn eat_word(&mut self, wanted: &str) -> bool {
        self.peek_word() == Some(wanted) && self.eat(wanted)
    }

    /// A number, decimal or `0x…`, with a sign or without.
    pub(super) fn number(&mut self) -> Option<i64> {
        let before = self.pos;
        let negative = self.eat("-");
        let value = if self.peek("0x") || self.peek("0X") {
            self.pos += 2;
            self.take(|c| c.is_ascii_hexdigit())
                .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        } else {
            self.take(|c| c.is_ascii_digit())
                .and_then(|digits| digits.parse().ok())
        };
        let Some(value) = value else {
            self.pos = before;
            return None;
        };
        // Hexadecimal constants may use all 64 bits.
        Some(if negative {
            -(value as i64)
        } else {
            value as i64
        })
    }

    pub(super) fn expect_number<T: TryFrom<i64>>(&mut self) -> Result<T> {
        let mut here = self.clone();
        let Some(number) = self.number() else {
            return here.error("a number expected");
        };
        T::try_from(number).or_else(|_| here.error("a number out of range"))
    }

    /// A 32-bit number; negative ones count from 2^32 down.
    pub(super) fn expect_wire(&mut self) -> Result<u32> {
        let number: i64 = self.expect_number()?;
        Ok(number as u32)
    }

    /// Seconds, with a fraction or without. `0...0.2` is `0`, then `...`.
    pub(super) fn seconds(&mut self) -> Option<Nanos> {
        self.skip();
        let bytes = self.text.as_bytes();
        let digits = |mut at: usize| {
            while bytes.get(at).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
            at
        };
        let whole_end = digits(self.pos);
        let whole = &self.text[self.pos..whole_end];
        let has_fraction = bytes.get(whole_end) == Some(&b'.')
            && bytes.get(whole_end + 1).is_some_and(u8::is_ascii_digit);
        if !has_fraction && whole.is_empty() {
            return None;
        }
        let end = if has_fraction {
            digits(whole_end + 1)
        } else {
            whole_end
        };
        let fraction = self.text.get(whole_end + 1..end).unwrap_or("");
        let nanos: String = fraction
            .chars()
            .chain("000000000".chars())
            .take(9)
            .collect();
        let whole: i64 = format!("0{whole}").parse().ok()?;
        self.pos = end;
        whole
            .checked_mul(1_000_000_000)?
            .checked_add(nanos.parse().ok()?)
    }

    /// Text between `open`, which is next, and `close`.
    pub(super) fn between(&mut self, open: &str, close: &str) -> Result<String> {
        self.expect(open)?;
        let rest = &self.text[self.pos..];
        let mut escaped = false;
        let mut end = None;
        for (at, c) in rest.char_indices() {
            if !escaped && rest[at..].starts_with(close) {
                end = Some(at);
                break;
            }
            escaped = !escaped && c == '\\' && close.len() == 1;
        }
        let Some(end) = end else {
            return self.error(format!("no closing {close}"));
        };
        self.pos += end + close.len();
        Ok(rest[..end].to_string())
    }

    /// The rest of the line.
    pub(super) fn line_rest(&mut self) -> &'a str {
        let rest = &self.text[self.pos..];
        let end = rest.find('\n').unwrap_or(rest.len());
        self.pos += end;
        rest[..end].trim()
    }

    /// Items separated by commas up to `close`, which is taken.
    pub(super) fn list<T>(
        &mut self,
        close: &str,
        mut item: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut items = Vec::new();
        if self.eat(close) {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            if self.eat(close) {
                return Ok(items);
            }
            self.expect(",")?;
        }
    }
}
