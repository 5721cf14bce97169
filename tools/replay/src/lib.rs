//! Replays one side of a recorded conversation into the stack and checks what comes out.

pub mod capture;
pub mod checker;
pub mod conversation;
pub mod packet;
mod ranges;
