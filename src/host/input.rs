//! What becomes of a frame: its protocol here, or another shard.

use ustack_tcp::time::Instant;
use ustack_tcp::{Ecn, FlowKey, Followers, Segment};
use ustack_udp::Datagram;

use arrayvec::ArrayVec;
use bytes::Bytes;
use etherparse::IpNumber;

use super::{Host, MAX_FOREIGN_ECHOS};
use crate::batch::{Frame, MAX_RX_FRAMES};
use crate::coalesce::{VERIFIED, flow_of};
use crate::device::gso;
use crate::ip::{Input, Kin, Unreachable, to_udp_error};
use crate::shards::Handed;

impl Host {
    /// These frames come next: TCP may look their flows up all at once.
    pub(crate) fn expect(&mut self, frames: &[Frame]) {
        if frames.len() < 2 || !self.tcp.is_far_apart() {
            return;
        }
        let mut flows = ArrayVec::<FlowKey, MAX_RX_FRAMES>::new();
        for flow in frames.iter().filter_map(|frame| flow_of(&frame.data)) {
            if flows.last() != Some(&flow) && flows.try_push(flow).is_err() {
                break;
            }
        }
        self.tcp.expect(&flows);
    }

    /// A frame arrived, from the device or from ourselves. True when its sender has waited long
    /// enough for an ACK: paying it does not wait for the end of the turn.
    pub(crate) fn input(&mut self, now: Instant, frame: Frame, is_loopback: bool) -> bool {
        let input = if is_loopback {
            self.ip.on_loopback(now, frame)
        } else {
            self.ip.on_frame(now, frame)
        };
        let frames = u32::from(!is_loopback);
        let from = self.place.index;
        let (pays, dropped) = match input {
            Ok(Some(Input::Tcp {
                flow,
                local,
                ecn,
                segment,
            })) => (self.on_tcp(now, (&flow, local, ecn), segment, from), None),
            Ok(Some(input)) => (self.take_in(now, input, from), None),
            // IP dealt with it, and counted it.
            dealt_with => {
                self.settle_memory(now); // it may have been a fragment
                (false, dealt_with.err())
            }
        };
        self.note_received(frames, dropped);
        pays
    }

    /// So many frames of the device's were dealt with together.
    #[inline]
    fn note_received(&mut self, frames: u32, dropped: Option<crate::ip::Dropped>) {
        if let Some(notes) = &mut self.notes {
            if let Some(reason) = dropped {
                notes.on_dropped(reason);
            }
            notes.on_received(&self.tcp, frames);
        }
    }

    /// As [`Host::input`], of a frame from the device and those that continue it.
    #[inline]
    pub(crate) fn input_train(
        &mut self,
        now: Instant,
        frame: Frame,
        followers: &mut Followers,
    ) -> bool {
        if followers.is_empty() {
            self.input(now, frame, false)
        } else {
            self.input_followed(now, frame, followers)
        }
    }

    fn input_followed(&mut self, now: Instant, frame: Frame, followers: &mut Followers) -> bool {
        let pays = match self.ip.on_frame(now, frame) {
            Ok(Some(Input::Tcp {
                flow,
                local,
                ecn,
                segment,
            })) => {
                let packets = followers.len() as u64;
                match self.tcp.on_train(now, &flow, ecn, segment, followers) {
                    Ok(()) => {
                        self.ip.on_coalesced(packets);
                        self.note_received(1 + packets as u32, None);
                        return self.tcp.ack_overdue();
                    }
                    Err(segment) => {
                        self.on_tcp(now, (&flow, local, ecn), segment, self.place.index)
                    }
                }
            }
            dealt_with => {
                // IP dealt with it, and will with the others.
                self.note_received(1, dealt_with.err());
                return self.input_each(now, followers);
            }
        };
        self.note_received(1, None);
        self.input_each(now, followers) | pays
    }

    fn input_each(&mut self, now: Instant, followers: &mut Followers) -> bool {
        let mut pays = false;
        for data in followers.packets() {
            let offload = VERIFIED;
            pays |= self.input(now, Frame { data, offload }, false);
        }
        pays
    }

    /// As [`Host::input`], of what shard `from` has handed over.
    pub(crate) fn take_handed(&mut self, now: Instant, input: Input, from: usize) -> bool {
        let pays = self.take_in(now, input, from);
        self.note_received(0, None);
        pays
    }

