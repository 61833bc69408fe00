//! The exit codes of the program.

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCode {
    /// 0: what was asked for is done.
    Done,
    /// 1: the app, its build or its release is at fault.
    App,
    /// 2: the command line is wrong.
    Usage,
    /// 3: a manifest is invalid (`app.json`, `Procfile`, …).
    Manifest,
    /// 4: AWS, a registry or Docker refused or was unreachable.
    Outside,
    /// 70: a bug in packhorse (`EX_SOFTWARE` of `sysexits.h`).
    Internal,
    /// 130: interrupted (128 + SIGINT, as shells count).
    Interrupted,
    /// The code of a command that was run on somebody's behalf, passed through.
    Passed(u8),
}

impl ExitCode {
    /// The documented codes with their meaning, in the order in which the reference lists them.
    pub const DOCUMENTED: [(Self, &'static str); 7] = [
        (Self::Done, "done"),
        (Self::App, "the app, its build or its release is at fault"),
        (Self::Usage, "the command line is wrong"),
        (Self::Manifest, "a manifest is invalid (`app.json`, `Procfile`, …)"),
        (Self::Outside, "AWS, a registry or Docker refused or was unreachable"),
        (Self::Internal, "a bug in packhorse"),
        (Self::Interrupted, "interrupted"),
    ];

    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::App => 1,
            Self::Usage => 2,
            Self::Manifest => 3,
            Self::Outside => 4,
            Self::Internal => 70,
            Self::Interrupted => 130,
            Self::Passed(code) => code,
        }
    }

    /// The code inside CodeBuild, where the contract knows only 0 and 1.
    #[must_use]
    pub fn inside_codebuild(self) -> Self {
        if self.code() == 0 { Self::Done } else { Self::App }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_documented_codes_are_the_same() {
        let codes: std::collections::BTreeSet<u8> = ExitCode::DOCUMENTED.iter().map(|(code, _)| code.code()).collect();
        assert_eq!(codes.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 70, 130]);
    }

    #[test]
    fn inside_codebuild_there_is_only_zero_and_one() {
        for (code, _) in ExitCode::DOCUMENTED {
            assert_eq!(code.inside_codebuild().code(), u8::from(code.code() != 0));
        }
    }
}
