//! How events reach the orchestrator in an account: as a Lambda function, or from a queue.

use std::sync::Arc;
use std::time::Duration;

use super::aws::BETWEEN;
use super::orchestrators::{Orchestrators, clients, variable};
use crate::adapters::aws::{Clients, DynamoAccessItems, SqsQueue, SsmParameters};
use crate::adapters::lambda_runtime::LambdaRuntime;
use crate::domain::namespace::Namespace;
use crate::env_vars;
use crate::flags::{PlaceChoice, PollArgs, SweepArgs};
use crate::orchestrator::access::AccessPorts;
use crate::orchestrator::intake::Intake;
use crate::orchestrator::poll::Pace;
use crate::orchestrator::{lambda as function, poll as worker};
use crate::ports::dead_letters::DeadLetters;
use crate::ports::failure::chain;
use crate::ports::invocations::Invocations as _;
use crate::session::Session;
use crate::ui::CliError;

/// The lists of people, and what is made of them.
fn access(clients: &Clients, account: Option<String>) -> AccessPorts {
    AccessPorts {
        lists: Arc::new(SsmParameters::new(clients.ssm())),
        items: Arc::new(DynamoAccessItems::new(clients.dynamodb(), Namespace::default().table())),
        account,
    }
}

/// The account of a queue: it is part of its URL, `https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`.
fn account_of(queue: &str) -> Option<String> {
    let account = queue.rsplit('/').nth(1)?;
    (account.len() == 12 && account.chars().all(|c| c.is_ascii_digit())).then(|| account.to_owned())
}

async fn intake(
    session: &Session,
    place: PlaceChoice,
    queue: Option<&str>,
    dead_letters: Option<&str>,
) -> Result<Intake, CliError> {
    let clients = clients(session).await?;
    let account = queue.into_iter().chain(dead_letters).find_map(account_of);
    let kept = |url: &str| -> Arc<dyn DeadLetters> { Arc::new(SqsQueue::new(clients.sqs(Duration::ZERO), url)) };
    let dead_letters = dead_letters.map(kept);
    Ok(Intake {
        fleet: Arc::new(Orchestrators::open(session, place).await?),
        access: access(&clients, account),
        dead_letters,
    })
}

/// Takes what Lambda hands in until Lambda ends the program.
pub(super) async fn lambda(session: &Session) -> Result<(), CliError> {
    let Some(address) = variable(env_vars::AWS_LAMBDA_RUNTIME_API) else {
        return Err(CliError::usage("started as `bootstrap`, but not by Lambda: AWS_LAMBDA_RUNTIME_API is not set")
            .hint("outside Lambda, take events from a queue with `packhorse orchestrator poll`"));
    };
    let runtime = LambdaRuntime::new(&address);
    let place = match variable(env_vars::PACKHORSE_PLACE).as_deref() {
        Some("docker") => PlaceChoice::Docker,
        _ => PlaceChoice::Ecs,
    };
    let intake = match intake(session, place, None, variable(env_vars::PACKHORSE_DEAD_LETTER_QUEUE).as_deref()).await {
        Ok(intake) => intake,
        Err(error) => {
            // Lambda shows this in place of a log that may never be written.
            if let Err(failure) = runtime.fail_to_start("Packhorse.Start", &chain(&error)).await {
                session.printer.warn(format_args!("the failed start could not be reported: {}", chain(&failure)));
            }
            return Err(error);
        }
    };
    Ok(function::run(&intake, Arc::new(runtime), &session.interrupt.gently).await?)
}

/// Takes events from a queue until told to stop.
pub(super) async fn poll(session: &Session, args: &PollArgs) -> Result<(), CliError> {
    let intake = intake(session, args.place, Some(&args.queue), args.dead_letter_queue.as_deref()).await?;
    let pace = Pace {
        hidden: Duration::from_secs(args.hidden_for),
        sweep: Duration::from_secs(args.sweep_every),
        ..Pace::default()
    };
    let queue = Arc::new(SqsQueue::new(clients(session).await?.sqs(pace.wait), &args.queue));
    session.printer.note(format_args!("Taking events from {}; Ctrl-C ends it", args.queue));
    worker::run(&intake, queue, &pace, &session.interrupt.gently).await;
    session.printer.note("Stopped; what was begun is done");
    Ok(())
}

/// Looks at everything in flight, before that for what nobody told of where that is wanted, and with `follow` goes on until
/// nothing is in flight.
pub(super) async fn sweep(session: &Session, args: &SweepArgs) -> Result<(), CliError> {
    let intake = intake(session, args.place, None, None).await?;
    if args.search {
        let searched = intake.search().await?;
        session.printer.note(format_args!("Searched {} apps, {} must wait", searched.lanes, searched.waiting));
    }
    loop {
        let swept = intake.sweep_active().await?;
        if !args.follow || swept.lanes == 0 {
            session.printer.note(format_args!("Looked at {} lanes, {} must wait", swept.lanes, swept.waiting));
            return Ok(());
        }
        tokio::time::sleep(BETWEEN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queues_account_is_read_from_its_url() {
        let url = "https://sqs.us-east-1.amazonaws.com/111122223333/packhorse-events";
        assert_eq!(account_of(url).as_deref(), Some("111122223333"));
        assert_eq!(account_of("http://localhost/queue/events"), None);
    }
}
