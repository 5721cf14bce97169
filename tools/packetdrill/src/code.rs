//! `%{ … }%`: the little Python that scripts use, over integers and strings.

use std::collections::HashMap;

/// A value of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Int(i128),
    Text(String),
}

impl Value {
    fn is_true(&self) -> bool {
        match self {
            Self::Int(n) => *n != 0,
            Self::Text(text) => !text.is_empty(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Int(i128),
    Text(String),
    Name(String),
    Op(&'static str),
    /// End of a statement.
    End,
}

/// Why code did not run to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// An assertion does not hold.
    Failed(String),
    /// A construct or name that is not known.
    Unknown(String),
}

type Result<T> = std::result::Result<T, Stop>;

/// Variables that live from one piece of code to the next.
pub(crate) type Variables = HashMap<String, i128>;

/// Runs `code`; `lookup` gives the values of names that no assignment made.
pub(crate) fn run(
    code: &str,
    variables: &mut Variables,
    lookup: &dyn Fn(&str) -> Option<i64>,
) -> Result<()> {
    let mut machine = Machine {
        tokens: tokens(code)?,
        at: 0,
        variables,
        lookup,
    };
    while machine.at < machine.tokens.len() {
        if !machine.eat_end() {
            machine.statement()?;
        }
    }
    Ok(())
}

const OPERATORS: [&str; 34] = [
    "**", "//", "<<", ">>", "<=", ">=", "==", "!=", "+=", "-=", "*=", "|=", "&=", "+", "-", "*",
    "/", "%", "<", ">", "=", "(", ")", "[", "]", ",", "|", "&", "^", "~", ":", ".", "{", "}",
];

fn tokens(code: &str) -> Result<Vec<Token>> {
    let mut out = Vec::new();
    let mut rest = code;
    let mut depth = 0;
    while let Some(c) = rest.chars().next() {
        if c == '#' {
            rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
        } else if c == '\\' {
            rest = rest[1..].trim_start_matches([' ', '\t', '\r']);
            rest = rest.strip_prefix('\n').unwrap_or(rest);
        } else if c == ';' || c == '\n' {
            if depth == 0 {
                out.push(Token::End);
            }
            rest = &rest[1..];
        } else if c.is_whitespace() {
            rest = &rest[c.len_utf8()..];
        } else if c == '\'' || c == '"' {
            let end = rest[1..]
                .find(c)
                .ok_or_else(|| unknown("a string without an end"))?;
            out.push(Token::Text(rest[1..=end].to_string()));
            rest = &rest[end + 2..];
        } else if c.is_ascii_digit() {
            rest = number(rest, &mut out)?;
        } else if c.is_alphabetic() || c == '_' {
            let end = rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            out.push(Token::Name(rest[..end].to_string()));
            rest = &rest[end..];
        } else {
            let found = OPERATORS.iter().find(|op| rest.starts_with(**op));
            let op = found.ok_or_else(|| unknown(&format!("character {c}")))?;
            depth += i32::from(*op == "(") - i32::from(*op == ")");
            out.push(Token::Op(op));
            rest = &rest[op.len()..];
        }
    }
    out.push(Token::End);
    Ok(out)
}

fn number<'a>(rest: &'a str, out: &mut Vec<Token>) -> Result<&'a str> {
    let end = rest
        .find(|c: char| !c.is_ascii_alphanumeric())
        .unwrap_or(rest.len());
    let digits = rest[..end].trim_end_matches(['L', 'l']);
    let value = match digits.strip_prefix("0x") {
        Some(hex) => i128::from_str_radix(hex, 16),
        None => digits.parse(),
    };
    out.push(Token::Int(
        value.map_err(|_| unknown(&format!("number {digits}")))?,
    ));
    Ok(&rest[end..])
}

fn unknown(what: &str) -> Stop {
    Stop::Unknown(format!("code: {what}"))
}

struct Machine<'a> {
    tokens: Vec<Token>,
    at: usize,
    variables: &'a mut Variables,
    lookup: &'a dyn Fn(&str) -> Option<i64>,
}

/// Binary operators, from the loosest to the tightest.
const LEVELS: [&[&str]; 6] = [
    &["|"],
    &["^"],
    &["&"],
    &["<<", ">>"],
    &["+", "-"],
    &["*", "//", "/", "%"],
];

