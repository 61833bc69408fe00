//! What the lifecycle tells of the image it made: in its report, and before that in its output.

use serde::Deserialize;

#[derive(Deserialize)]
struct Report {
    image: Image,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Image {
    digest: Option<String>,
    image_id: Option<String>,
}

/// Returns the digest of a published image, or the id of one that stays with the daemon.
///
/// The id is written without its algorithm when the daemon gave it so.
pub(super) fn digest(report: &str) -> Option<String> {
    let image = toml::from_str::<Report>(report).ok()?.image;
    let digest = image.digest.or(image.image_id).filter(|digest| !digest.is_empty())?;
    Some(if digest.contains(':') { digest } else { format!("sha256:{digest}") })
}

/// Reads the digest of an image that has just been published from a line such as `*** Images (sha256:…):`. An image in a daemon
/// has a short id there.
pub(super) fn published(line: &str) -> Option<&str> {
    let digest = line.split_once("*** Images (")?.1.strip_suffix("):")?;
    digest.parse::<crate::image::Digest>().is_ok().then_some(digest)
}

#[cfg(test)]
mod tests {
    use super::{digest, published};

    #[test]
    fn a_published_image_is_told_before_its_cache_is_written() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        assert_eq!(published(&format!("[exporter] *** Images ({digest}):")), Some(digest.as_str()));
        assert_eq!(published("*** Images (0a0a0a0a0a0a):"), None);
        assert_eq!(published("Saving registry.example.com/shop:1..."), None);
    }

    #[test]
    fn both_kinds_of_images_are_found() {
        let published = "[image]\n tags = [\"a:1\"]\n digest = \"sha256:01\"\n manifest-size = 7\n";
        assert_eq!(digest(published).as_deref(), Some("sha256:01"));
        assert_eq!(digest("[image]\ntags = [\"a:1\"]\nimage-id = \"02\"\n").as_deref(), Some("sha256:02"));
        assert_eq!(digest("[build]\n"), None);
        assert_eq!(digest("[image]\ntags = []\n"), None);
    }
}
