//! The app as several layers: each slice takes what its patterns match, the last layer the rest.

use std::path::PathBuf;

use super::glob::{self, BadPattern};
use crate::image::layer::{LayerEntry, LayerError, LayerFolder, Order};

/// One layer of the app.
#[derive(Debug, Clone)]
pub struct AppLayer {
    folder: LayerFolder,
    files: Files,
}

#[derive(Debug, Clone)]
enum Files {
    /// Everything, found while it is read.
    All,
    /// These, sorted by their bytes.
    Some(Vec<PathBuf>),
}

/// Why the app cannot be cut.
#[derive(Debug, thiserror::Error)]
pub enum SliceError {
    /// A pattern breaks the rules.
    #[error("a slice cannot be cut")]
    Pattern(#[from] BadPattern),
    /// The app cannot be read.
    #[error(transparent)]
    Read(#[from] LayerError),
}

impl AppLayer {
    /// Begins to read the layer. One without files is empty, without even the app's folder.
    pub fn entries(&self) -> Box<dyn Iterator<Item = Result<LayerEntry, LayerError>> + Send> {
        match &self.files {
            Files::All => Box::new(self.folder.entries()),
            Files::Some(paths) if paths.is_empty() => Box::new(std::iter::empty()),
            Files::Some(paths) => Box::new(self.folder.parents().chain(self.folder.entries_of(paths.clone()))),
        }
    }
}

/// Cuts the app in `folder` into one layer per slice and a last one with the rest.
///
/// Without slices nothing is read here. With them, the paths of the whole app are held in memory.
pub fn cut(folder: &LayerFolder, slices: &[Vec<String>]) -> Result<Vec<AppLayer>, SliceError> {
    let folder = LayerFolder { order: Order::Flat, ..folder.clone() };
    if slices.is_empty() {
        return Ok(vec![AppLayer { folder, files: Files::All }]);
    }
    let paths: Vec<PathBuf> = folder.paths().collect::<Result<_, _>>()?;
    let nodes = Nodes::new(&folder, &paths);
    let layers = nodes.cut(slices)?;
    let chosen = |layer: Vec<usize>| layer.into_iter().map(|node| paths[node].clone()).collect();
    Ok(layers.into_iter().map(|layer| AppLayer { folder: folder.clone(), files: Files::Some(chosen(layer)) }).collect())
}

/// The files of an app, a folder before what is in it; the first is the app's folder itself.
struct Nodes {
    /// Path below the app's folder.
    names: Vec<Vec<u8>>,
    /// The folder of each; the first is its own.
    parents: Vec<usize>,
}

impl Nodes {
    fn new(folder: &LayerFolder, paths: &[PathBuf]) -> Self {
        use std::os::unix::ffi::OsStrExt as _;
        let names: Vec<Vec<u8>> = paths
            .iter()
            .map(|path| path.strip_prefix(&folder.path).unwrap_or(path).as_os_str().as_bytes().to_vec())
            .collect();
        Self::of(names)
    }

    /// Takes names in byte order, the empty one first.
    fn of(names: Vec<Vec<u8>>) -> Self {
        let parents = names
            .iter()
            .map(|name| {
                let above = name.iter().rposition(|byte| *byte == b'/').map_or(&name[..0], |slash| &name[..slash]);
                names.binary_search_by(|other| other.as_slice().cmp(above)).unwrap_or(0)
            })
            .collect();
        Self { names, parents }
    }

    /// Returns the files of each layer, the rest last.
    fn cut(&self, slices: &[Vec<String>]) -> Result<Vec<Vec<usize>>, BadPattern> {
        let mut taken = vec![false; self.names.len()];
        let mut layers = Vec::with_capacity(slices.len() + 1);
        for patterns in slices {
            layers.push(self.take(patterns, &mut taken)?);
        }
        layers.push((0..self.names.len()).filter(|node| !taken[*node]).collect());
        Ok(layers)
    }

    fn take(&self, patterns: &[String], taken: &mut [bool]) -> Result<Vec<usize>, BadPattern> {
        let patterns: Vec<String> = patterns.iter().map(|pattern| glob::clean(pattern)).collect();
        let mut matched = vec![false; self.names.len()];
        for node in 1..self.names.len() {
            // Every pattern is looked at, so that a bad one is an error whatever the others match.
            let mut fits = false;
            for pattern in &patterns {
                fits |= glob::matches(pattern, &self.names[node])?;
            }
            // A folder that is taken already takes nothing; one that matches takes all below that is left.
            matched[node] = !taken[node] && (fits || (self.parents[node] != 0 && matched[self.parents[node]]));
        }
        let mut in_layer = matched.clone();
        for node in (1..self.names.len()).rev() {
            taken[node] |= matched[node];
            if in_layer[node] {
                in_layer[self.parents[node]] = true;
            }
        }
        // From the bottom up: a folder that is only there for its children is done with once all of them are taken.
        let mut left = vec![false; self.names.len()];
        for node in (0..self.names.len()).rev() {
            if in_layer[node] && !matched[node] {
                taken[node] = !left[node];
            }
            if !taken[node] {
                left[self.parents[node]] = true;
            }
        }
        Ok((0..self.names.len()).filter(|node| in_layer[*node]).collect())
    }
}

#[cfg(test)]
#[path = "slices_tests.rs"]
mod tests;
