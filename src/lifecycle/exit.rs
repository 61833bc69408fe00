//! The lifecycle's exit codes, by which platforms tell phases and causes apart.

/// Why a lifecycle phase failed, as its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Anything without a code of its own.
    Generic = 1,
    /// A buildpack needs another version of the Buildpack API.
    BuildpackApi = 12,
    /// No group of buildpacks wants the app.
    NothingDetected = 20,
    /// No group of buildpacks wants the app, and a buildpack failed to say.
    DetectedWithErrors = 21,
    /// Detection failed in another way.
    Detect = 22,
    /// The image before or the run image could not be read.
    Analyze = 32,
    /// What earlier builds left could not be restored.
    Restore = 42,
    /// A buildpack failed.
    BuildpackFailed = 51,
    /// The build failed in another way.
    Build = 52,
    /// The image could not be exported.
    Export = 62,
    /// A process could not be launched.
    Launch = 82,
}

impl ExitCode {
    /// Returns the number.
    pub fn code(self) -> i32 {
        i32::from(self as u8)
    }
}
