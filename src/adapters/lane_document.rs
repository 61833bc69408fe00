//! A lane as stores keep it: JSON, with the number of its layout beside it.

use crate::domain::lane::{Lane, LaneKey};
use crate::ports::failure::Failure;

/// Writes a lane in the layout [`Lane::FORMAT`].
pub(super) fn encode(lane: &Lane) -> Result<String, Failure> {
    serde_json::to_string(lane).map_err(|error| Failure::refused(format!("write the lane of {}", lane.key), error))
}

/// Reads a lane that was stored in layout `format`.
///
/// # Errors
/// Refuses a layout that is newer than the program, and one that it does not understand: deciding from half a lane
/// could release something twice.
pub(super) fn decode(key: &LaneKey, format: u32, state: &str) -> Result<Lane, Failure> {
    let doing = || format!("read the lane of {key}");
    if format > Lane::FORMAT {
        let cause = format!("its format {format} is newer than {}, which this packhorse reads", Lane::FORMAT);
        return Err(Failure::refused(doing(), cause));
    }
    let lane: Lane = serde_json::from_str(state).map_err(|error| Failure::refused(doing(), error))?;
    if lane.key == *key { Ok(lane) } else { Err(Failure::refused(doing(), format!("it is the lane of {}", lane.key))) }
}

/// Names a lane in failures.
pub(super) fn name(key: &LaneKey) -> String {
    format!("the lane of {key}")
}

/// Reads a lane's key from the text that its `Display` writes, `shop` or `storefront:123`.
pub(super) fn key(text: &str) -> Result<LaneKey, Failure> {
    let doing = || format!("read the lane key `{text}`");
    let (app, pull_request) = match text.split_once(':') {
        Some((app, pr)) => (app, Some(pr.parse().map_err(|error| Failure::refused(doing(), error))?)),
        None => (text, None),
    };
    Ok(LaneKey { app: app.parse().map_err(|error| Failure::refused(doing(), error))?, pull_request })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lane::{ActionId, ActionResult, Decision, Event, Phase, TaskExit, TaskKey, TaskKind, decide};
    use crate::domain::names::{BuildNumber, EpochSeconds};

    #[test]
    fn a_key_is_read_as_it_is_written() {
        for text in ["shop", "storefront:123"] {
            assert_eq!(key(text).unwrap().to_string(), text);
        }
        for text in ["", "shop:", "shop:0", "shop:1:2", ":1"] {
            assert!(key(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_lane_that_an_older_packhorse_stored_goes_on() {
        let path = format!("{}/tests/fixtures/lanes/format-1.json", env!("CARGO_MANIFEST_DIR"));
        let stored = decode(&key("shop").unwrap(), 1, &std::fs::read_to_string(path).unwrap()).unwrap();
        assert!(stored.is_active());
        let now = EpochSeconds(1_773_482_600);
        let task = TaskKey { build: BuildNumber(42), kind: TaskKind::Release, attempt: 1 };
        let done = Event::Performed { action: ActionId(7), result: ActionResult::Done };
        let Decision::Changed(lane) = decide(&stored, &done, now) else { panic!() };
        let ended = Event::TaskEnded { task, exit: TaskExit::Code { code: 0, reason: None }, logs: String::new() };
        let Decision::Changed(lane) = decide(&lane, &ended, now) else { panic!() };
        assert_eq!(lane.builds[&BuildNumber(42)].current_phase(), Some(Phase::Deploy));
        let Decision::Changed(lane) = decide(&stored, &Event::SettingsChanged, now) else { panic!() };
        assert!(lane.converge_at.is_some());
    }

    #[test]
    fn a_lane_that_lies_under_another_name_is_refused() {
        let shop = Lane::new(key("shop").unwrap());
        let state = encode(&shop).unwrap();
        assert_eq!(decode(&shop.key, Lane::FORMAT, &state).unwrap(), shop);
        assert!(matches!(decode(&key("other").unwrap(), Lane::FORMAT, &state), Err(Failure::Refused { .. })));
        assert!(matches!(decode(&shop.key, Lane::FORMAT, "{"), Err(Failure::Refused { .. })));
    }
}
