//! What the command line says to those who put a command's parts together: read by `cli`, understood by `context`.

mod app;
mod codebuild;
mod down;
mod globals;
mod image;
mod orchestrator;
mod up;

pub use app::AppFlag;
pub use codebuild::{CodebuildArgs, Verb};
pub use down::DownArgs;
pub use globals::Globals;
pub use image::{BuildFlags, CompressionChoice, EngineChoice};
pub use orchestrator::{AdoptArgs, HandleArgs, PlaceChoice, PollArgs, SweepArgs};
pub use up::UpArgs;
