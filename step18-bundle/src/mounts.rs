//! Lesson 18: mounts of a list, each at a place in the root.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use common::{Root, change_mount, fsconfig, fsmount, fsopen, move_mount, open_tree};
use libc::{
    AT_EMPTY_PATH, AT_RECURSIVE, MOUNT_ATTR_IDMAP, MOVE_MOUNT_F_EMPTY_PATH,
    MOVE_MOUNT_T_EMPTY_PATH, MS_SLAVE, OPEN_TREE_CLOEXEC, OPEN_TREE_CLONE, mount_attr,
};
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{SFlag, fstat};
use nix::unistd::geteuid;
use serde::Deserialize;

use crate::config::Config;
use crate::groups::Groups;
use crate::namespaces::{Kind, is_new};
use crate::options::{self, Change, Options};
use crate::users::{Mapping, in_maps};

/// A mount of the configuration.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Mount {
    pub(crate) destination: PathBuf,
    #[serde(rename = "type")]
    kind: String,
    source: PathBuf,
    options: Vec<String>,
    uid_mappings: Vec<Mapping>,
    gid_mappings: Vec<Mapping>,
}

/// A mount, and what must happen before there is a container.
pub(crate) struct Plan<'a> {
    mount: &'a Mount,
    options: Options,
    /// What the runner has opened, because the child may not.
    source: Option<OwnedFd>,
}

/// The part of the path that a call does not need, because it has a descriptor.
const HERE: &std::ffi::CStr = c"";

impl Mount {
    /// Whether it shows files of the host.
    pub(crate) fn is_bind(&self) -> bool {
        self.kind == "bind" || self.options.iter().any(|it| it == "bind" || it == "rbind")
    }

    fn doing(&self) -> String {
        format!("mount {} on {}", self.kind, self.destination.display())
    }
}

/// Reads the options of each mount. Opens what the child may not: root of a user namespace
/// has no rights over files of others, and none to map their owners.
pub(crate) fn plan<'a>(config: &'a Config, bundle: &Path) -> Result<Vec<Plan<'a>>> {
    let by_runner = geteuid().is_root() && is_new(&config.linux, Kind::User);
    let plan = |mount: &'a Mount| -> Result<Plan<'a>> {
        let options = options::read(&mount.options, mount.is_bind())?;
        ensure!(mount.destination.components().count() > 1, "its place is the root itself");
        let has_maps = !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty();
        let idmap = options.idmap.or(has_maps.then_some(false));
        ensure!(
            options.bind.is_some() || idmap.is_none() && !has_maps,
            "only a bind can map owners; leave the option idmap out"
        );
        ensure!(
            !options.copy_up || mount.kind == "tmpfs",
            "only a tmpfs can begin with files; leave the option tmpcopyup out"
        );
        let mut source = None;
        if let Some(all) = options.bind.filter(|_| by_runner || idmap.is_some()) {
            let tree = copy(&bundle.join(&mount.source), all)?;
            if let Some(all) = idmap {
                let maps = match has_maps {
                    true => [&mount.uid_mappings[..], &mount.gid_mappings],
                    false => [&config.linux.uid_mappings[..], &config.linux.gid_mappings],
                };
                let user = in_maps(maps)?;
                let change = Change { set: MOUNT_ATTR_IDMAP, clear: 0 };
                set(&tree, change, 0, all, Some(user)).context("map the owners")?;
            }
            source = Some(tree);
        }
        Ok(Plan { mount, options, source })
    };
    config.mounts.iter().map(|mount| plan(mount).with_context(|| mount.doing())).collect()
}

/// Copies the mount of a file or directory of the host. It has no place yet.
fn copy(path: &Path, all: bool) -> Result<OwnedFd> {
    let flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
    let flags = if all { flags | AT_RECURSIVE as u32 } else { flags };
    let name = CString::new(path.as_os_str().as_encoded_bytes())?;
    let tree = open_tree(AT_FDCWD, &name, flags);
    tree.with_context(|| format!("open {}", path.display()))
}

/// Changes a mount, and all mounts below it on demand.
pub(crate) fn set(
    mount: impl AsFd,
    Change { set, clear }: Change,
    propagation: u64,
    all: bool,
    user: Option<OwnedFd>,
) -> nix::Result<()> {
    use std::os::fd::AsRawFd;
    let userns_fd = user.as_ref().map_or(0, |user| user.as_raw_fd() as u64);
    let attributes = mount_attr { attr_set: set, attr_clr: clear, propagation, userns_fd };
    let flags = if all { AT_EMPTY_PATH | AT_RECURSIVE } else { AT_EMPTY_PATH };
    change_mount(mount, HERE, flags, &attributes)
}

/// Attaches a mount at a place.
pub(crate) fn attach(mount: impl AsFd, place: impl AsFd) -> nix::Result<()> {
    move_mount(mount, HERE, place, HERE, MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH)
}

/// Makes a file system, with its options. It has no place yet.
pub(crate) fn make(kind: &str, source: &Path, options: &Options) -> Result<OwnedFd> {
    let text = |text: &str| CString::new(text).context("read the options");
    let fs = fsopen(&text(kind)?).context("open the file system")?;
    let source = source.to_str().context("read the source: it is not UTF-8")?;
    let source = [("source".to_owned(), Some(source.to_owned()))];
    for (name, value) in source.iter().chain(&options.data) {
        let value = value.as_deref().map(text).transpose()?;
        fsconfig(&fs, &text(name)?, value.as_deref())
            .with_context(|| format!("set its option {name}"))?;
    }
    Ok(fsmount(&fs, options.this.set as u32)?)
}

/// Mounts all, in the order of the list.
pub(crate) fn mount_all(
    plans: Vec<Plan<'_>>,
    bundle: &Path,
    root: &Root,
    groups: &Groups,
) -> Result<()> {
    for Plan { mount, options, source } in plans {
        let doing = || mount.doing();
        let by_runner = source.is_some();
        let made = match (options.bind, &*mount.kind, source) {
            (Some(_), _, Some(tree)) => tree,
            (Some(all), ..) => copy(&bundle.join(&mount.source), all).with_context(doing)?,
            (None, "cgroup" | "cgroup2", _) => groups.tree().with_context(doing)?,
            (None, kind, _) => make(kind, &mount.source, &options).with_context(doing)?,
        };
        let is_directory = fstat(&made)?.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits();
        let has_link = root.has_link(&mount.destination);
        ensure!(
            !(has_link && ["proc", "sysfs"].contains(&&*mount.kind)),
            "{}: the place must be an ordinary directory, and not a link",
            doing()
        );
        let place = root.place(&mount.destination, is_directory).with_context(doing)?;
        if options.copy_up {
            crate::copyup::copy_files(&place, &made).with_context(doing)?;
        }
        attach(&made, &place).with_context(doing)?;
        let is_groups = mount.kind.starts_with("cgroup") && options.bind.is_none();
        if is_groups {
            groups.mount_each(&made).with_context(doing)?;
        }
        if by_runner {
            // The host does not see mounts of the container.
            set(&made, Change::default(), MS_SLAVE, true, None).with_context(doing)?;
        }
        set(&made, options.all, 0, true, None).with_context(doing)?;
        set(&made, options.this, 0, is_groups, None).with_context(doing)?;
        for (propagation, all) in &options.propagation {
            set(&made, Change::default(), *propagation, *all, None).with_context(doing)?;
        }
    }
    Ok(())
}
