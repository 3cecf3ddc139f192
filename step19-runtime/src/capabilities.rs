//! Lesson 12: root inside without most of its capabilities. Lesson 18: five sets of the
//! configuration.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use common::Capabilities;
use serde::Deserialize;

/// The sets; capabilities(7).
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Sets {
    bounding: Set,
    effective: Set,
    permitted: Set,
    inheritable: Set,
    ambient: Set,
}

/// A set, in the configuration a list of names. The second list has names that this kernel
/// does not know.
#[derive(Default, Deserialize)]
#[serde(from = "Vec<String>")]
struct Set(Capabilities, Vec<String>);

impl From<Vec<String>> for Set {
    fn from(names: Vec<String>) -> Set {
        let is_known = |name: &String| Capabilities::of(&[name]).is_ok();
        let (known, unknown): (Vec<_>, _) = names.into_iter().partition(is_known);
        Set(Capabilities::of(&known).unwrap_or_default(), unknown)
    }
}

/// Names what the command cannot get. The specification wants a warning, and no error.
pub(crate) fn warn(sets: &Sets) -> Result<()> {
    let all = common::permitted().context("get the capabilities")?;
    let Sets { bounding, effective, permitted, inheritable, ambient } = sets;
    let lists = [bounding, effective, permitted, inheritable, ambient];
    let missing = Capabilities::of_bits(permitted.0.bits() & !all.bits());
    let missing = missing.iter().map(|it| it.to_string());
    let unknown = lists.iter().flat_map(|it| it.1.clone());
    let names: BTreeSet<String> = missing.chain(unknown).collect();
    if !names.is_empty() {
        let list = names.into_iter().collect::<Vec<_>>().join(" ");
        common::note(&format!("ignoring unknown or unavailable capabilities: [{list}]"));
    }
    Ok(())
}

/// Limits what programs of this process can ever get. This needs CAP_SETPCAP, which the
/// next stages take away.
pub(crate) fn drop_bounding(sets: &Sets) -> Result<()> {
    for other in sets.bounding.0.others() {
        let dropped = common::drop_bounding(other);
        dropped.with_context(|| format!("drop {other} from the bounding set"))?;
    }
    Ok(())
}

/// Uses only what the command may use, and can still use the rest later.
pub(crate) fn act_as_command(sets: &Sets) -> Result<()> {
    let all = common::permitted().context("get the capabilities")?;
    apply(sets.effective.0, all, sets)
}

/// Uses all again: without no_new_privs, a filter needs CAP_SYS_ADMIN.
pub(crate) fn use_all(sets: &Sets) -> Result<()> {
    let all = common::permitted().context("get the capabilities")?;
    apply(all, all, sets)
}

/// Sets the other sets, after this process has become the user.
pub(crate) fn set(sets: &Sets) -> Result<()> {
    let Sets { effective, permitted, inheritable, ambient, .. } = sets;
    let all = common::permitted().context("get the capabilities")?;
    apply(effective.0, permitted.0, sets)?;
    // The kernel has no other ambient ones, and `runc spec` writes a longer list.
    let ambient = ambient.0.within(inheritable.0).within(permitted.0).within(all);
    for capability in ambient.iter() {
        let raised = common::raise_ambient(capability);
        raised.with_context(|| format!("make {capability} ambient"))?;
    }
    Ok(())
}

fn apply(effective: Capabilities, permitted: Capabilities, sets: &Sets) -> Result<()> {
    let all = common::permitted().context("get the capabilities")?;
    let [effective, permitted, inheritable] =
        [effective, permitted, sets.inheritable.0].map(|it| it.within(all));
    common::set_capabilities(effective, permitted, inheritable)
        .context("set the capabilities")
}
