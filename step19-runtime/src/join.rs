//! Lesson 19: the control groups of a process that enters.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use common::is_inside;
use nix::unistd::{Pid, getpid};

use crate::groups::Groups;
use crate::words::Words;

/// The groups of the container, or groups in them: of --cgroup `[CONTROLLERS:]PATH`.
pub(crate) fn inner_groups(groups: &Groups, words: &Words) -> Result<Vec<PathBuf>> {
    let all = groups.paths();
    let mut paths = all.clone();
    for word in words.all("cgroup") {
        let (controllers, inner) = word.split_once(':').unwrap_or(("", word));
        let inner = inner.trim_start_matches('/');
        ensure!(
            is_inside(&Path::new("/").join(inner)),
            "{inner} is not a sub cgroup path"
        );
        let named = controllers.split(',').filter(|it| !it.is_empty());
        let named = named.map(|it| {
            groups.group(it).with_context(|| format!("unknown controller {it}"))
        });
        let named = named.collect::<Result<Vec<_>>>()?;
        for (path, whole) in paths.iter_mut().zip(&all) {
            if controllers.is_empty() || named.contains(&&**whole) {
                *path = whole.join(inner);
            }
        }
    }
    Ok(paths)
}

/// Joins control groups: inside, there is no way to them.
pub(crate) fn join_groups(
    groups: &Groups,
    paths: &[PathBuf],
    process: Pid,
) -> Result<()> {
    for path in paths {
        let file = path.join("cgroup.procs");
        let doing = || format!("adding pid {} to {}", getpid(), file.display());
        ensure!(file.exists(), "{}: no such file here; make the group", doing());
        let join = |file: &Path| File::options().write(true).open(file)?.write_all(b"0");
        let mut joined = join(&file);
        // A group of v2 with controllers for inner groups takes no process. That of the
        // container's process does.
        if groups.is_v2()
            && joined.as_ref().is_err_and(|it| it.kind() == ErrorKind::ResourceBusy)
        {
            let other = groups.of_process(process);
            joined = other.map_or(joined, |other| join(&other.join("cgroup.procs")));
        }
        joined.with_context(doing)?;
    }
    Ok(())
}
