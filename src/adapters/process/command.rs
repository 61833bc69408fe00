//! What to start.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

/// A program with its arguments, variables, folder and input.
///
/// The child inherits the parent's variables; those given here are added. Arguments are readable by every user of the
/// machine, so a secret goes into a variable or to standard input.
#[derive(Debug, Clone)]
pub struct Command {
    pub(super) program: OsString,
    pub(super) args: Vec<OsString>,
    pub(super) env: BTreeMap<OsString, Value>,
    pub(super) cwd: Option<PathBuf>,
    pub(super) stdin: Option<SecretString>,
    inherits: bool,
    user: Option<(u32, u32)>,
}

/// A variable's value; a secret one prints nothing.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Plain(OsString),
    Secret(SecretString),
    Unset,
}

impl Command {
    /// Names the program: a path, or a name that is looked up in `PATH`.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: BTreeMap::new(),
            cwd: None,
            stdin: None,
            inherits: true,
            user: None,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<T: Into<OsString>>(mut self, args: impl IntoIterator<Item = T>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of the child.
    #[must_use]
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.insert(key.into(), Value::Plain(value.into()));
        self
    }

    /// Sets a variable of the child that exists nowhere else.
    #[must_use]
    pub fn secret_env(mut self, key: impl Into<OsString>, value: SecretString) -> Self {
        self.env.insert(key.into(), Value::Secret(value));
        self
    }

    /// Takes an inherited variable away from the child.
    #[must_use]
    pub fn without_env(mut self, key: impl Into<OsString>) -> Self {
        self.env.insert(key.into(), Value::Unset);
        self
    }

    /// Sets the folder in which it starts.
    #[must_use]
    pub fn current_dir(mut self, cwd: impl Into<PathBuf>) -> Self {
        self.cwd = Some(cwd.into());
        self
    }

    /// Gives it standard input; without this it reads the end at once.
    #[must_use]
    pub fn stdin(mut self, input: SecretString) -> Self {
        self.stdin = Some(input);
        self
    }

    /// Gives it no variables but those that are named here.
    #[must_use]
    pub fn only_own_env(mut self) -> Self {
        self.inherits = false;
        self
    }

    /// Lets it run as this user and group, without any other group; only root can.
    #[must_use]
    pub fn as_user(mut self, user: Option<(u32, u32)>) -> Self {
        self.user = user;
        self
    }

    /// Returns the program as people know it.
    pub fn program(&self) -> String {
        self.program.to_string_lossy().into_owned()
    }

    /// Returns the command that a script of the shell gets as its arguments, to become it.
    pub(super) fn through_a_shell(&self, script: &str) -> Self {
        let mut shell = Self { program: "/bin/sh".into(), args: Vec::new(), ..self.clone() };
        shell.args.extend(["-c".into(), script.into(), "sh".into(), self.program.clone()]);
        shell.args.extend(self.args.iter().cloned());
        shell
    }

    /// Makes the command of the standard library; its `Debug` shows values, so it never leaves this module.
    pub(super) fn to_std(&self) -> std::process::Command {
        let mut command = std::process::Command::new(&self.program);
        command.args(&self.args);
        if !self.inherits {
            command.env_clear();
        }
        if let Some((uid, gid)) = self.user {
            command.gid(gid).uid(uid);
        }
        for (key, value) in &self.env {
            match value {
                Value::Plain(value) => command.env(key, value),
                Value::Secret(value) => command.env(key, value.expose_secret()),
                Value::Unset => command.env_remove(key),
            };
        }
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
        command
    }
}
