//! The grammars of the program. They belong to a binary, which no crate can depend on, so that its
//! files are compiled once more here.

#![allow(dead_code)]

#[path = "../../../src/cli/address.rs"]
pub(crate) mod address;
#[path = "../../../src/cli/args/mod.rs"]
pub(crate) mod args;
#[path = "../../../src/cli/capture.rs"]
pub(crate) mod capture;
#[path = "../../../src/cli/config_file.rs"]
pub(crate) mod config_file;
#[path = "../../../src/cli/error.rs"]
pub(crate) mod error;
#[path = "../../../src/cli/recorder.rs"]
pub(crate) mod recorder;
#[path = "../../../src/cli/settings.rs"]
pub(crate) mod settings;
