//! Lesson 19: a container that stands still.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::groups::Groups;
use crate::state::Container;
use crate::status::Status;

/// How long a process may need to stop, for example one that writes to a disk.
const PATIENCE: Duration = Duration::from_secs(10);

/// The groups of a container that has its own. A group of others must not change.
pub(crate) fn own_groups(container: &Container) -> Result<Groups> {
    let groups = Groups::of(&container.state()?.groups)?;
    let has_own = !groups.paths().is_empty();
    ensure!(
        has_own,
        "the container {} has no control group of its own; make it as root of the host",
        container.name
    );
    Ok(groups)
}

impl Groups {
    /// Refuses frozen groups: nothing in them would ever run.
    pub(crate) fn refuse_frozen(&self) -> Result<()> {
        // No other one freezes processes.
        let v1 = self.group("freezer").ok().map(Path::to_owned);
        let groups: Vec<_> = self.of_version(true).cloned().chain(v1).collect();
        // Engines look for these words.
        ensure!(
            !common::are_frozen(&groups),
            "container's cgroup unexpectedly frozen; thaw it first"
        );
        Ok(())
    }
}

/// Stops all processes of the container, or lets them go on.
pub(crate) fn freeze(container: &Container, wanted: bool) -> Result<()> {
    let (verb, not) = if wanted { ("pause", "running") } else { ("resume", "paused") };
    let doing = || format!("{verb} the container {}", container.name);
    let (_, status) = container.look()?;
    let fits = match status {
        Status::Created | Status::Running => wanted,
        Status::Paused => !wanted,
        Status::Creating | Status::Stopped => false,
    };
    ensure!(fits, "{}: container not {not}: it is {}", doing(), status.word());
    write(&own_groups(container)?, wanted).with_context(doing)
}

/// Writes to the file that freezes the group, and waits until the kernel says that it is
/// done; cgroups(7).
fn write(groups: &Groups, wanted: bool) -> Result<()> {
    let (file, state, words) = if groups.is_v2() {
        ("cgroup.freeze", "cgroup.events", [["0", "frozen 0"], ["1", "frozen 1"]])
    } else {
        ("freezer.state", "freezer.state", [["THAWED"; 2], ["FROZEN"; 2]])
    };
    let [word, done] = words[usize::from(wanted)];
    let state = groups.group("freezer")?.join(state);
    let end = Instant::now() + PATIENCE;
    loop {
        // In v1, a process that begins meanwhile needs it once more.
        groups.write(file, word)?;
        let now = fs::read_to_string(&state).context("look whether it stands still")?;
        if now.lines().any(|line| line == done) {
            return Ok(());
        }
        if Instant::now() > end {
            common::thaw_groups(&groups.paths());
            bail!(
                "{} does not become {done}; look for a process that waits",
                state.display()
            );
        }
        // The freezer of v1 has no event for this.
        sleep(Duration::from_millis(1));
    }
}
