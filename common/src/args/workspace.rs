//! Finds the course.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::{env, io};

use nix::unistd::geteuid;

use crate::places::trust::changeable;
use crate::{named_rootfs, note};

/// The workspace of the course, with `rootfs/` in it.
///
/// It is the workspace above the running program, else above the current directory,
/// else the compiled-in path. The compiled-in path may be stale: cargo does not
/// build again after a workspace is moved or copied.
///
/// The steps run programs from the workspace, so no other user may be able to
/// change it. A note names a workspace that others can change, once, and it is not
/// used. A workspace whose program cargo runs is the caller's choice, and is used.
pub fn workspace() -> &'static Path {
    static WORKSPACE: OnceLock<PathBuf> = OnceLock::new();
    WORKSPACE.get_or_init(|| {
        let built_in = || Path::new(env!("CARGO_MANIFEST_DIR")).canonicalize();
        let ways = [env::current_exe(), env::current_dir(), built_in()];
        let mut refused = None;
        let mut find = |start: PathBuf| {
            let mut courses = start.ancestors().filter(|dir| dir.join(LESSON).is_file());
            let is_good =
                |dir: &&Path| why_not(dir).map(|why| refused.get_or_insert(why)).is_none();
            courses.find(is_good).map(Path::to_owned)
        };
        let found = ways.into_iter().flatten().find_map(&mut find);
        if let Some(why) = refused {
            note(&why);
        }
        found.unwrap_or_else(|| NOWHERE.into())
    })
}

/// The root that `$CONTAINER_ROOTFS` names, else `rootfs/` in the workspace if it
/// belongs to this user: the directory, and the symbolic link if there is one.
pub fn own_rootfs() -> Option<PathBuf> {
    named_rootfs().or_else(|| Some(workspace().join("rootfs")).filter(|dir| is_own(dir)))
}

fn is_own(dir: &Path) -> bool {
    let ours =
        |found: io::Result<Metadata>| found.is_ok_and(|found| found.uid() == geteuid().as_raw());
    ours(dir.symlink_metadata()) && ours(dir.metadata()) && dir.is_dir()
}

/// A file that only a workspace of the course has. An exercise has a manifest too,
/// so the manifest alone is not enough.
const LESSON: &str = "step01-run/Cargo.toml";

/// A directory that no machine has.
const NOWHERE: &str = "/nonexistent";

/// The reason why the course in `dir` must not be used, if there is any.
fn why_not(dir: &Path) -> Option<String> {
    let package = env::var_os("CARGO_MANIFEST_DIR");
    if package.is_some_and(|package| Path::new(&package).starts_with(dir)) {
        return None;
    }
    // The lesson's manifest and directory, and the course's.
    const STRICT: usize = 3;
    let why = match changeable(&dir.join(LESSON), STRICT) {
        Ok(found) => found?,
        Err(error) => error.kind().to_string(),
    };
    Some(format!(
        "the course in {} is not used, because another user could change it: {why}; use your own copy of the course, or name a root with --rootfs",
        dir.display()
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{chown, lchown, symlink};

    use super::*;
    use crate::places::place::Place;

    #[test]
    fn a_root_of_another_user_is_not_ours_behind_a_link_either() {
        let place = Place::new();
        let (root, link) = (place.path("root"), place.path("link"));
        fs::create_dir(&root).expect("make a directory");
        symlink("root", &link).expect("make a link");
        symlink("/usr", place.path("usr")).expect("make a link");
        let mut found = vec![is_own(&root), is_own(&link)];
        let mut wanted = vec![true, true];
        if geteuid().is_root() {
            lchown(&link, Some(65534), None).expect("give it away");
            found.push(is_own(&link));
            lchown(&link, Some(0), None).expect("take it back");
            chown(&root, Some(65534), None).expect("give it away");
            found.push(is_own(&link));
            wanted.extend([false, false]);
        } else {
            found.push(is_own(&place.path("usr")));
            wanted.push(false);
        }
        assert_eq!(found, wanted);
    }
}
