//! What a cache of layers promises, in a folder and in a registry.

use std::path::Path;
use std::sync::Arc;

use packhorse::image::draft::CREATED;
use packhorse::image::layer::{Compression, LayerFolder, Order, Ownership, Packer, Root};
use packhorse::image::{
    Digest, ImageDraft, ImageReference, ImageSource, ImageTarget, Platform, RegistryTarget, Repository,
};
use packhorse::lifecycle::cache::{AsItIs, Found, ImageCache, Kept, LayerCache};
use packhorse::lifecycle::labels::{CacheMetadata, Sha};

use super::images::{client, new_repository};
use crate::support::fault_proxy::{Fault, FaultProxy, When};
use crate::support::parts;
use crate::support::suite::suite;

/// A cache, and layers to keep in it.
struct Bench {
    cache: LayerCache,
    folder: tempfile::TempDir,
    packer: Arc<Packer>,
}

impl Bench {
    fn new(cache: impl FnOnce(&Path) -> LayerCache) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        let packer = Arc::new(Packer::new(folder.path(), Compression::Gzip).unwrap());
        Self { cache, folder, packer }
    }

    fn in_a_folder() -> Self {
        Self::new(|folder| LayerCache::new(folder.join("cache")))
    }

    fn in_a_registry() -> Self {
        Self::new(|_| LayerCache::in_registry(ImageCache::new(&client(), cache_of(&new_repository()), vec![])))
    }

    /// A layer with one file.
    fn layer(&self, name: &str, content: &str) -> LayerFolder {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("file"), content).unwrap();
        LayerFolder {
            root: Root::in_place().with("/layers", self.folder.path()),
            path: format!("/layers/{name}").into(),
            parents: Ownership::OnDisk,
            contents: Ownership::Fixed { uid: 1000, gid: 1000 },
            order: Order::DepthFirst,
        }
    }

    /// Keeps layers of these contents, the first one by its digest in the metadata.
    async fn keep(&self, contents: &[&str]) -> Vec<Kept> {
        let set = self.cache.begin().unwrap();
        let mut kept = Vec::new();
        for content in contents {
            kept.push(set.add(&self.packer, self.layer(&format!("layer-{content}"), content)).await.unwrap());
        }
        let sha = kept.first().map(|kept| kept.sha.clone()).unwrap_or_default();
        set.commit(&self.packer, &metadata(&sha), &kept).await.unwrap();
        kept
    }

    async fn found(&self) -> Option<Found> {
        self.cache.find().await.unwrap()
    }

    /// Reads a layer to its end, which checks it.
    async fn read(&self, sha: &str) -> Option<u64> {
        let found = self.found().await?;
        let mut archive = self.cache.archive(&found, sha).await.ok()?;
        tokio::task::spawn_blocking(move || std::io::copy(&mut archive, &mut std::io::sink()).ok()).await.unwrap()
    }
}

fn cache_of(repository: &Repository) -> ImageReference {
    repository.tagged("cache".parse().unwrap())
}

fn metadata(sha: &str) -> CacheMetadata {
    CacheMetadata { sbom: Sha { sha: sha.to_owned() }, buildpacks: vec![] }
}

async fn nothing_is_found_where_nothing_was_kept(bench: &Bench) {
    assert!(bench.found().await.is_none());
}

async fn what_is_kept_is_found_and_read_again(bench: &Bench) {
    let kept = bench.keep(&["one", "two"]).await;
    assert_eq!(bench.found().await.unwrap().metadata, metadata(&kept[0].sha));
    for layer in &kept {
        // Folders above, the folder, the file with its block, the end.
        assert_eq!(bench.read(&layer.sha).await, Some(6 * 512), "{}", layer.sha);
    }
}

async fn new_set_takes_the_place_of_the_old_one(bench: &Bench) {
    let old = bench.keep(&["one"]).await;
    let new = bench.keep(&["two"]).await;
    assert_eq!(bench.found().await.unwrap().metadata, metadata(&new[0].sha));
    assert!(bench.read(&new[0].sha).await.is_some());
    assert!(bench.read(&old[0].sha).await.is_none());
}

