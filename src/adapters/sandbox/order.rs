//! What the executor and its helper processes tell each other.

use std::ffi::OsString;
use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

/// The longest order: an environment and arguments that Linux itself would refuse to pass on.
const LONGEST: u64 = 64 << 20;

/// What a helper is to run, and in what surroundings.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    /// The root to change to; in place there is none.
    pub(super) root: Option<Root>,
    /// The program; none tries whether the surroundings can be had.
    pub(super) program: Option<Run>,
}

/// A program to run.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Run {
    /// The program's path and its arguments.
    pub(super) argv: Vec<OsString>,
    /// Its whole environment.
    pub(super) env: Vec<(OsString, OsString)>,
    /// The folder in which it starts.
    pub(super) working_dir: OsString,
    /// User and group to become, where the helper is root.
    pub(super) user: Option<(u32, u32)>,
}

/// A root filesystem and what is mounted in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Root {
    /// The folder that is to be the root.
    pub(super) folder: OsString,
    /// Folders and files of the machine that are seen inside, those above others first.
    pub(super) binds: Vec<Bind>,
}

/// A folder or file of the machine that is seen inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bind {
    /// Its path on the machine.
    pub(super) from: OsString,
    /// Its path inside.
    pub(super) to: OsString,
    /// Whether it can be written.
    pub(super) writable: bool,
}

/// How a helper's work ended: one line of JSON.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Report {
    /// The surroundings can be had.
    Ready,
    /// The program exited with this code.
    Exited(i32),
    /// This signal ended the program.
    Signaled(i32),
    /// The program did not start.
    NotStarted {
        /// The operating system's error.
        errno: i32,
    },
    /// A sandbox could not be set up.
    Refused {
        /// What was tried.
        step: Step,
        /// The operating system's error.
        errno: i32,
    },
}

/// What it takes to set up a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Step {
    /// Read the order.
    Order,
    /// Make namespaces.
    Namespaces,
    /// Map the one user and group.
    Map,
    /// Keep the rights over the namespaces.
    Rights,
    /// Start the first process inside.
    Start,
    /// Mount.
    Mount,
    /// Mount `/proc`.
    Proc,
    /// Change the root.
    Root,
    /// Give up rights before the program starts.
    Drop,
    /// Wait for the program.
    Wait,
}

impl Order {
    /// Returns the order as its helper reads it.
    pub(super) fn encode(&self) -> io::Result<Vec<u8>> {
        let text = serde_json::to_vec(self)?;
        let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
        bytes.extend(text);
        Ok(bytes)
    }

    /// Reads an order, and nothing after it.
    pub(super) fn read(mut from: impl Read) -> io::Result<Self> {
        let mut length = [0; 8];
        from.read_exact(&mut length)?;
        let length = u64::from_le_bytes(length);
        if length > LONGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut text = Vec::new();
        from.take(length).read_to_end(&mut text)?;
        Ok(serde_json::from_slice(&text)?)
    }
}

impl Report {
    /// Writes the report; nobody is left to be told when that fails.
    pub(super) fn write(&self, mut to: impl Write) {
        if let Ok(mut line) = serde_json::to_vec(self) {
            line.push(b'\n');
            let _ = to.write_all(&line);
        }
    }

    /// Reads the last report of what helpers said.
    pub(super) fn read(said: &[u8]) -> Option<Self> {
        said.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).next_back()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    #[test]
    fn orders_and_reports_arrive_as_they_were_sent() {
        let odd = OsString::from_vec(b"\xff\n\"".to_vec());
        let run =
            Run { argv: vec![odd.clone()], env: vec![(odd.clone(), odd)], working_dir: "/".into(), user: Some((1, 2)) };
        let order = Order { root: Some(Root::default()), program: Some(run) };
        let mut bytes = order.encode().unwrap();
        bytes.extend(b"what comes after");
        let mut rest = bytes.as_slice();
        assert_eq!(format!("{:?}", Order::read(&mut rest).unwrap()), format!("{order:?}"));
        assert_eq!(rest, b"what comes after");
        let mut said = b"some loader's warning\n".to_vec();
        Report::Exited(3).write(&mut said);
        assert_eq!(Report::read(&said), Some(Report::Exited(3)));
        assert_eq!(Report::read(b"nothing"), None);
        assert!(Order::read(&b"\xff\xff\xff\xff\xff\xff\xff\xff"[..]).is_err());
    }
}
