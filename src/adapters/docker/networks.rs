//! Private networks.

use bollard::errors::Error;
use bollard::models::{NetworkCreateRequest, NetworkDisconnectRequest};
use bollard::query_parameters::ListNetworksOptionsBuilder;
use futures_util::future::try_join_all;

use super::engine::{Docker, filters, unless_gone};
use super::failure::sort;
use crate::ports::container_engine::Labels;
use crate::ports::failure::Failure;

impl Docker {
    pub(super) async fn network_create(&self, name: &str, labels: &Labels) -> Result<(), Failure> {
        let sorted = |error| sort(format!("make the network `{name}`"), &format!("the network `{name}`"), error);
        // Docker allows several networks of one name, so it is asked first; old engines ignore its own check.
        match self.client.inspect_network(name, None).await {
            Ok(_) => return Ok(()),
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => {}
            Err(error) => return Err(sorted(error)),
        }
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            labels: Some(labels.clone().into_iter().collect()),
            ..NetworkCreateRequest::default()
        };
        match self.client.create_network(request).await {
            Ok(_) | Err(Error::DockerResponseServerError { status_code: 409, .. }) => Ok(()),
            Err(error) => Err(sorted(error)),
        }
    }

    pub(super) async fn network_list(&self, labels: &Labels) -> Result<Vec<String>, Failure> {
        let options = ListNetworksOptionsBuilder::default().filters(&filters(labels)).build();
        let found = self.client.list_networks(Some(options)).await;
        let found = found.map_err(|error| sort("list the networks".to_owned(), "Docker", error))?;
        let mut names: Vec<String> = found.into_iter().filter_map(|network| network.name).collect();
        names.sort();
        Ok(names)
    }

    pub(super) async fn network_clear(&self, name: &str) -> Result<(), Failure> {
        let sorted = |error| sort(format!("clear the network `{name}`"), &format!("the network `{name}`"), error);
        let network = match self.client.inspect_network(name, None).await {
            Ok(network) => network,
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => return Ok(()),
            Err(error) => return Err(sorted(error)),
        };
        let cut_off = network.containers.unwrap_or_default().into_keys().map(async |container| {
            let request = NetworkDisconnectRequest { container, force: Some(true) };
            unless_gone(self.client.disconnect_network(name, request).await)
        });
        try_join_all(cut_off).await.map(drop).map_err(sorted)
    }

    pub(super) async fn network_remove(&self, name: &str) -> Result<(), Failure> {
        self.network_clear(name).await?;
        let removed = unless_gone(self.client.remove_network(name).await);
        removed.map_err(|error| sort(format!("remove the network `{name}`"), &format!("the network `{name}`"), error))
    }
}
