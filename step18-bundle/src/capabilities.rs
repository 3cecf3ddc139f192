//! Lesson 12: root inside without most of its capabilities. Lesson 18: five sets of the
//! configuration.

use anyhow::{Context, Result};
use common::Capabilities;
use nix::sys::prctl::set_no_new_privs;
use serde::Deserialize;

/// The names of each set; capabilities(7).
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Names {
    bounding: Vec<String>,
    effective: Vec<String>,
    permitted: Vec<String>,
    inheritable: Vec<String>,
    ambient: Vec<String>,
}

/// The sets.
pub(crate) struct Sets {
    bounding: Capabilities,
    effective: Capabilities,
    permitted: Capabilities,
    inheritable: Capabilities,
    ambient: Capabilities,
}

impl Names {
    /// Reads the names.
    pub(crate) fn sets(&self) -> Result<Sets> {
        let set = |names: &[String]| Capabilities::of(names).context("read the capabilities");
        Ok(Sets {
            bounding: set(&self.bounding)?,
            effective: set(&self.effective)?,
            permitted: set(&self.permitted)?,
            inheritable: set(&self.inheritable)?,
            ambient: set(&self.ambient)?,
        })
    }
}

/// Limits what programs of this process can ever get. This needs CAP_SETPCAP, which the
/// next stages take away.
pub(crate) fn drop_bounding(sets: &Sets) -> Result<()> {
    for other in sets.bounding.others() {
        common::drop_bounding(other)
            .with_context(|| format!("drop {other} from the bounding set"))?;
    }
    Ok(())
}

/// Sets the other sets, after this process has become the user.
pub(crate) fn set(sets: &Sets) -> Result<()> {
    common::set_capabilities(sets.effective, sets.permitted, sets.inheritable)
        .context("set the capabilities")?;
    // The kernel has no other ambient ones, and `runc spec` writes a longer list.
    for capability in sets.ambient.within(sets.inheritable).within(sets.permitted).iter() {
        let raised = common::raise_ambient(capability);
        raised.with_context(|| format!("make {capability} ambient"))?;
    }
    Ok(())
}

/// Keeps set-user-ID programs from giving more rights.
pub(crate) fn keep_privileges(no_new: bool) -> Result<()> {
    if no_new { set_no_new_privs().context("set no_new_privs") } else { Ok(()) }
}
