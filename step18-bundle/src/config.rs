//! Lesson 18: the description of a container, config.json of an OCI bundle.
//!
//! Each field that a type here does not have is an error. So nothing is ignored, unless
//! it is named here and its comment says so.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use common::open;
use serde::Deserialize;

use crate::devices::Device;
use crate::filter::Seccomp;
use crate::json::parse;
use crate::memory::MemoryPolicy;
use crate::namespaces::{Namespace, Offset};
use crate::plan::Mount;
use crate::process::Process;
use crate::resources::Resources;
use crate::scheduler::Personality;
use crate::users::Mapping;

/// The names that the specification has.
#[rustfmt::skip]
const HOOKS: [&str; 6] = ["prestart", "createRuntime", "createContainer",
    "startContainer", "poststart", "poststop"];

/// No engine writes a longer file.
const MOST_BYTES: u64 = 16 << 20;

/// The oldest and the newest specification that is done here.
const VERSIONS: [&str; 2] = ["1.0.0", "1.3.0"];

/// A container; the runtime specification of OCI, version 1.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Config {
    oci_version: String,
    pub(crate) root: RootDir,
    pub(crate) process: Process,
    pub(crate) hostname: String,
    pub(crate) domainname: String,
    pub(crate) mounts: Vec<Mount>,
    hooks: BTreeMap<String, Vec<serde_json::Value>>,
    /// They are for engines, and change nothing in the container.
    #[serde(rename = "annotations")]
    _annotations: BTreeMap<String, String>,
    pub(crate) linux: Linux,
}

/// The directory that becomes the root.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RootDir {
    pub(crate) path: PathBuf,
    pub(crate) readonly: bool,
}

/// What only Linux has.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Linux {
    pub(crate) namespaces: Vec<Namespace>,
    pub(crate) uid_mappings: Vec<Mapping>,
    pub(crate) gid_mappings: Vec<Mapping>,
    pub(crate) time_offsets: BTreeMap<String, Offset>,
    pub(crate) devices: Vec<Device>,
    pub(crate) cgroups_path: String,
    pub(crate) resources: Resources,
    pub(crate) rootfs_propagation: String,
    pub(crate) seccomp: Option<Seccomp>,
    pub(crate) sysctl: BTreeMap<String, String>,
    pub(crate) masked_paths: Vec<String>,
    pub(crate) readonly_paths: Vec<String>,
    pub(crate) personality: Option<Personality>,
    pub(crate) memory_policy: Option<MemoryPolicy>,
}

impl Config {
    /// Reads config.json of a bundle. The path of the root is then that on the host.
    pub(crate) fn read(bundle: &Path) -> Result<Config> {
        let file = bundle.join("config.json");
        let read = || -> Result<Config> {
            let bytes = open::whole(open::regular(&file)?, MOST_BYTES)?;
            let config: Config = parse(&bytes)?;
            config.check().map(|()| config)
        };
        let mut config = read().with_context(|| format!("read {}", file.display()))?;
        let root = bundle.join(&config.root.path);
        // Behind a file, there is no `.`.
        let found = fs::canonicalize(root.join("."));
        let doing = || format!("find the root {}", root.display());
        config.root.path = found.with_context(doing)?;
        Ok(config)
    }

    /// Refuses what makes no sense, or is not done here.
    fn check(&self) -> Result<()> {
        let version = &self.oci_version;
        let of = |it: &str| it.strip_prefix("1.")?.split('.').next()?.parse::<u8>().ok();
        let ([oldest, newest], minor) = (VERSIONS, of(version));
        ensure!(
            minor.is_some() && minor <= of(newest),
            "ociVersion is {version:?}; give {oldest} to {newest}"
        );
        let has_root = !self.root.path.as_os_str().is_empty();
        ensure!(has_root, "root.path is missing; name a directory");
        for (name, hooks) in &self.hooks {
            let is_nothing = hooks.is_empty() && HOOKS.contains(&&**name);
            ensure!(is_nothing, "the field hooks.{name} is not done here; leave it out");
        }
        self.process.check()?;
        crate::root::spread(&self.linux)?;
        crate::values::check_names(self)?;
        crate::namespaces::check(&self.linux)
    }
}

/// Refuses a name that may not be that of a directory. No engine gives one of these.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let is_letter = |it: u8| it.is_ascii_alphanumeric() || b"_.+-".contains(&it);
    let is_whole = !["", ".", ".."].contains(&name) && name.len() < 256;
    let is_name = is_whole && name.bytes().all(is_letter);
    ensure!(is_name, "use the name {name:?}: give 1 to 255 letters, digits and _ . + -");
    Ok(())
}

#[cfg(test)]
mod tests;
