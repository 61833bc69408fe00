//! Rules without I/O, clock or randomness: equal inputs give equal outputs.

pub mod aws_event;
pub mod catalogue;
pub mod lane;
pub mod manifest;
pub mod names;
pub mod namespace;
