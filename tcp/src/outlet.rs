//! Where outgoing segments go from inside the core: to the caller's [`Transmit`], and past an
//! observer if there is one.
//!
//! Which of the two is settled at compile time: without an observer nothing is left of it.

use core::net::IpAddr;

use bytes::Bytes;

use crate::observe::{Mark, Observer, Packet, Scene, View, Why};
use crate::segment::{FlowKey, Transmit, TxMeta};
use crate::time::Instant;

/// A [`Transmit`], or one past which an observer hears why a segment was pushed.
pub(crate) trait Outlet {
    /// Whether anybody listens.
    const IS_OBSERVED: bool;

    /// [`Transmit::budget`].
    fn budget(&self) -> usize;

    /// [`Transmit::path_mtu`].
    fn path_mtu(&self, remote: IpAddr) -> u16;

    /// [`Transmit::lower_path_mtu`].
    fn lower_path_mtu(&mut self, remote: IpAddr, mtu: u16);

    /// [`Transmit::on_negative_advice`].
    fn on_negative_advice(&mut self, remote: IpAddr);

    /// [`Transmit::push`].
    fn push(&mut self, meta: &TxMeta<'_>, payload: impl Iterator<Item = Bytes>);

    /// The segments that follow are those of a flow of which this is kept.
    fn begin(&mut self, mark: impl FnOnce() -> Mark);

    /// The segment pushed last was sent for this reason; its connection looks like this now.
    fn on_sent<'v>(&mut self, why: Why, view: impl FnOnce() -> View<'v>);

    /// That was all of the flow, which looks like this now.
    fn end<'v>(&mut self, flow: &FlowKey, view: impl FnOnce() -> View<'v>);
}

/// An observer hears of everything.
pub(crate) struct Observed<'a, T> {
    tx: &'a mut T,
    observer: &'a mut Observer,
    now: Instant,
    /// The segment pushed last.
    pushed: Option<(FlowKey, Packet)>,
    /// What is kept of the flow since [`Outlet::begin`].
    mark: Option<Mark>,
}

impl<'a, T> Observed<'a, T> {
    pub(crate) const fn new(now: Instant, observer: &'a mut Observer, tx: &'a mut T) -> Self {
        Self {
            tx,
            observer,
            now,
            pushed: None,
            mark: None,
        }
    }
}

/// Nobody listens.
impl<T: Transmit> Outlet for T {
    const IS_OBSERVED: bool = false;

    #[inline]
    fn budget(&self) -> usize {
        Transmit::budget(self)
    }

    #[inline]
    fn path_mtu(&self, remote: IpAddr) -> u16 {
        Transmit::path_mtu(self, remote)
    }

    #[inline]
    fn lower_path_mtu(&mut self, remote: IpAddr, mtu: u16) {
        Transmit::lower_path_mtu(self, remote, mtu);
    }

    #[inline]
    fn on_negative_advice(&mut self, remote: IpAddr) {
        Transmit::on_negative_advice(self, remote);
    }

    #[inline]
    fn push(&mut self, meta: &TxMeta<'_>, payload: impl Iterator<Item = Bytes>) {
        Transmit::push(self, meta, payload);
    }

    fn begin(&mut self, _: impl FnOnce() -> Mark) {}

    fn on_sent<'v>(&mut self, _: Why, _: impl FnOnce() -> View<'v>) {}

    fn end<'v>(&mut self, _: &FlowKey, _: impl FnOnce() -> View<'v>) {}
}

impl<T: Transmit> Outlet for Observed<'_, T> {
    const IS_OBSERVED: bool = true;

    fn budget(&self) -> usize {
        self.tx.budget()
    }

    fn path_mtu(&self, remote: IpAddr) -> u16 {
        self.tx.path_mtu(remote)
    }

    fn lower_path_mtu(&mut self, remote: IpAddr, mtu: u16) {
        self.tx.lower_path_mtu(remote, mtu);
    }

    fn on_negative_advice(&mut self, remote: IpAddr) {
        self.tx.on_negative_advice(remote);
    }

    fn push(&mut self, meta: &TxMeta<'_>, payload: impl Iterator<Item = Bytes>) {
        self.pushed = Some((*meta.flow, Packet::sent(meta)));
        self.tx.push(meta, payload);
    }

    #[inline]
    fn begin(&mut self, mark: impl FnOnce() -> Mark) {
        self.mark = Some(mark());
    }

    #[inline]
    fn on_sent<'v>(&mut self, why: Why, view: impl FnOnce() -> View<'v>) {
        if let Some((flow, packet)) = &self.pushed {
            let view = view();
            let scene = &mut Scene::new(self.now, flow, &view);
            self.observer.on_sent(scene, packet, why);
        }
        self.pushed = None;
    }

    /// What sending has changed is told once, behind the last segment.
    #[inline]
    fn end<'v>(&mut self, flow: &FlowKey, view: impl FnOnce() -> View<'v>) {
        if let Some(before) = self.mark.take() {
            let view = view();
            let scene = &mut Scene::new(self.now, flow, &view);
            self.observer.compare(scene, &before);
        }
    }
}
