//! What everything promises that tells somebody at once.

use packhorse::adapters::memory::CollectedNews;
use packhorse::adapters::webhook::Webhook;
use packhorse::domain::activity::{Happened, Line, message};
use packhorse::domain::lane::{Ending, LaneKey, Phase};
use packhorse::domain::names::{BuildNumber, EpochSeconds};
use packhorse::ports::failure::{Failure, chain};
use packhorse::ports::notifier::Notifier;
use serde_json::{Value, json};

use crate::support::lanes::{some_app, some_review_app};
use crate::support::lying_server::{LyingServer, Reply};
use crate::support::suite::suite;

/// A notifier under test.
pub(crate) trait Bench: Send + Sync {
    fn notifier(&self) -> &dyn Notifier;

    /// Returns the messages that arrived, in their order.
    fn arrived(&self) -> Vec<Value>;
}

/// What is said of a build's end.
fn ended(lane: &LaneKey, number: u64, ending: Ending) -> Value {
    let told = Line {
        id: format!("{lane}/{number}/0"),
        at: EpochSeconds(1_767_225_600),
        lane: lane.to_string(),
        text: format!("build {number} & <its end>"),
        what: Happened::Ended { build: BuildNumber(number), commit: String::new(), ending },
    };
    message(lane, &told).unwrap()
}

fn failed() -> Ending {
    Ending::Failed { phase: Phase::Release, cause: "exit code 1".to_owned() }
}

/// Each message arrives once, as it is and in its order.
async fn messages_arrive_as_they_are_and_in_order(bench: &impl Bench) {
    let (app, review_app) = (some_app(), some_review_app());
    let messages =
        [ended(&app, 1, failed()), ended(&review_app, 7, Ending::Deployed), ended(&app, 2, Ending::Deployed)];
    for (lane, message) in [&app, &review_app, &app].into_iter().zip(&messages) {
        bench.notifier().send(lane, message).await.unwrap();
    }
    assert_eq!(bench.arrived(), messages);
}

/// A message has the shape that Slack's incoming webhooks take: a text for notifications, and a section for the reader.
async fn a_message_has_text_and_blocks(bench: &impl Bench) {
    let lane = some_review_app();
    bench.notifier().send(&lane, &ended(&lane, 7, failed())).await.unwrap();
    let name = format!("{} #123", lane.app);
    let expected = json!({
        "text": format!("{name}: build 7 & <its end>"),
        "blocks": [{ "type": "section", "text": {
            "type": "mrkdwn", "text": format!(":x: *{name}*: build 7 &amp; &lt;its end&gt;")
        } }],
    });
    assert_eq!(bench.arrived(), [expected]);
}

impl Bench for CollectedNews {
    fn notifier(&self) -> &dyn Notifier {
        self
    }

    fn arrived(&self) -> Vec<Value> {
        self.messages()
    }
}

struct Posted {
    server: LyingServer,
    webhook: Webhook,
}

const SECRET: &str = "s3cret-of-the-address";

/// A webhook whose server answers its requests with these, one after the other, and takes all that follow.
async fn answering(replies: Vec<Reply>) -> Posted {
    let server = LyingServer::start(move |asked| {
        replies.get(asked.earlier).cloned().unwrap_or_else(|| Reply::new(200).body("ok"))
    })
    .await;
    let webhook = Webhook::new(format!("http://{}/services/{SECRET}", server.address).into()).unwrap();
    Posted { server, webhook }
}

impl Bench for Posted {
    fn notifier(&self) -> &dyn Notifier {
        &self.webhook
    }

    fn arrived(&self) -> Vec<Value> {
        self.server.asked().iter().map(|asked| serde_json::from_slice(&asked.body).unwrap()).collect()
    }
}

macro_rules! promises {
    ($name:ident, $($how:tt)+) => {
        suite!($name, $($how)+, [messages_arrive_as_they_are_and_in_order, a_message_has_text_and_blocks]);
    };
}

promises!(memory, packhorse::adapters::memory::CollectedNews::new());
promises!(webhook, super::answering(Vec::new()).await);

#[tokio::test]
async fn a_webhook_that_passes_for_a_moment_is_tried_again() {
    for reply in [Reply::new(503), Reply::new(429), Reply::new(200).body("ok then").breaks_after(0)] {
        let bench = answering(vec![reply.clone()]).await;
        let lane = some_app();
        bench.webhook.send(&lane, &ended(&lane, 1, failed())).await.unwrap_or_else(|failure| {
            panic!("{reply:?}: {}", chain(&failure));
        });
        assert_eq!(bench.server.count("POST", &format!("/services/{SECRET}")), 2, "{reply:?}");
    }
}

#[tokio::test]
async fn a_message_that_stays_refused_is_given_up_and_the_address_is_never_told() {
    for (status, attempts) in [(503, 3), (429, 3), (403, 1), (404, 1), (301, 1)] {
        let bench =
            answering(vec![Reply::new(status).header("location", format!("http://127.0.0.1:1/{SECRET}")); 5]).await;
        let failure = bench.webhook.send(&some_app(), &json!({ "text": "x" })).await.unwrap_err();
        assert_eq!(bench.server.count("POST", &format!("/services/{SECRET}")), attempts, "{status}");
        assert_eq!(failure.is_passing(), attempts > 1, "{status}");
        let told = format!("{} {failure:?}", chain(&failure));
        assert!(!told.contains(SECRET) && told.contains(&status.to_string()), "{told}");
    }
    // Nobody there, and an address that is none.
    for (address, passes) in [(format!("http://127.0.0.1:1/{SECRET}"), true), (format!("no address {SECRET}"), false)] {
        let webhook = Webhook::new(address.into()).unwrap();
        let failure: Failure = webhook.send(&some_app(), &json!({ "text": "x" })).await.unwrap_err();
        let told = format!("{} {failure:?}", chain(&failure));
        assert!(failure.is_passing() == passes && !told.contains(SECRET), "{told}");
    }
}
