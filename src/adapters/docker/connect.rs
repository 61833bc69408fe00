//! Where the Docker daemon listens: `DOCKER_HOST`, else the current context, else the usual socket.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::image::Digest;
use crate::ports::failure::Failure;

const USUAL_SOCKET: &str = "/var/run/docker.sock";
/// The context that stands for the usual socket.
const DEFAULT_CONTEXT: &str = "default";

/// Where a daemon listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DockerAddress {
    /// A socket of this machine.
    Unix(PathBuf),
    /// A host without TLS, `host:port`.
    Tcp(String),
}

impl DockerAddress {
    /// Reads an address in the form of `DOCKER_HOST`.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let doing = || format!("connect to Docker at `{text}`");
        if let Some(path) = text.strip_prefix("unix://") {
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        if let Some(host) = text.strip_prefix("tcp://").or_else(|| text.strip_prefix("http://")) {
            return Ok(Self::Tcp(host.trim_end_matches('/').to_owned()));
        }
        let way_out = "packhorse reaches Docker by `unix://` or `tcp://`; forward the remote socket with \
                       `ssh -L /tmp/docker.sock:/var/run/docker.sock HOST` and set DOCKER_HOST=unix:///tmp/docker.sock";
        Err(Failure::refused(doing(), way_out))
    }

    /// Tells whether the daemon sees the files of this machine.
    ///
    /// A daemon behind TCP may well be on this machine too, in its own mount namespace: it counts as another machine.
    pub fn shares_files(&self) -> bool {
        matches!(self, Self::Unix(_))
    }
}

impl fmt::Display for DockerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(host) => write!(f, "tcp://{host}"),
        }
    }
}

/// What decides on the address, taken from the environment by the caller.
#[derive(Debug, Clone, Default)]
pub struct DockerSettings {
    /// `DOCKER_HOST`.
    pub host: Option<String>,
    /// `DOCKER_CONTEXT`.
    pub context: Option<String>,
    /// Docker's configuration folder.
    pub config_folder: Option<PathBuf>,
    /// Whether `DOCKER_TLS_VERIFY` is set.
    pub tls: bool,
}

impl DockerSettings {
    /// Finds the daemon's address as Docker's own client does.
    pub fn address(&self) -> Result<DockerAddress, Failure> {
        let given = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        let address = match (given(&self.host), given(&self.context).or_else(|| self.current_context())) {
            (Some(host), _) => DockerAddress::parse(&host)?,
            (None, Some(context)) if context != DEFAULT_CONTEXT => self.context_address(&context)?,
            _ => DockerAddress::Unix(PathBuf::from(USUAL_SOCKET)),
        };
        if self.tls && !address.shares_files() {
            let reason = "TLS to a remote Docker is not supported: forward its socket over SSH";
            return Err(Failure::refused(format!("connect to Docker at `{address}`"), reason));
        }
        Ok(address)
    }

    fn current_context(&self) -> Option<String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Config {
            #[serde(default)]
            current_context: Option<String>,
        }
        let text = std::fs::read(self.config_folder.as_ref()?.join("config.json")).ok()?;
        serde_json::from_slice::<Config>(&text).ok()?.current_context.filter(|name| !name.is_empty())
    }

    fn context_address(&self, context: &str) -> Result<DockerAddress, Failure> {
        let doing = || format!("use the Docker context `{context}`");
        let folder = self.config_folder.as_deref().unwrap_or(Path::new("/"));
        // Docker names the folder of a context after the digest of its name.
        let file = folder.join("contexts/meta").join(Digest::of(context.as_bytes()).hex()).join("meta.json");
        let text = std::fs::read(&file).map_err(|error| Failure::refused(doing(), error))?;
        let meta: serde_json::Value =
            serde_json::from_slice(&text).map_err(|error| Failure::refused(doing(), error))?;
        let host = meta["Endpoints"]["docker"]["Host"].as_str();
        DockerAddress::parse(host.ok_or_else(|| Failure::refused(doing(), "it names no host"))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_wins_over_the_context_and_both_over_the_usual_socket() {
        let folder = tempfile::tempdir().unwrap();
        let meta = folder.path().join("contexts/meta").join(Digest::of(b"rootless").hex());
        std::fs::create_dir_all(&meta).unwrap();
        std::fs::write(
            meta.join("meta.json"),
            r#"{"Name":"rootless","Endpoints":{"docker":{"Host":"unix:///run/user/1000/docker.sock"}}}"#,
        )
        .unwrap();
        let mut settings =
            DockerSettings { config_folder: Some(folder.path().to_owned()), ..DockerSettings::default() };
        assert_eq!(settings.address().unwrap().to_string(), "unix:///var/run/docker.sock");
        std::fs::write(folder.path().join("config.json"), r#"{"currentContext":"rootless","auths":{}}"#).unwrap();
        assert_eq!(settings.address().unwrap().to_string(), "unix:///run/user/1000/docker.sock");
        settings.context = Some("default".to_owned());
        assert_eq!(settings.address().unwrap().to_string(), "unix:///var/run/docker.sock");
        settings.host = Some("tcp://10.0.0.1:2375/".to_owned());
        assert_eq!(settings.address().unwrap(), DockerAddress::Tcp("10.0.0.1:2375".to_owned()));
        assert!(!settings.address().unwrap().shares_files());
    }

    #[test]
    fn what_cannot_be_reached_is_refused_with_the_way_out() {
        let refusal = DockerAddress::parse("ssh://build@10.0.0.1").unwrap_err();
        assert!(crate::ports::failure::chain(&refusal).contains("ssh -L"));
        let host = Some("tcp://10.0.0.1:2376".to_owned());
        assert!(DockerSettings { host, tls: true, ..DockerSettings::default() }.address().is_err());
    }
}
