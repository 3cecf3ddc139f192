//! Lesson 19: a container that stands still.

use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{fs, path::PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::groups::Groups;
use crate::state::{Container, Status};

/// How long a process may need to stop, for example one that writes to a disk.
const PATIENCE: Duration = Duration::from_secs(10);

/// The file that freezes a group, the file that says whether it is frozen, and the words for
/// both, of v1 or of v2; cgroups(7).
fn files(groups: &Groups) -> Result<(PathBuf, PathBuf, [&'static str; 4])> {
    let group = groups.group("freezer")?;
    Ok(match groups.is_v2() {
        true => {
            let words = ["0", "1", "frozen 0", "frozen 1"];
            (group.join("cgroup.freeze"), group.join("cgroup.events"), words)
        }
        false => {
            let file = group.join("freezer.state");
            (file.clone(), file, ["THAWED", "FROZEN", "THAWED", "FROZEN"])
        }
    })
}

/// The groups of a container that has its own. A group of others must not change.
pub(crate) fn own_groups(container: &Container) -> Result<Groups> {
    let groups = container.groups()?;
    let has_own = !groups.paths().is_empty();
    ensure!(has_own, "the container {} has no control group of its own", container.name);
    Ok(groups)
}

/// Stops all processes of the container.
pub(crate) fn pause(container: &Container) -> Result<()> {
    let doing = || format!("pause the container {}", container.name);
    match container.status()? {
        Status::Created | Status::Running => {
            own_groups(container).and_then(|it| freeze(&it, true)).with_context(doing)
        }
        other => bail!("{}: container not running: it is {}", doing(), other.word()),
    }
}

/// Lets them go on.
pub(crate) fn resume(container: &Container) -> Result<()> {
    let doing = || format!("resume the container {}", container.name);
    match container.status()? {
        Status::Paused => {
            own_groups(container).and_then(|it| freeze(&it, false)).with_context(doing)
        }
        other => bail!("{}: container not paused: it is {}", doing(), other.word()),
    }
}

fn says(file: &PathBuf, word: &str) -> bool {
    fs::read_to_string(file).is_ok_and(|text| text.lines().any(|line| line == word))
}

/// Stops all processes of the container, or lets them go on. Waits until the kernel has done
/// it.
pub(crate) fn freeze(groups: &Groups, wanted: bool) -> Result<()> {
    let (file, state, words) = files(groups)?;
    let wanted = usize::from(wanted);
    let write = |word: &str| {
        let written = fs::write(&file, word);
        written.with_context(|| format!("write {word} to {}", file.display()))
    };
    let end = Instant::now() + PATIENCE;
    loop {
        // In v1, a process that begins meanwhile needs it once more.
        write(words[wanted])?;
        if says(&state, words[2 + wanted]) {
            return Ok(());
        }
        if Instant::now() > end {
            write(words[0])?;
        }
        ensure!(
            Instant::now() < end,
            "wait until {} says {}",
            state.display(),
            words[2 + wanted]
        );
        // The freezer of v1 has no event for this.
        sleep(Duration::from_millis(1));
    }
}
