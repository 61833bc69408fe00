//! How to make an image.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::domain::manifest::Engine;
use crate::env_vars;
use crate::image::layer::Compression;

/// The flags of every command that makes an image.
#[derive(Debug, Clone, Args)]
pub struct BuildFlags {
    /// What makes the image (default: what `[build] engine` of apppack.toml says, else `auto`)
    #[arg(long, env = env_vars::PACKHORSE_ENGINE, hide_env_values = true, value_enum, value_name = "ENGINE")]
    pub engine: Option<EngineChoice>,
    /// The builder image (default: what the app's manifests say)
    #[arg(long, value_name = "IMAGE")]
    pub builder: Option<String>,
    /// PEM file of certificate authorities that downloads during the build trust
    #[arg(long, env = env_vars::PACKHORSE_CA_BUNDLE, hide_env_values = true, value_name = "FILE")]
    pub ca_bundle: Option<PathBuf>,
    /// The network of build containers, such as `host`
    #[arg(long, env = env_vars::PACKHORSE_BUILD_NETWORK, hide_env_values = true, value_name = "NETWORK")]
    pub network: Option<String>,
}

/// What makes an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum EngineChoice {
    /// The one that can do what is asked on this machine
    #[default]
    Auto,
    /// `pack` with Docker
    Pack,
    /// `docker buildx build`
    Dockerfile,
    /// The lifecycle inside packhorse, without Docker
    Embedded,
}

impl From<EngineChoice> for Engine {
    fn from(choice: EngineChoice) -> Self {
        match choice {
            EngineChoice::Auto => Self::Auto,
            EngineChoice::Pack => Self::Pack,
            EngineChoice::Dockerfile => Self::Dockerfile,
            EngineChoice::Embedded => Self::Embedded,
        }
    }
}

/// How layers are compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum CompressionChoice {
    /// What every engine and registry takes
    #[default]
    Gzip,
    /// Faster to make and to unpack; for Docker 23, containerd 1.5, Fargate 1.4 and later
    Zstd,
}

impl From<CompressionChoice> for Compression {
    fn from(choice: CompressionChoice) -> Self {
        match choice {
            CompressionChoice::Gzip => Self::Gzip,
            CompressionChoice::Zstd => Self::Zstd,
        }
    }
}
