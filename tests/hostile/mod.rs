//! Servers that lie, stall and refuse.

mod registry;
