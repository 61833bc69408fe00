//! Parameters in Systems Manager's Parameter Store.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_sdk_ssm::Client;
use aws_sdk_ssm::operation::delete_parameter::DeleteParameterError;
use aws_sdk_ssm::operation::get_parameter::GetParameterError;
use aws_sdk_ssm::operation::list_tags_for_resource::ListTagsForResourceError;
use aws_sdk_ssm::operation::put_parameter::PutParameterError;
use aws_sdk_ssm::types::{ParameterType, ResourceTypeForTagging};
use secrecy::{ExposeSecret as _, SecretString};

use super::failure::sort;
use crate::adapters::parameter_name;
use crate::domain::namespace::Namespace;
use crate::ports::failure::Failure;
use crate::ports::parameters::ParameterStore;

/// Reads and writes parameters of one region.
#[derive(Debug, Clone)]
pub struct SsmParameters {
    client: Client,
}

impl SsmParameters {
    /// Uses this client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }
}

#[async_trait]
impl ParameterStore for SsmParameters {
    async fn get(&self, name: &str) -> Result<Option<String>, Failure> {
        let doing = format!("read the parameter {name}");
        let answer = match self.client.get_parameter().name(name).send().await {
            Ok(answer) => answer,
            Err(error) if error.as_service_error().is_some_and(GetParameterError::is_parameter_not_found) => {
                return Ok(None);
            }
            Err(error) => return Err(sort(doing, error)),
        };
        match answer.parameter {
            Some(parameter) if parameter.r#type == Some(ParameterType::SecureString) => {
                Err(Failure::refused(doing, "it is encrypted, and a plain one was expected"))
            }
            Some(parameter) if parameter.value.is_some() => Ok(parameter.value),
            _ => Err(Failure::refused(doing, "the answer has no value")),
        }
    }

    async fn put(&self, name: &str, value: &str) -> Result<(), Failure> {
        parameter_name::check(name)?;
        parameter_name::check_value(name, value)?;
        let put = self.client.put_parameter().name(name).value(value).r#type(ParameterType::String).overwrite(true);
        put.send().await.map_err(|error| sort(format!("write the parameter {name}"), error))?;
        Ok(())
    }

    async fn put_secret(&self, name: &str, value: &SecretString) -> Result<(), Failure> {
        parameter_name::check(name)?;
        parameter_name::check_value(name, value.expose_secret())?;
        let put = self.client.put_parameter().name(name).value(value.expose_secret());
        let put = put.r#type(ParameterType::SecureString).overwrite(true);
        put.send().await.map_err(|error| sort(format!("write the parameter {name}"), error))?;
        Ok(())
    }

    async fn is_managed(&self, name: &str) -> Result<bool, Failure> {
        let tags =
            self.client.list_tags_for_resource().resource_type(ResourceTypeForTagging::Parameter).resource_id(name);
        let tags = match tags.send().await {
            Ok(answer) => answer.tag_list.unwrap_or_default(),
            Err(error) if error.as_service_error().is_some_and(ListTagsForResourceError::is_invalid_resource_id) => {
                return Ok(false);
            }
            Err(error) => return Err(sort(format!("read the tags of the parameter {name}"), error)),
        };
        // CloudFormation's own, and that of what a stack's custom resources make (`data-contract` 3.1).
        let keys = ["aws:cloudformation:stack-id".to_owned(), Namespace::default().tag("cloudformation:stack-id")];
        Ok(tags.iter().any(|tag| keys.iter().any(|key| tag.key() == key)))
    }

    async fn create(&self, name: &str, value: &str) -> Result<bool, Failure> {
        parameter_name::check(name)?;
        parameter_name::check_value(name, value)?;
        let put = self.client.put_parameter().name(name).value(value).r#type(ParameterType::String).overwrite(false);
        match put.send().await {
            Ok(_) => Ok(true),
            Err(error) if error.as_service_error().is_some_and(PutParameterError::is_parameter_already_exists) => {
                Ok(false)
            }
            Err(error) => Err(sort(format!("write the parameter {name}"), error)),
        }
    }

    async fn remove(&self, name: &str) -> Result<bool, Failure> {
        match self.client.delete_parameter().name(name).send().await {
            Ok(_) => Ok(true),
            Err(error) if error.as_service_error().is_some_and(DeleteParameterError::is_parameter_not_found) => {
                Ok(false)
            }
            Err(error) => Err(sort(format!("remove the parameter {name}"), error)),
        }
    }

    async fn below(&self, path: &str) -> Result<BTreeMap<String, SecretString>, Failure> {
        parameter_name::check_path(path)?;
        let doing = format!("read the parameters below {path}");
        let mut values = BTreeMap::new();
        let mut token = None;
        loop {
            let page = self
                .client
                .get_parameters_by_path()
                // With its slash, as the Go builder sends it: that is what roles in use allow.
                .path(path)
                .recursive(false)
                .with_decryption(true)
                .set_next_token(token.take())
                .send()
                .await
                .map_err(|error| sort(&doing, error))?;
            for parameter in page.parameters.unwrap_or_default() {
                let (Some(name), Some(value)) = (parameter.name, parameter.value) else { continue };
                if let Some(last) = parameter_name::direct_child(path, &name) {
                    values.insert(last.to_owned(), SecretString::from(value));
                }
            }
            // A page may be short or empty and still have a successor.
            match page.next_token {
                Some(next) if !next.is_empty() => token = Some(next),
                _ => return Ok(values),
            }
        }
    }
}
