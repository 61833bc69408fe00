//! What runs by the clock: one schedule per job in `EventBridge` Scheduler (`aws-events` 4.6).

use std::collections::BTreeMap;

use aws_sdk_scheduler::operation::create_schedule::CreateScheduleError;
use aws_sdk_scheduler::operation::delete_schedule::DeleteScheduleError;
use aws_sdk_scheduler::operation::get_schedule::{GetScheduleError, GetScheduleOutput};
use aws_sdk_scheduler::types::{
    AssignPublicIp, AwsVpcConfiguration, CapacityProviderStrategyItem, EcsParameters, FlexibleTimeWindow,
    FlexibleTimeWindowMode, LaunchType, NetworkConfiguration, PropagateTags, ScheduleState, Target,
};
use aws_smithy_types::error::operation::BuildError;
use tracing::{info, warn};

use super::super::failure::sort;
use super::{EcsPlace, Site, unfit_for};
use crate::domain::app_settings::NO_SCHEDULE_ROLE;
use crate::domain::ecs::{Launch, ScheduleSpec, schedules};
use crate::domain::lane::LaneKey;
use crate::domain::namespace::Namespace;
use crate::domain::place_record::Order;
use crate::ports::failure::Failure;

fn incomplete(error: BuildError) -> Failure {
    Failure::refused("write a request to EventBridge Scheduler", error)
}

impl EcsPlace {
    /// Brings an app's schedules to an order; a review app has none.
    ///
    /// Where jobs are wanted and the settings name no role to start them in, all stays as it is, the rules of an earlier
    /// orchestrator too: a release does not fail for that, and jobs that run go on running.
    pub(super) async fn ensure_schedules(&self, lane: &LaneKey, site: &Site, order: &Order) -> Result<(), Failure> {
        if lane.pull_request.is_some() {
            return Ok(());
        }
        let wanted = schedules(lane, order.launcher, &order.scheduled_tasks).map_err(|unfit| unfit_for(lane, unfit))?;
        if let (Some(definition), false) = (&order.scheduler, wanted.is_empty()) {
            let Some(role) = &site.settings.schedule_role else {
                warn!(lane = %lane, jobs = wanted.len(), "Scheduled tasks of {lane} are left as they are: {NO_SCHEDULE_ROLE}");
                return Ok(());
            };
            let target = target(site, role, definition)?;
            for spec in wanted.values() {
                self.ensure_schedule(spec, &target).await?;
            }
        }
        self.remove_schedules(lane, &wanted).await?;
        self.remove_old_rules(lane).await
    }

    async fn ensure_schedule(&self, spec: &ScheduleSpec, target: &Target) -> Result<(), Failure> {
        let ScheduleSpec { name, expression, input } = spec;
        let mut target = target.clone();
        target.input = Some(input.clone());
        let group = Namespace::default().table().to_owned();
        let known = match self.scheduler.get_schedule().group_name(&group).name(name).send().await {
            Ok(known) => Some(known),
            Err(error) if error.as_service_error().is_some_and(GetScheduleError::is_resource_not_found_exception) => {
                None
            }
            Err(error) => return Err(sort(format!("look at the schedule {name}"), error)),
        };
        let exactly = FlexibleTimeWindow::builder().mode(FlexibleTimeWindowMode::Off).build().map_err(incomplete)?;
        match known {
            Some(known) if is_as_wanted(&known, expression, &target) => Ok(()),
            // Replaces everything: what is left out is reset.
            Some(_) => {
                let update = self.scheduler.update_schedule().group_name(group).name(name).target(target);
                let update = update.schedule_expression(expression).flexible_time_window(exactly);
                update
                    .state(ScheduleState::Enabled)
                    .send()
                    .await
                    .map_err(|error| sort(format!("change the schedule {name}"), error))?;
                Ok(())
            }
            None => {
                let create = self.scheduler.create_schedule().group_name(group).name(name).target(target);
                let create = create.schedule_expression(expression).flexible_time_window(exactly);
                match create.state(ScheduleState::Enabled).send().await {
                    Ok(_) => Ok(()),
                    // Made by somebody else at the same time, from the same job.
                    Err(error) if error.as_service_error().is_some_and(CreateScheduleError::is_conflict_exception) => {
                        Ok(())
                    }
                    Err(error) => Err(sort(format!("make the schedule `{expression}`"), error)),
                }
            }
        }
    }

    /// Removes the schedules of a lane that are not wanted.
    pub(super) async fn remove_schedules(
        &self,
        lane: &LaneKey,
        wanted: &BTreeMap<String, ScheduleSpec>,
    ) -> Result<(), Failure> {
        let doing = format!("list the schedules of {lane}");
        let group = Namespace::default().table().to_owned();
        let (mut found, mut token) = (Vec::new(), None);
        loop {
            let list = self.scheduler.list_schedules().group_name(&group).name_prefix(format!("{}-", lane.app));
            let page = list.set_next_token(token.take()).send().await;
            let page = match page {
                Ok(page) => page,
                // Without the group there are none.
                Err(error) if error.as_service_error().is_some_and(aws_sdk_scheduler::operation::list_schedules::ListSchedulesError::is_resource_not_found_exception) => break,
                Err(error) => return Err(sort(doing, error)),
            };
            found.extend(page.schedules.into_iter().filter_map(|schedule| schedule.name));
            match page.next_token {
                Some(next) if !next.is_empty() => token = Some(next),
                _ => break,
            }
        }
        for name in found.iter().filter(|name| ScheduleSpec::is_of(lane, name) && !wanted.contains_key(*name)) {
            match self.scheduler.delete_schedule().group_name(&group).name(name).send().await {
                Ok(_) => {}
                Err(error)
                    if error.as_service_error().is_some_and(DeleteScheduleError::is_resource_not_found_exception) => {}
                Err(error) => return Err(sort(format!("remove the schedule {name}"), error)),
            }
        }
        Ok(())
    }

