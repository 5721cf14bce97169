//! Child processes: run to their end within a time limit, or in the background until dropped.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// A command line split at blanks; arguments that hold blanks are added to the result.
pub(crate) fn command(line: &str) -> Command {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().expect("a command"));
    command.args(words).stdin(Stdio::null());
    command
}

/// How a process ended and what it wrote.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Its exit status.
    pub(crate) status: ExitStatus,
    /// Its standard output.
    pub(crate) stdout: Vec<u8>,
    /// Its standard error.
    pub(crate) stderr: String,
    /// How long it ran.
    pub(crate) elapsed: Duration,
}

impl Finished {
    /// Its standard output as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// Runs a command to its end; kills it and panics when it is not done within `limit`.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Finished {
    let started = Instant::now();
    let spawned = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = spawned.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stdout = read_all(child.stdout.take());
    let stderr = read_all(child.stderr.take());
    let status = wait(&mut child, limit);
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let elapsed = started.elapsed();
    let stdout = stdout.join().expect("a reader");
    let stderr = String::from_utf8_lossy(&stderr.join().expect("a reader")).into_owned();
    let Some(status) = status else {
        let tail: String = stderr.chars().rev().take(2_000).collect();
        let tail: String = tail.chars().rev().collect();
        panic!("{command:?} is not done after {limit:?}; it said: {tail}");
    };
    Finished {
        status,
        stdout,
        stderr,
        elapsed,
    }
}

/// Runs a command as [`run`] does and panics unless it exits with 0.
pub(crate) fn run_ok(command: &mut Command, limit: Duration) -> Finished {
    let finished = run(command, limit);
    assert!(
        finished.status.success(),
        "{command:?}: {}: {}{}",
        finished.status,
        finished.stderr,
        finished.text(),
    );
    finished
}

/// Runs `ip` with these arguments.
pub(crate) fn ip(arguments: &str) -> String {
    let line = format!("ip {arguments}");
    run_ok(&mut command(&line), Duration::from_secs(10)).text()
}

fn read_all(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    let mut pipe = pipe.expect("a pipe");
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

fn pid_of(child: &Child) -> Pid {
    let raw = i32::try_from(child.id()).expect("a process id");
    Pid::from_raw(raw).expect("a process id")
}

/// Waits without polling; `None` when `limit` has passed.
fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let pidfd = pidfd_open(pid_of(child), PidfdFlags::empty()).expect("a pidfd");
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).expect("a short time");
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) => return None,
            Ok(_) => return Some(child.wait().expect("an ended child")),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => panic!("poll: {errno}"),
        }
    }
}

#[derive(Default)]
struct Lines {
    text: Vec<String>,
    open: usize,
}

/// A process that runs until it is dropped, then killed.
pub(crate) struct Background {
    child: Child,
    name: String,
    stdout: Shared,
    stderr: Shared,
}

type Shared = Arc<(Mutex<Lines>, Condvar)>;

impl Background {
    /// Starts a command. Its output is kept, line by line.
    pub(crate) fn start(command: &mut Command) -> Self {
        let spawned = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (stdout, stderr) = (Shared::default(), Shared::default());
        collect(child.stdout.take().expect("a pipe"), &stdout);
        collect(child.stderr.take().expect("a pipe"), &stderr);
        Self {
            child,
            name: format!("{command:?}"),
            stdout,
            stderr,
        }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line of its standard output that holds `what` and returns it.
    pub(crate) fn wait_stdout(&self, what: &str, limit: Duration) -> String {
        self.wait_line(&self.stdout, what, limit)
    }

    /// Waits for a line of its standard error that holds `what` and returns it.
    pub(crate) fn wait_stderr(&self, what: &str, limit: Duration) -> String {
        self.wait_line(&self.stderr, what, limit)
    }

    /// What it has written to standard output so far.
    pub(crate) fn stdout(&self) -> String {
        self.stdout.0.lock().expect("no poison").text.join("\n")
    }

    /// What it has written to standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.0.lock().expect("no poison").text.join("\n")
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(pid_of(&self.child), signal).expect("a process of ours");
    }

    /// Waits for its end; panics when it takes longer than `limit`.
    pub(crate) fn wait(mut self, limit: Duration) -> Finished {
        let started = Instant::now();
        let Some(status) = wait(&mut self.child, limit) else {
            panic!("{} runs on after {limit:?}: {}", self.name, self.stderr());
        };
        let elapsed = started.elapsed();
        for shared in [&self.stdout, &self.stderr] {
            let lines = shared.0.lock().expect("no poison");
            let patience = Duration::from_secs(1);
            let all = |lines: &mut Lines| lines.open > 0;
            let _end = shared.1.wait_timeout_while(lines, patience, all);
        }
        Finished {
            status,
            stdout: self.stdout().into_bytes(),
            stderr: self.stderr(),
            elapsed,
        }
    }

    fn wait_line(&self, shared: &Shared, what: &str, limit: Duration) -> String {
        let (lines, changed) = &**shared;
        let find = |lines: &Lines| lines.text.iter().find(|line| line.contains(what)).cloned();
        let guard = lines.lock().expect("no poison");
        let waiting = |lines: &mut Lines| lines.open > 0 && find(lines).is_none();
        let (guard, _) = changed
            .wait_timeout_while(guard, limit, waiting)
            .expect("no poison");
        let found = find(&guard);
        drop(guard);
        found.unwrap_or_else(|| {
            panic!(
                "{} never wrote {what:?}; stdout: {}\nstderr: {}",
                self.name,
                self.stdout(),
                self.stderr(),
            )
        })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(pipe: impl Read + Send + 'static, shared: &Shared) {
    let shared = Arc::clone(shared);
    shared.0.lock().expect("no poison").open += 1;
    thread::spawn(move || {
        let (lines, changed) = &*shared;
        for line in BufReader::new(pipe).lines() {
            let Ok(line) = line else { break };
            lines.lock().expect("no poison").text.push(line);
            changed.notify_all();
        }
        lines.lock().expect("no poison").open -= 1;
        changed.notify_all();
    });
}
