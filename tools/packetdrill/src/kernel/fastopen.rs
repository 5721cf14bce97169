//! TCP Fast Open as Linux's applications ask for it: `MSG_FASTOPEN`, `TCP_FASTOPEN_CONNECT`, and
//! listeners under `tcp_fastopen`.

use std::net::SocketAddr;

use bytes::Bytes;
use ustack::tcp::FlowKey;

use super::file::{Phase, unmapped};
use super::{Fd, Kernel, Message, Result};

/// Bits of `tcp_fastopen`.
const CLIENT: u64 = 0x1;
const SERVER: u64 = 0x2;
/// Listeners that did not ask for it take part, too.
const SERVER_WITHOUT_SOCKOPT: u64 = 0x400;

impl Kernel {
    /// `sendmsg` with `MSG_FASTOPEN`, or the first one after `TCP_FASTOPEN_CONNECT`: how many bytes
    /// the SYN carries. `EINPROGRESS`: it carries none, but asks for a cookie.
    pub(super) fn send_fast_open(&mut self, fd: Fd, message: &Message) -> Result<usize> {
        let socket = self.files.tcp_mut(fd)?;
        let remote = match socket.phase {
            Phase::Deferred(remote) => remote,
            _ if self.sysctls.fastopen & CLIENT == 0 => return Err(libc::EOPNOTSUPP),
            _ => unmapped(message.to.ok_or(libc::EOPNOTSUPP)?),
        };
        let flow = self.flow_to(fd, remote)?;
        let options = self.files.tcp(fd)?.core_options();
        let tcp = self.host.tcp();
        let room = tcp.fast_open_room(self.now, &flow, &options);
        let data = match room {
            Some(room) => {
                let mut data = message.data.bytes()?;
                data.truncate(room);
                data
            }
            None => Bytes::new(),
        };
        let opened = self
            .host
            .tcp_mut()
            .connect_with_data(self.now, flow, options, &data);
        let taken = opened.map(|(id, flow, taken)| (taken, self.begin_opening(fd, id, flow)));
        match taken.map_err(super::socket::connect_errno)? {
            (taken, Ok(())) if taken > 0 => {
                self.note_sent(fd, taken, message.flags)?;
                Ok(taken)
            }
            (_, Ok(())) => Err(libc::EINPROGRESS),
            (_, Err(error)) => Err(error),
        }
    }

    /// `connect` of a socket with `TCP_FASTOPEN_CONNECT`: with a cookie at hand the SYN waits for
    /// the first data, else it asks for one.
    pub(super) fn connect_fast_open(&mut self, fd: Fd, remote: SocketAddr) -> Result<()> {
        let flow = self.flow_to(fd, remote)?;
        let options = self.files.tcp(fd)?.core_options();
        let tcp = self.host.tcp();
        if tcp.fast_open_room(self.now, &flow, &options).is_some() {
            let socket = self.files.tcp_mut(fd)?;
            socket.phase = Phase::Deferred(remote);
            socket.remote = Some(remote);
            return Ok(());
        }
        let socket = self.files.tcp_mut(fd)?;
        socket.phase = Phase::Deferred(remote);
        let nothing = Message::new(super::Data::Zeros(0));
        let result = self.send_fast_open(fd, &nothing).map(drop);
        let socket = self.files.tcp_mut(fd)?;
        if let Phase::Deferred(_) = socket.phase {
            socket.phase = Phase::Idle;
        }
        result
    }

    /// Whether `connect` is to do the above.
    pub(super) fn is_fast_open_connect(&self, fd: Fd) -> bool {
        let key = (libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT);
        let is_set = self
            .files
            .tcp(fd)
            .is_ok_and(|socket| socket.stored.get(&key).is_some_and(|&on| on != 0));
        is_set && self.sysctls.fastopen & CLIENT != 0
    }

    /// How many Fast Open connections a listener takes, as the sysctl and its own option say.
    pub(super) fn listen_fast_open(&self, own: Option<u16>, backlog: u16) -> Option<u16> {
        let bits = self.sysctls.fastopen;
        if bits & SERVER == 0 {
            return None;
        }
        own.or((bits & SERVER_WITHOUT_SOCKOPT != 0).then_some(backlog))
    }

    fn flow_to(&self, fd: Fd, remote: SocketAddr) -> Result<FlowKey> {
        let local = self.local_for(fd, remote)?;
        Ok(FlowKey { local, remote })
    }
}
