//! Which groups are tried: the order with composite buildpacks replaced by what they consist of.

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;

use super::{DetectError, Detected};
use crate::lifecycle::buildpack::Buildpack;
use crate::lifecycle::order::{Element, Group, Order};
use crate::lifecycle::site::Site;
use crate::lifecycle::store::{Installed, Store};

/// How many groups are tried: far more than any builder has.
pub(super) const MOST_GROUPS: usize = 2_000;

/// A buildpack of a group that is tried.
#[derive(Debug, Clone)]
pub(super) struct Participant {
    pub(super) element: Element,
    pub(super) installed: Arc<Installed>,
    /// Whether it is for another platform than the run image's: it counts as failed, and is not run.
    pub(super) wrong_target: bool,
}

/// How a group fared.
pub(super) enum Outcome {
    Detected(Detected),
    Failed {
        /// Whether a buildpack failed to say if it wants the app.
        errored: bool,
    },
}

/// Tries a group of buildpacks that are no composites.
#[async_trait]
pub(super) trait Trier: Send {
    async fn try_group(&mut self, group: &[Participant]) -> Result<Outcome>;
}

/// An element that is still to be looked at, and the composites it came out of.
#[derive(Clone)]
struct Work {
    element: Element,
    origin: Option<Arc<Origin>>,
}

struct Origin {
    composite: String,
    parent: Option<Arc<Origin>>,
}

type Result<T> = std::result::Result<T, DetectError>;
type Future<'f> = Pin<Box<dyn std::future::Future<Output = Result<Outcome>> + Send + 'f>>;

pub(super) struct Expansion<'e, 'a> {
    site: &'e Site<'a>,
    store: &'e Store<'a>,
    trier: &'e mut dyn Trier,
    tried: usize,
}

impl<'e, 'a> Expansion<'e, 'a> {
    pub(super) fn new(site: &'e Site<'a>, store: &'e Store<'a>, trier: &'e mut dyn Trier) -> Self {
        Self { site, store, trier, tried: 0 }
    }

    pub(super) async fn detect(&mut self, order: &Order) -> Result<Detected> {
        match self.order(order, &[], &[], false, None).await? {
            Outcome::Detected(detected) => Ok(detected),
            Outcome::Failed { errored: true } => Err(DetectError::BuildpackFailed),
            Outcome::Failed { errored: false } => Err(DetectError::NothingDetected),
        }
    }

    /// Tries each group of an order, followed by what comes after it; without the order at all, where it is optional.
    fn order<'f>(
        &'f mut self,
        order: &'f [Group],
        done: &'f [Participant],
        rest: &'f [Work],
        optional: bool,
        origin: Option<Arc<Origin>>,
    ) -> Future<'f> {
        Box::pin(async move {
            let mut any_errored = false;
            for group in order {
                let own = group.group.iter().map(|element| Work { element: element.clone(), origin: origin.clone() });
                let all: Vec<Work> = own.chain(rest.iter().cloned()).collect();
                match self.group(&all, done.to_vec()).await? {
                    Outcome::Failed { errored } => any_errored |= errored,
                    detected @ Outcome::Detected(_) => return Ok(detected),
                }
            }
            if optional {
                return self.group(rest, done.to_vec()).await;
            }
            Ok(Outcome::Failed { errored: any_errored })
        })
    }

    fn group<'f>(&'f mut self, elements: &'f [Work], mut done: Vec<Participant>) -> Future<'f> {
        Box::pin(async move {
            for (index, Work { element, origin }) in elements.iter().enumerate() {
                if done.iter().any(|participant| participant.element.id == element.id) {
                    continue;
                }
                let installed = self.store.find(element)?;
                let buildpack = &installed.buildpack;
                check_api(buildpack)?;
                if !buildpack.order.is_empty() {
                    let origin = enter(element, origin.as_ref())?;
                    let rest = &elements[index + 1..];
                    return self.order(&buildpack.order, &done, rest, element.optional, Some(origin)).await;
                }
                let fits = self.site.target.satisfies(&buildpack.targets);
                // An optional buildpack for another platform runs all the same, as with the Go lifecycle.
                let wrong_target = !fits && !element.optional;
                if wrong_target || buildpack.runs_in(self.site.exec_env) {
                    done.push(Participant { element: element.clone(), installed: installed.clone(), wrong_target });
                }
            }
            self.tried += 1;
            if self.tried > MOST_GROUPS {
                return Err(DetectError::TooManyGroups);
            }
            self.trier.try_group(&done).await
        })
    }
}

/// Refuses a composite within itself, which would never end.
fn enter(element: &Element, origin: Option<&Arc<Origin>>) -> Result<Arc<Origin>> {
    let composite = element.to_string();
    let mut around = origin;
    while let Some(origin) = around {
        if origin.composite == composite {
            return Err(DetectError::Cyclic(composite));
        }
        around = origin.parent.as_ref();
    }
    Ok(Arc::new(Origin { composite, parent: origin.cloned() }))
}

/// Refuses a buildpack of another API, composites included.
pub(super) fn check_api(buildpack: &Buildpack) -> Result<()> {
    let (source, supported) = match buildpack.parsed_api() {
        Ok(api) => (None, api.is_supported()),
        Err(error) => (Some(error), false),
    };
    if supported {
        return Ok(());
    }
    Err(DetectError::Incompatible { element: buildpack.to_string(), api: buildpack.api.clone(), source })
}
