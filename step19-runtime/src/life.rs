//! Lesson 19: which process is that of the container, and whether it lives.

use std::os::fd::OwnedFd;

use anyhow::{Context, Result, bail};
use common::{pidfd_open, pidfd_wait};
use nix::errno::Errno;
use nix::sys::stat::fstat;
use nix::sys::statfs::{FsType, fstatfs};
use nix::unistd::Pid;

use crate::status::State;

/// The file system of pidfds since Linux 6.9; before, they all have the same inode.
const PIDFS: FsType = FsType(0x5049_4446);

impl State {
    /// The process of the container. Nothing if it has ended. The descriptor means this
    /// process, also if the number is used again.
    pub(crate) fn pidfd(&self) -> Result<Option<OwnedFd>> {
        let Some(pid) = self.pid else { return Ok(None) };
        match pidfd_open(Pid::from_raw(pid)) {
            // Also if only a thread has the number: EINVAL, or ENOENT with newer kernels.
            Err(Errno::ESRCH | Errno::EINVAL | Errno::ENOENT) => Ok(None),
            open => {
                let open = open.with_context(|| format!("open the process {pid}"))?;
                let start = start_time(pid);
                // It has ended with its last thread: the first one may end before.
                if pidfd_wait(&open, 0u16.into()).context("look at a process")? {
                    return Ok(None);
                }
                let is_same = match (self.inode, inode(&open), start) {
                    // After a boot, the kernel counts inodes anew.
                    (Some(own), Some(found), start) => {
                        own == found && start.is_none_or(|it| it == self.start_time)
                    }
                    (.., Some(start)) => start == self.start_time,
                    _ => {
                        let remedy = "mount /proc without hidepid";
                        bail!("find the process {pid}: /proc does not show it; {remedy}")
                    }
                };
                Ok(is_same.then_some(open))
            }
        }
    }

    /// Keeps which process is that of the container.
    pub(crate) fn set_process(&mut self, process: Pid) -> Result<()> {
        let doing = "find the process of the container";
        let open = pidfd_open(process).context(doing)?;
        self.pid = Some(process.as_raw());
        self.inode = inode(&open);
        self.start_time = start_time(process.as_raw()).context(doing)?;
        Ok(())
    }
}

/// The inode of a pidfd, if no later process has it.
fn inode(open: &OwnedFd) -> Option<u64> {
    let is_unique = fstatfs(open).is_ok_and(|it| it.filesystem_type() == PIDFS);
    fstat(open).ok().filter(|_| is_unique).map(|found| found.st_ino)
}

/// When a process started, in ticks since the boot; proc_pid_stat(5). Nothing if there is
/// none.
fn start_time(pid: i32) -> Option<u64> {
    let stat = common::open::text(format!("/proc/{pid}/stat")).ok()?;
    // The name may have blanks and parentheses.
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests;
