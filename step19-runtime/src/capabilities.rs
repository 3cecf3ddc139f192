//! Lesson 12: root inside without most of its capabilities. Lesson 18: five sets of the
//! configuration.

use anyhow::{Context, Result};
use common::Capabilities;
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

/// Uses only what the command may use, and can still use the rest later.
pub(crate) fn act_as_command(sets: &Sets) -> Result<()> {
    let all = common::permitted().context("get the capabilities")?;
    common::set_capabilities(sets.effective, all, sets.inheritable).context("set the capabilities")
}

/// Uses all again: without no_new_privs, a filter needs CAP_SYS_ADMIN.
pub(crate) fn use_all(sets: &Sets) -> Result<()> {
    let all = common::permitted().context("get the capabilities")?;
    common::set_capabilities(all, all, sets.inheritable).context("set the capabilities")
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
