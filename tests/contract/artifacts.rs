//! What every artifact store promises.

use bytes::Bytes;
use packhorse::adapters::local::LocalArtifacts;
use packhorse::adapters::memory::MemoryArtifacts;
use packhorse::ports::artifacts::ArtifactStore;
use packhorse::ports::failure::Failure;
use tempfile::TempDir;

use crate::support::suite::suite;

/// A store under test.
pub(crate) trait Bench: Send + Sync {
    fn store(&self) -> &dyn ArtifactStore;
}

/// Nothing is there before the first write, and every byte after it.
async fn what_was_put_is_got(bench: &impl Bench) {
    let store = bench.store();
    assert_eq!(store.get("42/build.log").await.unwrap(), None);
    let everything: Bytes = (0..=255).cycle().take(3_000_000).collect::<Vec<u8>>().into();
    for content in [Bytes::from_static(b"===> DETECTING\n"), Bytes::new(), everything] {
        store.put("42/build.log", content.clone()).await.unwrap();
        assert_eq!(store.get("42/build.log").await.unwrap(), Some(content));
    }
}

/// Keys are apart, also where one begins like another.
async fn keys_are_apart(bench: &impl Bench) {
    let store = bench.store();
    for key in ["4/build.log", "42/build.log", "42/build.json", "external-7/build.log"] {
        store.put(key, Bytes::from(key)).await.unwrap();
    }
    for key in ["4/build.log", "42/build.log", "42/build.json", "external-7/build.log"] {
        assert_eq!(store.get(key).await.unwrap(), Some(Bytes::from(key)));
    }
    assert_eq!(store.get("42").await.unwrap_or_default(), None);
    assert_eq!(store.get("42/build").await.unwrap(), None);
}

/// A reader meets the old file or the new one, never a part.
async fn a_reader_never_meets_half_a_file(bench: &impl Bench) {
    let store = bench.store();
    let contents: Vec<Bytes> = (0..6_u8).map(|fill| vec![fill; 200_000].into()).collect();
    store.put("1/build.log", contents[0].clone()).await.unwrap();
    let writing = async {
        for content in &contents {
            store.put("1/build.log", content.clone()).await.unwrap();
        }
    };
    let reading = async {
        for _ in 0..30 {
            let content = store.get("1/build.log").await.unwrap().unwrap();
            assert!(contents.contains(&content), "{} bytes", content.len());
        }
    };
    tokio::join!(writing, reading);
}

/// A key that could name something outside is refused.
async fn a_key_cannot_leave_the_store(bench: &impl Bench) {
    let store = bench.store();
    for key in ["", "/etc/passwd", "../outside", "42/../../outside", "42//log", "42/"] {
        assert!(matches!(store.put(key, Bytes::new()).await, Err(Failure::Refused { .. })), "{key}");
        assert!(matches!(store.get(key).await, Err(Failure::Refused { .. })), "{key}");
    }
}

/// A URL ends with its key, so that siblings are found by replacing the last segment.
async fn a_url_ends_with_its_key(bench: &impl Bench) {
    let url = bench.store().url("42/build.log");
    assert!(url.contains("://") && url.ends_with("/42/build.log"), "{url}");
}

impl Bench for MemoryArtifacts {
    fn store(&self) -> &dyn ArtifactStore {
        self
    }
}

fn open_memory() -> MemoryArtifacts {
    MemoryArtifacts::new()
}

struct Local {
    store: LocalArtifacts,
    _folder: TempDir,
}

impl Bench for Local {
    fn store(&self) -> &dyn ArtifactStore {
        &self.store
    }
}

fn open_local() -> Local {
    let folder = tempfile::tempdir().unwrap();
    Local { store: LocalArtifacts::new(folder.path().join("artifacts")), _folder: folder }
}

macro_rules! promises {
    ($name:ident, $($how:tt)+) => {
        suite!($name, $($how)+, [
            what_was_put_is_got,
            keys_are_apart,
            a_reader_never_meets_half_a_file,
            a_key_cannot_leave_the_store,
            a_url_ends_with_its_key,
        ]);
    };
}

promises!(memory, super::open_memory());
promises!(files, super::open_local());

#[cfg(feature = "aws")]
mod aws {
    use packhorse::adapters::aws::S3Artifacts;

    use super::*;
    use crate::support::aws::{Bucket, clients};
    use crate::support::parts;

    pub(super) struct S3 {
        store: S3Artifacts,
        _bucket: Bucket,
    }

    impl Bench for S3 {
        fn store(&self) -> &dyn ArtifactStore {
            &self.store
        }
    }

    pub(super) async fn open() -> S3 {
        let bucket = Bucket::make();
        S3 { store: S3Artifacts::new(clients(&parts::moto()).await.s3(), bucket.name.as_str()), _bucket: bucket }
    }

    #[tokio::test]
    #[ignore = "needs moto"]
    async fn a_bucket_that_is_not_there_is_an_error_and_no_missing_file() {
        let store = S3Artifacts::new(clients(&parts::moto()).await.s3(), "no-such-bucket");
        assert!(matches!(store.get("42/build.log").await, Err(Failure::NotFound { .. })));
    }
}

#[cfg(feature = "aws")]
promises!(s3, super::aws::open().await, "needs moto");
