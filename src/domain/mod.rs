//! Rules without I/O, clock or randomness: equal inputs give equal outputs.

pub mod lane;
pub mod names;
pub mod namespace;
