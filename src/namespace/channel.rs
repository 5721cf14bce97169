//! Messages between the outer and the inner process: one TOML document per datagram of a
//! `SOCK_SEQPACKET` pair, file descriptors beside it.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Setup, Step};

/// Longest message in bytes.
const MAX_MESSAGE: usize = 64 << 10;

/// From the outer process to the inner one.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ToInner {
    /// The ids are mapped; make the rest.
    Enter(Setup),
    /// The stack runs; become the command.
    Exec {},
}

/// From the inner process to the outer one.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum FromInner {
    /// In a new user namespace, without ids yet.
    Moved {},
    /// The device is up; its file descriptor comes along.
    Device {
        /// Its name.
        name: String,
        /// Frames carry a `virtio_net_hdr`.
        vnet_hdr: bool,
        /// What could not be done and does not matter much.
        notes: Vec<String>,
    },
    /// It cannot be done.
    Failed {
        /// What was tried.
        step: Step,
        /// What the kernel said, if it was the kernel.
        errno: Option<i32>,
        /// More about it, or nothing.
        detail: String,
    },
}

/// Sends one message.
pub(super) fn send(
    socket: &OwnedFd,
    message: &impl Serialize,
    fd: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let text = toml::to_string(message).map_err(io::Error::other)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if let Some(fd) = &fd {
        ancillary.push(SendAncillaryMessage::ScmRights(std::slice::from_ref(fd)));
    }
    sendmsg(
        socket.as_fd(),
        &[IoSlice::new(text.as_bytes())],
        &mut ancillary,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// Waits for one message. `None`: the other side has closed its end.
pub(super) fn recv<T: DeserializeOwned>(
    socket: &OwnedFd,
) -> io::Result<Option<(T, Option<OwnedFd>)>> {
    let mut text = vec![0; MAX_MESSAGE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut buffers = [IoSliceMut::new(&mut text)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        match recvmsg(socket.as_fd(), &mut buffers, &mut ancillary, flags) {
            Err(rustix::io::Errno::INTR) => {}
            // The other side died with a message of ours unread.
            Err(rustix::io::Errno::CONNRESET) => return Ok(None),
            result => break result?,
        }
    };
    if received.bytes == 0 {
        return Ok(None);
    }
    let fd = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    let text = std::str::from_utf8(&text[..received.bytes]).map_err(io::Error::other)?;
    let message = toml::from_str(text).map_err(io::Error::other)?;
    Ok(Some((message, fd)))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        socketpair(family, kind, SocketFlags::CLOEXEC, None).unwrap()
    }

    #[test]
    fn every_message_survives_the_way() {
        let (left, right) = pair();
        let setup = Setup {
            name: "us0".into(),
            mtu: 1500,
            mode: "auto".into(),
            addresses: vec![
                ("10.77.0.1".parse().unwrap(), 24),
                ("fd77::1".parse().unwrap(), 64),
            ],
            resolv_conf: "# \"quoted\"\nnameserver 10.77.0.2\n".into(),
        };
        for message in [ToInner::Enter(setup), ToInner::Exec {}] {
            send(&left, &message, None).unwrap();
            assert_eq!(recv::<ToInner>(&right).unwrap().unwrap().0, message);
        }
        let failed = FromInner::Failed {
            step: Step::Device,
            errno: Some(13),
            detail: String::new(),
        };
        for message in [FromInner::Moved {}, failed] {
            send(&right, &message, None).unwrap();
            assert_eq!(recv::<FromInner>(&left).unwrap().unwrap().0, message);
        }
    }

    #[test]
    fn a_file_descriptor_comes_along() {
        let (left, right) = pair();
        let (mut reader, writer) = io::pipe().unwrap();
        send(&left, &ToInner::Exec {}, Some(writer.as_fd())).unwrap();
        drop(writer);
        let (_, fd) = recv::<ToInner>(&right).unwrap().unwrap();
        std::fs::File::from(fd.unwrap())
            .write_all(b"through")
            .unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }

    #[test]
    fn a_closed_end_is_told_apart_from_a_message() {
        let (left, right) = pair();
        drop(left);
        assert!(recv::<ToInner>(&right).unwrap().is_none());
    }
}
