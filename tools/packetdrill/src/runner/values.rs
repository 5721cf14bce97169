//! Expressions of a script as the numbers and bytes that calls take.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ustack::tcp::testing::script::ast::Expr;
use ustack::tcp::testing::script::unescape;

use super::{Result, Stop, not_runnable};
use crate::symbols;

/// The integer that an expression stands for.
pub(super) fn integer(expr: &Expr) -> Result<i64> {
    match expr {
        Expr::Number(n) => Ok(*n),
        Expr::Name(name) => {
            symbols::value(name).ok_or_else(|| not_runnable(format!("{name} is not known")))
        }
        Expr::Binary(op, a, b) => {
            let (a, b) = (integer(a)?, integer(b)?);
            Ok(match op {
                '|' => a | b,
                '<' => a.checked_shl(u32::try_from(b).unwrap_or(0)).unwrap_or(0),
                '*' => a.saturating_mul(b),
                _ => a.saturating_add(b),
            })
        }
        Expr::List(list) if list.len() == 1 => integer(&list[0]),
        Expr::Function(name, args) => match (name.as_str(), args.as_slice()) {
            ("htons" | "htonl" | "ntohs" | "ntohl", [value]) => integer(value),
            ("sizeof", [Expr::Name(name)]) => match name.as_str() {
                "int" | "uint32_t" => Ok(4),
                "struct" => Ok(8),
                other => Err(not_runnable(format!("sizeof({other})"))),
            },
            _ => Err(not_runnable(expr.describe())),
        },
        other => Err(not_runnable(format!(
            "a number expected: {}",
            other.describe()
        ))),
    }
}

pub(super) fn int(expr: &Expr) -> Result<i32> {
    Ok(integer(expr)? as i32)
}

pub(super) fn size(expr: &Expr) -> Result<usize> {
    usize::try_from(integer(expr)?).map_err(|_| Stop::Failed("a negative size".into()))
}

/// A `sockaddr`; `default` for `...`, `None` for `AF_UNSPEC`.
pub(super) fn address(expr: &Expr, default: SocketAddr) -> Result<Option<SocketAddr>> {
    if let Expr::Name(name) = expr
        && name == "AF_UNSPEC"
    {
        return Ok(None);
    }
    if *expr == Expr::Ellipsis {
        return Ok(Some(default));
    }
    let family = expr
        .field("sa_family")
        .or_else(|| expr.field("sin6_family"));
    if let Some(Expr::Name(family)) = family
        && family == "AF_UNSPEC"
    {
        return Ok(None);
    }
    let port = expr.field("sin_port").or_else(|| expr.field("sin6_port"));
    let ip = expr.field("sin_addr").or_else(|| expr.field("sin6_addr"));
    let (Some(port), Some(ip)) = (port, ip) else {
        return Err(not_runnable(format!("address {}", expr.describe())));
    };
    let port = integer(port)? as u16;
    let ip = match ip {
        Expr::Ellipsis => default.ip(),
        Expr::Function(_, args) => match args.as_slice() {
            [Expr::Text(text)] => text
                .parse()
                .map_err(|_| not_runnable(format!("address {text}")))?,
            [Expr::Name(name)] if name == "INADDR_ANY" => unspecified(default.ip()),
            [Expr::Name(name)] if name == "INADDR_LOOPBACK" => Ipv4Addr::LOCALHOST.into(),
            _ => return Err(not_runnable(format!("address {}", ip.describe()))),
        },
        Expr::Name(name) if name == "INADDR_ANY" => unspecified(default.ip()),
        other => return Err(not_runnable(format!("address {}", other.describe()))),
    };
    Ok(Some(SocketAddr::new(ip, port)))
}

fn unspecified(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// The bytes that an option's value stands for; `len` is what the script gives as its length.
pub(super) fn option_value(expr: &Expr, len: Option<usize>) -> Result<Vec<u8>> {
    match expr {
        Expr::Text(text) => Ok(unescape(text)),
        Expr::Struct(fields) => {
            let names: Vec<_> = fields.iter().map(|(name, _)| name.as_str()).collect();
            let known = [
                &["onoff", "linger"][..],
                &["l_onoff", "l_linger"],
                &["tv_sec", "tv_usec"],
                &["sec", "usec"],
            ];
            let Some(which) = known.iter().position(|known| *known == names) else {
                return Err(not_runnable(format!("option value {}", expr.describe())));
            };
            let values = fields.iter().map(|(_, value)| integer(value));
            let values = values.collect::<Result<Vec<_>>>()?;
            Ok(if which < 2 {
                values
                    .iter()
                    .flat_map(|v| (*v as i32).to_ne_bytes())
                    .collect()
            } else {
                values.iter().flat_map(|v| v.to_ne_bytes()).collect()
            })
        }
        Expr::List(list) if list.len() > 1 => {
            let values = list.iter().map(int).collect::<Result<Vec<_>>>()?;
            Ok(values.iter().flat_map(|v| v.to_ne_bytes()).collect())
        }
        Expr::List(list) if matches!(list.as_slice(), [Expr::Text(_) | Expr::Struct(_)]) => {
            option_value(&list[0], len)
        }
        // A byte is enough for many options of IP; the host takes whole integers.
        other if len == Some(8) => Ok(integer(other)?.to_ne_bytes().to_vec()),
        other => Ok(int(other)?.to_ne_bytes().to_vec()),
    }
}
