//! Runs the programs of buildpacks, each with a helper process around it.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use async_trait::async_trait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio_util::sync::CancellationToken;

use super::account::Account;
use super::helper::Role;
use super::order::{Bind, Order, Report, Root, Run};
use super::refusal;
use crate::lifecycle::executor::Output;
use crate::lifecycle::{Executor, Exit, Program};

/// Files of the machine that every sandbox sees, where the machine has them.
const NETWORK_FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// Runs programs in a sandbox or in place.
///
/// Each program has a helper around it, which ends the program and all that it started when the program ends, when the future
/// is dropped, and when packhorse is killed: so nothing is ever left to be ended later.
#[derive(Debug, Clone)]
pub struct Sandbox {
    helper: PathBuf,
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    Namespaces { users: Users, root: Root, account: Account },
    InPlace { become_user: Option<(u32, u32)> },
}

/// Which users a sandbox has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Users {
    /// All that the machine has, under their own numbers: for root.
    All,
    /// One: the user who runs packhorse is the CNB user inside, and owns every file.
    One,
}

impl Users {
    /// Returns what this process can have: all, where it is root with root's rights.
    pub fn of_process() -> Self {
        use rustix::thread::CapabilitySet;
        let needed = CapabilitySet::SYS_ADMIN
            | CapabilitySet::SETUID
            | CapabilitySet::SETGID
            | CapabilitySet::CHOWN
            | CapabilitySet::DAC_OVERRIDE
            | CapabilitySet::FOWNER;
        let rights = rustix::thread::capabilities(None).map(|sets| sets.effective);
        if rustix::process::geteuid().is_root() && rights.is_ok_and(|rights| rights.contains(needed)) {
            Self::All
        } else {
            Self::One
        }
    }
}

/// A folder or file of the machine that a sandbox sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// Its path on the machine.
    pub host: PathBuf,
    /// Its path inside, which is there in the root.
    pub inside: PathBuf,
    /// Whether it can be written.
    pub writable: bool,
}

impl Sandbox {
    /// A sandbox over a root filesystem, in which `shared` is seen; all else is for reading only, or private and empty.
    ///
    /// `helper` is the program packhorse. The network is the machine's.
    pub fn over(helper: impl Into<PathBuf>, root: &Path, account: Account, users: Users, shared: &[Shared]) -> Self {
        let mut binds: Vec<Bind> = NETWORK_FILES
            .into_iter()
            .filter(|file| Path::new(file).is_file())
            .map(|file| Bind { from: file.into(), to: file.into(), writable: false })
            .collect();
        let mut shared = shared.to_vec();
        // A folder is mounted before what lies below it.
        shared.sort_by_key(|folder| folder.inside.components().count());
        binds.extend(shared.into_iter().map(|Shared { host, inside, writable }| Bind {
            from: host.into_os_string(),
            to: inside.into_os_string(),
            writable,
        }));
        let root = Root { folder: root.as_os_str().to_owned(), binds };
        Self { helper: helper.into(), place: Place::Namespaces { users, root, account } }
    }

    /// No sandbox: packhorse runs inside of a builder image already. As root, programs get the CNB user.
    pub fn in_place(helper: impl Into<PathBuf>, account: &Account) -> Self {
        let is_root = rustix::process::geteuid().is_root();
        let become_user = is_root.then_some((account.uid, account.gid));
        Self { helper: helper.into(), place: Place::InPlace { become_user } }
    }

    /// Tries whether this machine lets `users` have a sandbox. The error says in words why not, and what to do.
    pub async fn try_out(helper: impl Into<PathBuf>, users: Users) -> io::Result<()> {
        let account = Account { uid: 1000, gid: 1000, name: String::new(), home: PathBuf::new() };
        let root = Root::default();
        let sandbox = Self { helper: helper.into(), place: Place::Namespaces { users, root, account } };
        match sandbox.report_of(None, &mut |_| {}, &CancellationToken::new()).await? {
            Report::Ready => Ok(()),
            other => Err(lost(&other)),
        }
    }

    fn role(&self) -> Role {
        match &self.place {
            Place::Namespaces { users, account, .. } => {
                let map = (*users == Users::One).then_some((account.uid, account.gid));
                Role::Namespaces { map, network: true }
            }
            Place::InPlace { .. } => Role::InPlace,
        }
    }

    fn order(&self, program: Option<&Program>) -> Order {
        let (root, user) = match &self.place {
            Place::Namespaces { users: Users::All, root, account } => {
                (Some(root.clone()), Some((account.uid, account.gid)))
            }
            Place::Namespaces { users: Users::One, root, .. } => (Some(root.clone()), None),
            Place::InPlace { become_user } => (None, *become_user),
        };
        let program = program.map(|program| Run {
            argv: program.argv.clone(),
            env: program.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            working_dir: program.working_dir.clone().into_os_string(),
            user,
        });
        Order { root, program }
    }

