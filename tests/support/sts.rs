//! A stand-in for `AssumeRole`: hands out the caller's own key with a session token that names the role, so that stores that
//! tell callers apart by their key have one table for all.

use std::sync::{Arc, Mutex};

use super::lying_server::{LyingServer, Reply};

/// Ends with its drop.
pub(crate) struct FakeSts {
    server: LyingServer,
    assumed: Arc<Mutex<Vec<(String, String)>>>,
}

/// The token of every session in a role.
pub(crate) const SESSION: &str = "session-of-the-role";

impl FakeSts {
    /// Hands out `access_key`, for a role and an id that belong together.
    pub(crate) async fn start(access_key: &str, role: &'static str, external_id: &'static str) -> Self {
        let assumed = Arc::new(Mutex::new(Vec::new()));
        let (record, key) = (Arc::clone(&assumed), access_key.to_owned());
        let server = LyingServer::start(move |asked| {
            let body = String::from_utf8_lossy(&asked.body).into_owned();
            let part = |name: &str| {
                let value = body.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")));
                value.unwrap_or_default().replace("%3A", ":").replace("%2F", "/")
            };
            assert_eq!(part("Action"), "AssumeRole", "{body}");
            if part("RoleArn") != role || part("ExternalId") != external_id {
                let refused = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>not authorized to perform: sts:AssumeRole</Message></Error></ErrorResponse>";
                return Reply::new(403).header("content-type", "text/xml").body(refused);
            }
            record.lock().unwrap().push((part("RoleArn"), part("RoleSessionName")));
            let answer = format!(
                "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult>\
                 <AssumedRoleUser><AssumedRoleId>AROA:x</AssumedRoleId><Arn>{role}</Arn></AssumedRoleUser>\
                 <Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>test</SecretAccessKey>\
                 <SessionToken>{SESSION}</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>\
                 </AssumeRoleResult><ResponseMetadata><RequestId>x</RequestId></ResponseMetadata></AssumeRoleResponse>"
            );
            Reply::new(200).header("content-type", "text/xml").body(answer)
        })
        .await;
        Self { server, assumed }
    }

    /// Where clients reach it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// The roles that were assumed, with the names of the sessions.
    pub(crate) fn assumed(&self) -> Vec<(String, String)> {
        self.assumed.lock().unwrap().clone()
    }
}
