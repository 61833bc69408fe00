//! A build as programs read it: the item of the wire contract with all six phases, whether they ran or not.

use serde_json::{Map, Value, json};

use crate::domain::lane::{BuildRecord, Phase, PhaseRecord};

/// Makes the document of one build; a phase that never ran has an empty state and zero times.
pub(super) fn document(record: &BuildRecord) -> Value {
    let mut document = Map::new();
    document.insert("app".to_owned(), json!(record.app));
    document.insert("build_number".to_owned(), json!(record.build_number.0));
    document.insert("pr_number".to_owned(), json!(record.pr_number));
    document.insert("commit".to_owned(), json!(record.commit));
    for phase in Phase::ALL {
        document.insert(phase.as_str().to_owned(), phase_document(record.phases.get(&phase)));
    }
    Value::Object(document)
}

fn phase_document(record: Option<&PhaseRecord>) -> Value {
    match record {
        Some(PhaseRecord { state, start, end, arns, logs }) => json!({
            "arns": arns,
            "logs": logs,
            "start": start.0,
            "end": end.map_or(0, |end| end.0),
            "state": state.as_str(),
        }),
        None => json!({ "arns": [], "logs": "", "start": 0, "end": 0, "state": "" }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::lane::PhaseState;
    use crate::domain::names::{BuildNumber, EpochSeconds};

    #[test]
    fn every_phase_is_there_and_no_list_is_null() {
        let record = BuildRecord {
            app: "shop".to_owned(),
            build_number: BuildNumber(42),
            pr_number: String::new(),
            commit: "9f8e7d6c".to_owned(),
            phases: BTreeMap::from([(
                Phase::Build,
                PhaseRecord {
                    state: PhaseState::Started,
                    start: EpochSeconds(1_767_225_600),
                    end: None,
                    arns: vec!["arn:aws:codebuild:us-east-1:111122223333:build/shop:6b0e7c1a".to_owned()],
                    logs: "cloudwatch:///aws/codebuild/shop#6b0e7c1a".to_owned(),
                },
            )]),
            ending: None,
        };
        let document = document(&record);
        assert_eq!(document["build"]["state"], "started");
        assert_eq!(document["build"]["end"], 0);
        for phase in Phase::ALL {
            assert!(document[phase.as_str()]["arns"].is_array(), "{phase}");
        }
    }
}
