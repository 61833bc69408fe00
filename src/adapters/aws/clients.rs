//! Makes every AWS client: the one place that knows regions, endpoints, certificates, time limits and retries.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use aws_config::identity::IdentityCache;
use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::config::SharedCredentialsProvider;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{Credentials, RuntimeComponents};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::{Builder, Connector, tls};
use aws_smithy_runtime_api::client::http::SharedHttpClient;

use super::name_resolver::NameResolver;
use super::trust;
use crate::domain::app_settings::Role;
use crate::env_vars;
use crate::ports::failure::Failure;

/// How clients are made. By default, everything comes from where AWS's own tools look: `AWS_*` variables, profiles,
/// and the machine's or container's role.
#[derive(Debug, Clone)]
pub struct AwsSettings {
    /// The region; the environment's or the profile's when not given.
    pub region: Option<String>,
    /// The address of all services, for stand-ins; `AWS_ENDPOINT_URL` and its like when not given.
    pub endpoint_url: Option<String>,
    /// The addresses of single services, by the name in their endpoints, such as `ecs`.
    pub endpoints: BTreeMap<String, String>,
    /// Whether buckets are part of the path. Stand-ins have no host name per bucket.
    pub path_style: bool,
    /// A PEM file of certificate authorities to trust besides the machine's.
    pub ca_bundle: Option<PathBuf>,
    /// Fixed credentials, for stand-ins; the usual search when not given.
    pub credentials: Option<Credentials>,
    /// How often a request that failed in passing is sent, the first time included.
    pub attempts: u32,
    /// The scale of the pauses between attempts; they double, and a random part of each is waited.
    pub first_pause: Duration,
}

impl Default for AwsSettings {
    fn default() -> Self {
        Self {
            region: None,
            endpoint_url: None,
            endpoints: BTreeMap::new(),
            path_style: false,
            ca_bundle: None,
            credentials: None,
            // About 15 s in all: Parameter Store's 40 reads per second are shared by a whole account.
            attempts: 5,
            first_pause: Duration::from_secs(1),
        }
    }
}

impl AwsSettings {
    /// Reads the variables that the SDK does not heed by itself; `lookup` returns a variable's value.
    ///
    /// `SSL_CERT_FILE` replaces the machine's certificates and is heeded without being named here.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let endpoint = set(env_vars::AWS_ENDPOINT_URL_S3).or_else(|| set(env_vars::AWS_ENDPOINT_URL));
        Self {
            path_style: endpoint.is_some(),
            ca_bundle: set(env_vars::AWS_CA_BUNDLE).map(PathBuf::from),
            ..Self::default()
        }
    }
}

/// Makes clients that share connections, credentials and settings.
#[derive(Debug, Clone)]
pub struct Clients {
    config: SdkConfig,
    endpoints: BTreeMap<String, String>,
    path_style: bool,
}

/// How long connecting may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long the first byte of an answer may take.
const READ_LIMIT: Duration = Duration::from_secs(20);
/// How long a call may take with all its attempts.
const CALL_LIMIT: Duration = Duration::from_mins(2);

impl Clients {
    /// Reads the configuration and prepares connections; calls nothing but where credentials and region come from.
    ///
    /// # Errors
    /// Refuses a certificate file that holds none, and a machine on which no region is configured.
    pub async fn load(settings: &AwsSettings) -> Result<Self, Failure> {
        let retries =
            RetryConfig::standard().with_max_attempts(settings.attempts).with_initial_backoff(settings.first_pause);
        let limits = TimeoutConfig::builder()
            .connect_timeout(CONNECT_LIMIT)
            .read_timeout(READ_LIMIT)
            .operation_timeout(CALL_LIMIT)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(http_client(settings)?)
            .retry_config(retries)
            .timeout_config(limits);
        if let Some(region) = &settings.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(endpoint) = &settings.endpoint_url {
            loader = loader.endpoint_url(endpoint);
        }
        if let Some(credentials) = &settings.credentials {
            loader = loader.credentials_provider(credentials.clone());
        }
        let config = loader.load().await;
        if config.region().is_none() {
            let cause = "no region is configured; set AWS_REGION, or `region` in the profile";
            return Err(Failure::refused("connect to AWS", cause));
        }
        let path_style = settings.path_style || config.endpoint_url().is_some();
        Ok(Self { path_style, endpoints: settings.endpoints.clone(), config })
    }

    /// Returns clients that act in a role. Its credentials are asked for when they are first needed, kept while they last, and
    /// shared by all of these clients.
    pub async fn acting_in(&self, role: &Role, session: &str) -> Self {
        // At most 64 characters (API reference of `AssumeRole`).
        let session: String = session.chars().take(64).collect();
        let mut provider = AssumeRoleProvider::builder(&role.arn).configure(&self.config).session_name(session);
        if let Some(external_id) = &role.external_id {
            provider = provider.external_id(external_id);
        }
        let config = self
            .config
            .clone()
            .into_builder()
            .credentials_provider(SharedCredentialsProvider::new(provider.build().await))
            .identity_cache(IdentityCache::lazy().build())
            .build();
        Self { config, ..self.clone() }
    }

