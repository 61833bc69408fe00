//! What a command runs in.

use tokio_util::sync::CancellationToken;

use crate::flags::Globals;
use crate::ui::Printer;

/// What every command is given.
#[derive(Clone)]
pub struct Session {
    /// The one way out.
    pub printer: Printer,
    /// The flags that every command takes.
    pub globals: Globals,
    /// Told when the user wants to stop.
    pub interrupt: Interrupt,
}

/// The two ways to be stopped: first gently, then at once.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    /// Told by the first signal: end what was begun and remove what was made.
    pub gently: CancellationToken,
    /// Told by the second: kill what still runs.
    pub at_once: CancellationToken,
}

impl Interrupt {
    /// Takes note of a signal.
    pub fn signalled(&self) {
        if self.gently.is_cancelled() {
            self.at_once.cancel();
        }
        self.gently.cancel();
    }
}
