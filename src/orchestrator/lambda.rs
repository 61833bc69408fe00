//! The orchestrator as a Lambda function: takes batches of a queue, single events, and the tick of a schedule.
//!
//! Nothing is left to do in the background when an invocation is answered, since the program is frozen then.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::intake::{Intake, Taken};
use crate::domain::aws_event::{Delivery, Record, deliveries};
use crate::ports::failure::{Failure, chain};
use crate::ports::invocations::{Invocation, Invocations};

/// How long before the deadline no more work is begun, so that what could not be done is still told.
const SPARE: Duration = Duration::from_secs(3);

/// What a result says when an invocation failed as a whole.
struct Failed {
    kind: &'static str,
    message: String,
}

/// Takes invocations until told to stop.
///
/// # Errors
/// Fails when the runtime API cannot be reached: nothing can be done without it.
pub async fn run(intake: &Intake, invocations: Arc<dyn Invocations>, stop: &CancellationToken) -> Result<(), Failure> {
    loop {
        let invocation = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            invocation = invocations.next() => invocation?,
        };
        match serve(intake, &invocation).await {
            Ok(answer) => invocations.respond(&invocation.id, &answer.to_string()).await?,
            Err(Failed { kind, message }) => {
                warn!(kind, "An invocation failed: {message}");
                invocations.fail(&invocation.id, kind, &message).await?;
            }
        }
    }
}

async fn serve(intake: &Intake, invocation: &Invocation) -> Result<Value, Failed> {
    let until = invocation.deadline.checked_sub(SPARE).unwrap_or(invocation.deadline);
    match deliveries(&invocation.payload) {
        Ok(Delivery::Sweep) => sweep(intake, until).await,
        Ok(Delivery::Events(records)) => take(intake, &records, until).await,
        // What is no event at all is put aside like one that cannot be read.
        Err(_) => {
            let record = Record { message_id: None, body: invocation.payload.clone() };
            take(intake, &[record], until).await
        }
    }
}

/// Answers for a batch record by record. A record without a name cannot be answered for by itself, so when one of those must
/// come again the whole delivery does.
async fn take(intake: &Intake, records: &[Record], until: Instant) -> Result<Value, Failed> {
    let taken = intake.take(records, Some(until)).await;
    let again = records.iter().zip(&taken).filter_map(|(record, taken)| match taken {
        Taken::Again(reason) => Some((record.message_id.as_deref(), reason)),
        Taken::Done(_) | Taken::Unused(_) | Taken::PutAside(_) => None,
    });
    let mut failures = Vec::new();
    for (id, reason) in again {
        match id {
            Some(id) => failures.push(json!({ "itemIdentifier": id })),
            None => return Err(Failed { kind: "Packhorse.Again", message: reason.clone() }),
        }
    }
    info!(records = records.len(), failures = failures.len(), "Took a delivery");
    Ok(json!({ "batchItemFailures": failures }))
}

async fn sweep(intake: &Intake, until: Instant) -> Result<Value, Failed> {
    match timeout_at(until, intake.sweep()).await {
        Ok(Ok(swept)) => Ok(json!({ "lanes": swept.lanes, "waiting": swept.waiting })),
        Ok(Err(failure)) => Err(Failed { kind: "Packhorse.Sweep", message: chain(&failure) }),
        // What was not reached is reached by the next one.
        Err(_) => Err(Failed { kind: "Packhorse.Time", message: "there was no time left for all lanes".to_owned() }),
    }
}
