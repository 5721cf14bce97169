//! Two network namespaces joined by ustack's link model in real time, so that real stacks cross
//! the same path that a simulation knows; and a comparison of senders across it.

pub mod compare;
pub mod host;
pub mod joint;
pub mod namespace;
pub mod priority;

use std::fmt::Display;
use std::io;

/// Says what was being done when an error came.
pub(crate) fn during<E: Into<io::Error>>(what: impl Display) -> impl FnOnce(E) -> io::Error {
    move |error| {
        let error = error.into();
        io::Error::new(error.kind(), format!("{what}: {error}"))
    }
}
