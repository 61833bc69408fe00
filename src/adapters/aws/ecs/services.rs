//! Services: brought to a formation, and looked at until they run it.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ecs::operation::delete_service::DeleteServiceError;
use aws_sdk_ecs::types::{DesiredStatus, PropagateTags};
use sha2::{Digest as _, Sha256};
use tracing::warn;

use super::super::failure::sort;
use super::{EcsPlace, Site, convert, unfit_for};
use crate::domain::ecs::{
    Purpose, Seen, ServiceChange, ServiceFacts, ServiceSpec, Target, Verdict, bounds, change, judge, seen, service_name,
};
use crate::domain::formation::Formation;
use crate::domain::lane::{LaneKey, ServicesState};
use crate::domain::launch::WEB_PORT;
use crate::domain::names::{BuildNumber, ProcessType};
use crate::domain::place_record::{Order, Ordered, PlaceRecord};
use crate::ports::failure::{Failure, chain};

/// The most services of one `DescribeServices`.
const SERVICES: usize = 10;

impl EcsPlace {
    /// Brings the services to a formation. The order is noted before anything is done, so that a later one finds what this one
    /// has left.
    pub(super) async fn bring_services(&self, lane: &LaneKey, formation: &Formation) -> Result<(), Failure> {
        let (build, sequence) = (formation.build, formation.plan.sequence);
        let site = self.site(lane).await?;
        let wanted: BTreeSet<ProcessType> = formation.plan.services.keys().cloned().collect();
        for process in &wanted {
            service_name(lane, process).map_err(|unfit| unfit_for(lane, unfit))?;
        }
        let now = self.clock.now();
        let in_time = |record: &PlaceRecord| !record.is_late(sequence);
        let record =
            self.remember(lane, |record| in_time(record) && record.begin(build, sequence, &wanted, now)).await?;
        if !in_time(&record) {
            return Ok(());
        }
        let facts = self.facts(lane, &site, &record.services).await?;
        let order = self.prepare(lane, &site, formation, &record, &facts).await?;
        // Somebody else may have begun a newer order meanwhile: that one counts.
        let Some(order) = order else { return Ok(()) };
        for (process, ordered) in &order.services {
            let spec = spec(lane, &site, formation, process, ordered)?;
            self.ensure_service(&site, &spec, facts.get(process), lane).await?;
        }
        // What only a steady release needs follows when it is. A live one is; the revisions before are kept while ECS may still
        // go back to them.
        if record.steady == sequence {
            let unchanged = judge(&order, &facts, self.clock.now()) == Verdict::Steady;
            self.finish(lane, &site, unchanged).await?;
        }
        Ok(())
    }

    /// Makes the task definitions and notes what each service is brought to; nothing where a newer order has begun.
    async fn prepare(
        &self,
        lane: &LaneKey,
        site: &Site,
        formation: &Formation,
        record: &PlaceRecord,
        facts: &BTreeMap<ProcessType, ServiceFacts>,
    ) -> Result<Option<Order>, Failure> {
        let mut retired = BTreeSet::new();
        let mut services = BTreeMap::new();
        let known = |process: &ProcessType| record.order.as_ref().and_then(|order| order.services.get(process));
        for process in formation.plan.services.keys() {
            let made = self.ensure_definition(lane, site, formation, &Purpose::Service(process.clone())).await?;
            let runs = facts.get(process).filter(|service| service.active).map(|service| service.definition.clone());
            // On a repetition the service has the new one already: what was before it is what was noted.
            let before = match runs {
                Some(runs) if runs != made.arn => Some(runs),
                _ => known(process).and_then(|known| known.before.clone()).filter(|before| *before != made.arn),
            };
            retired.extend(made.replaces.into_iter().chain(before.clone()));
            services.insert(process.clone(), Ordered { definition: made.arn, count: None, before });
        }
        let shell = self.ensure_definition(lane, site, formation, &Purpose::Shell).await?;
        retired.extend(shell.replaces);
        let mut scheduler = None;
        if !formation.scheduled_tasks.is_empty() {
            let made = self.ensure_definition(lane, site, formation, &Purpose::Task("scheduler".to_owned())).await?;
            retired.extend(made.replaces);
            scheduler = Some(made.arn);
        }
        let (sequence, now) = (formation.plan.sequence, self.clock.now());
        let record = self
            .remember(lane, |record| {
                let Some(order) = record.order.as_mut().filter(|order| order.sequence == sequence) else {
                    return false;
                };
                let next = Order {
                    // What ECS says of a service may be from before this moment, unless nothing changes.
                    asked: if order.services == services { order.asked } else { now },
                    services: services.clone(),
                    launcher: formation.plan.launcher,
                    scheduler: scheduler.clone(),
                    scheduled_tasks: formation.scheduled_tasks.clone(),
                    ..order.clone()
                };
                let changed = *order != next || !retired.is_subset(&record.retired);
                *order = next;
                record.retired.extend(retired.iter().cloned());
                changed
            })
            .await?;
        Ok(record.order.filter(|order| order.sequence == sequence))
    }

