//! The files in which an app says how it is built, tested, released and run.
//!
//! Every reader takes a [`SourceFile`] and gives either a value with its warnings or [`Problems`]: all that is wrong with
//! the file at once, each with its place. [`resolve`] merges the files of an app into one [`AppPlan`].

pub mod addon;
pub mod app_json;
pub mod apppack_toml;
pub mod effective;
mod json;
pub mod locator;
pub mod metadata_toml;
mod node;
pub mod plan;
pub mod problem;
pub mod procfile;
pub mod project_toml;
pub mod shell_words;
pub mod suggest;
mod toml_tree;

pub use addon::AddonKind;
pub use app_json::{AppJson, EnvDeclaration, Formation};
pub use apppack_toml::{AppPackToml, BuildSystem, Engine, time_limit};
pub use effective::Effective;
pub use metadata_toml::{ImageProcess, ImageProcesses};
pub use node::Located;
pub use plan::{AppPlan, BuilderChoice, BuilderReason, ManifestFiles, Resolved, TestPlan, resolve};
pub use problem::{ManifestError, Parsed, Position, Problem, ProblemKind, Problems, SourceFile, Span};
pub use procfile::Procfile;
pub use project_toml::{ProjectBuildpack, ProjectToml};
