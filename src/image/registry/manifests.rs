//! Manifests and tags.

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, LINK};
use reqwest::{Method, StatusCode};

use super::RegistryClient;
use super::error::{RegistryError, Said};
use super::request::{Access, Call};
use super::transport::{Body, read_refusal};
use crate::image::config::ImageConfig;
use crate::image::digest::Digest;
use crate::image::manifest::{Document, Manifest, Platform, RawManifest};
use crate::image::media_type;
use crate::image::reference::{ImageReference, Repository, Tag};

/// The longest manifest; the distribution project's limit for pushes.
const LONGEST_MANIFEST: usize = 4 * 1024 * 1024;
/// The longest image config; `io.buildpacks` labels make them long, not this long.
const LONGEST_CONFIG: usize = 8 * 1024 * 1024;
/// The longest page of a tag list, and the most pages that are read.
const LONGEST_TAG_PAGE: usize = 4 * 1024 * 1024;
const MOST_TAG_PAGES: usize = 1000;

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// What became of a tag that was to be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tagged {
    /// It was written.
    Written,
    /// It already named this digest: nothing was written.
    AlreadyThere,
}

/// What became of a tag that was to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deleted {
    /// It is gone.
    Done,
    /// It was not there.
    NotThere,
    /// The registry does not delete by tag, or the login may not: it was left.
    Unsupported {
        /// The registry's words.
        reason: String,
    },
}

impl RegistryClient {
    /// Returns the digest behind `image` now.
    pub async fn resolve(&self, image: &ImageReference) -> Result<Digest, RegistryError> {
        let call = self.manifest_call(Method::HEAD, image, "find")?;
        let response = self.send(&call, &mut self.patience()).await?;
        match (response.status(), announced(&call, response.headers())?) {
            (StatusCode::OK, Some(digest)) => {
                if image.digest().is_some_and(|wanted| *wanted != digest) {
                    return Err(call.lied(format!("it answers with {digest}")));
                }
                Ok(digest)
            }
            (StatusCode::NOT_FOUND, _) => Err(call.not_found()),
            // The header is only a "should", and some proxies refuse HEAD.
            _ => Ok(self.manifest(image).await?.digest),
        }
    }

