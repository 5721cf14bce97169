//! What the tests with real devices and real programs share.
//!
//! A binary that uses this has `harness = false` and ends its `main` with [`main`]. The process
//! moves into user, mount and network namespaces of its own while it has one thread, so the tests
//! need no root and nothing they make outlives them. Every test then gets a network namespace of
//! its own on top, and a thread that lives in it: `std::net`, child processes and `ustack` itself
//! meet there and nowhere else.
//!
//! Where the machine forbids this, or lacks a program that a test drives, the test is counted as
//! ignored and the reason is printed. With `CI=true` that is a failure.

#![allow(
    dead_code,
    unused_imports,
    reason = "every test binary uses its own part"
)]

pub(crate) mod capture;
pub(crate) mod data;
pub(crate) mod device;
mod namespace;
mod process;
mod program;
mod setting;

use std::any::Any;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use tempfile::TempDir;

pub(crate) use namespace::{Namespace, veth};
pub(crate) use process::{Background, Finished, command, ip, run, run_ok};
pub(crate) use program::Ustack;
pub(crate) use setting::Setting;

/// How long one test may take unless it says otherwise.
const DEFAULT_LIMIT: Duration = Duration::from_secs(60);

/// One test, in a network namespace of its own.
pub(crate) struct Test {
    name: String,
    tools: Vec<&'static str>,
    limit: Duration,
    body: Box<dyn FnOnce() + Send>,
}

impl Test {
    /// A test that fails when `body` panics.
    pub(crate) fn new(name: impl Into<String>, body: impl FnOnce() + Send + 'static) -> Self {
        Self {
            name: name.into(),
            tools: Vec::new(),
            limit: DEFAULT_LIMIT,
            body: Box::new(body),
        }
    }

    /// Programs the test drives; it is ignored where one is missing.
    pub(crate) fn needs(mut self, tools: &[&'static str]) -> Self {
        self.tools.extend(tools);
        self
    }

    /// The longest the test may take; after that it fails.
    pub(crate) fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    fn into_trial(self, namespaces: &Result<(), Arc<str>>) -> Trial {
        let missing = namespaces.clone().err().or_else(|| {
            let tool = self.tools.iter().find(|tool| !is_installed(tool))?;
            Some(format!("`{tool}` is not installed").into())
        });
        let Some(reason) = missing else {
            return Trial::test(self.name, move || bounded(self.limit, self.body));
        };
        println!("ignored: {}: {reason}", self.name);
        Trial::test(self.name, move || Err(Failed::from(&*reason))).with_ignored_flag(!is_ci())
    }
}

/// Runs the tests that the command line asks for. Call it first thing in `main`: the process must
/// still have one thread.
pub(crate) fn main(tests: Vec<Test>) -> ExitCode {
    run_tests(&Arguments::from_args(), tests)
}

/// Like [`main`], for tests that wait more than they work: `threads` at once, unless the command
/// line says otherwise.
pub(crate) fn main_at_once(threads: usize, tests: Vec<Test>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(threads);
    run_tests(&arguments, tests)
}

fn run_tests(arguments: &Arguments, tests: Vec<Test>) -> ExitCode {
    let namespaces = namespace::enter().map_err(Arc::from);
    let trials = tests
        .into_iter()
        .map(|test| test.into_trial(&namespaces))
        .collect();
    libtest_mimic::run(arguments, trials).exit_code()
}

/// A directory of the test's own, removed with everything in it when dropped.
///
/// It lies under Cargo's target directory, so large files never land in a small `/tmp`.
pub(crate) fn temp_dir() -> TempDir {
    tempfile::Builder::new()
        .prefix("test-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .expect("a directory under target/tmp")
}

/// Runs `body` in a fresh namespace on a thread of its own, and gives up after `limit`.
fn bounded(limit: Duration, body: Box<dyn FnOnce() + Send>) -> Result<(), Failed> {
    let (done, result) = channel();
    let test = thread::Builder::new()
        .name("test".into())
        .spawn(move || {
            let namespace = namespace::isolate_thread();
            namespace.expect("a network namespace for this test");
            body();
            let _ = done.send(());
        })
        .map_err(Failed::from)?;
    match result.recv_timeout(limit) {
        Err(RecvTimeoutError::Timeout) => Err(format!("not done after {limit:?}").into()),
        Ok(()) | Err(RecvTimeoutError::Disconnected) => {
            test.join().map_err(|panic| message(&*panic).into())
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.into()))
        .unwrap_or_else(|| "the test panicked".into())
}

fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

fn is_installed(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let extra = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(extra)
        .any(|folder| folder.join(tool).is_file())
}
