//! Lesson 19: the processors of a process that enters.

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde::Deserialize;

use crate::log;
use crate::memory::numbers;

/// Lists such as `0-2,5`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Affinity {
    /// Before it joins the groups of the container, and then.
    pub(crate) initial: String,
    pub(crate) r#final: String,
}

/// Runs only on the processors of a list, if there is one; sched_setaffinity(2).
pub(crate) fn use_processors(list: &str) -> Result<()> {
    let this = Pid::from_raw(0);
    if !list.is_empty() {
        let mut wanted = CpuSet::new();
        let add = |it| wanted.set(it);
        numbers(list)?.into_iter().try_for_each(add).context("read the processors")?;
        sched_setaffinity(this, &wanted)
            .with_context(|| format!("use the processors {list}"))?;
    }
    // With more processors than the list has bits, the kernel refuses the look.
    if log::has_details()
        && let Ok(now) = sched_getaffinity(this)
    {
        let bits = (0..64).filter(|it| now.is_set(*it) == Ok(true));
        let bits = bits.fold(0_u64, |all, it| all | 1 << it);
        // As runc says it.
        log::detail(format_args!("affinity: {bits:#x}"));
    }
    Ok(())
}
