//! A relay: ends one connection, opens the next, and passes bytes on as fast as the next one takes
//! them. What waits in it is bounded by the connections' buffers: it reads only what it can write.

use bytes::Bytes;
use ustack_tcp::{ConnId, ListenerId, Read};

use super::{App, Context, Socket, read, write};

#[derive(Debug)]
pub(super) struct Relay {
    socket: Socket,
    listener: Option<ListenerId>,
    /// From the client, to the server.
    pair: Option<(ConnId, ConnId)>,
    onward: Pipe,
    back: Pipe,
}

/// One direction.
#[derive(Debug, Default)]
struct Pipe {
    /// Read, and not yet taken by the next connection.
    held: Bytes,
    ended: bool,
}

/// What a relay holds in one direction at most.
const PIPE: usize = 1 << 16;

impl Pipe {
    fn pump(&mut self, cx: &mut Context<'_>, from: ConnId, to: ConnId) {
        loop {
            if !self.held.is_empty() {
                let taken = write(cx, to, &self.held);
                let _ = self.held.split_to(taken);
                if !self.held.is_empty() {
                    return;
                }
            }
            if self.ended {
                return;
            }
            match read(cx, from, PIPE) {
                Some(Read::Data(data)) => self.held = data,
                Some(_) => {
                    self.ended = true;
                    let now = cx.now;
                    let _ = cx.tcp().shutdown(now, to); // a connection that is gone needs no FIN
                }
                None => return,
            }
        }
    }
}

impl Relay {
    pub(super) fn new(socket: Socket) -> Self {
        Self {
            socket,
            listener: None,
            pair: None,
            onward: Pipe::default(),
            back: Pipe::default(),
        }
    }
}

impl App for Relay {
    fn on_wake(&mut self, cx: &mut Context<'_>) {
        let Some(listener) = self.socket.listen(&mut self.listener, cx) else {
            return;
        };
        if self.pair.is_none()
            && let Some((client, _)) = cx.tcp().accept(listener)
        {
            self.pair = self.socket.connect(cx).map(|server| (client, server));
        }
        let Some((client, server)) = self.pair else {
            return;
        };
        self.onward.pump(cx, client, server);
        self.back.pump(cx, server, client);
    }

    fn watched(&self) -> Option<ConnId> {
        self.pair.map(|(_, server)| server)
    }
}
