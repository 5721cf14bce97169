//! `pipe` and `splice`.

use std::collections::{BTreeMap, VecDeque};

use super::file::Kind;
use super::{Data, Fd, Kernel, Recv, Result};

/// Room of a pipe, in bytes.
const CAPACITY: usize = 65_536;

#[derive(Debug, Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    has_reader: bool,
    has_writer: bool,
}

/// One end of a pipe.
#[derive(Clone, Copy, Debug)]
pub(super) struct PipeEnd {
    id: u32,
    is_writer: bool,
}

/// All pipes.
#[derive(Debug, Default)]
pub(super) struct Pipes {
    pipes: BTreeMap<u32, Pipe>,
    next: u32,
}

impl Kernel {
    /// `pipe`: the reading end, then the writing one.
    pub fn pipe(&mut self) -> Result<[Fd; 2]> {
        let id = self.pipes.next;
        self.pipes.next += 1;
        let pipe = Pipe {
            has_reader: true,
            has_writer: true,
            ..Pipe::default()
        };
        self.pipes.pipes.insert(id, pipe);
        let end = |is_writer| Kind::Pipe(PipeEnd { id, is_writer });
        let reader = self.files.open(end(false), false)?;
        let writer = self.files.open(end(true), false)?;
        Ok([reader, writer])
    }

    fn pipe_end(&mut self, fd: Fd, is_writer: bool) -> Result<&mut Pipe> {
        match self.files.get(fd)?.kind {
            Kind::Pipe(end) if end.is_writer == is_writer => {
                self.pipes.pipes.get_mut(&end.id).ok_or(libc::EBADF)
            }
            _ => Err(libc::EBADF),
        }
    }

    pub(super) fn write_pipe(&mut self, fd: Fd, data: &Data) -> Result<usize> {
        let data = data.bytes()?;
        let pipe = self.pipe_end(fd, true)?;
        if !pipe.has_reader {
            return Err(libc::EPIPE);
        }
        let taken = data.len().min(CAPACITY - pipe.bytes.len());
        if taken == 0 && !data.is_empty() {
            return Err(libc::EAGAIN);
        }
        pipe.bytes.extend(&data[..taken]);
        Ok(taken)
    }

    pub(super) fn read_pipe(&mut self, fd: Fd, max: usize) -> Result<Vec<u8>> {
        let pipe = self.pipe_end(fd, false)?;
        let len = max.min(pipe.bytes.len());
        if len == 0 && max > 0 && pipe.has_writer {
            return Err(libc::EAGAIN);
        }
        Ok(pipe.bytes.drain(..len).collect())
    }

    pub(super) fn close_pipe(&mut self, end: PipeEnd) {
        let Some(pipe) = self.pipes.pipes.get_mut(&end.id) else {
            return;
        };
        if end.is_writer {
            pipe.has_writer = false;
        } else {
            pipe.has_reader = false;
        }
        if !pipe.has_reader && !pipe.has_writer {
            self.pipes.pipes.remove(&end.id);
        }
    }

    /// Whether an end of a pipe is ready for what it is for, and whether the other end is gone.
    pub(super) fn pipe_state(&self, end: PipeEnd) -> (bool, bool) {
        match self.pipes.pipes.get(&end.id) {
            Some(pipe) if end.is_writer => (pipe.bytes.len() < CAPACITY, !pipe.has_reader),
            Some(pipe) => (!pipe.bytes.is_empty(), !pipe.has_writer),
            None => (false, true),
        }
    }

    /// `splice` without offsets, to or from a pipe.
    pub fn splice(&mut self, from: Fd, to: Fd, len: usize) -> Result<usize> {
        let is_pipe = |kernel: &Self, fd| -> Result<bool> {
            let file = kernel.files.get(fd)?;
            Ok(matches!(file.kind, Kind::Pipe(_)))
        };
        match (is_pipe(self, from)?, is_pipe(self, to)?) {
            (false, true) => {
                let room = CAPACITY - self.pipe_end(to, true)?.bytes.len();
                let data = self.read(
                    from,
                    Recv {
                        len: len.min(room),
                        ..Recv::default()
                    },
                )?;
                self.write_pipe(to, &Data::Bytes(data))
            }
            (true, _) => {
                let pipe = self.pipe_end(from, false)?;
                if pipe.bytes.is_empty() {
                    return if pipe.has_writer {
                        Err(libc::EAGAIN)
                    } else {
                        Ok(0)
                    };
                }
                let data: Vec<u8> = pipe.bytes.iter().copied().take(len).collect();
                let taken = self.write(to, Data::Bytes(data))?;
                self.pipe_end(from, false)?.bytes.drain(..taken);
                Ok(taken)
            }
            (false, false) => Err(libc::EINVAL),
        }
    }
}
