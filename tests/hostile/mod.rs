//! Servers that lie, stall and refuse.

mod aws;
mod growing_layers;
mod layers;
mod program;
mod registry;