    /// Returns the region that clients call.
    pub fn region(&self) -> &str {
        self.config.region().map_or("", |region| region.as_ref())
    }

    pub(super) fn cloudformation(&self) -> aws_sdk_cloudformation::Client {
        aws_sdk_cloudformation::Client::new(&self.config)
    }

    pub(super) fn codebuild(&self) -> aws_sdk_codebuild::Client {
        aws_sdk_codebuild::Client::new(&self.config)
    }

    /// Returns a client for DynamoDB.
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(&self.config)
    }

    /// Returns a client for the ECR of a region: a registry's host names its own.
    pub(super) fn ecr(&self, region: &str) -> aws_sdk_ecr::Client {
        let config = aws_sdk_ecr::config::Builder::from(&self.config).region(Region::new(region.to_owned())).build();
        aws_sdk_ecr::Client::from_conf(config)
    }

    pub(super) fn autoscaling(&self) -> aws_sdk_applicationautoscaling::Client {
        let mut config = aws_sdk_applicationautoscaling::config::Builder::from(&self.config);
        if let Some(endpoint) = self.endpoints.get("application-autoscaling") {
            config = config.endpoint_url(endpoint);
        }
        aws_sdk_applicationautoscaling::Client::from_conf(config.build())
    }

    pub(super) fn ecs(&self) -> aws_sdk_ecs::Client {
        let mut config = aws_sdk_ecs::config::Builder::from(&self.config);
        if let Some(endpoint) = self.endpoints.get("ecs") {
            config = config.endpoint_url(endpoint);
        }
        aws_sdk_ecs::Client::from_conf(config.build())
    }

    pub(super) fn logs(&self) -> aws_sdk_cloudwatchlogs::Client {
        aws_sdk_cloudwatchlogs::Client::new(&self.config)
    }

    pub(super) fn scheduler(&self) -> aws_sdk_scheduler::Client {
        aws_sdk_scheduler::Client::new(&self.config)
    }

    /// Returns a client for EventBridge.
    pub fn eventbridge(&self) -> aws_sdk_eventbridge::Client {
        let mut config = aws_sdk_eventbridge::config::Builder::from(&self.config);
        if let Some(endpoint) = self.endpoints.get("events") {
            config = config.endpoint_url(endpoint);
        }
        aws_sdk_eventbridge::Client::from_conf(config.build())
    }

    /// Returns a client for S3.
    pub fn s3(&self) -> aws_sdk_s3::Client {
        let config = aws_sdk_s3::config::Builder::from(&self.config).force_path_style(self.path_style).build();
        aws_sdk_s3::Client::from_conf(config)
    }

    /// Returns a client for SQS; `wait` is how long a request may wait for messages.
    pub fn sqs(&self, wait: Duration) -> aws_sdk_sqs::Client {
        let limits = TimeoutConfig::builder().connect_timeout(CONNECT_LIMIT).read_timeout(READ_LIMIT + wait).build();
        aws_sdk_sqs::Client::from_conf(aws_sdk_sqs::config::Builder::from(&self.config).timeout_config(limits).build())
    }

    /// Returns a client for Systems Manager.
    pub fn ssm(&self) -> aws_sdk_ssm::Client {
        aws_sdk_ssm::Client::new(&self.config)
    }
}

/// Makes the HTTP client: rustls with ring, names by our own resolver since a static program has no NSS, proxies as
/// the environment names them.
fn http_client(settings: &AwsSettings) -> Result<SharedHttpClient, Failure> {
    // By itself the store would read them again, and from more files.
    let mut store = tls::TrustStore::empty().with_pem_certificate(trust::of_machine());
    if let Some(path) = &settings.ca_bundle {
        store = store.with_pem_certificate(trust::read(path)?);
    }
    let context = tls::TlsContext::builder()
        .with_trust_store(store)
        .build()
        .map_err(|error| Failure::refused("prepare TLS", error))?;
    let resolver = NameResolver::default();
    Ok(Builder::new().build_with_connector_fn(move |connector_settings, components| {
        let mut connector = Connector::builder();
        connector.set_connector_settings(connector_settings.cloned());
        connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        connector
            .proxy_config(ProxyConfig::from_env())
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
            .tls_context(context.clone())
            .build_with_resolver(resolver.clone())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &'static [(&'static str, &'static str)]) -> AwsSettings {
        let lookup = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, v)| (*v).to_owned());
        AwsSettings::from_lookup(lookup)
    }

    #[test]
    fn buckets_are_part_of_the_path_where_an_endpoint_is_set() {
        assert!(with(&[("AWS_ENDPOINT_URL", "http://127.0.0.1:1")]).path_style);
        assert!(with(&[("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")]).path_style);
        assert!(!with(&[("AWS_ENDPOINT_URL", "")]).path_style);
        assert!(!with(&[]).path_style);
    }

    #[test]
    fn more_certificates_are_read_from_the_usual_variable() {
        assert_eq!(with(&[("AWS_CA_BUNDLE", "/etc/ca.pem")]).ca_bundle, Some("/etc/ca.pem".into()));
    }
}
