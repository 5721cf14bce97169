//! What an observer sees of the endpoint: each call with what the flow looked like before and after.

use alloc::boxed::Box;

use crate::connection::State;
use crate::endpoint::{ConnId, Slot, Tcp};
use crate::error::Dropped;
use crate::followers::Followers;
use crate::observe::{Mark, Observer, Packet, Records, Scene, Seen, Timer, View};
use crate::segment::{Ecn, FlowKey, Segment};
use crate::time::Instant;

impl Slot {
    fn view<'a>(&'a self, tcp: &'a Tcp) -> View<'a> {
        match self {
            Self::SynSent(_) => View::of(State::SynSent),
            Self::SynReceived(_) => View::of(State::SynReceived),
            Self::Connection(conn) => conn.view(),
            Self::Resting(flow, rest) => View {
                connection: (tcp.dormitory.record(rest))
                    .map(|rest| Seen::Resting(flow.key(), rest, &tcp.config)),
                ..View::of(State::Established)
            },
            Self::TimeWait(..) => View::of(State::TimeWait),
        }
    }
}

impl Tcp {
    /// Collects [`Records`] from now on, or not any more. What happens does not depend on it.
    pub fn observe(&mut self, on: bool) {
        if on != self.is_observed() {
            self.observer = on.then(Box::default);
        }
    }

    /// Whether records are collected.
    pub const fn is_observed(&self) -> bool {
        self.observer.is_some()
    }

    /// Appends what was collected to `into`, and returns how many records had to be dropped since
    /// the last call: 8,192 are kept. Whoever observes calls this once a turn.
    pub fn take_records(&mut self, into: &mut Records) -> u64 {
        let observer = self.observer.as_mut();
        observer.map_or(0, |observer| observer.take(into))
    }

    /// What was collected and is not fetched yet; `None` while nobody observes.
    pub fn records(&self) -> Option<&Records> {
        self.observer.as_deref().map(Observer::records)
    }

    /// What `id` looks like; as a flow without a connection once it is gone.
    pub(super) fn view(&self, id: Option<ConnId>) -> View<'_> {
        let slot = id.and_then(|id| self.table.get(id));
        slot.map_or(View::NONE, |slot| slot.view(self))
    }

    /// What is kept of `id` while it is called.
    #[inline]
    pub(super) fn mark(&self, id: Option<ConnId>) -> Mark {
        match id.and_then(|id| self.table.get(id)) {
            Some(Slot::Connection(conn)) => conn.view().mark(),
            _ => self.view(id).mark(),
        }
    }

    /// [`Tcp::on_segment`] or [`Tcp::offer_segment`], observed: called once more, it is not.
    #[cold]
    #[inline(never)]
    pub(super) fn observe_segment<E>(
        &mut self,
        now: Instant,
        flow: &FlowKey,
        segment: Segment,
        call: impl FnOnce(&mut Self, Segment) -> Result<Result<(), Dropped>, E>,
    ) -> Result<Result<(), Dropped>, E> {
        let mut observer = self.observer.take();
        let packet = Packet::received(
            &segment,
            segment.wire_segments(),
            segment.payload.len() as u32,
        );
        let mut id = self.table.lookup_again(flow);
        let mut before = self.mark(id);
        let done = call(self, segment);
        if let (Some(observer), Ok(result)) = (&mut observer, &done) {
            if !self.table.is_latest(id) {
                let found = self.table.lookup_again(flow);
                before.has_connection &= found == id; // or it is another
                id = found;
            }
            let after = self.view(id);
            let scene = &mut Scene::new(now, flow, &after);
            observer.on_received(scene, &packet, result.err(), &before);
        }
        self.observer = observer;
        done
    }

    /// [`Tcp::on_train`], observed: called once more, it is not.
    #[cold]
    #[inline(never)]
    pub(super) fn observe_train(
        &mut self,
        now: Instant,
        flow: &FlowKey,
        ecn: Ecn,
        segment: Segment,
        followers: &mut Followers,
    ) -> Result<(), Segment> {
        let mut observer = self.observer.take();
        let (first, more) = (segment.payload.len() as u32, followers.text_len());
        let packet = Packet::received(&segment, 1 + followers.len() as u32, first + more);
        let mut id = self.table.lookup_again(flow);
        let mut before = self.mark(id);
        let done = self.on_train(now, flow, ecn, segment, followers);
        if let (Some(observer), Ok(())) = (&mut observer, &done) {
            if !self.table.is_latest(id) {
                let found = self.table.lookup_again(flow);
                before.has_connection &= found == id; // or it is another
                id = found;
            }
            let after = self.view(id);
            let scene = &mut Scene::new(now, flow, &after);
            observer.on_received(scene, &packet, None, &before);
        }
        self.observer = observer;
        done
    }

    /// A deadline of `id` has come, observed.
    #[cold]
    #[inline(never)]
    pub(super) fn observe_deadline(&mut self, now: Instant, id: ConnId) {
        let Some(flow) = self.table.flow(id) else {
            return self.on_deadline(now, id);
        };
        let mut observer = self.observer.take();
        let before = self.mark(Some(id));
        let (due, retransmits) = match self.table.get(id) {
            Some(Slot::Connection(conn)) => {
                (conn.due_timers(now, &self.config), conn.retransmits())
            }
            Some(Slot::SynSent(syn)) => (only(Timer::Handshake, now, syn.deadline()), 0),
            Some(Slot::SynReceived(syn)) => (only(Timer::Handshake, now, syn.deadline()), 0),
            Some(Slot::Resting(_, rest)) => (only(Timer::KeepAlive, now, rest.until), 0),
            _ => ([None; 5], 0),
        };
        self.on_deadline(now, id);
        let after = self.view(Some(id));
        let timed_out = match self.table.get(id) {
            Some(Slot::Connection(conn)) => {
                conn.retransmits() > retransmits || conn.state() == State::Closed
            }
            _ => true,
        };
        if let Some(observer) = &mut observer {
            let scene = &mut Scene::new(now, &flow, &after);
            for timer in due.into_iter().flatten() {
                // It may have found that there is time left.
                if timed_out || !matches!(timer, Timer::Retransmission(_)) {
                    observer.on_timer(scene, timer);
                }
            }
            observer.compare(scene, &before);
        }
        self.observer = observer;
    }

    /// A call of an application on `id` that may change its state.
    pub(super) fn observe_call(&mut self, now: Instant, id: ConnId, call: impl FnOnce(&mut Self)) {
        if self.observer.is_none() {
            return call(self);
        }
        let (flow, before) = (self.table.flow(id), self.mark(Some(id)));
        call(self);
        let mut observer = self.observer.take();
        let after = self.view(Some(id));
        if let (Some(observer), Some(flow)) = (&mut observer, flow) {
            let scene = &mut Scene::new(now, &flow, &after);
            observer.compare(scene, &before);
        }
        self.observer = observer;
    }

    /// An application opens a connection.
    pub(super) fn observe_opening(&mut self, now: Instant, flow: &FlowKey, id: ConnId) {
        let mut observer = self.observer.take();
        if let Some(observer) = &mut observer {
            let after = self.view(Some(id));
            let scene = &mut Scene::new(now, flow, &after);
            observer.compare(scene, &View::NONE.mark());
        }
        self.observer = observer;
    }
}

/// The one timer that there is, if its time has come.
fn only(timer: Timer, now: Instant, deadline: Option<Instant>) -> [Option<Timer>; 5] {
    let due = deadline.is_some_and(|at| at <= now);
    [due.then_some(timer), None, None, None, None]
}
