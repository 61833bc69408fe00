//! What stands in for a Docker daemon that does not answer: whoever needs it is told, and nobody else.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::ports::failure::Failure;
use crate::ports::image_builder::{BuildOutput, BuiltImage, ImageBuild, ImageBuildError, ImageBuilder};
use crate::ports::test_bed::{AddonRequest, TestBed, TestBedError, TestRun};

/// Fails with what Docker said, or did not say.
///
/// A build inside CodeBuild must tell that in its log and to its lane, so it may not end before it has begun.
pub(super) struct NoDocker(pub(super) Failure);

#[async_trait]
impl ImageBuilder for NoDocker {
    fn name(&self) -> &'static str {
        "pack"
    }

    async fn build(&self, _: &ImageBuild, _: &dyn BuildOutput) -> Result<BuiltImage, ImageBuildError> {
        Err(self.0.copy().into())
    }
}

#[async_trait]
impl TestBed for NoDocker {
    async fn start(&self, _: &str, _: &[AddonRequest]) -> Result<BTreeMap<String, String>, TestBedError> {
        Err(self.0.copy().into())
    }

    async fn run(&self, _: &TestRun, _: &dyn BuildOutput) -> Result<i64, TestBedError> {
        Err(self.0.copy().into())
    }

    async fn remove(&self, _: &str) -> Result<(), Failure> {
        Err(self.0.copy())
    }
}
