//! Servers that lie, stall and refuse.

mod aws;
mod layers;
mod program;
mod registry;