impl Machine<'_> {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).unwrap_or(&Token::End)
    }

    fn eat_end(&mut self) -> bool {
        let found = *self.peek() == Token::End;
        self.at += usize::from(found);
        found
    }

    fn eat(&mut self, op: &str) -> bool {
        let found = matches!(self.peek(), Token::Op(here) if *here == op);
        self.at += usize::from(found);
        found
    }

    fn eat_name(&mut self, name: &str) -> bool {
        let found = matches!(self.peek(), Token::Name(here) if here == name);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, op: &str) -> Result<()> {
        if self.eat(op) {
            Ok(())
        } else {
            Err(unknown(&format!("{op} expected, not {:?}", self.peek())))
        }
    }

    fn statement(&mut self) -> Result<()> {
        let start = self.at;
        if self.eat_name("assert") {
            return self.assertion(start);
        }
        if self.eat_name("print") {
            while !self.eat_end() {
                self.at += 1;
            }
            return Ok(());
        }
        if self.eat_name("import") || self.eat_name("pass") {
            while !self.eat_end() {
                self.at += 1;
            }
            return Ok(());
        }
        let Token::Name(name) = self.peek().clone() else {
            return Err(unknown(&format!("statement {:?}", self.peek())));
        };
        self.at += 1;
        let op = match self.peek() {
            Token::Op(op @ ("=" | "+=" | "-=" | "*=" | "|=" | "&=")) => *op,
            other => return Err(unknown(&format!("{name} {other:?}"))),
        };
        self.at += 1;
        let value = self.expression()?;
        let value = match op.strip_suffix('=') {
            Some("") | None => value,
            Some(op) => binary(op, self.name(&name)?, value)?,
        };
        match value {
            Value::Int(n) => self.variables.insert(name, n),
            Value::Text(_) => return Err(unknown("a variable that is a string")),
        };
        Ok(())
    }

    fn assertion(&mut self, start: usize) -> Result<()> {
        let value = self.expression()?;
        let end = self.at;
        let mut message = None;
        if self.eat(",") {
            message = Some(self.expression()?);
        }
        if value.is_true() {
            return Ok(());
        }
        let text = self.tokens[start..end]
            .iter()
            .map(describe)
            .collect::<Vec<_>>()
            .join(" ");
        let message = match message {
            Some(Value::Int(n)) => format!(" ({n})"),
            Some(Value::Text(text)) => format!(" ({text})"),
            None => String::new(),
        };
        let values = self.tokens[start..end]
            .iter()
            .filter_map(|token| match token {
                Token::Name(name) if name.starts_with("tcpi_") => {
                    (self.lookup)(name).map(|value| format!("{name} is {value}"))
                }
                _ => None,
            });
        let values: Vec<_> = values.collect();
        Err(Stop::Failed(format!(
            "{text}{message}: {}",
            values.join(", ")
        )))
    }

    fn expression(&mut self) -> Result<Value> {
        let mut left = self.conjunction()?;
        while self.eat_name("or") {
            let right = self.conjunction()?;
            left = if left.is_true() { left } else { right };
        }
        Ok(left)
    }

    fn conjunction(&mut self) -> Result<Value> {
        let mut left = self.negation()?;
        while self.eat_name("and") {
            let right = self.negation()?;
            left = if left.is_true() { right } else { left };
        }
        Ok(left)
    }

    fn negation(&mut self) -> Result<Value> {
        if self.eat_name("not") {
            let value = self.negation()?;
            return Ok(Value::Int(i128::from(!value.is_true())));
        }
        self.comparison()
    }

    /// `a <= b <= c` holds when both halves do.
    fn comparison(&mut self) -> Result<Value> {
        let mut left = self.level(0)?;
        let mut holds = None;
        while let Token::Op(op @ ("<" | ">" | "<=" | ">=" | "==" | "!=")) = *self.peek() {
            self.at += 1;
            let right = self.level(0)?;
            let now = compare(op, &left, &right)?;
            holds = Some(holds.unwrap_or(true) && now);
            left = right;
        }
        Ok(holds.map_or(left, |holds| Value::Int(i128::from(holds))))
    }

    fn level(&mut self, level: usize) -> Result<Value> {
        let Some(operators) = LEVELS.get(level) else {
            return self.unary();
        };
        let mut left = self.level(level + 1)?;
        loop {
            let Token::Op(op) = *self.peek() else {
                return Ok(left);
            };
            if !operators.contains(&op) {
                return Ok(left);
            }
            self.at += 1;
            let right = self.level(level + 1)?;
            left = binary(op, left, right)?;
        }
    }

    fn unary(&mut self) -> Result<Value> {
        if self.eat("-") {
            return binary("-", Value::Int(0), self.unary()?);
        }
        if self.eat("~") {
            return binary("^", Value::Int(-1), self.unary()?);
        }
        if self.eat("(") {
            let value = self.expression()?;
            // A tuple is only ever formatted into a message.
            while self.eat(",") {
                self.expression()?;
            }
            self.expect(")")?;
            return Ok(value);
        }
        let token = self.peek().clone();
        self.at += 1;
        match token {
            Token::Int(n) => Ok(Value::Int(n)),
            Token::Text(text) => Ok(Value::Text(text)),
            Token::Name(name) => self.name(&name),
            other => Err(unknown(&format!("{other:?}"))),
        }
    }

    fn name(&mut self, name: &str) -> Result<Value> {
        if let Some(value) = self.variables.get(name) {
            return Ok(Value::Int(*value));
        }
        match (self.lookup)(name) {
            Some(value) => Ok(Value::Int(i128::from(value))),
            None => Err(unknown(&format!("name {name}"))),
        }
    }
}

