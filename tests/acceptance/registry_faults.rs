//! The runner's own requests to a registry that misbehaves: what the image says is read, and its names are given.
#![cfg(feature = "aws")]

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use serde_json::json;

use crate::support::fault_proxy::{Fault, When};
use crate::support::made_image::{Attempt, Made, SECRET};

const ALWAYS: usize = usize::MAX;
/// The requests of packhorse itself; those of pack and Docker pass.
const OWN: &str = "packhorse/";

/// What goes wrong for ever, where, what is said of it, and the names that the image has got by then.
struct Lasting {
    verb: &'static str,
    method: &'static str,
    path: &'static str,
    fault: Fault,
    words: &'static [&'static str],
    named: &'static [&'static str],
}

fn lasting(
    verb: &'static str,
    (method, path): (&'static str, &'static str),
    fault: Fault,
    words: &'static [&'static str],
) -> Lasting {
    Lasting { verb, method, path, fault, words, named: &[] }
}

fn refusal(status: u16, code: &str) -> Fault {
    let body = json!({ "errors": [{ "code": code, "message": "the registry of this test does not want to" }] });
    Fault::Answer { status, body: body.to_string() }
}

/// Stands for the address of the proxy and of whatever was asked for.
const ITSELF: &str = "itself";

fn lasting_faults() -> Vec<Lasting> {
    const MANIFEST: (&str, &str) = ("GET", "/manifests/sha256:");
    const CONFIG: (&str, &str) = ("GET", "/blobs/");
    const LAYER: (&str, &str) = ("GET", "layer");
    const COMMIT: (&str, &str) = ("PUT", "/manifests/{commit}");
    const NUMBERED: (&str, &str) = ("PUT", "/manifests/build-");
    const LATEST: (&str, &str) = ("PUT", "/manifests/latest");
    const AGAIN: &str = "start the build again";
    const LOGIN: &str = "docker login";
    const DENIED: &str = "DENIED: the registry of this test does not want to";
    let (read, write) = ("build", "postbuild");
    let itself = || Fault::Redirected { to: ITSELF.to_owned() };
    vec![
        lasting(
            read,
            MANIFEST,
            Fault::Altered,
            &["could not read the manifest of `", "gave a wrong answer", "what came is sha256:", AGAIN],
        ),
        lasting(
            read,
            CONFIG,
            Fault::Altered,
            &["could not read blob sha256:", "gave a wrong answer", "what came is sha256:", AGAIN],
        ),
        lasting(read, LAYER, Fault::Altered, &["could not read blob sha256:", "what came is sha256:", AGAIN]),
        lasting(read, LAYER, Fault::Truncated, &["no answer while trying to read blob sha256:", AGAIN]),
        lasting(
            read,
            MANIFEST,
            refusal(401, "UNAUTHORIZED"),
            &["access denied while trying to read the manifest", "UNAUTHORIZED: ", LOGIN],
        ),
        lasting(read, CONFIG, refusal(403, "DENIED"), &["access denied while trying to read blob", DENIED, LOGIN]),
        lasting(
            read,
            MANIFEST,
            refusal(429, "TOOMANYREQUESTS"),
            &["no answer while trying to read the manifest", "status 429: TOOMANYREQUESTS", "wait a minute"],
        ),
        lasting(read, CONFIG, Fault::InternalError, &["no answer while trying to read blob", "status 500", AGAIN]),
        lasting(read, MANIFEST, itself(), &["could not read the manifest", "redirects more than 5 times", AGAIN]),
        lasting(write, MANIFEST, Fault::Altered, &["could not read the manifest of `", "what came is sha256:", AGAIN]),
        lasting(
            write,
            COMMIT,
            refusal(403, "DENIED"),
            &["access denied while trying to write the manifest of `", DENIED, LOGIN],
        ),
        lasting(
            write,
            COMMIT,
            Fault::Misnamed,
            &["could not write the manifest of `", "it stored sha256:000000", AGAIN],
        ),
        Lasting {
            named: &["{commit}"],
            ..lasting(
                write,
                NUMBERED,
                Fault::InternalError,
                &["no answer while trying to write the manifest of `", "status 500", AGAIN],
            )
        },
        Lasting {
            named: &["{commit}"],
            ..lasting(write, NUMBERED, itself(), &["could not write the manifest of `", "status 307", AGAIN])
        },
        Lasting {
            named: &["{commit}", "build-{n}"],
            ..lasting(
                write,
                LATEST,
                refusal(429, "TOOMANYREQUESTS"),
                &["no answer while trying to write the manifest of `", "status 429", "wait a minute"],
            )
        },
        Lasting {
            named: &["{commit}", "build-{n}"],
            ..lasting(write, LATEST, Fault::Dropped, &["no answer while trying to write the manifest of `", AGAIN])
        },
    ]
}

impl Lasting {
    fn bring_about(&self, attempt: &Attempt, made: &Made) -> When {
        let own = |path: String| When::path(self.method, path).by(OWN);
        let paths = match self.path {
            "layer" => made.layers.iter().map(|digest| format!("/blobs/{digest}")).collect(),
            path => vec![path.replace("{commit}", &attempt.commit)],
        };
        let fault = match &self.fault {
            Fault::Redirected { .. } => Fault::Redirected {
                to: format!("{}/v2/{}/manifests/{}", attempt.proxy.url(), made.account.app, made.digest),
            },
            other => other.clone(),
        };
        for path in &paths {
            attempt.proxy.fail(own(path.clone()), ALWAYS, fault.clone());
        }
        if paths.len() == 1 { own(paths[0].clone()) } else { own("/blobs/".to_owned()) }
    }