    /// Returns what ECS says of services; those that it does not know are left out.
    pub(super) async fn facts(
        &self,
        lane: &LaneKey,
        site: &Site,
        processes: &BTreeSet<ProcessType>,
    ) -> Result<BTreeMap<ProcessType, ServiceFacts>, Failure> {
        let mut names = BTreeMap::new();
        for process in processes {
            names.insert(service_name(lane, process).map_err(|unfit| unfit_for(lane, unfit))?, process.clone());
        }
        let all: Vec<String> = names.keys().cloned().collect();
        let mut facts = BTreeMap::new();
        for chunk in all.chunks(SERVICES) {
            let ask = self.ecs.describe_services().cluster(&site.settings.cluster).set_services(Some(chunk.to_vec()));
            let answer = ask.send().await.map_err(|error| sort(format!("look at the services of {lane}"), error))?;
            for service in answer.services() {
                if let Some(process) = service.service_name().and_then(|name| names.get(name)) {
                    facts.insert(process.clone(), convert::service_facts(service));
                }
            }
        }
        Ok(facts)
    }

    async fn ensure_service(
        &self,
        site: &Site,
        spec: &ServiceSpec,
        facts: Option<&ServiceFacts>,
        lane: &LaneKey,
    ) -> Result<(), Failure> {
        match facts {
            Some(facts) if facts.draining => {
                let cause = format!("the service {} is still being removed", spec.name);
                return Err(Failure::unavailable(format!("run {lane} on ECS"), cause));
            }
            Some(facts) if facts.active => {
                // First the bounds: a number outside of the old ones would be taken back.
                self.ensure_scaling(site, &spec.name, Some(spec.bounds)).await?;
                if let Some(change) = change(facts, spec) {
                    self.change_service(site, spec, &change).await?;
                }
            }
            _ => {
                self.create_service(site, spec).await?;
                self.ensure_scaling(site, &spec.name, Some(spec.bounds)).await?;
            }
        }
        Ok(())
    }

    async fn create_service(&self, site: &Site, spec: &ServiceSpec) -> Result<(), Failure> {
        let token: String =
            hex::encode(Sha256::digest(format!("{} {}", spec.name, spec.definition))).chars().take(32).collect();
        let create = self
            .ecs
            .create_service()
            .cluster(&site.settings.cluster)
            .service_name(&spec.name)
            .task_definition(&spec.definition)
            .desired_count(spec.bounds.first())
            .client_token(token)
            .set_launch_type(convert::launch_type(&spec.launching))
            .set_capacity_provider_strategy(convert::providers(&spec.launching)?)
            .set_platform_version(spec.launching.platform_version.clone())
            .set_network_configuration(convert::network(&spec.launching)?)
            .set_load_balancers(spec.target.as_ref().map(|target| vec![convert::load_balancer(target)]))
            .set_health_check_grace_period_seconds(spec.grace())
            .deployment_configuration(convert::deployment())
            .enable_execute_command(spec.launching.execute_command)
            .propagate_tags(PropagateTags::TaskDefinition);
        match create.send().await {
            Ok(_) => Ok(()),
            Err(error) => match sort(format!("create the service {}", spec.name), error) {
                // Made by somebody else at the same time, or by an earlier request that is not to be seen yet.
                Failure::Refused { source, .. } if source.to_string().contains("not idempotent") => {
                    let change = ServiceChange { definition: true, breaker: true, ..ServiceChange::default() };
                    self.change_service(site, spec, &change).await
                }
                failure => Err(failure),
            },
        }
    }

