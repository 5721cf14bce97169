//! The other end of the socket, for programs that show what a stack does.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::protocol::{Answer, Connection, Counters, Filter, Hello, PROTOCOL, Request};

/// How long an answer may take to begin or go on.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection to a running stack. Calls block.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    hello: Hello,
    line: String,
}

impl Client {
    /// Connects. Fails as [`UnixStream::connect`] does, and with [`io::ErrorKind::InvalidData`] when
    /// what answers does not speak this protocol, or in another version.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line)?;
        if let Ok(Answer::Error(refusal)) = serde_json::from_str(&line) {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionRefused,
                refusal.message,
            ));
        }
        let hello: Hello = serde_json::from_str(&line).map_err(|_| {
            invalid(format!(
                "{} does not speak ustack's protocol",
                path.display()
            ))
        })?;
        if hello.protocol != PROTOCOL {
            return Err(invalid(format!(
                "the program speaks version {} of the protocol, this one version {PROTOCOL}",
                hello.protocol
            )));
        }
        Ok(Self {
            stream,
            hello,
            line,
        })
    }

    /// Who answers.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// All connections that the filter lets through, and the program's time in nanoseconds.
    pub fn connections(&mut self, filter: &Filter) -> io::Result<(Vec<Connection>, u64)> {
        self.ask(&Request::Connections(filter.clone()))?;
        let mut all = Vec::new();
        loop {
            match self.answer()? {
                Answer::Connection(connection) => all.push(*connection),
                Answer::End { time, .. } => return Ok((all, time)),
                other => return Err(unexpected(other)),
            }
        }
    }

    /// All counters, and the program's time in nanoseconds.
    pub fn counters(&mut self) -> io::Result<(Counters, u64)> {
        self.ask(&Request::Counters {})?;
        match self.answer()? {
            Answer::Counters { groups, time } => Ok((groups, time)),
            other => Err(unexpected(other)),
        }
    }

    /// What the stack is.
    pub fn about(&mut self) -> io::Result<super::About> {
        self.ask(&Request::About {})?;
        match self.answer()? {
            Answer::About(about) => Ok(about),
            other => Err(unexpected(other)),
        }
    }

    /// Resets a connection. Fails with [`io::ErrorKind::NotFound`] when it is gone.
    pub fn reset(&mut self, connection: &Connection) -> io::Result<()> {
        self.ask(&Request::Reset {
            id: connection.id.clone(),
            local: connection.local,
            remote: connection.remote,
        })?;
        match self.answer()? {
            Answer::Reset { .. } => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    fn ask(&mut self, request: &Request) -> io::Result<()> {
        let mut text = serde_json::to_vec(request)?;
        text.push(b'\n');
        self.stream.get_mut().write_all(&text)
    }

    fn answer(&mut self) -> io::Result<Answer> {
        self.line.clear();
        if self.stream.read_line(&mut self.line)? == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the program has ended",
            ));
        }
        Ok(serde_json::from_str(&self.line)?)
    }
}

fn unexpected(answer: Answer) -> io::Error {
    match answer {
        Answer::Error(refusal) if refusal.code == "gone" => {
            io::Error::new(io::ErrorKind::NotFound, refusal.message)
        }
        Answer::Error(refusal) => io::Error::new(io::ErrorKind::InvalidInput, refusal.message),
        _ => invalid("an answer to another question".to_owned()),
    }
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}
