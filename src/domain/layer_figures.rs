//! What a cache was good for, counted in the output of the lifecycle.

use serde::{Deserialize, Serialize};

/// How many layers were made anew and how many were there already.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerFigures {
    /// Layers of the image that were uploaded.
    pub added: u32,
    /// Layers of the image that the previous one had.
    pub reused: u32,
    /// Layers that the buildpacks got back from the cache.
    pub restored: u32,
    /// Layers that were written to the cache.
    pub cached: u32,
    /// Layers that the cache had already.
    pub kept: u32,
}

impl LayerFigures {
    /// Counts what a line of the lifecycle's exporter or restorer tells, with or without its container's name before it.
    pub fn count(&mut self, line: &str) {
        let line = match line.split_once("] ") {
            Some((container, rest)) if container.starts_with('[') => rest,
            _ => line,
        };
        if line.starts_with("Adding cache layer '") {
            self.cached += 1;
        } else if line.starts_with("Reusing cache layer '") {
            self.kept += 1;
        } else if line.starts_with("Adding layer '") {
            self.added += 1;
        } else if line.starts_with("Reusing layer '") {
            self.reused += 1;
        } else if line.starts_with("Restoring data for ") && line.ends_with(" from cache") {
            self.restored += 1;
        } else if let Some(count) = app_layers(line, "Added ") {
            self.added += count;
        } else if let Some(count) = app_layers(line, "Reused ") {
            self.reused += count;
        }
    }
}

/// Reads how many of the app's own layers, of which there may be several, met the same fate: `Added 1/1 app layer(s)`.
fn app_layers(line: &str, verb: &str) -> Option<u32> {
    let (count, rest) = line.strip_prefix(verb)?.split_once('/')?;
    rest.ends_with(" app layer(s)").then(|| count.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_layer_is_counted_once_where_it_belongs() {
        let mut figures = LayerFigures::default();
        for line in [
            "Restoring data for SBOM from previous image",
            "Restoring data for \"packhorse/python:packages\" from cache",
            "[restorer] Restoring data for \"packhorse/python:tools\" from cache",
            "Reusing layers from image 'registry.example.com/shop@sha256:01'",
            "Reusing layer 'buildpacksio/lifecycle:launcher'",
            "Adding layer 'packhorse/python:packages'",
            "Added 1/1 app layer(s)",
            "Reused 2/3 app layer(s)",
            "Added 1/3 app layer(s)",
            "[exporter] Adding cache layer 'packhorse/python:packages'",
            "Reusing cache layer 'packhorse/python:tools'",
            "Adding label 'io.buildpacks.build.metadata'",
            "I am Adding layer 'x' myself",
        ] {
            figures.count(line);
        }
        assert_eq!(figures, LayerFigures { added: 3, reused: 3, restored: 2, cached: 1, kept: 1 });
    }
}
