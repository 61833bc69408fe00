//! `packhorse up`: the pipeline on one machine.

use serde_json::json;

use crate::context;
use crate::flags::UpArgs;
use crate::session::Session;
use crate::ui::CliError;

/// Runs the command.
pub(super) async fn run(session: &Session, args: &UpArgs) -> Result<(), CliError> {
    context::up(session, args).await.map_err(|error| {
        if error.json.is_some() {
            return error;
        }
        // It ended before there was a build, or beside it: programs find the cause where they find that of a build.
        let cause: Vec<String> = std::iter::once(error.message.clone()).chain(error.causes()).collect();
        let result = json!({ "build": null, "url": null, "phase": null, "cause": cause.join(": ") });
        let json = json!({ "type": "result", "result": result, "error": error.to_json() });
        error.read_as(json)
    })
}
