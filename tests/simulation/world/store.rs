//! The lane's store, the items that clients read, and what people are told.

use async_trait::async_trait;
use packhorse::domain::activity::Line;
use packhorse::domain::lane::{BuildRecord, DeployStatus, Lane, LaneKey, PhaseChange};
use packhorse::domain::names::BuildNumber;
use packhorse::ports::activity_log::ActivityLog;
use packhorse::ports::failure::Failure;
use packhorse::ports::lane_store::{LaneStore, Version, Versioned};
use packhorse::ports::phase_events::PhaseEvents;
use packhorse::ports::records::Records;

use super::World;

#[async_trait]
impl LaneStore for World {
    async fn load(&self, _: &LaneKey) -> Result<Option<Versioned>, Failure> {
        self.call("load", |state| {
            let (lane, version) = &state.lane;
            Ok(Some(Versioned { lane: lane.clone(), version: Version(*version) }))
        })
        .await
    }

    async fn commit(&self, seen: Version, next: &Lane) -> Result<Version, Failure> {
        self.call("commit", |state| {
            let (lane, version) = &mut state.lane;
            if *version != seen.0 {
                return Err(Failure::Conflict { what: "the lane".to_owned() });
            }
            lane.clone_from(next);
            *version += 1;
            Ok(Version(*version))
        })
        .await
    }

    async fn all(&self) -> Result<Vec<LaneKey>, Failure> {
        self.call("list", |state| Ok(vec![state.lane.0.key.clone()])).await
    }

    async fn active(&self) -> Result<Vec<LaneKey>, Failure> {
        self.call("list", |state| {
            let lane = &state.lane.0;
            Ok(if lane.is_active() { vec![lane.key.clone()] } else { Vec::new() })
        })
        .await
    }
}

#[async_trait]
impl Records for World {
    async fn put_build(&self, _: &LaneKey, at: Version, record: &BuildRecord) -> Result<(), Failure> {
        self.call("put", |state| {
            if state.items.get(&record.build_number).is_none_or(|(known, _)| *known <= at.0) {
                state.items.insert(record.build_number, (at.0, Some(record.clone())));
            }
            Ok(())
        })
        .await
    }

    async fn remove_build(&self, _: &LaneKey, at: Version, number: BuildNumber) -> Result<(), Failure> {
        self.call("remove", |state| {
            state.items.insert(number, (at.0, None));
            Ok(())
        })
        .await
    }

    async fn put_deploy_status(&self, _: &LaneKey, at: Version, status: &DeployStatus) -> Result<(), Failure> {
        self.call("put", |state| {
            if state.deploy_item.as_ref().is_none_or(|(known, _)| *known <= at.0) {
                state.deploy_item = Some((at.0, status.clone()));
            }
            Ok(())
        })
        .await
    }

    async fn build(&self, _: &LaneKey, number: BuildNumber) -> Result<Option<BuildRecord>, Failure> {
        self.call("get", |state| Ok(state.items.get(&number).and_then(|(_, item)| item.clone()))).await
    }

    async fn builds(&self, _: &LaneKey, _: usize) -> Result<Vec<BuildRecord>, Failure> {
        Ok(Vec::new())
    }

    async fn deploy_status(&self, _: &LaneKey) -> Result<Option<DeployStatus>, Failure> {
        Ok(None)
    }
}

#[async_trait]
impl PhaseEvents for World {
    async fn emit(&self, _: &[PhaseChange]) -> Result<(), Failure> {
        self.call("emit", |_| Ok(())).await
    }
}

#[async_trait]
impl ActivityLog for World {
    async fn append(&self, _: &LaneKey, lines: &[Line]) -> Result<(), Failure> {
        self.call("write lines", |state| {
            for line in lines {
                let known = state.lines.insert(line.id.clone(), line.text.clone());
                if let Some(known) = known.filter(|known| *known != line.text) {
                    state.violation(format!("two lines have the id {}: {known} and {}", line.id, line.text));
                }
            }
            Ok(())
        })
        .await
    }
}