    /// Returns the manifest or index of `image`, checked against its digest, as the bytes that came.
    pub async fn manifest(&self, image: &ImageReference) -> Result<RawManifest, RegistryError> {
        let call = self.manifest_call(Method::GET, image, "read the manifest of")?;
        let (headers, bytes) = self.fetch(&call, LONGEST_MANIFEST, &mut self.patience()).await?;
        let digest = Digest::of(&bytes);
        let wanted = match image.digest() {
            Some(wanted) => Some(wanted.clone()),
            None => announced(&call, &headers)?,
        };
        if let Some(wanted) = wanted.filter(|wanted| *wanted != digest) {
            return Err(call.lied(format!("what came is {digest} and not {wanted}")));
        }
        let media_type = match headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) {
            Some(value) if media_type::is_index(value) || media_type::is_manifest(value) => value.to_owned(),
            said => written_media_type(&bytes).or(said.map(str::to_owned)).unwrap_or_default(),
        };
        Ok(RawManifest { digest, media_type, bytes })
    }

    /// Returns the manifest of the one image that runs on `platform`, through an index if there is one.
    pub async fn image_manifest(
        &self,
        image: &ImageReference,
        platform: &Platform,
    ) -> Result<(Digest, Manifest), RegistryError> {
        let (raw, manifest) = self.raw_image_manifest(image, platform).await?;
        Ok((raw.digest, manifest))
    }

    /// The same, with the bytes that came.
    pub(super) async fn raw_image_manifest(
        &self,
        image: &ImageReference,
        platform: &Platform,
    ) -> Result<(RawManifest, Manifest), RegistryError> {
        let raw = self.manifest(image).await?;
        let call = self.manifest_call(Method::GET, image, "read the manifest of")?;
        let index = match raw.read().map_err(|error| call.unreadable(error))? {
            Document::Image(manifest) => return Ok((raw, manifest)),
            Document::Index(index) => index,
        };
        let entry = index.image_for(platform).ok_or_else(|| RegistryError::NotFound {
            registry: image.registry().clone(),
            doing: format!("find an image for {platform} in `{image}`"),
        })?;
        let raw = self.manifest(&image.repository().at(entry.digest.clone())).await?;
        match raw.read().map_err(|error| call.unreadable(error))? {
            Document::Image(manifest) => Ok((raw, manifest)),
            Document::Index(_) => Err(call.unreadable("an index inside an index")),
        }
    }

    /// Returns the config of the image that runs on `platform`, checked against its digest and size.
    pub async fn config(&self, image: &ImageReference, platform: &Platform) -> Result<ImageConfig, RegistryError> {
        let (_, manifest) = self.image_manifest(image, platform).await?;
        self.config_of(image, &manifest).await
    }

    pub(super) async fn config_of(
        &self,
        image: &ImageReference,
        manifest: &Manifest,
    ) -> Result<ImageConfig, RegistryError> {
        let bytes = self.blob_bytes(image.repository(), &manifest.config, LONGEST_CONFIG).await?;
        serde_json::from_slice(&bytes).map_err(|error| RegistryError::Unreadable {
            registry: image.registry().clone(),
            doing: format!("read the config of `{image}`"),
            source: error.into(),
        })
    }

    /// Gives the image `source` the further name `tag`, by writing the same bytes under it.
    ///
    /// Idempotent: where `tag` names this digest already, nothing is written, which also keeps
    /// registries with immutable tags content.
    pub async fn tag(&self, source: &ImageReference, tag: &Tag) -> Result<Tagged, RegistryError> {
        let manifest = self.manifest(source).await?;
        self.tag_manifest(source.repository(), &manifest, tag).await
    }

    /// Writes `manifest`, which lies in `repository` already, under `tag`; see [`Self::tag`].
    pub async fn tag_manifest(
        &self,
        repository: &Repository,
        manifest: &RawManifest,
        tag: &Tag,
    ) -> Result<Tagged, RegistryError> {
        let target = repository.tagged(tag.clone());
        let names_it = || async {
            match self.resolve(&target).await {
                Ok(digest) => Ok(digest == manifest.digest),
                Err(RegistryError::NotFound { .. }) => Ok(false),
                Err(error) => Err(error),
            }
        };
        if names_it().await? {
            return Ok(Tagged::AlreadyThere);
        }
        match self.put_manifest(&target, &manifest.media_type, manifest.bytes.clone()).await {
            Ok(_) => Ok(Tagged::Written),
            // Somebody else may have set it since, or our own first try may have arrived.
            Err(RegistryError::TagImmutable { .. }) if names_it().await? => Ok(Tagged::AlreadyThere),
            Err(error) => Err(error),
        }
    }

    /// Writes a manifest under the tag or digest of `target` and returns its digest.
    pub async fn put_manifest(
        &self,
        target: &ImageReference,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Digest, RegistryError> {
        let digest = Digest::of(&bytes);
        let rest = format!("manifests/{}", target.identifier());
        let doing = format!("write the manifest of `{target}`");
        let call = self
            .call(Method::PUT, target.repository(), &rest, Access::Push, doing)?
            .header(CONTENT_TYPE, media_type)?
            .body(Body::Bytes(bytes));
        let response = self.send(&call, &mut self.patience()).await?;
        let status = response.status();
        if status.is_success() {
            return match announced(&call, response.headers())? {
                Some(other) if other != digest => Err(call.lied(format!("it stored {other} and not {digest}"))),
                _ => Ok(digest),
            };
        }
        let said = read_refusal(response).await;
        match target.tag() {
            Some(tag) if is_immutable(status, &said) => {
                Err(RegistryError::TagImmutable { repository: target.repository().clone(), tag: tag.clone() })
            }
            _ => Err(call.refused(status, said)),
        }
    }

    /// Returns the tags of `repository` in the registry's order.
    pub async fn tags(&self, repository: &Repository) -> Result<Vec<Tag>, RegistryError> {
        #[derive(serde::Deserialize)]
        struct Page {
            #[serde(default)]
            tags: Option<Vec<String>>,
        }
        let mut patience = self.patience();
        let list =
            || self.call(Method::GET, repository, "tags/list", Access::Pull, format!("list tags of `{repository}`"));
        let mut call = list()?.query(&[("n", "1000")]);
        let mut tags = Vec::new();
        for _ in 0..MOST_TAG_PAGES {
            let (headers, body) = self.fetch(&call, LONGEST_TAG_PAGE, &mut patience).await?;
            let page: Page = serde_json::from_slice(&body).map_err(|error| call.unreadable(error))?;
            // A name that is no tag cannot be asked for anyway.
            tags.extend(page.tags.unwrap_or_default().iter().filter_map(|tag| tag.parse::<Tag>().ok()));
            let Some(next) = next_page(&headers) else {
                return Ok(tags);
            };
            call = list()?.to(&next)?;
        }
        Err(call.lied(format!("its list of tags has more than {MOST_TAG_PAGES} pages")))
    }

    /// Takes `tag` away from `repository`; the image and its other tags stay.
    pub async fn delete_tag(&self, repository: &Repository, tag: &Tag) -> Result<Deleted, RegistryError> {
        let doing = format!("delete the tag `{}`", repository.tagged(tag.clone()));
        let call = self.call(Method::DELETE, repository, &format!("manifests/{tag}"), Access::Delete, doing)?;
        let response = match self.send(&call, &mut self.patience()).await {
            Ok(response) => response,
            Err(RegistryError::Unauthorized { message, .. }) => return Ok(Deleted::Unsupported { reason: message }),
            Err(error) => return Err(error),
        };
        let status = response.status();
        match status.as_u16() {
            200..=299 => Ok(Deleted::Done),
            404 => Ok(Deleted::NotThere),
            // `registry` 2.8 takes what follows `manifests/` for a digest and answers 400 or 405.
            400 | 405 | 409 | 412 | 501 => Ok(Deleted::Unsupported { reason: read_refusal(response).await.message }),
            _ => Err(call.refused(status, read_refusal(response).await)),
        }
    }

    fn manifest_call<'a>(
        &self,
        method: Method,
        image: &'a ImageReference,
        verb: &str,
    ) -> Result<Call<'a>, RegistryError> {
        let rest = format!("manifests/{}", image.identifier());
        self.call(method, image.repository(), &rest, Access::Pull, format!("{verb} `{image}`"))?
            .header(ACCEPT, media_type::ACCEPTED_MANIFESTS)
    }
}