    /// Checks what was said, what is recorded, and which names the image has.
    async fn fails(self, made: Arc<Made>, number: u64, before: BTreeMap<String, String>) {
        let attempt = Attempt::of(&made, number).await;
        tokio::task::spawn_blocking(move || {
            attempt.succeeds("prebuild");
            if self.verb == "postbuild" {
                attempt.succeeds("build");
            }
            let when = self.bring_about(&attempt, &made);
            let asked = attempt.proxy.seen(&when).len();
            let ran = attempt.run(self.verb);
            let about = format!("{} {} {:?}: {ran}", self.method, self.path, self.fault);
            assert_eq!(ran.code, 1, "{about}");
            let (phase, log) = if self.verb == "build" { ("build", "build.log") } else { ("test", "test.log") };
            let told = Attempt::told(&ran);
            let kept = fs::read_to_string(attempt.source.path().join(log)).unwrap();
            for word in self.words {
                assert!(told.contains(word) && kept.contains(word), "`{word}` is missing: {about}\n{kept}");
            }
            assert!(!format!("{ran}{kept}").contains(SECRET), "{about}");
            // Config and layer are asked for, each with as many tries as one operation has.
            let asked = attempt.proxy.seen(&when).len() - asked;
            assert!((1..=13).contains(&asked), "{asked} requests: {about}");
            assert_eq!(attempt.account.record(number)[phase]["state"], "failed", "{about}");
            let cause = attempt.account.metadata(&number.to_string())["failure"].as_str().unwrap().to_owned();
            assert!(told.contains(cause.split(": ").next().unwrap()), "{cause}: {about}");
            // The names are given in this order, and the next one only after the one before.
            let tags = made.account.tags();
            assert_eq!(tags["latest"], before["latest"], "{about}");
            for name in ["{commit}", "build-{n}"] {
                let tag = name.replace("{commit}", &attempt.commit).replace("{n}", &number.to_string());
                // What was stored under another digest than announced was stored all the same.
                let expected =
                    self.named.contains(&name) || (matches!(self.fault, Fault::Misnamed) && name == "{commit}");
                assert_eq!(tags.contains_key(&tag), expected, "{tag}: {about}");
            }
            let after = attempt.run("postbuild");
            assert_eq!(after.code, 0, "{after}");
            assert!(after.stdout.contains("Nothing to test") || after.stderr.contains("Nothing to test"), "{after}");
        })
        .await
        .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker Engine 26, pack, the registry, moto and DynamoDB Local"]
async fn a_registry_that_lies_refuses_or_stays_away_fails_the_build_and_latest_stays() {
    let made = tokio::task::spawn_blocking(Made::new).await.unwrap();
    let before = made.account.tags();
    assert_eq!(before.keys().collect::<Vec<_>>(), ["latest"]);
    let cases = lasting_faults().into_iter().zip(100..);
    let cases = cases.map(|(case, number)| tokio::spawn(case.fails(Arc::clone(&made), number, before.clone())));
    futures_util::future::join_all(cases).await.into_iter().for_each(Result::unwrap);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker Engine 26, pack, the registry, moto and DynamoDB Local"]
async fn a_registry_that_fails_for_a_while_only_takes_longer() {
    let made = tokio::task::spawn_blocking(Made::new).await.unwrap();
    let attempt = Attempt::of(&made, 7).await;
    let meets = |method, path: &str, times, fault| attempt.proxy.fail(When::path(method, path).by(OWN), times, fault);
    meets("GET", "/manifests/sha256:", 2, refusal(429, "TOOMANYREQUESTS"));
    meets("GET", "/blobs/", 1, Fault::Truncated);
    meets("GET", "/blobs/", 1, Fault::InternalError);
    meets("GET", "/blobs/", 1, Fault::Dropped);
    meets("HEAD", "/manifests/build-7", 1, Fault::Dropped);
    meets("PUT", &format!("/manifests/{}", attempt.commit), 1, Fault::InternalError);
    meets("PUT", "/manifests/build-7", 1, Fault::AnswerLost);
    meets("PUT", "/manifests/latest", 2, refusal(429, "TOOMANYREQUESTS"));
    tokio::task::spawn_blocking(move || {
        for verb in ["prebuild", "build", "postbuild"] {
            attempt.succeeds(verb);
        }
        let tags = made.account.tags();
        let image = made.digest.strip_prefix("sha256:").unwrap();
        assert_eq!(tags.keys().map(String::as_str).collect::<Vec<_>>().len(), 3, "{tags:?}");
        assert!(tags.values().all(|digest| digest == image), "{tags:?}");
        assert_eq!(attempt.account.record(7)["test"]["state"], "succeeded");
        let puts = |path: &str| attempt.proxy.seen(&When::path("PUT", path).by(OWN)).len();
        assert_eq!((puts("/manifests/latest"), puts("/manifests/build-7")), (3, 2));
        let read = attempt.proxy.seen(&When::path("GET", "/blobs/").by(OWN)).len();
        // Twice the config, once the layer.
        assert_eq!(read, 3 + 3);
    })
    .await
    .unwrap();
}
