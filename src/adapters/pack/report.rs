//! The lifecycle's report: which image was made.

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

#[cfg(test)]
mod tests {
    use super::digest;

    #[test]
    fn both_kinds_of_images_are_found() {
        let published = "[image]\n tags = [\"a:1\"]\n digest = \"sha256:01\"\n manifest-size = 7\n";
        assert_eq!(digest(published).as_deref(), Some("sha256:01"));
        assert_eq!(digest("[image]\ntags = [\"a:1\"]\nimage-id = \"02\"\n").as_deref(), Some("sha256:02"));
        assert_eq!(digest("[build]\n"), None);
        assert_eq!(digest("[image]\ntags = []\n"), None);
    }
}
