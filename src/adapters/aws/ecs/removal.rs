//! Takes away all that a lane has on ECS.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ecs::types::DesiredStatus;

use super::{EcsPlace, unfit_for};
use crate::domain::ecs::{family, service_name};
use crate::domain::lane::LaneKey;
use crate::domain::place_record::PlaceRecord;
use crate::ports::failure::Failure;

/// The families of tasks that are not services.
const FAMILIES: [&str; 5] = ["release", "postdeploy", "predestroy", "scheduler", "shell"];
/// Why tasks are stopped.
const REASON: &str = "its app was removed";
/// The most revisions of a family that are taken away at once; more wait for the next call.
const REVISIONS: usize = 200;

impl EcsPlace {
    pub(super) async fn remove_all(&self, lane: &LaneKey, sequence: u64) -> Result<(), Failure> {
        // First of all, so that an order from before brings nothing back, also one that never began.
        let record = self.remember(lane, |record| {
            let newer = sequence > record.highest;
            record.highest = record.highest.max(sequence);
            newer
        });
        let record = record.await?;
        let nothing_made = PlaceRecord { highest: 0, ..record.clone() } == PlaceRecord::default();
        // An older orchestrator gave removals no sequence.
        if nothing_made || sequence > 0 && sequence < record.highest {
            return Ok(());
        }
        let site = self.site(lane).await?;
        self.remove_schedules(lane, &BTreeMap::new()).await?;
        let mut families: BTreeSet<String> = FAMILIES.iter().map(|word| family(lane, word)).collect();
        for process in &record.services {
            let name = service_name(lane, process).map_err(|unfit| unfit_for(lane, unfit))?;
            self.delete_service(&site, &name).await?;
            families.insert(name);
        }
        // Those that were asked for just now are not listed yet.
        let noted: Vec<String> =
            record.tasks.values().map(|task| task.arn.clone()).filter(|arn| !arn.is_empty()).collect();
        let over: BTreeSet<String> = (self.describe_tasks(&site, noted.clone()).await?.into_iter())
            .filter(|task| task.last_status() == Some("STOPPED"))
            .filter_map(|task| task.task_arn)
            .collect();
        for arn in noted.iter().filter(|arn| !over.contains(*arn)) {
            self.stop(&site, arn, REASON).await?;
        }
        for family in &families {
            for arn in self.list(&site, family, DesiredStatus::Running).await? {
                self.stop(&site, &arn, REASON).await?;
            }
            for _ in 0..REVISIONS {
                let Some(newest) = self.definition(family).await? else { break };
                self.deregister(&[newest.arn]).await?;
            }
        }
        // The sequence stays, so that a late order brings nothing back.
        self.remember(lane, |record| {
            let before = record.clone();
            record.services.clear();
            record.retired.clear();
            if let Some(order) = &mut record.order {
                order.services.clear();
                order.scheduled_tasks.clear();
            }
            record.failed = record.order.as_ref().map(|order| (order.build, REASON.to_owned()));
            record.steady = 0;
            before != *record
        })
        .await?;
        Ok(())
    }
}
