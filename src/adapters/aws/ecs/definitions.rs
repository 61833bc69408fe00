//! Task definitions: one is registered only where its content differs from the newest of its family.

use std::collections::BTreeMap;

use aws_sdk_ecs::operation::deregister_task_definition::DeregisterTaskDefinitionError;
use aws_sdk_ecs::types::TaskDefinitionField;
use aws_smithy_types::error::metadata::ProvideErrorMetadata as _;

use super::super::failure::sort;
use super::{EcsPlace, Site, convert, unfit_for};
use crate::domain::ecs::{Purpose, TaskDefinition, task_definition};
use crate::domain::formation::Formation;
use crate::domain::lane::LaneKey;
use crate::ports::failure::Failure;

/// A definition as ECS has it.
pub(super) struct Registered {
    /// Its ARN, with its revision.
    pub(super) arn: String,
    /// Its tags.
    pub(super) tags: BTreeMap<String, String>,
}

/// A definition that a formation needs, and the one that it takes the place of.
pub(super) struct Ensured {
    /// Its ARN.
    pub(super) arn: String,
    /// The newest of its family before.
    pub(super) replaces: Option<String>,
}

impl EcsPlace {
    /// Registers a definition unless the newest of its family was made from the same content. A crash in between leaves at most
    /// a revision that the next call finds.
    pub(super) async fn ensure_definition(
        &self,
        lane: &LaneKey,
        site: &Site,
        formation: &Formation,
        purpose: &Purpose,
    ) -> Result<Ensured, Failure> {
        let wanted = task_definition(lane, &site.settings, &site.launching, formation, &self.region, purpose)
            .map_err(|unfit| unfit_for(lane, unfit))?;
        let newest = self.definition(&wanted.family).await?;
        match newest {
            Some(known) if TaskDefinition::content_of(&known.tags) == wanted.content() => {
                Ok(Ensured { arn: known.arn, replaces: None })
            }
            known => {
                let arn = self.register(&wanted).await?;
                Ok(Ensured { arn, replaces: known.map(|known| known.arn) })
            }
        }
    }

    /// Returns a definition by its ARN, or the newest active one of a family, or nothing.
    pub(super) async fn definition(&self, name: &str) -> Result<Option<Registered>, Failure> {
        let ask = self.ecs.describe_task_definition().task_definition(name).include(TaskDefinitionField::Tags);
        match ask.send().await {
            Ok(answer) => {
                Ok(answer.task_definition.as_ref().and_then(|found| found.task_definition_arn()).map(|arn| {
                    Registered {
                        arn: arn.to_owned(),
                        tags: convert::tag_map(answer.tags.as_deref().unwrap_or_default()),
                    }
                }))
            }
            // The code also stands for other mistakes of the caller.
            Err(error)
                if error.as_service_error().is_some_and(|refusal| {
                    refusal.code() == Some("ClientException")
                        && refusal.message().is_some_and(|text| text.contains("Unable to describe"))
                }) =>
            {
                Ok(None)
            }
            Err(error) => Err(sort(format!("look for the task definition {name}"), error)),
        }
    }

    async fn register(&self, wanted: &TaskDefinition) -> Result<String, Failure> {
        let doing = format!("register the task definition {}", wanted.family);
        let answer = self
            .ecs
            .register_task_definition()
            .family(&wanted.family)
            .cpu(wanted.cpu.to_string())
            .memory(wanted.memory.to_string())
            .set_network_mode(convert::network_mode(wanted))
            .set_requires_compatibilities(convert::compatibilities(wanted))
            .set_execution_role_arn(wanted.execution_role.clone())
            .set_task_role_arn(wanted.task_role.clone())
            .set_runtime_platform(convert::platform(wanted))
            .container_definitions(convert::container(wanted)?)
            .set_tags(Some(convert::tags(&wanted.tags)))
            .send()
            .await
            .map_err(|error| sort(&doing, error))?;
        let arn = answer.task_definition.and_then(|made| made.task_definition_arn);
        arn.ok_or_else(|| Failure::refused(doing, "the answer has no ARN"))
    }

    /// Takes definitions away; those that are gone count as done.
    pub(super) async fn deregister(&self, definitions: &[String]) -> Result<(), Failure> {
        for definition in definitions {
            match self.ecs.deregister_task_definition().task_definition(definition).send().await {
                Ok(_) => {}
                Err(error)
                    if error.as_service_error().is_some_and(DeregisterTaskDefinitionError::is_client_exception) => {}
                Err(error) => return Err(sort(format!("deregister the task definition {definition}"), error)),
            }
        }
        Ok(())
    }
}
