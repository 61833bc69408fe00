//! Gives a tested image its names.

use super::error::RunnerError;
use super::session::Session;
use crate::domain::tags;
use crate::image::{ImageReference, Tag};
use crate::ports::failure::{Failure, chain};
use crate::ports::image_builder::BuildOutput;
use crate::ports::image_store::{RemoveOutcome, TagOutcome};

impl Session<'_> {
    /// Tags the image `{commit}`, `build-{n}` and `latest`, then takes its candidate name away.
    ///
    /// Repeating it changes nothing. A `{commit}` or `latest` that may not be moved is a warning: the same commit was built
    /// before, or the repository keeps every tag for good; `build-{n}` has to name this image.
    pub(super) async fn give_names(&mut self, log: &dyn BuildOutput) -> Result<(), RunnerError> {
        let image = self.state.image.clone().ok_or(RunnerError::CutOff)?;
        let repository = self.repository()?;
        let [commit, numbered, latest] = tags::released(&self.state.commit, &self.environment.label);
        let names = [tag(&commit)?, tag(&numbered)?, tag(&latest)?];
        // What is done here has to be remembered: a disk that is full is found before any name is given.
        self.save()?;
        let candidate = repository.tagged(tag(&image.candidate)?);
        // The name of a candidate that is gone was taken by an earlier run, which had set the others before.
        let by_digest = image.digest.parse().ok().filter(|_| self.cx.settings.publish);
        let source = by_digest.map_or_else(|| candidate.clone(), |digest| repository.at(digest));
        let outcomes = match self.cx.images.tag(&source, &names).await {
            Err(Failure::NotFound { .. }) if source == candidate => {
                let numbered = repository.tagged(names[1].clone());
                self.cx.images.tag(&numbered, &names).await?
            }
            outcomes => outcomes?,
        };
        let mut given = Vec::new();
        for (name, outcome) in names.iter().zip(outcomes) {
            match outcome {
                TagOutcome::Created | TagOutcome::AlreadyThere => given.push(name.to_string()),
                TagOutcome::Immutable if *name == names[1] => {
                    return Err(RunnerError::TagTaken { tag: name.to_string() });
                }
                TagOutcome::Immutable => log.line(&format!(
                    "warning: the tag `{name}` names another image, and the repository does not let it move"
                )),
            }
        }
        log.line(&format!("===> The image has the names {}", given.join(", ")));
        if let Some(metadata) = &mut self.state.metadata.image {
            metadata.tags = given;
        }
        self.save()?;
        // Those of earlier attempts are in nobody's way, but nobody would ever remove them.
        for attempt in (1..=self.state.attempt).rev().take(10) {
            let candidate = repository.tagged(tag(&tags::candidate(&self.environment.build_id, attempt))?);
            if !self.drop_candidate(&candidate, log).await {
                break;
            }
        }
        Ok(())
    }

    /// Takes a candidate name away, never the image: its digest may be that of a release. Tells whether that works here.
    async fn drop_candidate(&self, candidate: &ImageReference, log: &dyn BuildOutput) -> bool {
        match self.cx.images.remove_tag(candidate).await {
            Ok(RemoveOutcome::Removed | RemoveOutcome::NotThere) => return true,
            Ok(RemoveOutcome::Unsupported { .. }) => {
                log.line("The candidate's tag stays: the registry or the role does not let it be removed");
            }
            Err(failure) => log.line(&format!("The candidate's tag stays: {}", chain(&failure))),
        }
        false
    }
}

pub(super) fn tag(name: &str) -> Result<Tag, RunnerError> {
    name.parse().map_err(|source| RunnerError::ImageName { name: name.to_owned(), source })
}
