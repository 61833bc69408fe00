//! The processes that surround a buildpack's program: packhorse itself, started again, with one thread and no settings.
//!
//! Standard input is the order, and then a lifeline: when it ends, packhorse is gone or wants an end, and so all here ends.
//! Standard output is the program's. Standard error is for one [`Report`].

mod janitor;
mod namespaces;
mod program;
mod root;

use std::ffi::OsString;
use std::io;

use super::order::{Order, Report, Step};

/// The hidden first argument by which packhorse knows that it is to be a helper.
pub(super) const HELPER: &str = "sandbox-helper";

/// What a helper is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Role {
    /// Makes namespaces and starts [`Self::First`] in them.
    Namespaces {
        /// The one user and group that this user is to be inside; none where root keeps all users.
        map: Option<(u32, u32)>,
        /// Whether the machine's network is seen.
        network: bool,
    },
    /// The first process inside: sets up the root, runs the program, and takes everything along when it ends.
    First,
    /// Runs the program where packhorse runs, and ends what it leaves.
    InPlace,
    /// Removes folders when packhorse is gone.
    Janitor(Vec<OsString>),
}

impl Role {
    /// Returns the arguments that [`Self::read`] reads.
    pub(super) fn arguments(&self) -> Vec<OsString> {
        let mut arguments = vec![OsString::from(HELPER)];
        match self {
            Self::Namespaces { map, network } => {
                arguments.push("namespaces".into());
                arguments.push(if *network { "network" } else { "no-network" }.into());
                if let Some((user, group)) = map {
                    arguments.extend([user.to_string().into(), group.to_string().into()]);
                }
            }
            Self::First => arguments.push("first".into()),
            Self::InPlace => arguments.push("in-place".into()),
            Self::Janitor(folders) => {
                arguments.push("janitor".into());
                arguments.extend(folders.iter().cloned());
            }
        }
        arguments
    }

    fn read(arguments: &[OsString]) -> Option<Self> {
        let (role, rest) = arguments.split_first()?;
        let number = |text: &OsString| text.to_str()?.parse().ok();
        match (role.to_str()?, rest) {
            ("namespaces", [network, map @ ..]) => {
                let map = match map {
                    [] => None,
                    [user, group] => Some((number(user)?, number(group)?)),
                    _ => return None,
                };
                Some(Self::Namespaces { map, network: network == "network" })
            }
            ("first", []) => Some(Self::First),
            ("in-place", []) => Some(Self::InPlace),
            ("janitor", folders) => Some(Self::Janitor(folders.to_vec())),
            _ => None,
        }
    }
}

/// A step that did not work.
#[derive(Debug)]
struct Stuck {
    step: Step,
    error: io::Error,
}

/// Tells which step an error belongs to.
trait At<T> {
    fn at(self, step: Step) -> Result<T, Stuck>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, step: Step) -> Result<T, Stuck> {
        self.map_err(|error| Stuck { step, error: error.into() })
    }
}

/// Does a helper's work where the arguments, the program's name first, ask for one. Called before anything else is begun:
/// namespaces can only be made by a process with a single thread.
pub fn entrance(arguments: impl IntoIterator<Item = OsString>) -> bool {
    let mut arguments = arguments.into_iter().skip(1);
    if arguments.next().is_none_or(|first| first != HELPER) {
        return false;
    }
    let arguments: Vec<OsString> = arguments.collect();
    let done = match Role::read(&arguments) {
        Some(Role::Namespaces { map, network }) => namespaces::enter(map, network),
        Some(Role::First) => first(),
        Some(Role::InPlace) => in_place(),
        Some(Role::Janitor(folders)) => {
            janitor::wait_and_remove(&folders);
            Ok(None)
        }
        None => Err(Stuck { step: Step::Order, error: io::ErrorKind::InvalidInput.into() }),
    };
    match done {
        Ok(None) => {}
        Ok(Some(report)) => report.write(io::stderr()),
        Err(Stuck { step, error }) => {
            Report::Refused { step, errno: error.raw_os_error().unwrap_or_default() }.write(io::stderr());
        }
    }
    true
}

fn first() -> Result<Option<Report>, Stuck> {
    let order = Order::read(io::stdin()).at(Step::Order)?;
    let root = order.root.unwrap_or_default();
    if root.folder.is_empty() {
        root::try_out()?;
    } else {
        root::change(&root)?;
    }
    let Some(run) = order.program else { return Ok(Some(Report::Ready)) };
    program::give_up_rights(run.user.is_none())?;
    program::end_with_lifeline().at(Step::Start)?;
    program::run(&run).map(Some)
}

fn in_place() -> Result<Option<Report>, Stuck> {
    let order = Order::read(io::stdin()).at(Step::Order)?;
    let Some(run) = order.program else { return Ok(Some(Report::Ready)) };
    program::adopt_strays().at(Step::Drop)?;
    program::give_up_rights(false)?;
    program::end_with_lifeline().at(Step::Start)?;
    let report = program::run(&run);
    program::end_strays();
    report.map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_read_as_it_was_given() {
        for role in [
            Role::Namespaces { map: Some((1000, 1001)), network: true },
            Role::Namespaces { map: None, network: false },
            Role::First,
            Role::InPlace,
            Role::Janitor(vec!["/a b".into()]),
        ] {
            assert_eq!(Role::read(&role.arguments()[1..]), Some(role));
        }
        assert_eq!(Role::read(&["namespaces".into(), "network".into(), "1".into()]), None);
        assert!(!entrance(["packhorse".into(), "up".into()]));
    }
}
