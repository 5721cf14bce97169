//! The receiving side, on the wire: what arrives, what leaves, and what the application sees.

mod acceptable;
mod acks;
mod counters;
mod dsack;
mod ecn;
mod errors;
mod info;
mod options;
mod peer;
mod reading;
mod timestamps;
mod urgent;
mod window;
