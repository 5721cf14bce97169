//! Tells TCP conversations in words: what was agreed on, how it went, what was lost and how that was
//! noticed and mended, who closed, and what looks wrong, with the section of the RFC that says so.
//!
//! [`Explainer`] takes the packets of a capture one by one and hands out a [`Report`] for each
//! conversation that is over, in bounded memory. A report is plain data, for `serde`;
//! [`text::describe`] makes lines of it.
//!
//! ```
//! use explain::{Explainer, text};
//! use referee::capture::Reader;
//!
//! let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../pcaps/http-get.pcapng");
//! let mut reader = Reader::open(path.as_ref())?;
//! let mut explainer = Explainer::default();
//! while let Some(packet) = reader.next_packet()? {
//!     explainer.on_packet(&packet);
//! }
//! explainer.finish();
//! let report = explainer.poll_report().unwrap();
//! assert!(report.findings.is_empty());
//! assert!(text::describe(&report).contains("nothing unusual"));
//! # Ok::<(), referee::capture::CaptureError>(())
//! ```

mod conversation;
mod diagnosis;
mod explainer;
mod flight;
mod growth;
mod moment;
mod notes;
mod repeats;
pub mod report;
mod rules;
mod side;
mod story;
pub mod text;
mod waits;
mod window;
mod words;

pub use conversation::{Began, Icmp, Pause, Reset};
pub use diagnosis::{Finding, Severity};
pub use explainer::{Explainer, Limits, Totals};
pub use growth::{Growth, Stop};
pub use moment::Moment;
pub use repeats::{Cause, Episode, Proof};
pub use report::Report;
pub use side::{Count, Offer};
pub use waits::Waits;
pub use window::{Closed, Full};
