//! Moves lanes forward: commits facts, performs what is owed, and asks for the truth when events were lost.

pub mod advance;
