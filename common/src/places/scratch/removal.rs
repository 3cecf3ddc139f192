//! Removes a scratch directory, also with files of the caller's subordinate IDs.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::dir::Dir;
use super::entry::LINK;
use crate::{Ids, remove_tree_in};

/// Does work in a process that has these IDs: in a new user namespace with such maps.
pub type InMap = fn(&Ids, &dyn Fn() -> Result<()>) -> Result<()>;

/// Removes a directory in the home. With `in_map`, it tries that again in such a process.
pub(super) fn remove(home: &Dir, entry: &Path, in_map: Option<InMap>) -> Result<()> {
    let dir = home.by_descriptor().join(entry);
    // First: a pasta that looks later sees only the first of the removed names.
    let _ = fs::remove_file(dir.join(LINK));
    // All directories of a container that wrote nothing. This opens none of them.
    let gone = ["merged", "upper", "work/work", "work", ""].map(|it| fs::remove_dir(dir.join(it)));
    if gone.last().is_some_and(Result::is_ok) {
        return Ok(());
    }
    let remove = || remove_tree_in(&home.file, &home.name.join(entry));
    let removed = remove();
    let (Err(_), Some(in_map)) = (&removed, in_map) else { return removed };
    match Ids::of_caller() {
        Ok(ids) => in_map(&ids, &remove),
        Err(_no_ids) => removed,
    }
}
