//! Servers that lie, stall and refuse.

mod aws;
mod export;
mod growing_layers;
mod layers;
mod program;
mod registry;
