//! The builders packhorse knows: which stack means which builder, run image and buildpacks.
//!
//! The facts are in `buildpacks/catalogue.toml`, which is part of the binary.

use serde::Deserialize;

use super::manifest::suggest::nearest;

/// The stack of an app that names none.
pub const DEFAULT_STACK: &str = "heroku-22";

/// The known builders and the stacks that have reached their end of life.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Catalogue {
    /// The builders that can be used, newest last.
    #[serde(default, rename = "builder")]
    pub builders: Vec<KnownBuilder>,
    /// The stacks that are refused.
    #[serde(default)]
    pub end_of_life: Vec<EndOfLife>,
}

/// A builder with what an app on it needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct KnownBuilder {
    /// The name people write as `stack`, such as `heroku-24`.
    pub stack: String,
    /// Other names for the same.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// The reference of the builder image.
    pub builder: String,
    /// The reference of the run image.
    pub run_image: String,
    /// The ids of the buildpacks that are on the builder.
    #[serde(default)]
    pub buildpacks: Vec<String>,
}

/// A stack that no longer gets security updates.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct EndOfLife {
    /// The name of the stack.
    pub stack: String,
    /// When support ended, for people to read.
    pub since: String,
    /// The stack to move to.
    #[serde(rename = "use")]
    pub instead: String,
}

/// What a word for a stack or builder turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup<'c> {
    /// A builder of the catalogue.
    Known(&'c KnownBuilder),
    /// A stack that is refused.
    EndOfLife(&'c EndOfLife),
    /// The reference of a builder image that the catalogue does not have.
    Image,
    /// Neither a stack nor an image reference; with the nearest stack, if one is near.
    Unknown(Option<&'c str>),
}

/// The catalogue inside the binary is broken, which a test rules out.
#[derive(Debug, thiserror::Error)]
#[error("the built-in catalogue of builders cannot be read")]
pub struct CatalogueError(#[from] toml::de::Error);

impl Catalogue {
    /// Returns the catalogue that is part of the binary.
    pub fn shipped() -> Result<Self, CatalogueError> {
        Ok(toml::from_str(include_str!("../../buildpacks/catalogue.toml"))?)
    }

    /// Finds what a `stack` or `builder` value means: a stack, one of its aliases, or the reference of a builder image.
    #[must_use]
    pub fn find(&self, word: &str) -> Lookup<'_> {
        let image = without_docker_hub(word);
        let known = self.builders.iter().find(|known| {
            known.stack == word
                || known.aliases.iter().any(|alias| alias == word || alias == image)
                || without_docker_hub(&known.builder) == image
        });
        if let Some(known) = known {
            return Lookup::Known(known);
        }
        if let Some(ended) = self.end_of_life.iter().find(|ended| ended.stack == word || ended.stack == image) {
            return Lookup::EndOfLife(ended);
        }
        let looks_like_image = !word.starts_with(['/', ':']) && !word.ends_with(['/', ':']);
        if looks_like_image && word.contains(['/', ':']) {
            return Lookup::Image;
        }
        Lookup::Unknown(nearest(word, self.stacks()))
    }

    /// Returns the names of the stacks that can be used.
    pub fn stacks(&self) -> impl Iterator<Item = &str> {
        self.builders.iter().map(|known| known.stack.as_str())
    }
}

/// Returns the short form of a reference on Docker Hub: `docker.io/heroku/builder:24` and `heroku/builder:24` are one.
fn without_docker_hub(reference: &str) -> &str {
    ["docker.io/", "index.docker.io/"].iter().find_map(|host| reference.strip_prefix(host)).unwrap_or(reference)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_catalogue_can_be_read_and_has_the_default_stack() {
        let catalogue = Catalogue::shipped().unwrap();
        let Lookup::Known(builder) = catalogue.find(DEFAULT_STACK) else { panic!("no default stack") };
        assert_eq!(builder.builder, "heroku/builder:22");
        assert_eq!(builder.run_image, "heroku/heroku:22-cnb");
        for stack in ["heroku-24", "heroku-26", "debian-12"] {
            assert!(matches!(catalogue.find(stack), Lookup::Known(_)), "{stack}");
        }
    }

    #[test]
    fn every_way_out_of_an_ended_stack_is_in_the_catalogue() {
        let catalogue = Catalogue::shipped().unwrap();
        for ended in &catalogue.end_of_life {
            assert!(matches!(catalogue.find(&ended.instead), Lookup::Known(_)), "{}", ended.instead);
            assert!(matches!(catalogue.find(&ended.stack), Lookup::EndOfLife(_)), "{}", ended.stack);
        }
        for stack in ["heroku-18", "heroku-20"] {
            assert!(matches!(catalogue.find(stack), Lookup::EndOfLife(_)), "{stack}");
        }
    }

    #[test]
    fn a_builder_is_known_by_its_image_too() {
        let catalogue = Catalogue::shipped().unwrap();
        for image in ["heroku/builder:24", "docker.io/heroku/builder:24"] {
            assert!(matches!(catalogue.find(image), Lookup::Known(known) if known.stack == "heroku-24"), "{image}");
        }
        assert_eq!(catalogue.find("paketobuildpacks/builder-jammy-base"), Lookup::Image);
        assert_eq!(catalogue.find("registry:5000/b"), Lookup::Image);
        assert_eq!(catalogue.find("heroku-42"), Lookup::Unknown(Some("heroku-22")));
        assert_eq!(catalogue.find("cedar"), Lookup::Unknown(None));
        assert_eq!(catalogue.find("/"), Lookup::Unknown(None));
    }
}
