//! Child processes: one supervisor for the long ones, short probes beside it, and those that are meant to outlive packhorse. No other
//! code starts a process.

mod background;
mod command;
mod git;
pub mod probe;
pub mod programs;
mod supervisor;

#[cfg(test)]
mod supervisor_tests;

pub use background::Background;
pub use command::Command;
pub use git::Git;
pub use supervisor::{Exit, Limits, ProcessError, Stop, run};