    /// As [`Host::input`], of what IP made of a frame that came in at shard `from`.
    fn take_in(&mut self, now: Instant, input: Input, from: usize) -> bool {
        match input {
            Input::Tcp {
                flow,
                local,
                ecn,
                segment,
            } => return self.on_tcp(now, (&flow, local, ecn), segment, from),
            Input::Udp {
                datagram,
                local,
                packet,
            } => self.on_udp(now, (datagram, local, packet), from),
            Input::IcmpError {
                protocol,
                local,
                remote,
                seq,
                error,
            } => match (IpNumber(protocol), seq) {
                (IpNumber::TCP, Some(seq)) => {
                    let flow = FlowKey { local, remote };
                    self.tcp.on_icmp_error(now, &flow, seq, error);
                }
                (IpNumber::UDP, _) => self.udp.on_icmp_error(local, remote, to_udp_error(error)),
                _ => {}
            },
            Input::EchoForeign(echo) => {
                // All are relayed at one place.
                if let Some(to) = self.place.straight_to(0) {
                    self.hand_over(to, Input::EchoForeign(echo), from);
                } else if self.echos.len() < MAX_FOREIGN_ECHOS {
                    self.echos.push_back(echo);
                }
            }
            Input::Stray {
                frame,
                loopback,
                kin,
            } => return self.on_stray(now, (frame, loopback, kin), from),
        }
        false
    }

    #[inline]
    fn on_tcp(
        &mut self,
        now: Instant,
        (flow, local, ecn): (&FlowKey, bool, Ecn),
        segment: Segment,
        from: usize,
    ) -> bool {
        let owner = self.place.owner(flow.local.port());
        let done = match self.place.around(owner, from) {
            None => self.tcp.on_segment(now, flow, local, ecn, segment),
            Some(next) => match self.tcp.offer_segment(now, flow, local, ecn, segment) {
                Ok(done) => done,
                Err(segment) => {
                    let input = Input::Tcp {
                        flow: *flow,
                        local,
                        ecn,
                        segment,
                    };
                    self.hand_over(next, input, from);
                    return false;
                }
            },
        };
        if let Err(reason) = done {
            self.note_dropped(flow, reason);
        }
        self.tcp.ack_overdue()
    }

    #[cold]
    fn note_dropped(&mut self, flow: &FlowKey, reason: ustack_tcp::Dropped) {
        tracing::trace!(%flow.local, %flow.remote, ?reason, "segment dropped");
        *self.dropped.entry(reason).or_default() += 1;
    }

    fn on_udp(&mut self, now: Instant, input: (Datagram, bool, Bytes), from: usize) {
        let (datagram, local, packet) = input;
        let next = if local {
            let owner = self.place.owner(datagram.local.port());
            self.place.straight_to(owner)
        } else {
            // Sockets for every foreign port have port 0.
            self.place.around(0, from)
        };
        let joined = datagram.stride.map(|size| (datagram.data.len(), size));
        let done = match next {
            None => self.udp.on_datagram(datagram, local),
            Some(next) => match self.udp.offer_datagram(datagram, local) {
                Ok(done) => done,
                Err(datagram) => {
                    let input = Input::Udp {
                        datagram,
                        local,
                        packet,
                    };
                    return self.hand_over(next, input, from);
                }
            },
        };
        self.settle_memory(now);
        if let Err(ustack_udp::Dropped::NoSocket) = done
            && local
        {
            let packet = match joined {
                Some((len, size)) => gso::first_datagram(&packet, len, size.get().into()).into(),
                None => packet,
            };
            self.ip.send_unreachable(now, Unreachable::Port, &packet);
        }
    }

    fn on_stray(&mut self, now: Instant, stray: (Frame, bool, Kin), from: usize) -> bool {
        let (frame, loopback, kin) = stray;
        let place = self.place;
        let next = match kin {
            Kin::Fragments(hash) => place.straight_to((hash % place.count as u64) as usize),
            Kin::Echo(ident) => place.straight_to(place.owner(ident)),
            Kin::Report { protocol, flow } => {
                let owner = place.owner(flow.local.port());
                let is_known = match IpNumber(protocol) {
                    IpNumber::TCP => self.tcp.has_flow(&flow),
                    IpNumber::UDP => place.index == owner,
                    _ => self.ip.has_sent(protocol, &flow),
                };
                place.around(owner, from).filter(|_| !is_known)
            }
        };
        if let Some(next) = next {
            let input = Input::Stray {
                frame,
                loopback,
                kin,
            };
            self.hand_over(next, input, from);
            return false;
        }
        let Ok(Some(input)) = self.ip.on_settled(now, frame, loopback) else {
            self.settle_memory(now);
            return false;
        };
        // A datagram that was put together here may be another's.
        let from = place.index;
        self.take_in(now, input, from)
    }

    /// Leaves once the lock is released.
    fn hand_over(&mut self, to: usize, input: Input, from: usize) {
        if let Some(notes) = &mut self.notes {
            notes.on_handed_over(to);
        }
        self.outbox.push((to, Handed { input, from }));
    }

    /// Frames that this host sent to itself come in, at most so many; returns how many did.
    pub(crate) fn input_loopback(&mut self, now: Instant, most: usize) -> u64 {
        let mut frames = 0;
        for _ in 0..most {
            let Some(frame) = self.ip.poll_loopback() else {
                break;
            };
            frames += 1;
            self.input(now, frame, true);
        }
        frames
    }
}
