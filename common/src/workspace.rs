//! Where the course lies.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::note;
use crate::trust::changeable;

/// The course's workspace; `rootfs/` lies there.
///
/// It is the one above the running program, else above the current directory,
/// else the one that this was built in: that may have been moved or copied
/// since, with all that is built, and cargo builds nothing anew for it.
///
/// What lies there is run, so no other user may be able to change it: a
/// directory that others can change is left alone and told of, once. The one
/// whose programs cargo is running is the caller's choice.
pub fn workspace() -> &'static Path {
    static WORKSPACE: OnceLock<PathBuf> = OnceLock::new();
    WORKSPACE.get_or_init(|| {
        let built_in = || Path::new(env!("CARGO_MANIFEST_DIR")).canonicalize();
        let ways = [env::current_exe(), env::current_dir(), built_in()];
        let mut refused = None;
        let mut find = |start: PathBuf| {
            let mut courses = start.ancestors().filter(|dir| dir.join(LESSON).is_file());
            let found = courses.find(|dir| match why_not(dir) {
                Some(why) => {
                    refused.get_or_insert(why);
                    false
                }
                None => true,
            });
            found.map(Path::to_owned)
        };
        let found = ways.into_iter().flatten().find_map(&mut find);
        if let Some(why) = refused {
            note(&why);
        }
        found.unwrap_or_else(|| NOWHERE.into())
    })
}

/// What a workspace of the course has, and nothing else. Not its name or
/// manifest: an exercise has one, too.
const LESSON: &str = "step01-run/Cargo.toml";

/// A directory that is on no machine.
const NOWHERE: &str = "/nonexistent";

/// Why the course in `dir` is not to be used, if that is so.
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
