//! The UDP applications at the stack's end.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use ustack_udp::{BindOptions, SocketId};

use crate::capture::Recorded;
use crate::host::{Host, MTU};
use crate::message::{Assembler, Message};

/// Which UDP ports of the host somebody listens on, and what is said there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Services {
    /// None.
    #[default]
    None,
    /// An echo service at this port.
    Echo(u16),
    /// Every port that spoke in the recording, and says the same again: each datagram once as many
    /// have come as had come by then.
    AsRecorded,
}

/// One port's application.
#[derive(Debug)]
pub(crate) struct Service {
    id: SocketId,
    port: u16,
    script: Option<Script>,
}

/// What a port heard and said in the recording.
#[derive(Debug, Default)]
struct Script {
    port: u16,
    heard: Vec<Bytes>,
    came: usize,
    /// How many datagrams had come, to whom it spoke, what it said.
    said: VecDeque<(usize, SocketAddr, Bytes)>,
}

impl Services {
    /// Binds the ports.
    pub(crate) fn open(
        self,
        host: &mut impl Host,
        address: IpAddr,
        packets: &[Recorded],
    ) -> Result<Vec<Service>, String> {
        let mut scripts = match self {
            Self::AsRecorded => scripts(packets, address),
            Self::None | Self::Echo(_) => Vec::new(),
        };
        let ports = match self {
            Self::None => Vec::new(),
            Self::Echo(port) => vec![port],
            Self::AsRecorded => scripts.iter().map(|script| script.port).collect(),
        };
        let mut services = Vec::new();
        for port in ports {
            let local = SocketAddr::new(address, port);
            let id = host.udp().bind(BindOptions::new(local));
            services.push(Service {
                id: id.map_err(|error| format!("cannot bind {local}: {error:?}"))?,
                port,
                script: (!scripts.is_empty()).then(|| scripts.remove(0)),
            });
        }
        Ok(services)
    }
}

impl Service {
    /// Takes what came, and answers.
    pub(crate) fn run(&mut self, host: &mut impl Host) -> Result<(), String> {
        let udp = host.udp();
        while let Some(datagram) = udp.recv(self.id).map_err(|error| format!("{error:?}"))? {
            let answers = match &mut self.script {
                None => vec![(datagram.remote, datagram.data)],
                Some(script) => script.on_datagram(&datagram.data)?,
            };
            for (remote, data) in answers {
                udp.send(self.id, None, Some(remote), data, |_| MTU)
                    .map_err(|error| format!("cannot answer from {}: {error:?}", self.port))?;
            }
        }
        Ok(())
    }
}

impl Script {
    /// What is said to this datagram; an error where another one came in the recording.
    fn on_datagram(&mut self, data: &Bytes) -> Result<Vec<(SocketAddr, Bytes)>, String> {
        if self.heard.get(self.came) != Some(data) {
            let (came, length, port) = (self.came + 1, data.len(), self.port);
            return Err(format!(
                "datagram {came} to port {port}, of {length} bytes, differs from the recorded one"
            ));
        }
        self.came += 1;
        let mut answers = Vec::new();
        while let Some((_, remote, data)) = self.said.pop_front_if(|(came, ..)| *came <= self.came)
        {
            answers.push((remote, data));
        }
        Ok(answers)
    }
}

/// What each port of `address` that spoke heard and said.
fn scripts(packets: &[Recorded], address: IpAddr) -> Vec<Script> {
    let mut scripts: Vec<Script> = Vec::new();
    let mut assembler = Assembler::default();
    for packet in packets {
        let Ok(Some(Message::Udp {
            source,
            destination,
            payload,
        })) = assembler.push(&packet.data)
        else {
            continue; // no application hears of what is malformed
        };
        if packet.lost && source.ip() != address {
            continue;
        }
        let ours = source.ip() == address;
        let port = if ours {
            source.port()
        } else {
            destination.port()
        };
        let known = scripts.iter().position(|script| script.port == port);
        let index = known.unwrap_or_else(|| {
            scripts.push(Script {
                port,
                ..Script::default()
            });
            scripts.len() - 1
        });
        let script = &mut scripts[index];
        if ours {
            script
                .said
                .push_back((script.heard.len(), destination, payload));
        } else {
            script.heard.push(payload);
        }
    }
    scripts.retain(|script| !script.said.is_empty());
    scripts
}
