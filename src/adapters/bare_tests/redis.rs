//! Redis as a process.

use rustix::process::Signal;
use secrecy::ExposeSecret as _;

use super::addons::{Server, Starting, Stuck};

pub(super) const END: Signal = Signal::TERM;

/// Writes its settings; the password is in no argument.
pub(super) fn prepare(starting: &Starting<'_>) -> Result<Server, Stuck> {
    let (port, password) = (starting.port.to_string(), starting.password.expose_secret());
    let settings = format!(
        "bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir \"{}\"\nsave \"\"\nappendonly no\ndaemonize no\n",
        starting.own.display()
    );
    let file = starting.write("redis.conf", &settings)?;
    let ready = starting.program(1).args(["-h", "127.0.0.1", "-p", &port, "PING"]);
    Ok(Server {
        command: starting.program(0).arg(file),
        ready: ready.secret_env("REDISCLI_AUTH", starting.password.clone()),
    })
}