async fn set_that_is_not_committed_leaves_the_old_one(bench: &Bench) {
    let old = bench.keep(&["one"]).await;
    let set = bench.cache.begin().unwrap();
    set.add(&bench.packer, bench.layer("layer", "two")).await.unwrap();
    drop(set);
    assert_eq!(bench.found().await.unwrap().metadata, metadata(&old[0].sha));
    assert!(bench.read(&old[0].sha).await.is_some());
}

async fn layer_of_the_old_set_is_kept_without_being_there(bench: &Bench) {
    let old = bench.keep(&["one", "two"]).await;
    let found = bench.found().await.unwrap();
    let diff_id: Digest = old[1].sha.parse().unwrap();
    let known = bench.cache.blob(&found, &diff_id).unwrap_or(AsItIs { diff_id: &diff_id, blob: None });
    let set = bench.cache.begin().unwrap();
    let kept = set.keep(known).await.unwrap().expect("it is there");
    set.commit(&bench.packer, &metadata(&kept.sha), std::slice::from_ref(&kept)).await.unwrap();
    assert!(bench.read(&old[1].sha).await.is_some());
    assert!(bench.read(&old[0].sha).await.is_none());
    let unknown = Digest::of(b"unknown");
    let none = bench.cache.begin().unwrap().keep(AsItIs { diff_id: &unknown, blob: None }).await.unwrap();
    assert!(none.is_none());
}

async fn set_without_layers_is_a_set(bench: &Bench) {
    bench.keep(&[]).await;
    assert_eq!(bench.found().await.unwrap().metadata, metadata(""));
}

async fn digest_that_is_none_leads_nowhere(bench: &Bench) {
    bench.keep(&["one"]).await;
    let found = bench.found().await.unwrap();
    for sha in ["../../etc/passwd", "", "sha256:00"] {
        assert!(bench.cache.archive(&found, sha).await.is_err(), "{sha}");
    }
}

suite!(
    folder,
    super::Bench::in_a_folder(),
    [
        nothing_is_found_where_nothing_was_kept,
        what_is_kept_is_found_and_read_again,
        new_set_takes_the_place_of_the_old_one,
        set_that_is_not_committed_leaves_the_old_one,
        layer_of_the_old_set_is_kept_without_being_there,
        set_without_layers_is_a_set,
        digest_that_is_none_leads_nowhere,
    ]
);

