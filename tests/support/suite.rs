//! Calls every promise of a port's contract for one implementation.

/// Makes one test per promise: `suite!(memory, open_memory(), [promise, …])`, with the reason when it needs a real part:
/// `suite!(dynamodb, open_dynamodb().await, "needs DynamoDB Local", [promise, …])`.
///
/// What is opened lives as long as the test; each promise takes a reference to it.
macro_rules! suite {
    ($name:ident, $open:expr, [$($promise:ident),+ $(,)?]) => {
        mod $name {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                let bench = $open;
                super::$promise(&bench).await;
            })+
        }
    };
    ($name:ident, $open:expr, $reason:literal, [$($promise:ident),+ $(,)?]) => {
        mod $name {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = $reason]
            async fn $promise() {
                let bench = $open;
                super::$promise(&bench).await;
            })+
        }
    };
}

pub(crate) use suite;
