//! Long work on files beside the runtime, ended when nobody waits for it any more.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Runs `work` on a thread of its own.
///
/// When the future is dropped, the flag that `work` was given turns true, and the drop waits until `work` has seen it: what it
/// cleans up is gone then.
pub(in crate::adapters) async fn beside<T: Send + 'static>(
    work: impl FnOnce(Arc<AtomicBool>) -> T + Send + 'static,
) -> io::Result<T> {
    let stop = Arc::new(AtomicBool::new(false));
    let (answer, answered) = tokio::sync::oneshot::channel();
    let told = Arc::clone(&stop);
    let thread = std::thread::Builder::new().name("packhorse-files".to_owned()).spawn(move || {
        let _ = answer.send(work(told));
    })?;
    let _ending = Ending { stop, thread: Some(thread) };
    answered.await.map_err(|_| io::Error::other("the work on files ended with a panic"))
}

struct Ending {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_nobody_waits_for_ends() {
        assert_eq!(beside(|_| 3).await.unwrap(), 3);
        let ended = Arc::new(AtomicBool::new(false));
        let (begun, wait) = tokio::sync::oneshot::channel();
        let told = Arc::clone(&ended);
        let work = beside(move |stop| {
            let _ = begun.send(());
            while !stop.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
            told.store(true, Ordering::Relaxed);
        });
        tokio::select! {
            biased;
            _ = work => unreachable!(),
            _ = wait => {}
        }
        assert!(ended.load(Ordering::Relaxed));
    }
}
