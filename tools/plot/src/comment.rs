//! What a comment of an annotated capture says (docs/annotated-captures.md).

use crate::lines::Now;

/// A comment, taken apart.
#[derive(Debug, Default)]
pub(crate) struct Comment<'a> {
    /// Why the packet was sent, or what became of it.
    pub(crate) first: &'a str,
    /// The state afterwards.
    pub(crate) state: &'a str,
    /// What the sender is doing.
    pub(crate) phase: &'a str,
    /// The variables afterwards.
    pub(crate) now: Option<Now>,
    /// SND.NXT afterwards.
    pub(crate) nxt: u64,
    /// SND.WND afterwards.
    pub(crate) wnd: u32,
    /// RCV.NXT afterwards.
    pub(crate) rcv_nxt: u64,
    /// What followed at once, as said.
    pub(crate) consequences: Vec<&'a str>,
}

impl<'a> Comment<'a> {
    /// Takes `text` apart; what it does not know is among the consequences.
    pub(crate) fn of(text: &'a str) -> Self {
        let mut parts = text.split("; ");
        let mut comment = Self {
            first: parts.next().unwrap_or_default(),
            ..Self::default()
        };
        let state = parts.next().unwrap_or_default();
        (comment.state, comment.phase) = state.split_once(", ").unwrap_or((state, ""));
        for part in parts {
            comment.on_part(part);
        }
        comment
    }

    fn on_part(&mut self, part: &'a str) {
        let mut words = part.split(' ');
        let mut now = self.now.unwrap_or_default();
        match (words.next(), words.next()) {
            (Some("snd"), Some("una")) => {
                now.una = number(words.next());
                self.nxt = number(words.nth(1));
                self.wnd = number(words.nth(1)) as u32;
            }
            (Some("rcv"), Some("nxt")) => {
                self.rcv_nxt = number(words.next());
                now.rcv_wnd = number(words.nth(1)) as u32;
            }
            (Some("flight"), bytes) => now.in_flight = number(bytes) as u32,
            (Some("cwnd"), bytes) if bytes != Some("reduced") => {
                now.cwnd = number(bytes) as u32;
                now.ssthresh = words.nth(1).and_then(|bytes| bytes.parse().ok());
            }
            (Some("srtt"), value) => now.srtt = nanoseconds(value, words.next()),
            _ => return self.consequences.push(part),
        }
        self.now = Some(now);
    }

    /// The number before or after `word` in what is said first: `accepted 1448`.
    pub(crate) fn bytes(&self, word: &str) -> u32 {
        let said = self
            .first
            .split(", ")
            .find_map(|part| part.strip_prefix(word));
        number(said.map(str::trim)) as u32
    }

    /// The round trip that the packet measured, in nanoseconds.
    pub(crate) fn rtt(&self) -> Option<u64> {
        let said = self
            .first
            .split(", ")
            .find_map(|part| part.strip_prefix("RTT "))?;
        let (value, unit) = said.split_once(' ')?;
        nanoseconds(Some(value), Some(unit))
    }
}

fn number(word: Option<&str>) -> u64 {
    word.and_then(|word| word.parse().ok()).unwrap_or(0)
}

fn nanoseconds(value: Option<&str>, unit: Option<&str>) -> Option<u64> {
    let scale = match unit? {
        "µs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => return None,
    };
    let value: f64 = value?.parse().ok()?;
    Some((value * scale) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_taken_apart() {
        let text = "acknowledges 2896, reports by SACK 1448, accepted 10, RTT 40.125 ms; ESTABLISHED, \
                    recovery; snd una 2897 nxt 14481 wnd 65000; rcv nxt 99 wnd 131072; flight 8688 = \
                    11584 out - 1448 sacked - 1448 lost; cwnd 10136 ssthresh 7000; srtt 41.000 ms rttvar \
                    912 µs RTO 241.000 ms; 1448 judged lost; recovery begins by RACK, until 14481";
        let comment = Comment::of(text);
        assert_eq!((comment.state, comment.phase), ("ESTABLISHED", "recovery"));
        assert_eq!(
            (comment.bytes("acknowledges "), comment.bytes("accepted ")),
            (2896, 10)
        );
        assert_eq!(comment.bytes("queued out of order "), 0);
        assert_eq!(comment.rtt(), Some(40_125_000));
        assert_eq!(
            (comment.nxt, comment.wnd, comment.rcv_nxt),
            (14_481, 65_000, 99)
        );
        let now = comment.now.expect("variables");
        assert_eq!((now.una, now.in_flight, now.cwnd), (2897, 8688, 10_136));
        assert_eq!(
            (now.ssthresh, now.srtt, now.rcv_wnd),
            (Some(7000), Some(41_000_000), 131_072)
        );
        let consequences = ["1448 judged lost", "recovery begins by RACK, until 14481"];
        assert_eq!(comment.consequences, consequences);
    }

    #[test]
    fn what_is_not_known_is_not_made_up() {
        let comment = Comment::of("SYN; SYN-SENT");
        assert!(comment.now.is_none());
        let comment = Comment::of("cwnd reduced from 9");
        assert!(comment.now.is_none());
        assert!(Comment::of("").now.is_none());
        let text = "new data; ESTABLISHED, slow start; cwnd 14480 ssthresh ∞; srtt - RTO 1.000 s";
        let now = Comment::of(text).now.expect("variables");
        assert_eq!((now.cwnd, now.ssthresh, now.srtt), (14_480, None, None));
    }
}
