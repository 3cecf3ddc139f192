//! Removes a scratch directory, also with files of the caller's subordinate IDs.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::entry::LINK;
use crate::places::remove::Theirs;
use crate::{Ids, remove_tree};

/// Does work in a process that has these IDs: in a new user namespace with such maps.
pub type InMap = fn(&Ids, &dyn Fn() -> Result<()>) -> Result<()>;

/// How directories are removed: with [`InMap`], if this process cannot do it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Removal(pub(super) Option<InMap>);

impl Removal {
    /// Removes a tree, as [`remove_tree`].
    pub(super) fn remove(self, tree: &Path) -> Result<()> {
        // First: a pasta that looks later sees only the first of the removed names.
        let _ = fs::remove_file(tree.join(LINK));
        let removed = remove_tree(tree);
        let is_theirs = removed.as_ref().is_err_and(|error| error.is::<Theirs>());
        let Some(in_map) = self.0.filter(|_| is_theirs) else { return removed };
        match Ids::of_caller() {
            Ok(ids) => in_map(&ids, &|| remove_tree(tree)),
            Err(_no_ids) => removed,
        }
    }
}
