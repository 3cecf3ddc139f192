//! The root of a task's containers.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lessons::Lesson;

use crate::fetch_rootfs::{Args as Fetch, fetch};
use crate::say::note;
use crate::temporary::Temporary;

/// A root. If it is temporary, it is removed when this is dropped.
pub(crate) struct Root {
    dir: PathBuf,
    _made: Option<Temporary>,
}

impl Root {
    /// The root `named`, else `$CONTAINER_ROOTFS`, else the workspace's if this user
    /// owns it, else a new root from this machine's programs.
    pub(crate) fn find(named: Option<PathBuf>) -> Result<Root> {
        match named.or_else(common::own_rootfs) {
            Some(dir) => Ok(Root { dir, _made: None }),
            None => Root::from_host(),
        }
    }

    /// The root for these lessons, if any of them needs a root. Its path is absolute
    /// and has no symbolic links, as in the kernel's files.
    pub(crate) fn for_lessons(lessons: &[Lesson], named: Option<PathBuf>) -> Result<Option<Root>> {
        if !lessons.iter().any(Lesson::has_root) {
            return Ok(None);
        }
        let mut root = Root::find(named)?;
        let real = root.dir.canonicalize();
        root.dir = real.with_context(|| format!("use the root {}", root.dir.display()))?;
        Ok(Some(root))
    }

    /// The directory of the root.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    fn from_host() -> Result<Root> {
        let place = Temporary::new()?;
        let root = Root { dir: place.dir().join("rootfs"), _made: Some(place) };
        note(&fetch(&Fetch::from_host_at(&root.dir))?);
        Ok(root)
    }
}
