//! Short questions to other programs, such as `git rev-parse HEAD`.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::time::Duration;

/// The time within which a probe must answer.
const LIMIT: Duration = Duration::from_secs(20);
/// The part of an error output that is worth repeating.
const LAST: usize = 1000;

/// Why a probe gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// There is no such program.
    #[error("`{program}` was not found")]
    NotFound {
        /// The program.
        program: String,
    },
    /// It could not be run.
    #[error("could not run `{program}`")]
    CouldNotRun {
        /// The program.
        program: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// It said no.
    #[error("`{program}` ended with code {code}: {said}")]
    Failed {
        /// The program.
        program: String,
        /// The exit code, or -1 where a signal ended it.
        code: i32,
        /// The end of what it wrote to standard error.
        said: String,
    },
    /// It did not answer in time.
    #[error("`{program}` did not answer within {seconds} s")]
    TimedOut {
        /// The program.
        program: String,
        /// The limit.
        seconds: u64,
    },
}

/// Runs a program in a folder and returns what it writes to standard output, without the last line end.
///
/// Standard input is empty. A program that takes longer than 20 s is killed.
pub async fn probe(program: &str, args: &[&str], folder: Option<&Path>) -> Result<String, ProbeError> {
    let (name, folder) = (program.to_owned(), folder.map(Path::to_path_buf));
    let args: Vec<OsString> = args.iter().map(OsString::from).collect();
    let answer = tokio::task::spawn_blocking(move || ask(&name, &args, folder.as_deref(), LIMIT)).await;
    answer.unwrap_or_else(|gone| {
        Err(ProbeError::CouldNotRun { program: program.to_owned(), source: io::Error::other(gone) })
    })
}

fn ask(program: &str, args: &[OsString], folder: Option<&Path>, limit: Duration) -> Result<String, ProbeError> {
    let mut expression = duct::cmd(program, args).stdin_null().stdout_capture().stderr_capture().unchecked();
    if let Some(folder) = folder {
        expression = expression.dir(folder);
    }
    let name = program.to_owned();
    let wrong = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound if folder.is_none_or(Path::is_dir) => ProbeError::NotFound { program: name.clone() },
        _ => ProbeError::CouldNotRun { program: name.clone(), source },
    };
    let handle = expression.start().map_err(wrong)?;
    let Some(output) = handle.wait_timeout(limit).map_err(wrong)? else {
        // Without this the handle would leave the program running.
        handle.kill().map_err(wrong)?;
        return Err(ProbeError::TimedOut { program: name, seconds: limit.as_secs() });
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.trim();
        let from = said.char_indices().rev().map(|(at, _)| at).take(LAST).last().unwrap_or(0);
        let code = output.status.code().unwrap_or(-1);
        return Err(ProbeError::Failed { program: name, code, said: said[from..].to_owned() });
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_loses_its_last_line_end_only() {
        let answer = probe("/bin/sh", &["-c", "pwd; echo; echo"], Some(Path::new("/"))).await;
        assert_eq!(answer.unwrap(), "/\n\n");
    }

    #[tokio::test]
    async fn a_refusal_carries_what_was_said() {
        let refusal = probe("/bin/sh", &["-c", "echo no such thing >&2; exit 3"], None).await.unwrap_err();
        assert_eq!(refusal.to_string(), "`/bin/sh` ended with code 3: no such thing");
        let missing = probe("packhorse-has-no-such-program", &[], None).await.unwrap_err();
        assert!(matches!(missing, ProbeError::NotFound { .. }));
    }

    #[test]
    fn a_program_that_hangs_is_killed() {
        let answer = ask("/bin/sleep", &["3600".into()], None, Duration::from_millis(100));
        assert!(matches!(answer, Err(ProbeError::TimedOut { seconds: 0, .. })));
    }
}