    /// Runs `program` as [`Executor::run`] does, and asks it to end (TERM) once `ask` is cancelled.
    pub async fn run_until(
        &self,
        program: &Program,
        output: &mut Output<'_>,
        ask: &CancellationToken,
    ) -> io::Result<Exit> {
        match self.report_of(Some(program), output, ask).await? {
            Report::Exited(code) => Ok(Exit::Exited(code)),
            Report::Signaled(signal) => Ok(Exit::Signaled(signal)),
            Report::NotStarted { errno } => Err(io::Error::from_raw_os_error(errno)),
            other => Err(lost(&other)),
        }
    }

    async fn report_of(
        &self,
        program: Option<&Program>,
        output: &mut Output<'_>,
        ask: &CancellationToken,
    ) -> io::Result<Report> {
        let order = self.order(program).encode()?;
        let mut running = Running::start(&self.helper, self.role().arguments())?;
        let (mut from_program, mut from_helper) = (running.output()?, running.said()?);
        let mut lifeline = running.lifeline()?;
        let told = async {
            // A helper that ends early says why on its own.
            let _ = lifeline.write_all(&order).await;
            ask.cancelled().await;
            let _ = lifeline.write_all(&[0]).await;
            std::future::pending::<std::convert::Infallible>().await
        };
        let shown = async {
            let mut buffer = vec![0; 32 * 1024];
            loop {
                match from_program.read(&mut buffer).await {
                    Ok(0) | Err(_) => return,
                    Ok(count) => output(&buffer[..count]),
                }
            }
        };
        let heard = async {
            let mut said = Vec::new();
            let _ = (&mut from_helper).take(64 * 1024).read_to_end(&mut said).await;
            said
        };
        // The lifeline is held until both ends are reached, which is when all processes are gone.
        let said = tokio::select! {
            ((), said) = async { tokio::join!(shown, heard) } => said,
            never = told => match never {},
        };
        running.wait();
        match Report::read(&said) {
            Some(Report::Refused { step, errno }) => Err(refusal::error(step, errno)),
            Some(report) => Ok(report),
            None => Err(io::Error::other(format!(
                "the sandbox ended without a word{}",
                String::from_utf8_lossy(&said).lines().next_back().map(|line| format!(": {line}")).unwrap_or_default()
            ))),
        }
    }
}

fn lost(report: &Report) -> io::Error {
    io::Error::other(format!("the sandbox answered {report:?}"))
}

#[async_trait]
impl Executor for Sandbox {
    async fn run(&self, program: &Program, output: &mut Output<'_>) -> io::Result<Exit> {
        self.run_until(program, output, &CancellationToken::new()).await
    }

    async fn end_strays(&self) -> io::Result<()> {
        // The helper of each program has done so.
        Ok(())
    }
}

/// A helper and its pipes. Dropped, it ends, and all that it started; the drop waits for that.
struct Running {
    helper: Child,
    lifeline: Option<OwnedFd>,
    output: Option<OwnedFd>,
    said: Option<OwnedFd>,
}

impl Running {
    fn start(helper: &Path, arguments: Vec<OsString>) -> io::Result<Self> {
        let (from_us, lifeline) = io::pipe()?;
        let (output, to_output) = io::pipe()?;
        let (said, to_said) = io::pipe()?;
        let mut command = Command::new(helper);
        command.args(arguments).env_clear().stdin(from_us).stdout(to_output).stderr(to_said);
        // A Ctrl-C is for packhorse, which then ends the helper.
        let helper = command.process_group(0).spawn()?;
        Ok(Self { helper, lifeline: Some(lifeline.into()), output: Some(output.into()), said: Some(said.into()) })
    }

    fn lifeline(&mut self) -> io::Result<pipe::Sender> {
        pipe::Sender::from_owned_fd(self.lifeline.take().ok_or(io::ErrorKind::BrokenPipe)?)
    }

    fn output(&mut self) -> io::Result<pipe::Receiver> {
        pipe::Receiver::from_owned_fd(self.output.take().ok_or(io::ErrorKind::BrokenPipe)?)
    }

    fn said(&mut self) -> io::Result<pipe::Receiver> {
        pipe::Receiver::from_owned_fd(self.said.take().ok_or(io::ErrorKind::BrokenPipe)?)
    }

    /// Waits for the helper, whose lifeline is cut or which has ended already.
    fn wait(&mut self) {
        let _ = self.helper.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.lifeline = None;
        self.wait();
    }
}

/// Removes folders when this process ends without having done so itself. Dropped, it removes nothing.
pub struct Janitor {
    process: Child,
}

impl Janitor {
    /// Has `helper` watch over folders.
    pub fn over(helper: &Path, folders: &[&Path]) -> io::Result<Self> {
        let folders = folders.iter().map(|folder| folder.as_os_str().to_owned()).collect();
        let mut command = Command::new(helper);
        command.args(Role::Janitor(folders).arguments()).env_clear().stdin(Stdio::piped());
        command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        Ok(Self { process: command.spawn()? })
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
