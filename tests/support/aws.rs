//! Clients for stand-ins of AWS.
#![cfg(feature = "aws")]

use std::fmt::Write as _;
use std::sync::Once;
use std::time::Duration;

use aws_sdk_dynamodb::config::Credentials;
use packhorse::adapters::aws::{AwsSettings, Clients};
use serde_json::Value;

use super::http;
use super::lanes::random_name;
use super::parts;

/// Settings for a stand-in: no credentials are looked for, and retries are quick.
pub(crate) fn settings(endpoint: &str) -> AwsSettings {
    AwsSettings {
        region: Some("us-east-1".to_owned()),
        endpoint_url: Some(endpoint.to_owned()),
        path_style: true,
        credentials: Some(Credentials::new("test", "test", None, None, "tests")),
        attempts: 3,
        first_pause: Duration::from_millis(10),
        ..AwsSettings::default()
    }
}

/// Makes clients for a stand-in.
pub(crate) async fn clients(endpoint: &str) -> Clients {
    Clients::load(&settings(endpoint)).await.unwrap()
}

/// Makes clients of which some services lie elsewhere.
pub(crate) async fn clients_by_service(settings: &AwsSettings, elsewhere: &[(&'static str, String)]) -> Clients {
    let endpoints = elsewhere.iter().map(|(service, url)| ((*service).to_owned(), url.clone())).collect();
    Clients::load(&AwsSettings { endpoints, ..settings.clone() }).await.unwrap()
}

/// Makes the group that all schedules lie in. It is shared, and made once per run: moto empties one that is made again.
pub(crate) fn make_schedule_group() {
    static MADE: Once = Once::new();
    MADE.call_once(|| {
        http::ask(&parts::moto(), "scheduler", "POST", "/schedule-groups/apppack", &[], "{}");
    });
}

/// The names of an app's schedules in moto.
pub(crate) fn schedules_of(app: &str) -> Vec<String> {
    let path = format!("/schedules?ScheduleGroup=apppack&NamePrefix={app}-");
    let answer = http::ask(&parts::moto(), "scheduler", "GET", &path, &[], "");
    let listed: Value = serde_json::from_str(&answer.body).unwrap();
    let names = listed["Schedules"].as_array().unwrap().iter().map(|schedule| schedule["Name"].as_str().unwrap());
    // The stand-in may answer with more.
    names.filter(|name| name.starts_with(&format!("{app}-"))).map(str::to_owned).collect()
}

/// A stack of a review app in moto.
pub(crate) fn make_stack(name: &str, tags: &[(&str, &str)]) {
    let mut form = format!(
        "Action=CreateStack&Version=2010-05-15&StackName={name}\
         &TemplateBody=%7B%22Resources%22%3A%7B%22T%22%3A%7B%22Type%22%3A%22AWS%3A%3ASNS%3A%3ATopic%22%7D%7D%7D"
    );
    for (number, (key, value)) in (1..).zip(tags) {
        let key = key.replace(':', "%3A");
        let _ = write!(form, "&Tags.member.{number}.Key={key}&Tags.member.{number}.Value={value}");
    }
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let answer = http::ask(&parts::moto(), "cloudformation", "POST", "/", &headers, &form);
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// A bucket of its own in moto, removed with its objects when dropped.
pub(crate) struct Bucket {
    endpoint: String,
    pub(crate) name: String,
}

impl Bucket {
    pub(crate) fn make() -> Self {
        let bucket = Self { endpoint: parts::moto(), name: random_name("artifacts") };
        let answer = http::ask(&bucket.endpoint, "s3", "PUT", &format!("/{}", bucket.name), &[], "");
        assert_eq!(answer.status, 200, "{answer:?}");
        bucket
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        let path = format!("/{}", self.name);
        let listed = http::ask(&self.endpoint, "s3", "GET", &path, &[], "").body;
        for key in listed.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next()) {
            http::ask(&self.endpoint, "s3", "DELETE", &format!("{path}/{key}"), &[], "");
        }
        http::ask(&self.endpoint, "s3", "DELETE", &path, &[], "");
    }
}
