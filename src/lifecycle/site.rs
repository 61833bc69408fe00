//! What every buildpack of a build is run with.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::api::ApiVersion;
use super::environment::{Unsuffixed, Variables};
use super::executor::{Executor, Program};
use super::folders::Folders;
use super::log::Log;
use super::store::Installed;
use super::target::RunTarget;

/// What every buildpack of a build is run with.
#[derive(Clone, Copy)]
pub struct Site<'a> {
    /// The folders of the build.
    pub folders: &'a Folders,
    /// Where programs run.
    pub executor: &'a dyn Executor,
    /// Who hears what happens.
    pub log: &'a dyn Log,
    /// The platform of the run image.
    pub target: &'a RunTarget,
    /// The execution environment, such as `production`.
    pub exec_env: &'a str,
}

impl Site<'_> {
    /// Makes the call of a buildpack's program, with the environment of the Buildpack API that it speaks.
    ///
    /// `variables` are those that earlier buildpacks left; what the user and the builder's operator set is added to a copy.
    pub fn program(&self, installed: &Installed, call: Call<'_>, variables: &Variables) -> io::Result<Program> {
        let Installed { buildpack, folder } = installed;
        let platform = &self.folders.platform.inside;
        let mut variables = variables.clone();
        if !buildpack.clear_env {
            variables.apply_user(&self.folders.env_files(&platform.join("env"))?);
        }
        let of_operator = self.folders.env_files(&self.folders.cnb.inside.join("build-config/env"))?;
        variables.apply_folder(&of_operator, Unsuffixed::IsDefault);
        let mut env: BTreeMap<OsString, OsString> = variables.into_map();
        let mut set = |name: &str, value: OsString| env.insert(name.into(), value);
        set("CNB_BUILDPACK_DIR", folder.clone().into());
        // A description whose version is not one was refused long before.
        let api = buildpack.parsed_api().unwrap_or(ApiVersion::OLDEST);
        if api >= ApiVersion::DIRECTORIES_IN_ENV {
            set("CNB_PLATFORM_DIR", platform.clone().into());
            match call {
                Call::Detect { plan } => {
                    set("CNB_BUILD_PLAN_PATH", plan.into());
                }
                Call::Build { layers, plan } => {
                    set("CNB_BP_PLAN_PATH", plan.into());
                    set("CNB_LAYERS_DIR", layers.into());
                }
            }
        }
        if api >= ApiVersion::TARGETS {
            for (name, value) in self.target.variables() {
                set(name, value.into());
            }
        }
        if api >= ApiVersion::EXEC_ENV && !self.exec_env.is_empty() {
            set("CNB_EXEC_ENV", self.exec_env.into());
        }
        let (program, arguments): (_, Vec<&Path>) = match call {
            Call::Detect { plan } => ("bin/detect", vec![platform, plan]),
            Call::Build { layers, plan } => ("bin/build", vec![layers, platform, plan]),
        };
        let argv = std::iter::once(folder.join(program)).chain(arguments.into_iter().map(Path::to_owned));
        Ok(Program {
            argv: argv.map(PathBuf::into_os_string).collect(),
            env,
            working_dir: self.folders.app.inside.clone(),
        })
    }
}

/// Which of a buildpack's programs to call. Paths are inside.
#[derive(Debug, Clone, Copy)]
pub enum Call<'a> {
    /// `bin/detect`.
    Detect {
        /// The file to which the buildpack writes its build plan.
        plan: &'a Path,
    },
    /// `bin/build`.
    Build {
        /// The buildpack's folder of layers.
        layers: &'a Path,
        /// The file with what is required of it.
        plan: &'a Path,
    },
}
