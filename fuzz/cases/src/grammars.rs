//! Everything that users write: flags, files, specs, scripts.

use std::path::Path;

use clap::Parser as _;
use lab::Experiment;
use ustack::device::ImpairSpec;
use ustack_tcp::testing::script;

use crate::program::address::{self, Addresses, Prefix};
use crate::program::args::{Cli, Options};
use crate::program::config_file::{self, Origins};
use crate::program::settings::Settings;

/// Texts longer than that say nothing new.
const MAX_TEXT: usize = 4096;

/// Reads a text in the grammar that the first byte names.
///
/// What is understood and written out again means the same; what is not understood is refused with
/// a message of reasonable length.
pub fn grammars(data: &[u8]) {
    let Some((grammar, text)) = data.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(&text[..text.len().min(MAX_TEXT)]) else {
        return;
    };
    match grammar % 6 {
        0 => impairment(text),
        1 => config_file(text),
        2 => flags(text),
        3 => addresses(text),
        4 => experiment(text),
        _ => packetdrill(text),
    }
}

fn impairment(text: &str) {
    match text.parse::<ImpairSpec>() {
        Ok(spec) => {
            let shown = spec.to_string();
            // An empty text says nothing, and so does a spec without faults.
            if !shown.is_empty() {
                assert_eq!(shown.parse(), Ok(spec), "{text:?} shown as {shown:?}");
            }
        }
        Err(error) => check_message(&error.to_string(), text),
    }
}

fn config_file(text: &str) {
    match config_file::parse(Path::new("ustack.toml"), text) {
        Ok(options) => settings(options, text),
        Err(error) => check_message(&error.render(), text),
    }
}

fn flags(text: &str) {
    if let Ok(cli) = Cli::try_parse_from(["ustack"].into_iter().chain(text.split_whitespace())) {
        settings(cli.options, text);
    }
}

fn settings(options: Options, text: &str) {
    let options = Options {
        // The file system is no part of the grammar.
        http_root: None,
        capture: None,
        ..options
    };
    match Settings::new(options, &Origins::default()) {
        Ok(settings) => check_addresses(&settings.addresses, &settings.host_addresses),
        Err(error) => check_message(&error.render(), text),
    }
}

/// Addresses of the stack, then those of the host behind a semicolon.
fn addresses(text: &str) {
    let (stack, host) = text.split_once(';').unwrap_or((text, ""));
    let list = |text: &str| -> Vec<String> {
        let given = text.split(',').filter(|one| !one.is_empty());
        given.map(str::to_owned).collect()
    };
    match address::resolve(&list(stack), &list(host)) {
        Ok(Addresses { stack, host }) => {
            check_addresses(&stack, &host);
            let shown = |all: &[Prefix]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
            let again = address::resolve(&shown(&stack), &shown(&host));
            assert_eq!(again, Ok(Addresses { stack, host }));
        }
        Err(bad) => check_message(&bad.message, text),
    }
}

/// All different, each of the stack's in a network of the host's.
fn check_addresses(stack: &[Prefix], host: &[Prefix]) {
    assert!(!stack.is_empty() && !host.is_empty());
    for (index, ours) in stack.iter().enumerate() {
        assert!(
            host.iter()
                .any(|host| host.contains(ours.addr) && host.len == ours.len)
        );
        let others = stack[..index].iter().chain(host);
        assert!(
            others.into_iter().all(|other| other.addr != ours.addr),
            "{ours} twice"
        );
    }
}

fn experiment(text: &str) {
    match Experiment::parse(text) {
        Ok(experiment) => {
            let points = experiment.points().expect("they were checked");
            assert!(!points.is_empty());
        }
        Err(error) => check_message(&error.to_string(), text),
    }
}

fn packetdrill(text: &str) {
    let defines = [("MSS".to_owned(), "1460".to_owned())];
    match script::parse(text, &defines) {
        Ok(parsed) => assert!(parsed.events.len() <= text.len()),
        Err(error) => check_message(&error.to_string(), text),
    }
}

/// A message says something, and repeats its text a few times at most.
fn check_message(message: &str, text: &str) {
    assert!(!message.trim().is_empty());
    assert!(
        message.len() <= 4096 + 12 * text.len(),
        "{} bytes",
        message.len()
    );
}