    /// Removes the rules by which an earlier orchestrator ran this app's jobs. Those with which clients check an expression are
    /// left alone, and so is what belongs to an app with a longer name.
    async fn remove_old_rules(&self, lane: &LaneKey) -> Result<(), Failure> {
        let namespace = Namespace::default();
        let (prefix, checks) =
            (format!("{}-{}-", namespace.table(), lane.app), format!("{}-validate-", namespace.table()));
        let doing = format!("look for old rules of {lane}");
        let (mut rules, mut token) = (Vec::new(), None);
        loop {
            let list = self.events.list_rules().name_prefix(&prefix).set_next_token(token.take());
            let page = list.send().await.map_err(|error| sort(&doing, error))?;
            rules.extend(page.rules.unwrap_or_default().into_iter().filter_map(|rule| rule.name));
            match page.next_token {
                Some(next) if !next.is_empty() => token = Some(next),
                _ => break,
            }
        }
        for rule in rules.iter().filter(|rule| !rule.starts_with(&checks)) {
            let targets = self.events.list_targets_by_rule().rule(rule).send().await;
            let targets = targets.map_err(|error| sort(&doing, error))?.targets.unwrap_or_default();
            let mut ours = !targets.is_empty();
            for target in &targets {
                let definition =
                    target.ecs_parameters().map(aws_sdk_eventbridge::types::EcsParameters::task_definition_arn);
                ours &= match definition {
                    Some(definition) => self.is_of(lane, definition).await?,
                    None => false,
                };
            }
            if !ours {
                continue;
            }
            info!(lane = %lane, rule, "Removing a rule of an earlier orchestrator");
            let ids = targets.into_iter().map(|target| target.id).collect();
            let remove = self.events.remove_targets().rule(rule).set_ids(Some(ids)).send().await;
            remove.map_err(|error| sort(format!("remove the targets of the rule {rule}"), error))?;
            let delete = self.events.delete_rule().name(rule).send().await;
            delete.map_err(|error| sort(format!("remove the rule {rule}"), error))?;
        }
        Ok(())
    }

    /// Tells whether a task definition says that it belongs to this app.
    async fn is_of(&self, lane: &LaneKey, definition: &str) -> Result<bool, Failure> {
        let owner = Namespace::default().tag("appName");
        let found = self.definition(definition).await?;
        Ok(found.is_some_and(|found| found.tags.get(&owner).is_some_and(|app| app == lane.app.as_str())))
    }
}

/// What starts the tasks of all jobs.
fn target(site: &Site, role: &str, definition: &str) -> Result<Target, Failure> {
    let launching = &site.launching;
    let mut parameters = EcsParameters::builder()
        // Pinned: an unreleased build must not run jobs.
        .task_definition_arn(definition)
        .task_count(1)
        .propagate_tags(PropagateTags::TaskDefinition)
        .enable_execute_command(launching.execute_command)
        .set_platform_version(launching.platform_version.clone());
    match &launching.launch {
        Launch::Unsaid => {}
        Launch::Type(name) => parameters = parameters.launch_type(LaunchType::from(name.as_str())),
        Launch::Providers(providers) => {
            for provider in providers {
                let item = CapacityProviderStrategyItem::builder().capacity_provider(&provider.name);
                let item = item.weight(provider.weight).base(provider.base).build().map_err(incomplete)?;
                parameters = parameters.capacity_provider_strategy(item);
            }
        }
    }
    if let Some(network) = &launching.network {
        let public = if network.public { AssignPublicIp::Enabled } else { AssignPublicIp::Disabled };
        let vpc = AwsVpcConfiguration::builder()
            .set_subnets(Some(network.subnets.iter().cloned().collect()))
            .set_security_groups(Some(network.security_groups.iter().cloned().collect()))
            .assign_public_ip(public)
            .build()
            .map_err(incomplete)?;
        parameters =
            parameters.network_configuration(NetworkConfiguration::builder().awsvpc_configuration(vpc).build());
    }
    let parameters = parameters.build().map_err(incomplete)?;
    let target = Target::builder().arn(&site.settings.cluster).role_arn(role).ecs_parameters(parameters);
    target.build().map_err(incomplete)
}

fn is_as_wanted(known: &GetScheduleOutput, expression: &str, target: &Target) -> bool {
    let same_target = known.target().is_some_and(|known| {
        let (is, wanted) = (known.ecs_parameters(), target.ecs_parameters());
        let same = |part: fn(&EcsParameters) -> String| is.map(part) == wanted.map(part);
        known.arn() == target.arn()
            && known.role_arn() == target.role_arn()
            && known.input() == target.input()
            && same(|parameters| parameters.task_definition_arn().to_owned())
            && same(|parameters| format!("{:?}", parameters.launch_type()))
            && same(|parameters| format!("{:?}", parameters.capacity_provider_strategy()))
            && same(|parameters| format!("{:?}", parameters.network_configuration()))
    });
    same_target && known.schedule_expression() == Some(expression) && known.state() == Some(&ScheduleState::Enabled)
}