suite!(
    registry,
    super::Bench::in_a_registry(),
    "needs a registry",
    [
        nothing_is_found_where_nothing_was_kept,
        what_is_kept_is_found_and_read_again,
        new_set_takes_the_place_of_the_old_one,
        set_that_is_not_committed_leaves_the_old_one,
        layer_of_the_old_set_is_kept_without_being_there,
        set_without_layers_is_a_set,
        digest_that_is_none_leads_nowhere,
    ]
);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a registry"]
async fn fallback_is_read_until_the_cache_itself_is_there() {
    let (client, own, other) = (client(), cache_of(&new_repository()), cache_of(&new_repository()));
    let cache = |image: &ImageReference, fallbacks: Vec<ImageReference>| {
        Bench::new(|_| LayerCache::in_registry(ImageCache::new(&client, image.clone(), fallbacks)))
    };
    let of_default = cache(&other, vec![]).keep(&["default"]).await;
    let missing = cache_of(&new_repository());
    let bench = cache(&own, vec![missing, other.clone()]);
    assert!(bench.read(&of_default[0].sha).await.is_some());
    let of_branch = bench.keep(&["branch"]).await;
    assert_eq!(bench.found().await.unwrap().metadata, metadata(&of_branch[0].sha));
    // What was only read is as it was.
    assert_eq!(cache(&other, vec![]).found().await.unwrap().metadata, metadata(&of_default[0].sha));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a registry"]
async fn image_that_is_no_cache_or_lies_about_its_layers_is_none() {
    let (client, repository) = (client(), new_repository());
    let name = cache_of(&repository);
    let bench = Bench::new(|_| LayerCache::in_registry(ImageCache::new(&client, name.clone(), vec![])));
    let target = RegistryTarget::new(client.clone(), repository);
    let layer = bench.packer.pack(bench.layer("layer", "x").entries()).unwrap();
    target.put_layer(&layer).await.unwrap();
    let write = async |label: Option<&str>, diff_id: &Digest| {
        let mut draft = ImageDraft::empty("linux", "amd64");
        draft.push(diff_id.clone(), layer.descriptor.clone(), "");
        if let Some(label) = label {
            let name = "io.buildpacks.lifecycle.cache.metadata".to_owned();
            draft.config.config.labels.insert(name, label.to_owned());
        }
        target.finish(&draft.finish(CREATED).unwrap(), std::slice::from_ref(&name)).await.unwrap();
    };
    write(None, &layer.diff_id).await;
    assert!(bench.found().await.is_none());
    write(Some("nonsense"), &layer.diff_id).await;
    assert!(bench.found().await.is_none());
    // A layer under the digest of another one.
    let lie = Digest::of(b"another");
    write(Some("{}"), &lie).await;
    assert!(bench.found().await.is_some());
    assert_eq!(bench.read(lie.as_str()).await, None);
    assert_eq!(bench.read(layer.diff_id.as_str()).await, None);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a registry"]
async fn layer_of_the_app_image_is_taken_over_and_not_sent_again() {
    let proxy = FaultProxy::before(&parts::registry()).await;
    let (client, app) = (client(), new_repository());
    let moved =
        |repository: &Repository| -> Repository { format!("{}/{}", proxy.host(), repository.path()).parse().unwrap() };
    let app = moved(&app);
    for cache in [cache_of(&app), cache_of(&moved(&new_repository()))] {
        let bench = Bench::new(|_| LayerCache::in_registry(ImageCache::new(&client, cache, vec![])));
        let target = RegistryTarget::new(client.clone(), app.clone());
        let layer = bench.packer.pack(bench.layer("layer", "shared").entries()).unwrap();
        target.put_layer(&layer).await.unwrap();
        let mut draft = ImageDraft::empty("linux", "amd64");
        draft.push(layer.diff_id.clone(), layer.descriptor.clone(), "");
        let name = app.tagged("app".parse().unwrap());
        target.finish(&draft.finish(CREATED).unwrap(), std::slice::from_ref(&name)).await.unwrap();
        let image = client.image(&name, &Platform::host()).await.unwrap().unwrap();

        let pieces = |method: &'static str| proxy.seen(&When::path(method, "/blobs/uploads/")).len();
        let before = pieces("PATCH") + pieces("PUT");
        let set = bench.cache.begin().unwrap();
        let known = AsItIs { diff_id: &layer.diff_id, blob: Some((&layer.descriptor, &image, &client)) };
        let kept = set.keep(known).await.unwrap().unwrap();
        assert_eq!(pieces("PATCH") + pieces("PUT"), before);
        set.commit(&bench.packer, &metadata(&kept.sha), std::slice::from_ref(&kept)).await.unwrap();
        assert!(bench.read(&kept.sha).await.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a registry"]
async fn registry_that_fails_is_an_error_only_where_no_fallback_is_there() {
    let proxy = FaultProxy::before(&parts::registry()).await;
    let (client, fallback) = (client(), cache_of(&new_repository()));
    let kept = Bench::new(|_| LayerCache::in_registry(ImageCache::new(&client, fallback.clone(), vec![])))
        .keep(&["one"])
        .await;
    let broken: ImageReference = format!("{}/test/broken:cache", proxy.host()).parse().unwrap();
    let refusal = Fault::Answer { status: 403, body: String::new() };
    proxy.fail(When::path("GET", "/manifests/"), usize::MAX, refusal);
    let alone = LayerCache::in_registry(ImageCache::new(&client, broken.clone(), vec![]));
    assert!(alone.find().await.is_err());
    let bench = Bench::new(|_| LayerCache::in_registry(ImageCache::new(&client, broken, vec![fallback])));
    assert!(bench.read(&kept[0].sha).await.is_some());
}
