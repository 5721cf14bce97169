//! A referee for TCP on the wire: it sees packets, knows nothing of any stack's insides, and says
//! which packet broke which rule.
//!
//! [`Referee`] takes raw IP packets of any number of flows. With [`View::Ends`] it is told of every
//! packet's leaving and of its arriving, as a simulation can: then it knows what each end knew.
//! With [`View::Point`] it is told what passes one point, as a capture can.
//! What it finds are [`Violation`]s of a [`Rule`], by the end that broke it.
//!
//! ```
//! use referee::{Options, Referee, View};
//!
//! let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../pcaps/http-get.pcapng");
//! let mut referee = Referee::new(View::Point { near: vec![] }, Options::default());
//! for packet in referee::capture::read(path.as_ref())? {
//!     referee.on_seen(packet.number, packet.time, &packet.data, packet.lost);
//! }
//! assert!(referee.violations().is_empty());
//! # Ok::<(), referee::capture::CaptureError>(())
//! ```

pub mod capture;
mod clock;
mod conversation;
mod end;
mod handshake;
mod judge;
mod kept;
mod link;
mod message;
mod numbers;
mod options;
pub mod packet;
mod path;
mod position;
pub mod ranges;
mod referee;
mod reset;
mod rule;
mod text;
mod timing;
mod violation;

pub use message::{Quote, quote};
pub use position::position;
pub use referee::{Options, Referee, View};
pub use rule::Rule;
pub use violation::{Flow, Violation};
