//! Finds out what this machine has.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::process::probe::probe;
use crate::domain::machine::{DockerFacts, MachineFacts};
use crate::ports::failure::chain;

/// A daemon that takes longer is as good as gone.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// Finds out what a machine has; what it lacks is told in words, never as an error.
pub async fn facts(
    pack: Option<OsString>,
    ca_bundle: Option<PathBuf>,
    state: &Path,
    embedded: Result<String, String>,
) -> MachineFacts {
    let pack = pack.unwrap_or_else(|| "pack".into()).to_string_lossy().into_owned();
    MachineFacts {
        docker: docker().await,
        pack: version(&pack, "version").await,
        embedded,
        git: version("git", "--version").await,
        free_disk: free_disk(state),
        ca_bundle: ca_bundle.map(|file| (file.display().to_string(), certificates(&file))),
        aws: None,
    }
}

/// Asks a program for its version; an error says in words why there is none.
pub(crate) async fn version(program: &str, argument: &str) -> Result<String, String> {
    let answer = probe(program, &[argument], None).await.map_err(|error| chain(&error))?;
    Ok(answer.lines().next().unwrap_or_default().trim().to_owned())
}

async fn docker() -> Result<DockerFacts, String> {
    let client = bollard::Docker::connect_with_local_defaults()
        .map_err(|error| format!("Docker cannot be reached: {}", chain(&error)))?;
    match tokio::time::timeout(ANSWER_TIME, client.version()).await {
        Ok(Ok(version)) => Ok(DockerFacts {
            version: version.version.unwrap_or_default(),
            api: version.api_version.unwrap_or_default(),
        }),
        Ok(Err(error)) => Err(format!("Docker cannot be reached: {}", chain(&error))),
        Err(_) => Err(format!("Docker did not answer within {} s", ANSWER_TIME.as_secs())),
    }
}

fn free_disk(folder: &Path) -> Result<(u64, String), String> {
    // The state folder need not exist yet.
    let there = folder.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
    let there = there.canonicalize().map_err(|error| error.to_string())?;
    let stat = rustix::fs::statvfs(&there).map_err(|error| format!("free disk space is unknown: {error}"))?;
    Ok((stat.f_bavail.saturating_mul(stat.f_frsize), there.display().to_string()))
}

fn certificates(file: &Path) -> Result<usize, String> {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    Ok(text.matches("-----BEGIN CERTIFICATE-----").count())
}
