//! The options that a step can take.

use std::ffi::OsString;

use anyhow::Result;

use super::Args;
use crate::args::verbs::checked;
use crate::args::{limits, process};
use crate::child::exec::words;
use crate::{Bind, Network, Port, Subnet, Tmpfs, Verb};

/// An option.
#[derive(Debug)]
pub struct Opt {
    pub(super) name: &'static str,
    /// Its value, for the help. Empty for an option without a value.
    pub(super) value: &'static str,
    pub(super) help: &'static str,
    /// Reads a value into the arguments. Without a value, it gets an empty one.
    pub(super) read: fn(&mut Args, OsString) -> Result<()>,
}

impl Opt {
    /// Whether an empty value means something.
    pub(super) fn may_be_empty(&self) -> bool {
        self.name == ENTRYPOINT.name
    }
}

/// Sets what an option says.
fn set<T>(place: &mut Option<T>, value: T) -> Result<()> {
    *place = Some(value);
    Ok(())
}

/// Adds what an option that can be repeated says.
fn add<T>(list: &mut Vec<T>, value: T) -> Result<()> {
    list.push(value);
    Ok(())
}

/// Notes that an option without a value is there.
fn turn_on(place: &mut bool) -> Result<()> {
    *place = true;
    Ok(())
}

pub(super) const ROOTFS: Opt = Opt {
    name: "--rootfs",
    value: "DIR",
    help: "the root [default: $CONTAINER_ROOTFS, else rootfs/ in the workspace]",
    read: |args, value| set(&mut args.rootfs, value.into()),
};
pub(super) const LOWER: Opt = Opt {
    name: "--lower",
    value: "DIR",
    help: "a lower layer in place of --rootfs; repeat it for more layers, topmost first",
    read: |args, value| add(&mut args.lower, value.into()),
};
pub(super) const SCRATCH: Opt = Opt {
    name: "--scratch",
    value: "DIR",
    help: "a directory for upper, work and merged that stays [default: a temporary directory]",
    read: |args, value| set(&mut args.scratch, value.into()),
};
pub(super) const BIND: Opt = Opt {
    name: "--bind",
    value: "HOST:INSIDE[:ro]",
    help: "show a file or directory of the host in the container; repeat it for more",
    read: |args, value| add(&mut args.binds, Bind::parse(&value)?),
};
pub(super) const MEMORY: Opt = Opt {
    name: "--memory",
    value: "SIZE",
    help: "the memory that the container may use, in bytes, or with K, M or G",
    read: |args, value| set(&mut args.limits.memory, limits::parse_memory(&value)?),
};
pub(super) const PIDS: Opt = Opt {
    name: "--pids",
    value: "N",
    help: "how many processes and threads the container may have, process 1 included",
    read: |args, value| set(&mut args.limits.pids, limits::parse_pids(&value)?),
};
pub(super) const CPUS: Opt = Opt {
    name: "--cpus",
    value: "N",
    help: "how many processors the container may use, such as 0.5",
    read: |args, value| set(&mut args.limits.cpu, limits::parse_cpus(&value)?),
};
pub(super) const CAP_ADD: Opt = Opt {
    name: "--cap-add",
    value: "NAME",
    help: "leave root inside this capability, or ALL; repeat it for more",
    read: |args, value| args.changes.add(&value),
};
pub(super) const CAP_DROP: Opt = Opt {
    name: "--cap-drop",
    value: "NAME",
    help: "take this capability from root inside, or ALL; repeat it for more",
    read: |args, value| args.changes.drop(&value),
};
pub(super) const NETWORK: Opt = Opt {
    name: "--network",
    value: "KIND",
    help: "none or pasta: how the container is connected [default: none]",
    read: |args, value| {
        args.network = Network::parse(&value)?;
        Ok(())
    },
};
pub(super) const NETWORK_OR_BRIDGE: Opt = Opt {
    help: "none, pasta, or bridge (for root): how the container is connected [default: none]",
    read: |args, value| {
        args.network = Network::parse_with_bridge(&value)?;
        Ok(())
    },
    ..NETWORK
};
pub(super) const SUBNET: Opt = Opt {
    name: "--subnet",
    value: "ADDRESS/BITS",
    help: "the addresses of containers on the bridge [default: 10.219.0.0/16]",
    read: |args, value| set(&mut args.subnet, Subnet::parse(&value)?),
};
pub(super) const PUBLISH: Opt = Opt {
    name: "--publish",
    value: "[ADDRESS:]HOST:CONTAINER[/udp]",
    help: "a port of the host that leads to one of the container; repeat it for more",
    read: |args, value| add(&mut args.ports, Port::parse(&value)?),
};
pub(super) const IMAGE: Opt = Opt {
    name: "--image",
    value: "LAYOUT[:TAG]",
    help: "an image on disk in place of --rootfs: a directory in the OCI image layout",
    read: |args, value| set(&mut args.image, value.into()),
};
pub(super) const STORE: Opt = Opt {
    name: "--store",
    value: "DIR",
    help: "the directory for unpacked layers [default: container-layers in $XDG_DATA_HOME, else in ~/.local/share]",
    read: |args, value| set(&mut args.store, value.into()),
};
pub(super) const ENTRYPOINT: Opt = Opt {
    name: "--entrypoint",
    value: "WORD",
    help: "the first word of the command, in place of the image's; \"\" for none",
    read: |args, value| set(&mut args.entrypoint, words(vec![value])?),
};
pub(super) const ENV: Opt = Opt {
    name: "--env",
    value: "NAME[=VALUE]",
    help: "a variable for the command; without a value, yours; repeat it for more",
    read: |args, value| {
        args.env.extend(process::parse_env(value)?);
        Ok(())
    },
};
pub(super) const WORKDIR: Opt = Opt {
    name: "--workdir",
    value: "DIR",
    help: "the directory in the container where the command starts; made if it is missing",
    read: |args, value| set(&mut args.workdir, process::parse_workdir(value)?),
};
pub(super) const USER: Opt = Opt {
    name: "--user",
    value: "USER[:GROUP]",
    help: "the user and group of the command, by name in the root or by number",
    read: |args, value| set(&mut args.user, process::text("--user", value)?),
};
pub(super) const IDS: Opt = Opt {
    name: "--ids",
    value: "WHOSE",
    help: "one: only one user inside; for root, also a user whose subordinate IDs to take",
    read: |args, value| set(&mut args.ids, process::text("--ids", value)?),
};
pub(super) const HOSTNAME: Opt = Opt {
    name: "--hostname",
    value: "NAME",
    help: "the hostname in the container",
    read: |args, value| set(&mut args.hostname, process::parse_hostname(value)?),
};
pub(super) const READ_ONLY: Opt = Opt {
    name: "--read-only",
    value: "",
    help: "let nobody write to the root; /dev, /tmp and other mounts stay as they are",
    read: |args, _| turn_on(&mut args.read_only),
};
pub(super) const TMPFS: Opt = Opt {
    name: "--tmpfs",
    value: "DIR[:size=SIZE,mode=MODE]",
    help: "an empty directory in memory; repeat it for more",
    read: |args, value| add(&mut args.tmpfs, Tmpfs::parse(&value)?),
};
pub(super) const NAME: Opt = Opt {
    name: "--name",
    value: "NAME",
    help: "the name of the container [default: a random name]",
    read: |args, value| set(&mut args.names.name, checked("--name", &value)?),
};
pub(super) const DETACH: Opt = Opt {
    name: "--detach",
    value: "",
    help: "let the container run in the background, and print its name",
    read: |args, _| turn_on(&mut args.names.detach),
};
pub(super) const REMOVES: Opt = Opt {
    name: "--rm",
    value: "",
    help: "with --detach: remove what is left at the end",
    read: |args, _| turn_on(&mut args.names.removes),
};
pub(super) const EXEC: Opt = Opt {
    name: "--exec",
    value: "NAME",
    help: "run COMMAND in a running container",
    read: |args, value| args.names.ask(Verb::Exec, &value),
};
pub(super) const LIST: Opt = Opt {
    name: "--list",
    value: "",
    help: "list the containers",
    read: |args, value| args.names.ask(Verb::List, &value),
};
pub(super) const FORMAT: Opt = Opt {
    name: "--format",
    value: "json",
    help: "with --list: print it for a program",
    read: |args, value| args.names.set_format(&value),
};
pub(super) const LOGS: Opt = Opt {
    name: "--logs",
    value: "NAME",
    help: "print what a container has written",
    read: |args, value| args.names.ask(Verb::Logs, &value),
};
pub(super) const FOLLOW: Opt = Opt {
    name: "--follow",
    value: "",
    help: "with --logs: print until the container ends",
    read: |args, _| turn_on(&mut args.names.follow),
};
pub(super) const TIMESTAMPS: Opt = Opt {
    name: "--timestamps",
    value: "",
    help: "with --logs: print the time before each line",
    read: |args, _| turn_on(&mut args.names.timestamps),
};
pub(super) const STOP: Opt = Opt {
    name: "--stop",
    value: "NAME",
    help: "send SIGTERM to a container, and SIGKILL if it does not end",
    read: |args, value| args.names.ask(Verb::Stop, &value),
};
pub(super) const TIME: Opt = Opt {
    name: "--time",
    value: "SECONDS",
    help: "with --stop: the time before SIGKILL [default: 10]",
    read: |args, value| args.names.set_time(&value),
};
pub(super) const KILL: Opt = Opt {
    name: "--kill",
    value: "NAME",
    help: "send a signal to a container: the word that follows, or KILL",
    read: |args, value| args.names.ask(Verb::Kill, &value),
};
pub(super) const REMOVE: Opt = Opt {
    name: "--remove",
    value: "NAME",
    help: "remove what is left of a container that has ended",
    read: |args, value| args.names.ask(Verb::Remove, &value),
};
pub(super) const WAIT: Opt = Opt {
    name: "--wait",
    value: "NAME",
    help: "wait for the end of a container, and exit as it did",
    read: |args, value| args.names.ask(Verb::Wait, &value),
};
