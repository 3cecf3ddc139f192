//! Lesson 12: root inside without most of its capabilities. Lesson 18: five sets of the
//! configuration.

use anyhow::{Context, Result, anyhow};
use common::Capabilities;
use nix::sys::prctl::set_no_new_privs;
use serde::Deserialize;

use crate::config::Config;
use crate::filter::{self, Filter};

/// The sets; capabilities(7).
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Sets {
    pub(crate) bounding: Set,
    pub(crate) effective: Set,
    pub(crate) permitted: Set,
    inheritable: Set,
    ambient: Set,
}

/// A set, in the configuration a list of names.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub(crate) struct Set(pub(crate) Capabilities);

impl TryFrom<Vec<String>> for Set {
    type Error = anyhow::Error;

    fn try_from(names: Vec<String>) -> Result<Set> {
        // Tools look for these words.
        Capabilities::of(&names)
            .map(Set)
            .map_err(|error| anyhow!("no variant for {error}"))
    }
}

impl Sets {
    /// What this caller can give of the sets. The specification wants a warning for the
    /// rest, and no error. A user namespace has all capabilities.
    pub(crate) fn given(mut self, has_namespace: bool) -> Result<Sets> {
        if has_namespace {
            return Ok(self);
        }
        let all = common::permitted().context("get the capabilities")?;
        let missing = Capabilities::of_bits(self.permitted.0.bits() & !all.bits());
        let missing: Vec<String> = missing.iter().map(|it| it.to_string()).collect();
        if !missing.is_empty() {
            let missing = missing.join(" ");
            common::note(&format!(
                "leave out capabilities that the caller lacks: {missing}"
            ));
        }
        let Sets { effective, permitted, inheritable, ambient, .. } = &mut self;
        for set in [effective, permitted, inheritable, ambient] {
            set.0 = set.0.within(all);
        }
        Ok(self)
    }
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
    // What is not inheritable is not ambient: the caller may have such capabilities.
    apply(sets.effective.0, all, Capabilities::default())?;
    apply(sets.effective.0, all, sets.inheritable.0)
}

/// Sets the other sets, after this process has become the user.
fn set(sets: &Sets) -> Result<()> {
    let Sets { effective, permitted, inheritable, ambient, .. } = *sets;
    apply(effective.0, permitted.0, inheritable.0)?;
    // The kernel has no other ambient ones, and `runc spec` writes a longer list.
    for capability in ambient.0.within(inheritable.0).within(permitted.0).iter() {
        let raised = common::raise_ambient(capability);
        raised.with_context(|| format!("make {capability} ambient"))?;
    }
    Ok(())
}

fn apply(
    effective: Capabilities,
    permitted: Capabilities,
    inheritable: Capabilities,
) -> Result<()> {
    common::set_capabilities(effective, permitted, inheritable)
        .context("set the capabilities")
}

/// The last stages before the command.
pub(crate) fn limit_command(
    config: &Config,
    sets: &Sets,
    filter: Option<&Filter>,
) -> Result<()> {
    // Without no_new_privs, only CAP_SYS_ADMIN may set a filter. Each next call must be
    // one that the filter allows.
    if !config.process.no_new_privileges {
        let all = common::permitted().context("get the capabilities")?;
        apply(all, all, sets.inheritable.0)?;
        filter::set(filter)?;
    }
    set(sets)?;
    if config.process.no_new_privileges {
        set_no_new_privs().context("set no_new_privs")?;
        filter::set(filter)?;
    }
    Ok(())
}
