//! PostgreSQL as a process.

use std::sync::Mutex;
use std::time::Duration;

use rustix::process::Signal;
use secrecy::ExposeSecret as _;

use super::addons::{Server, Starting, Stuck};
use crate::adapters::process::{Limits, Stop, run};
use crate::ports::failure::chain;

/// Ends it at once, with all of its processes; nobody wants its data any more
/// (<https://www.postgresql.org/docs/current/server-shutdown.html>).
pub(super) const END: Signal = Signal::QUIT;

/// It lives for one run of tests: nothing has to survive a crash of the machine.
const SETTINGS: [&str; 4] = ["fsync=off", "synchronous_commit=off", "full_page_writes=off", "jit=off"];

/// Makes a database cluster with the user that the official image has.
pub(super) async fn prepare(starting: &Starting<'_>) -> Result<Server, Stuck> {
    // A program of another user cannot read a pipe of ours, so a file it is.
    let password = starting.write("password", starting.password.expose_secret())?;
    let data = starting.own.join("data");
    let initdb = starting.program(1).arg("-D").arg(&data).arg("--pwfile").arg(&password);
    let initdb =
        initdb.args(["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]);
    let said = Mutex::new(Vec::new());
    let line = |line: &str| {
        if let Ok(mut said) = said.lock() {
            said.push(line.to_owned());
        }
    };
    let made = run(&initdb, Limits::within(Duration::from_mins(1)), &Stop::default(), &line).await;
    let made = made.map_err(|error| Stuck::Other(chain(&error)))?;
    if !made.succeeded() {
        let said = said.into_inner().unwrap_or_default().join("\n");
        return Err(Stuck::Other(format!("`{}` ended with code {}:\n{said}", initdb.program(), made.code())));
    }
    std::fs::remove_file(password)?;
    let port = starting.port.to_string();
    let settings = ["listen_addresses=127.0.0.1", "unix_socket_directories="].into_iter().chain(SETTINGS);
    let command = starting.program(0).arg("-D").arg(&data).args(["-p", &port]);
    Ok(Server {
        command: settings.fold(command, |command, setting| command.args(["-c", setting])),
        ready: starting.program(2).args(["-q", "-h", "127.0.0.1", "-p", &port, "-U", "postgres"]),
    })
}
