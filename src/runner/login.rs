//! The registry logins of a build: a private `config.json` that only its own programs are pointed to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::error::RunnerError;
use super::session::Session;
use crate::image::{Credential, ImageReference, Registry};

const FOLDER: &str = "docker";
/// The key of Docker Hub in Docker's config file.
const HUB: &str = "https://index.docker.io/v1/";

impl Session<'_> {
    /// Stores the logins for the registries of these images, and returns the folder that holds them; nothing where no
    /// registry needs one, so that the machine's own settings count.
    pub(super) async fn log_in(&self, images: &[String]) -> Result<Option<PathBuf>, RunnerError> {
        let mut registries: BTreeSet<Registry> = BTreeSet::new();
        if self.cx.settings.publish {
            registries.insert(self.repository()?.registry().clone());
        }
        // What is not an image reference is the engine's to complain about.
        registries
            .extend(images.iter().filter_map(|image| Some(image.parse::<ImageReference>().ok()?.registry().clone())));
        let mut auths: BTreeMap<String, Value> = BTreeMap::new();
        for registry in registries {
            let found = self.cx.credentials.credential(&registry).await;
            let found = found.map_err(|source| RunnerError::Login { registry: registry.to_string(), source })?;
            if let Some(credential) = found {
                let key = if registry.is_docker_hub() { HUB.to_owned() } else { registry.to_string() };
                auths.insert(key, entry(&credential));
            }
        }
        if let Some(hub) = &self.environment.docker_hub {
            let (username, password) = (hub.username.clone(), hub.token.clone());
            auths.insert(HUB.to_owned(), entry(&Credential::Password { username, password }));
        }
        if auths.is_empty() {
            return Ok(None);
        }
        let folder = self.dir.file(FOLDER);
        match fs::DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(RunnerError::file("make the folder", &folder)(error));
            }
            _ => {}
        }
        let content = json!({ "auths": auths }).to_string();
        self.dir.write(&format!("{FOLDER}/config.json"), content.as_bytes())?;
        Ok(Some(folder))
    }

    /// Removes the logins of the build.
    pub(super) fn remove_logins(&self) -> Result<(), RunnerError> {
        let folder = self.dir.file(FOLDER);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(RunnerError::file("remove", &folder)(error))
            }
            _ => Ok(()),
        }
    }
}

fn entry(credential: &Credential) -> Value {
    match credential {
        Credential::Password { username, password } => {
            json!({ "auth": STANDARD.encode(format!("{username}:{}", password.expose_secret())) })
        }
        Credential::IdentityToken(token) => json!({ "identitytoken": token.expose_secret() }),
    }
}