    async fn change_service(&self, site: &Site, spec: &ServiceSpec, change: &ServiceChange) -> Result<(), Failure> {
        let mut update = self.ecs.update_service().cluster(&site.settings.cluster).service(&spec.name);
        if change.definition {
            update = update.task_definition(&spec.definition);
        }
        if change.network {
            update = update.set_network_configuration(convert::network(&spec.launching)?);
        }
        if change.launch {
            update = update
                .set_capacity_provider_strategy(convert::providers(&spec.launching)?)
                .set_platform_version(spec.launching.platform_version.clone())
                .force_new_deployment(true);
        }
        if change.target {
            update = update.set_load_balancers(Some(spec.target.iter().map(convert::load_balancer).collect()));
        }
        if change.breaker {
            update = update.deployment_configuration(convert::deployment());
        }
        if change.execute_command {
            update = update.enable_execute_command(spec.launching.execute_command);
        }
        let grace = spec.grace().filter(|_| change.grace || change.target);
        let update = update.set_desired_count(change.desired).set_health_check_grace_period_seconds(grace);
        update.send().await.map_err(|error| sort(format!("update the service {}", spec.name), error))?;
        Ok(())
    }

    /// Tells where the deploy of a build stands. What is told is noted before, so that asking again gives the same answer.
    pub(super) async fn look_at_services(
        &self,
        lane: &LaneKey,
        build: BuildNumber,
    ) -> Result<Option<ServicesState>, Failure> {
        let (record, _) = self.records.load(lane).await?;
        if let Some((failed, cause)) = &record.failed
            && *failed == build
        {
            return Ok(Some(ServicesState::Failed { cause: cause.clone() }));
        }
        let Some(order) = record.order.as_ref().filter(|order| order.build == build) else { return Ok(None) };
        let site = self.site(lane).await?;
        let facts = self.facts(lane, &site, &order.services.keys().cloned().collect()).await?;
        match judge(order, &facts, self.clock.now()) {
            Verdict::UnderWay => Ok(None),
            Verdict::Steady => {
                self.finish(lane, &site, true).await?;
                Ok(Some(ServicesState::Steady))
            }
            Verdict::Failed { process, cause } => {
                let cause = format!("`{process}`: {}", self.explain(lane, &site, &process, order, cause).await);
                self.go_back(lane, &site, &record, order, &facts).await?;
                let sequence = order.sequence;
                self.remember(lane, |record| {
                    let same = record.order.as_ref().is_some_and(|order| order.sequence == sequence);
                    if same && record.failed.is_none() {
                        record.end_badly(&cause);
                    }
                    same
                })
                .await?;
                Ok(Some(ServicesState::Failed { cause }))
            }
        }
    }

    /// Adds to ECS's words what became of the tasks that were to run.
    async fn explain(
        &self,
        lane: &LaneKey,
        site: &Site,
        process: &ProcessType,
        order: &Order,
        cause: String,
    ) -> String {
        let Some(ordered) = order.services.get(process) else { return cause };
        match self.last_end(lane, site, process, &ordered.definition).await {
            Ok(Some(end)) => format!("{cause}: {end}"),
            Ok(None) => cause,
            Err(failure) => {
                warn!(lane = %lane, cause = chain(&failure), "What became of a service's tasks cannot be told");
                cause
            }
        }
    }

