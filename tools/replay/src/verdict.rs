//! What of a replay is a divergence that matters, in words.

use ustack_tcp::time::Instant;

use crate::app::Reads;
use crate::conversation::{Conversation, Said};
use crate::dialogue;
use crate::divergence::Divergence;
use crate::frames::Waits;
use crate::host::Host;
use crate::packet::{FIN, SYN};
use crate::stream::{Plan, Replay};

impl<H: Host> Replay<H> {
    /// The stack did something that the recorded end did not.
    pub(crate) fn diverged(&self, ours: String, source: &'static str) -> Divergence {
        let said = &self.conversation.said;
        let next = said
            .iter()
            .find(|said| said.ours && said.number > self.last_number);
        let recorded = next.map_or_else(
            || "says nothing more".to_owned(),
            |said| {
                let what = dialogue::describe(&said.tcp, said.seq, said.ack);
                format!("says {what} in packet {}", said.number)
            },
        );
        self.differs(recorded, ours, source)
    }

    fn differs(&self, recorded: String, ours: String, source: &'static str) -> Divergence {
        let first = self.conversation.said.first().map_or(0, |said| said.number);
        Divergence {
            packet: self.last_number.max(first),
            at: self.now,
            recorded,
            ours,
            source,
        }
    }

    /// A frame waited in vain for what the recorded end had done by then.
    pub(crate) fn waited(&self, said: &Said, waits: Waits) -> Divergence {
        let (recorded, ours, source) = match waits {
            Waits::Syn => (
                "said SYN before".to_owned(),
                self.instead_of_syn(),
                "RFC 9293 §3.5",
            ),
            Waits::Position(at) => self.missing(at),
            Waits::Window(at) => (
                format!("had room up to seq {at}"),
                format!("offers room up to {} only", self.checker.receive_edge()),
                "RFC 9293 §3.8.6",
            ),
        };
        Divergence {
            packet: said.number,
            ..self.differs(recorded, ours, source)
        }
    }

    fn instead_of_syn(&self) -> String {
        if self.checker.tally.reset {
            "answers with RST".to_owned()
        } else {
            "says no SYN".to_owned()
        }
    }

    /// The stack has not sent `at`, or not again.
    fn missing(&self, at: u64) -> (String, String, &'static str) {
        let Conversation { ours, said, .. } = &self.conversation;
        let mut carried = said
            .iter()
            .filter(|said| said.ours && (said.seq..said.end()).contains(&at));
        let is_fin = ours.fin == Some(at);
        let recorded = match carried.next_back() {
            Some(said) if is_fin => format!("had said FIN (packet {})", said.number),
            Some(said) => {
                let (seq, end) = (said.seq, said.end() - said.tcp.has(FIN) as u64);
                format!("had sent seq {seq}:{end} (packet {})", said.number)
            }
            None => format!("had sent seq {at}"),
        };
        let end = self.checker.end();
        let (ours, source) = if at < end {
            (
                format!("does not send {at} again, which was lost"),
                "RFC 6298 §5",
            )
        } else if self.checker.tally.reset {
            ("has reset the connection".to_owned(), "RFC 9293 §3.5.2")
        } else if is_fin {
            ("says no FIN".to_owned(), "RFC 9293 §3.6")
        } else {
            (format!("sends no more than up to {end}"), "RFC 9293 §3.8.6")
        };
        (recorded, ours, source)
    }

    /// What must hold when all is said.
    pub(crate) fn check_end(&self, plan: &Plan) -> Result<(), Divergence> {
        let Conversation { ours, theirs, .. } = &self.conversation;
        let is_cut = ours.reset || theirs.reset;
        let mut said = self.conversation.said.iter();
        let syn = said.find(|said| said.ours && said.tcp.has(SYN));
        if let (Some(syn), None) = (syn, self.checker.isn()) {
            let recorded = format!("said SYN in packet {}", syn.number);
            return Err(self.differs(recorded, self.instead_of_syn(), "RFC 9293 §3.5"));
        }
        if !self.app.is_done() && !is_cut {
            let waits_for = self.app.waits_for();
            let stack = format!("goes no further: {waits_for}");
            return Err(self.differs("went on".to_owned(), stack, "RFC 9293 §3.9.1"));
        }
        if plan.reads != Reads::Never {
            self.check_received(is_cut)?;
        }
        let all = self.conversation.acknowledged;
        if self.checker.end() < all && !is_cut {
            return Err(self.differs(
                format!("sent seq 0:{all}"),
                format!("sent up to {} only", self.checker.end()),
                "RFC 9293 §3.7",
            ));
        }
        if ours.aborted && !theirs.reset && !self.checker.tally.reset {
            return Err(self.differs(
                "reset the connection".to_owned(),
                "did not".to_owned(),
                "RFC 9293 §3.5.2, §3.6.1",
            ));
        }
        Ok(())
    }

    fn check_received(&self, is_cut: bool) -> Result<(), Divergence> {
        let theirs = &self.conversation.theirs;
        let (received, expected) = (&self.app.received, &theirs.stream);
        let is_prefix = expected.starts_with(received);
        if !is_prefix || (received.len() < expected.len() && !is_cut) {
            let same = received.iter().zip(expected);
            let same = same.take_while(|(left, right)| left == right).count();
            let (got, all) = (received.len(), expected.len());
            return Err(self.differs(
                format!("received {all} bytes"),
                format!("gave its application {got} bytes, {same} of them right"),
                "RFC 9293 §3.10.7.4",
            ));
        }
        if theirs.fin.is_some() && !is_cut && !self.app.is_eof {
            return Err(self.differs(
                "received FIN".to_owned(),
                "never told its application of the end of the stream".to_owned(),
                "RFC 9293 §3.10.7.4",
            ));
        }
        Ok(())
    }

    /// The replay does not end.
    pub(crate) fn endless(&mut self, turns: usize) -> Divergence {
        let due = self.host.tcp().poll_timeout();
        let due = due.map(|at| at.saturating_since(Instant::ZERO));
        let ours = format!("wants more than {turns} turns, the next at {due:?}");
        self.differs("came to an end".to_owned(), ours, "RFC 9293 §3.10.8")
    }
}
