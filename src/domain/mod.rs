//! Rules without I/O, clock or randomness: equal inputs give equal outputs.

pub mod aws_event;
pub mod lane;
pub mod names;
pub mod namespace;
