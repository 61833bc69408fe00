//! Why no image was made, for those who asked for it.

use std::error::Error;

use super::images::Images;
use super::told::Told;
use crate::adapters::sandbox::rootfs::RootfsError;
use crate::domain::lifecycle_phase::LifecyclePhase;
use crate::image::{ImageError, RegistryError};
use crate::lifecycle::CreateError;
use crate::lifecycle::analyze::AnalyzeError;
use crate::lifecycle::export::ExportError;
use crate::ports::failure::{Failure, chain};
use crate::ports::image_builder::ImageBuildError;

/// The engine's name.
pub(super) const ENGINE: &str = "embedded";

pub(super) fn not_possible(reason: impl Into<String>) -> ImageBuildError {
    ImageBuildError::NotPossible { engine: ENGINE, reason: reason.into() }
}

/// Tells why the files of an image could not be had, which is to be a builder or a buildpack (`what`).
pub(super) async fn of_rootfs(error: RootfsError, images: &Images, what: &str, name: &str) -> ImageBuildError {
    match error {
        RootfsError::NotFound { platform, .. } => {
            // An index without this machine's platform is there all the same.
            let is_there = match images.named(name) {
                Ok(named) => images.client.resolve(&named.reference).await.is_ok(),
                Err(_) => false,
            };
            if is_there {
                return not_possible(format!(
                    "the {what} `{name}` has no image for {platform}, which this machine is: name another {what}"
                ));
            }
            Failure::NotFound { what: format!("the {what} `{name}`") }.into()
        }
        RootfsError::Image(ImageError::Registry(error)) => Failure::from(error).into(),
        error => Failure::refused(format!("unpack the {what} `{name}`"), error).into(),
    }
}

/// Tells why a build ended: a registry that failed is outside, the rest is said in the output, as the Go lifecycle does.
pub(super) fn of_create(error: CreateError, told: &Told<'_>) -> ImageBuildError {
    let code = error.exit_code().code();
    let step = step(&error, code);
    let error = match registry(error) {
        Ok(error) => return Failure::from(error).into(),
        Err(error) => error,
    };
    told.say(&format!("ERROR: {}", chain(&error as &dyn Error)));
    ImageBuildError::Failed { step, code }
}

fn registry(error: CreateError) -> Result<RegistryError, CreateError> {
    let of_image = |error: Box<ImageError>| match *error {
        ImageError::Registry(error) => Ok(error),
        other => Err(Box::new(other)),
    };
    match error {
        CreateError::Analyze(AnalyzeError::Image(error)) => {
            of_image(error).map_err(|error| CreateError::Analyze(AnalyzeError::Image(error)))
        }
        CreateError::Export(ExportError::Image(error)) => {
            of_image(error).map_err(|error| CreateError::Export(ExportError::Image(error)))
        }
        other => Err(other),
    }
}

fn step(error: &CreateError, code: i32) -> String {
    let of_code = LifecyclePhase::of_exit_code(code);
    let phase = of_code.or(match error {
        CreateError::Detect(_) | CreateError::Builder { .. } => Some(LifecyclePhase::Detect),
        _ => None,
    });
    phase.map_or(ENGINE, LifecyclePhase::as_str).to_owned()
}
