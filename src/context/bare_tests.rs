//! Tests where there is no Docker.

use std::path::Path;
use std::sync::Arc;

use super::engine;
use crate::adapters::bare_tests::{AddonProcesses, BareTestBed, Place};
use crate::adapters::embedded::is_inside_a_builder;
use crate::adapters::sandbox::Users;
use crate::adapters::sandbox::account::Account;
use crate::image::CredentialSource;
use crate::ports::failure::Failure;
use crate::session::Session;
use crate::ui::CliError;

/// The user of add-ons where packhorse is root outside of a builder: nobody, since PostgreSQL refuses to be root.
const NOBODY: (u32, u32) = (65534, 65534);

/// Tests images of registries: over the builder image in which packhorse runs, else in a sandbox.
pub(super) fn bed(session: &Session, credentials: Arc<dyn CredentialSource>) -> Result<BareTestBed, CliError> {
    let variables = engine::variables();
    let variable = |wanted: &str| {
        let found = variables.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.clone())
    };
    let is_root = rustix::process::geteuid().is_root();
    let (place, user) = if is_inside_a_builder(&variables) {
        let account = Account::of_variables(variable, Path::new("/"));
        let account = account.map_err(|error| Failure::refused("use this builder image", error))?;
        let user = (account.uid, account.gid);
        (Place::BuildImage(account), user)
    } else {
        (Place::Sandbox(Users::of_process()), NOBODY)
    };
    let path = variable("PATH").unwrap_or_default();
    let addons = AddonProcesses::new(&std::env::temp_dir(), &path, is_root.then_some(user));
    let images = Arc::new(engine::client(credentials)?);
    Ok(BareTestBed::new(place, engine::own_program()?, images, addons, engine::stop(session)))
}
