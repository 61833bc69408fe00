//! The `packhorse` program.
fn main() {}
