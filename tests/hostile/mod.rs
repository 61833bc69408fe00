//! Servers that lie, stall and refuse.

mod aws;
mod program;
mod registry;
