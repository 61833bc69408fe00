//! A webhook that takes messages, refuses them, or is not there.

use packhorse::adapters::webhook::Webhook;
use packhorse::domain::lane::LaneKey;
use packhorse::ports::failure::{Failure, chain};
use packhorse::ports::notifier::Notifier as _;
use serde_json::{Value, json};

use crate::support::lying_server::{LyingServer, Reply};

fn lane() -> LaneKey {
    LaneKey::app("shop".parse().unwrap())
}

#[tokio::test]
async fn a_message_arrives_as_it_is() {
    let server = LyingServer::start(|_| Reply::new(200).body("ok")).await;
    let webhook = Webhook::new(format!("http://{}/services/T0/s3cret", server.address).into()).unwrap();
    let message = json!({ "text": "shop: build 7 is live", "blocks": [] });
    webhook.send(&lane(), &message).await.unwrap();
    let asked = server.asked();
    assert_eq!((asked.len(), asked[0].method.as_str(), asked[0].path.as_str()), (1, "POST", "/services/T0/s3cret"));
    assert_eq!(serde_json::from_slice::<Value>(&asked[0].body).unwrap(), message);
}

#[tokio::test]
async fn a_refusal_says_nothing_of_the_address_which_is_a_secret() {
    let server = LyingServer::start(|_| Reply::new(403).body("invalid_token")).await;
    let refusing = format!("http://{}/services/s3cret", server.address);
    for address in [refusing.as_str(), "http://127.0.0.1:1/services/s3cret", "no address s3cret"] {
        let failure = Webhook::new(address.to_owned().into()).unwrap().send(&lane(), &json!({})).await.unwrap_err();
        assert!(!chain(&failure).contains("s3cret"), "{}", chain(&failure));
        assert!(matches!(failure, Failure::Refused { .. } | Failure::Unavailable { .. }));
    }
}
