//! `epoll`.

use std::collections::BTreeMap;

use super::file::Kind;
use super::{Fd, Kernel, Result};

/// One event of `epoll_wait`, or what `epoll_ctl` asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EpollEvent {
    /// `EPOLL…`.
    pub events: u32,
    /// The caller's own.
    pub data: u64,
}

#[derive(Clone, Copy, Debug)]
struct Interest {
    wanted: EpollEvent,
    /// What was reported last: an edge is a bit that was not there, or newer activity.
    reported: Edge,
    disarmed: bool,
}

/// What an edge-triggered watcher compares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Edge {
    mask: u32,
    /// Grows with what arrives, and with room that opens.
    activity: u64,
}

/// The interests of one `epoll` descriptor.
#[derive(Debug, Default)]
pub(super) struct Epoll(BTreeMap<Fd, Interest>);

impl Kernel {
    /// `epoll_create`.
    pub fn epoll_create(&mut self) -> Result<Fd> {
        self.files.open(Kind::Epoll(Epoll::default()), false)
    }

    /// `epoll_ctl`.
    pub fn epoll_ctl(&mut self, epfd: Fd, op: i32, fd: Fd, event: EpollEvent) -> Result<()> {
        self.files.get(fd)?;
        let Kind::Epoll(epoll) = &mut self.files.get_mut(epfd)?.kind else {
            return Err(libc::EINVAL);
        };
        let interest = Interest {
            wanted: event,
            reported: Edge::default(),
            disarmed: false,
        };
        match (op, epoll.0.contains_key(&fd)) {
            (libc::EPOLL_CTL_ADD, false) | (libc::EPOLL_CTL_MOD, true) => {
                epoll.0.insert(fd, interest);
            }
            (libc::EPOLL_CTL_ADD, true) => return Err(libc::EEXIST),
            (libc::EPOLL_CTL_DEL, true) => {
                epoll.0.remove(&fd);
            }
            (libc::EPOLL_CTL_MOD | libc::EPOLL_CTL_DEL, false) => return Err(libc::ENOENT),
            _ => return Err(libc::EINVAL),
        }
        Ok(())
    }

    /// `epoll_wait` with a timeout of 0: what there is, at most `max` events.
    pub fn epoll_wait(&mut self, epfd: Fd, max: usize) -> Result<Vec<EpollEvent>> {
        let ready = self.epoll_ready(epfd)?;
        let mut events = Vec::new();
        for (fd, edge) in ready.into_iter().take(max) {
            let Kind::Epoll(epoll) = &mut self.files.get_mut(epfd)?.kind else {
                return Err(libc::EINVAL);
            };
            let Some(interest) = epoll.0.get_mut(&fd) else {
                continue;
            };
            interest.reported = edge;
            interest.disarmed = interest.wanted.events & libc::EPOLLONESHOT as u32 != 0;
            events.push(EpollEvent {
                events: edge.mask,
                data: interest.wanted.data,
            });
        }
        Ok(events)
    }

    fn epoll_ready(&mut self, epfd: Fd) -> Result<Vec<(Fd, Edge)>> {
        let Kind::Epoll(epoll) = &self.files.get(epfd)?.kind else {
            return Err(libc::EINVAL);
        };
        let interests: Vec<_> = epoll
            .0
            .iter()
            .map(|(&fd, &interest)| (fd, interest))
            .collect();
        let always = (libc::EPOLLERR | libc::EPOLLHUP) as u32;
        let mut ready = Vec::new();
        for (fd, interest) in interests {
            let mask = self.readiness(fd).unwrap_or(0) as u16 as u32;
            let edge = Edge {
                mask: mask & (interest.wanted.events | always),
                activity: self.activity(fd),
            };
            let is_edge = interest.wanted.events & libc::EPOLLET as u32 != 0;
            let is_news = !is_edge
                || edge.activity != interest.reported.activity
                || edge.mask & !interest.reported.mask != 0;
            if edge.mask != 0 && is_news && !interest.disarmed {
                ready.push((fd, edge));
            }
        }
        Ok(ready)
    }

    pub(super) fn has_epoll_event(&mut self, epfd: Fd) -> bool {
        self.epoll_ready(epfd).is_ok_and(|ready| !ready.is_empty())
    }

    pub(super) fn forget_in_epolls(&mut self, fd: Fd) {
        for (_, file) in self.files.iter_mut() {
            if let Kind::Epoll(epoll) = &mut file.kind {
                epoll.0.remove(&fd);
            }
        }
    }

    /// Counts what a descriptor has received so far, and other news.
    fn activity(&self, fd: Fd) -> u64 {
        let Ok(socket) = self.files.tcp(fd) else {
            return 0;
        };
        let info = socket
            .conn()
            .and_then(|id| self.host.tcp().info(self.now, id).ok());
        let received = info.map_or(0, |info| info.bytes_received);
        received + socket.zerocopy.completions
    }
}