fn describe(token: &Token) -> String {
    match token {
        Token::Int(n) => n.to_string(),
        Token::Text(text) => format!("'{text}'"),
        Token::Name(name) => name.clone(),
        Token::Op(op) => (*op).to_string(),
        Token::End => ";".to_string(),
    }
}

fn compare(op: &str, a: &Value, b: &Value) -> Result<bool> {
    let (Value::Int(a), Value::Int(b)) = (a, b) else {
        return match op {
            "==" => Ok(a == b),
            "!=" => Ok(a != b),
            _ => Err(unknown("strings compared by order")),
        };
    };
    Ok(match op {
        "<" => a < b,
        ">" => a > b,
        "<=" => a <= b,
        ">=" => a >= b,
        "==" => a == b,
        _ => a != b,
    })
}

fn binary(op: &str, a: Value, b: Value) -> Result<Value> {
    let (a, b) = match (a, b) {
        (Value::Int(a), Value::Int(b)) => (a, b),
        // Formatting is for messages: the pattern tells enough.
        (Value::Text(text), _) if op == "%" => return Ok(Value::Text(text)),
        (Value::Text(a), Value::Text(b)) if op == "+" => return Ok(Value::Text(a + &b)),
        _ => return Err(unknown("arithmetic with strings")),
    };
    let result = match op {
        "+" => a.checked_add(b),
        "-" => a.checked_sub(b),
        "*" => a.checked_mul(b),
        "/" | "//" => a.checked_div(b),
        "%" => a.checked_rem(b),
        "<<" => u32::try_from(b).ok().and_then(|b| a.checked_shl(b)),
        ">>" => u32::try_from(b).ok().and_then(|b| a.checked_shr(b)),
        "&" => Some(a & b),
        "|" => Some(a | b),
        "^" => Some(a ^ b),
        _ => None,
    };
    result
        .map(Value::Int)
        .ok_or_else(|| unknown(&format!("{a} {op} {b}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(code: &str) -> Result<()> {
        let lookup = |name: &str| (name == "tcpi_snd_cwnd").then_some(10);
        run(code, &mut Variables::new(), &lookup)
    }

    #[test]
    fn assertions_hold_or_tell_the_values() {
        assert_eq!(outcome("assert tcpi_snd_cwnd == 10, tcpi_snd_cwnd"), Ok(()));
        assert_eq!(
            outcome("cwnd = 9; cwnd += 1\nassert tcpi_snd_cwnd == cwnd"),
            Ok(())
        );
        assert_eq!(
            outcome("assert 5 <= tcpi_snd_cwnd <= 2*5 and not 0, 'c=%d' % 3"),
            Ok(())
        );
        assert_eq!(outcome("assert (tcpi_snd_cwnd & 8) != 0 or 0x0"), Ok(()));
        let Err(Stop::Failed(why)) = outcome("assert tcpi_snd_cwnd == 11, tcpi_snd_cwnd") else {
            panic!("10 is not 11");
        };
        assert!(why.contains("tcpi_snd_cwnd is 10"), "{why}");
    }

    #[test]
    fn what_is_not_known_is_no_failure() {
        assert!(matches!(
            outcome("assert bbr_mode == 1"),
            Err(Stop::Unknown(_))
        ));
        assert!(matches!(outcome("for x in y: pass"), Err(Stop::Unknown(_))));
    }
}
