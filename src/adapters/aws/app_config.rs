//! The names of config variables, as Parameter Store describes them: their values are never asked for.

use async_trait::async_trait;
use aws_sdk_ssm::types::{ParameterMetadata, ParameterStringFilter};

use super::failure::sort;
use super::parameters::SsmParameters;
use crate::adapters::parameter_name;
use crate::domain::formation::ConfigName;
use crate::domain::lane::LaneKey;
use crate::domain::namespace::Namespace;
use crate::ports::app_config::AppConfig;
use crate::ports::failure::Failure;

/// The most descriptions of one answer (API reference of `DescribeParameters`).
const PAGE: i32 = 50;

impl SsmParameters {
    async fn described(&self, path: &str) -> Result<Vec<ConfigName>, Failure> {
        let doing = format!("list the parameters below {path}");
        // The filter takes a path without its last slash.
        let level = ParameterStringFilter::builder()
            .key("Path")
            .option("OneLevel")
            .values(path.trim_end_matches('/'))
            .build()
            .map_err(|error| Failure::refused(&doing, error))?;
        let mut found = Vec::new();
        let mut token = None;
        loop {
            let page = self
                .client()
                .describe_parameters()
                .parameter_filters(level.clone())
                .max_results(PAGE)
                .set_next_token(token.take())
                .send()
                .await
                .map_err(|error| sort(&doing, error))?;
            found.extend(page.parameters.unwrap_or_default().iter().filter_map(|one| config_name(path, one)));
            // A page may be short or empty and still have a successor.
            match page.next_token {
                Some(next) if !next.is_empty() => token = Some(next),
                _ => return Ok(found),
            }
        }
    }
}

/// The number of a version begins anew when a parameter is made again; with its time it does not repeat.
fn config_name(path: &str, described: &ParameterMetadata) -> Option<ConfigName> {
    let parameter = described.name()?;
    let modified = described.last_modified_date().and_then(|time| time.to_millis().ok()).unwrap_or_default();
    Some(ConfigName {
        name: parameter_name::direct_child(path, parameter)?.to_owned(),
        parameter: parameter.to_owned(),
        version: format!("{}@{modified}", described.version()),
    })
}

#[async_trait]
impl AppConfig for SsmParameters {
    async fn names(&self, lane: &LaneKey) -> Result<Vec<ConfigName>, Failure> {
        let mut lists = Vec::new();
        for path in Namespace::default().config_paths(lane) {
            lists.push(self.described(&path).await?);
        }
        Ok(ConfigName::merged(lists))
    }
}
