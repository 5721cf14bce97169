//! Frames of the recorded end in the stack's numbers: its sequence numbers, acknowledgments, SACK
//! blocks and echoed timestamps.

use crate::conversation::Said;
use crate::dialogue::Speaker;
use crate::divergence::Fault;
use crate::host::Host;
use crate::inject::{self, Edit};
use crate::packet;
use crate::stream::Replay;

impl<H: Host> Replay<H> {
    /// SACK blocks as positions in the stack's stream.
    pub(crate) fn sack(&self, said: &Said) -> Vec<(u64, u64)> {
        let isn = self.conversation.ours.isn;
        let at = |wire: u32| wire.wrapping_sub(isn) as u64;
        said.tcp
            .options
            .sack
            .iter()
            .map(|&(left, right)| (at(left), at(right)))
            .collect()
    }

    /// What changes in a frame; with `up_to`, it becomes an acknowledgment of that position.
    pub(crate) fn edit(&self, said: &Said, up_to: Option<u64>) -> Edit {
        let theirs = &self.conversation.theirs;
        let position = if up_to.is_some() {
            self.injected
        } else {
            said.seq
        };
        let seq = theirs.isn.wrapping_add(position as u32);
        let Some(isn) = self.checker.isn() else {
            return Edit {
                seq,
                ..Edit::default()
            };
        };
        let wire = |position: u64| isn.wrapping_add(position as u32);
        let bare = up_to.map(|up_to| {
            let scale = theirs.window_scale.unwrap_or(0);
            let edge = said.ack.unwrap_or(0) + ((said.tcp.window as u64) << scale);
            (edge.saturating_sub(up_to) >> scale).min(u16::MAX as u64) as u16
        });
        let sack = up_to.map_or_else(|| self.sack(said), |_| Vec::new());
        Edit {
            seq,
            ack: said.ack.map(|ack| wire(up_to.unwrap_or(ack))),
            tsecr: said.ack.and_then(|_| self.tsecr(said, up_to)),
            sack: sack
                .into_iter()
                .map(|(left, right)| (wire(left), wire(right)))
                .collect(),
            bare,
            tsval: None,
        }
    }

    /// The stack's timestamp that stands for the one this frame echoes: that of the last segment
    /// that said no more than the recorded segment with the echoed one.
    fn tsecr(&self, said: &Said, up_to: Option<u64>) -> Option<u32> {
        let (_, echoed) = said.tcp.options.timestamps?;
        let tsval = |said: &Said| said.tcp.options.timestamps.map(|(tsval, _)| tsval);
        let mut ours = self
            .conversation
            .said
            .iter()
            .filter(|said| said.ours && !said.lost);
        let model = ours.find(|said| tsval(said) == Some(echoed))?;
        let (seq, ack) = (model.seq, model.ack.unwrap_or(0));
        let seq = up_to.map_or(seq, |up_to| seq.min(up_to.saturating_sub(1)));
        let mut sent = self.checker.log.iter().rev();
        let stands = sent.find(|sent| sent.seq <= seq && sent.ack <= ack);
        let value = stands.or(self.checker.log.first())?.tsval?;
        let last = self.echo.unwrap_or(value);
        Some(if (value.wrapping_sub(last) as i32) < 0 {
            last
        } else {
            value
        })
    }

    pub(crate) fn inject(&mut self, said: &Said, edit: &Edit) -> Result<(), Fault> {
        self.echo = edit.tsecr.or(self.echo);
        let data = inject::rewrite(said, edit)?;
        let tcp = packet::tcp(&data)
            .map_err(String::from)?
            .ok_or_else(|| "a rewritten frame is no segment".to_owned())?;
        if edit.ack.is_some() {
            self.last_ack = self.now;
        }
        self.note(Speaker::Replayed(said.number), &tcp);
        self.tsval = tcp.options.timestamps.map(|(tsval, _)| tsval);
        self.checker.on_arrival(self.now, &tcp);
        self.host.on_packet(self.instant(), data);
        Ok(())
    }
}