    /// Says how the task of a service's definition ended that ended last.
    async fn last_end(
        &self,
        lane: &LaneKey,
        site: &Site,
        process: &ProcessType,
        definition: &str,
    ) -> Result<Option<String>, Failure> {
        let name = service_name(lane, process).map_err(|unfit| unfit_for(lane, unfit))?;
        let list = self.ecs.list_tasks().cluster(&site.settings.cluster).service_name(name);
        let answer = list.desired_status(DesiredStatus::Stopped).send().await;
        let answer = answer.map_err(|error| sort(format!("list the stopped tasks of `{process}`"), error))?;
        let tasks = self.describe_tasks(site, answer.task_arns.unwrap_or_default()).await?;
        let own = tasks.iter().filter(|task| task.task_definition_arn() == Some(definition));
        let newest = own.max_by_key(|task| task.stopped_at().map(aws_sdk_ecs::primitives::DateTime::secs));
        Ok(newest.map(|task| match seen(&convert::task_facts(task)) {
            Seen::Exited { code, reason: Some(reason) } => format!("its process ended with code {code} ({reason})"),
            Seen::Exited { code, reason: None } => format!("its process ended with code {code}"),
            Seen::Gone { reason, .. } => reason,
            Seen::Starting | Seen::Running => "its process was stopped".to_owned(),
        }))
    }

    /// Brings the other services of a failed order back to what they ran before, so that no half of it stays.
    async fn go_back(
        &self,
        lane: &LaneKey,
        site: &Site,
        record: &PlaceRecord,
        order: &Order,
        facts: &BTreeMap<ProcessType, ServiceFacts>,
    ) -> Result<(), Failure> {
        for (process, ordered) in &order.services {
            let name = service_name(lane, process).map_err(|unfit| unfit_for(lane, unfit))?;
            let runs_it =
                facts.get(process).is_some_and(|service| service.active && service.definition == ordered.definition);
            match &ordered.before {
                Some(before) if runs_it => {
                    let update = self.ecs.update_service().cluster(&site.settings.cluster).service(&name);
                    let update = update.task_definition(before).send().await;
                    update.map_err(|error| sort(format!("bring the service {name} back"), error))?;
                }
                // A process type that only this release has; a first release stays, to be looked at.
                None if record.steady > 0 && record.steady < order.sequence => self.delete_service(site, &name).await?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes away what a steady order needs no more, and brings what runs by the clock to it. Revisions before are taken away
    /// only where `settled`.
    async fn finish(&self, lane: &LaneKey, site: &Site, settled: bool) -> Result<(), Failure> {
        let (record, _) = self.records.load(lane).await?;
        let Some(order) = &record.order else { return Ok(()) };
        for process in record.services.iter().filter(|process| !order.services.contains_key(process)) {
            let name = service_name(lane, process).map_err(|unfit| unfit_for(lane, unfit))?;
            self.delete_service(site, &name).await?;
        }
        self.ensure_schedules(lane, site, order).await?;
        let unneeded = if settled { record.unneeded() } else { Vec::new() };
        self.deregister(&unneeded).await?;
        let sequence = order.sequence;
        self.remember(lane, |record| {
            if record.order.as_ref().is_none_or(|order| order.sequence != sequence) {
                return false;
            }
            let before = record.clone();
            record.end_well();
            for definition in &unneeded {
                record.retired.remove(definition);
            }
            before != *record
        })
        .await?;
        Ok(())
    }

    /// Removes a service with its scaling; one that is gone counts as removed.
    pub(super) async fn delete_service(&self, site: &Site, name: &str) -> Result<(), Failure> {
        self.ensure_scaling(site, name, None).await?;
        match self.ecs.delete_service().cluster(&site.settings.cluster).service(name).force(true).send().await {
            Ok(_) => Ok(()),
            Err(error)
                if error.as_service_error().is_some_and(|refusal| {
                    refusal.is_service_not_found_exception()
                        || matches!(refusal, DeleteServiceError::ClientException(told)
                            if told.message().is_some_and(|text| text.contains("not found")))
                }) =>
            {
                Ok(())
            }
            Err(error) => Err(sort(format!("remove the service {name}"), error)),
        }
    }
}

/// What one service should be.
fn spec(
    lane: &LaneKey,
    site: &Site,
    formation: &Formation,
    process: &ProcessType,
    ordered: &Ordered,
) -> Result<ServiceSpec, Failure> {
    let target = site.settings.target_group.clone().filter(|_| process.is_web());
    Ok(ServiceSpec {
        name: service_name(lane, process).map_err(|unfit| unfit_for(lane, unfit))?,
        definition: ordered.definition.clone(),
        bounds: bounds(formation.scaling.of(process.as_str())),
        launching: site.launching.clone(),
        target: target.map(|group| Target { group, port: i32::from(WEB_PORT) }),
    })
}
