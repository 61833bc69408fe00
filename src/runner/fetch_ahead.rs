//! The image is fetched to where its tests run while the engine still writes its cache.

use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;
use tracing::debug;

use super::error::RunnerError;
use super::log::Log;
use super::session::Session;
use crate::ports::failure::chain;
use crate::ports::image_builder::{BuildOutput, BuiltImage, ImageBuild};

/// Makes the image. One that is to be tested is fetched to where its tests run as soon as it is published, while the engine
/// still writes its cache.
pub(super) async fn make_image(
    session: &Session<'_>,
    request: &ImageBuild,
    tested: bool,
    log: &Log,
) -> Result<BuiltImage, RunnerError> {
    let cx = session.cx;
    let (repository, (sender, published)) = (session.repository()?, oneshot::channel());
    let output = Watched { log, published: Mutex::new(Some(sender).filter(|_| tested && request.publish)) };
    let making = async {
        let made = cx.builder.build(request, &output).await;
        output.tell(None);
        made
    };
    let fetching = async {
        if let Ok(digest) = published.await
            && let Err(failure) = cx.test_bed.fetch(&format!("{repository}@{digest}")).await
        {
            debug!(cause = chain(&failure), "The image was not fetched ahead of its tests");
        }
        Ok(())
    };
    let (made, ()) = tokio::try_join!(making, fetching)?;
    Ok(made)
}

/// Passes on what an engine says, and hears when the image is published.
struct Watched<'l> {
    log: &'l Log,
    published: Mutex<Option<oneshot::Sender<String>>>,
}

impl Watched<'_> {
    /// Tells the digest, once; without one, whoever waits for it stops waiting.
    fn tell(&self, digest: Option<&str>) {
        let sender = self.published.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(sender), Some(digest)) = (sender, digest) {
            let _ = sender.send(digest.to_owned());
        }
    }
}

impl BuildOutput for Watched<'_> {
    fn line(&self, line: &str) {
        self.log.line(line);
    }

    fn published(&self, digest: &str) {
        self.tell(Some(digest));
    }
}
