//! Fast Open cookies that a script writes as digits: they are those of its IPv4 addresses.

use ustack::tcp::testing::script::ast::{TcpLine, TcpOption, flag};

use crate::kernel::Family;
use crate::options;

/// What the script's cookies stand for over IPv6, each after the digits that the script has.
#[derive(Debug, Default)]
pub(super) struct Cookies {
    known: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether the script's digits belong to another family's addresses.
    translates: bool,
}

impl Cookies {
    pub(super) fn new(family: Family) -> Self {
        let digits = |family| options::cookie(family).to_be_bytes().to_vec();
        match family {
            Family::V6 => Self {
                known: vec![(digits(Family::V4), digits(Family::V6))],
                translates: true,
            },
            _ => Self::default(),
        }
    }

    /// A cookie that a SYN of the peer's brings back.
    pub(super) fn on_wire(&self, line: &mut TcpLine) {
        if let Some(cookie) = cookie_mut(line)
            && let Some((_, wire)) = self.known.iter().find(|(script, _)| script == cookie)
        {
            cookie.clone_from(wire);
        }
    }

    /// A cookie of ours becomes the script's. True when there was one to translate.
    pub(super) fn in_script(&mut self, sent: &mut TcpLine, wanted: &TcpLine) -> bool {
        let gives = self.translates && sent.has(flag::SYN) && sent.has(flag::ACK);
        let mut wanted = wanted.clone();
        let (Some(wire), Some(script)) = (cookie_mut(sent), cookie_mut(&mut wanted)) else {
            return false;
        };
        if !gives || wire == script || wire.len() != script.len() {
            return false;
        }
        let is_new = |(a, b): &(Vec<u8>, Vec<u8>)| a != script && b != wire;
        if self.known.iter().all(is_new) {
            self.known.push((script.clone(), wire.clone()));
        }
        let same = self.known.iter().any(|(a, b)| a == script && b == wire);
        if same {
            wire.clone_from(script);
        }
        same
    }
}

fn cookie_mut(line: &mut TcpLine) -> Option<&mut Vec<u8>> {
    let options = line.options.iter_mut().flatten();
    options
        .filter_map(|option| match option {
            TcpOption::FastOpen(cookie) | TcpOption::FastOpenExperimental(cookie) => Some(cookie),
            _ => None,
        })
        .find(|cookie| !cookie.is_empty())
}

#[cfg(test)]
mod tests {
    use crate::kernel::Family;
    use crate::{Options, Suite, Verdict, run};

    /// A SYN brings `cookie`; is its data taken?
    fn outcome(family: Family, cookie: &str) -> Verdict {
        let text = format!(
            "`../common/defaults.sh`
            0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
            +0 bind(3, ..., ...) = 0
            +0 listen(3, 1) = 0
            +0 < S 0:10(10) win 32792 <mss 1460,sackOK,nop,nop,FO {cookie},nop,nop>
            +0 > S. 0:0(0) ack 11 <mss 1460,nop,nop,sackOK>
            "
        );
        run(&text, &Options::new(Suite::Linux, family)).verdict
    }

    #[test]
    fn a_cookie_of_ipv4_addresses_stands_for_that_of_the_family() {
        for family in [Family::V4, Family::V4Mapped, Family::V6] {
            assert_eq!(outcome(family, "3021b9d889017eeb"), Verdict::Passed);
            let wrong = outcome(family, "3021b9d889017eec");
            assert!(
                matches!(wrong, Verdict::Failed { line: 6, .. }),
                "{wrong:?}"
            );
        }
    }
}
