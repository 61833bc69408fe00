//! The manifests of an app: what is refused and how it is said, what is accepted, and that nothing makes a reader panic.

mod malformed;
mod random;
mod resolve;
mod shell_words;
mod valid;