/// Returns the tag that a name gives an image; without one it is `latest`.
pub(super) fn tag_of(name: &ImageReference) -> Tag {
    name.tag().cloned().unwrap_or_else(Tag::latest)
}

fn announced(call: &Call<'_>, headers: &HeaderMap) -> Result<Option<Digest>, RegistryError> {
    let Some(value) = headers.get(CONTENT_DIGEST) else {
        return Ok(None);
    };
    let digest = value.to_str().ok().and_then(|text| text.parse().ok());
    digest.map(Some).ok_or_else(|| call.lied("it announces something that is not a digest"))
}

fn written_media_type(bytes: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Written {
        #[serde(default)]
        media_type: Option<String>,
        #[serde(default)]
        manifests: Option<serde::de::IgnoredAny>,
        #[serde(default)]
        layers: Option<serde::de::IgnoredAny>,
    }
    let written: Written = serde_json::from_slice(bytes).ok()?;
    written.media_type.or(match (written.manifests, written.layers) {
        (Some(_), None) => Some(media_type::OCI_INDEX.to_owned()),
        (None, Some(_)) => Some(media_type::OCI_MANIFEST.to_owned()),
        _ => None,
    })
}

fn is_immutable(status: StatusCode, said: &Said) -> bool {
    matches!(status.as_u16(), 400 | 405 | 409 | 412) && said.is_about_an_immutable_tag()
}

/// Reads `Link: </v2/…>; rel="next"`.
fn next_page(headers: &HeaderMap) -> Option<String> {
    let link = headers.get(LINK)?.to_str().ok()?;
    let (target, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    rest.contains("next").then(|| target.to_owned())
}
