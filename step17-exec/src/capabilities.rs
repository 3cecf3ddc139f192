//! Lesson 12: root inside without most of its capabilities.

use anyhow::{Context, Result};
use common::Capabilities;
use nix::sys::prctl::set_no_new_privs;

/// Capabilities that programs expect root to have. Not NET_RAW: no rule sees frames that
/// a program makes.
#[rustfmt::skip]
pub(crate) const KEPT: [&str; 13] = [
    "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "SETGID", "SETUID", "SETFCAP",
    "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
];

/// Gives up all capabilities except `kept`, for this process and its children.
pub(crate) fn drop_capabilities(kept: Capabilities) -> Result<()> {
    // This needs CAP_SETPCAP, which the next call may take away.
    for other in kept.others() {
        common::drop_bounding(other)
            .with_context(|| format!("drop {other} from the bounding set"))?;
    }
    // Without inheritable capabilities, there are no ambient ones.
    let (effective, permitted, inheritable) = (kept, kept, Capabilities::default());
    let set = common::set_capabilities(effective, permitted, inheritable);
    set.context("set the capabilities")?;
    set_no_new_privs().context("set no_new_privs")
}
