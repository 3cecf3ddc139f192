//! The options that a step can take.

use std::ffi::OsString;

use anyhow::Result;

use super::{Args, Step};
use crate::args::verbs::checked;
use crate::args::{limits, process};
use crate::child::exec::words;
use crate::{Bind, Network, Port, Subnet, Tmpfs, Verb};

/// An option.
#[derive(Debug)]
pub(super) struct Opt {
    /// Its name and, after a blank, its value if it has one, as the help shows them.
    pub(super) words: &'static str,
    pub(super) help: &'static str,
    /// Reads a value into the arguments. Without a value, it gets an empty one.
    pub(super) read: fn(&mut Args, OsString) -> Result<()>,
}

impl Opt {
    pub(super) fn name(&self) -> &'static str {
        self.words.split(' ').next().unwrap_or_default()
    }

    /// The value, for people; nothing for an option without one.
    pub(super) fn value(&self) -> Option<&'static str> {
        self.words.split_once(' ').map(|(_, value)| value)
    }
}

/// Makes a method of a step for each group of options. A row has the words of the option, what
/// it does with its value, and its help.
macro_rules! options {
    (|$args:ident, $value:ident|
        $($takes:ident { $($words:literal => $read:expr, $help:literal;)+ })+
    ) => {
        impl Step {$(
            /// Lets the step take these options:
            ///
            $(#[doc = concat!("- `", $words, "`")])+
            pub fn $takes(self) -> Step {
                #[allow(unused_variables, reason = "some options have no value")]
                const OPTIONS: &[Opt] = &[$(Opt {
                    words: $words,
                    help: $help,
                    read: |$args, $value| {
                        $read;
                        Ok(())
                    },
                }),+];
                self.with(OPTIONS)
            }
        )+}
    };
}

options! { |args, value|
    takes_rootfs {
        "--rootfs DIR" => args.rootfs = Some(value.into()),
            "the root [default: $CONTAINER_ROOTFS, else rootfs/ in the workspace]";
    }
    takes_layers {
        "--lower DIR" => args.lower.push(value.into()),
            "a lower layer in place of --rootfs; repeat it for more layers, topmost first";
        "--scratch DIR" => args.scratch = Some(value.into()),
            "a directory for upper, work and merged that stays [default: a temporary directory]";
    }
    takes_binds {
        "--bind HOST:INSIDE[:ro]" => args.binds.push(Bind::parse(&value)?),
            "show a file or directory of the host in the container; repeat it for more";
    }
    takes_limits {
        "--memory SIZE" => args.limits.memory = Some(limits::parse_memory(&value)?),
            "the memory that the container may use, in bytes, or with K, M or G";
        "--pids N" => args.limits.pids = Some(limits::parse_pids(&value)?),
            "how many processes and threads the container may have, process 1 included";
        "--cpus N" => args.limits.cpu = Some(limits::parse_cpus(&value)?),
            "how many processors the container may use, such as 0.5";
    }
    takes_capabilities {
        "--cap-add NAME" => args.changes.add(&value)?,
            "leave root inside this capability, or ALL; repeat it for more";
        "--cap-drop NAME" => args.changes.drop(&value)?,
            "take this capability from root inside, or ALL; repeat it for more";
    }
    takes_network {
        "--network KIND" => args.network = Network::parse(&value)?,
            "none or pasta: how the container is connected [default: none]";
        "--publish [ADDRESS:]HOST:CONTAINER[/udp]" => args.ports.push(Port::parse(&value)?),
            "a port of the host that leads to one of the container; repeat it for more";
    }
    takes_bridge {
        "--network KIND" => args.network = Network::parse_with_bridge(&value)?,
            "none, pasta, or bridge (for root): how the container is connected [default: none]";
        "--subnet ADDRESS/BITS" => args.subnet = Some(Subnet::parse(&value)?),
            "the addresses of containers on the bridge [default: 10.219.0.0/16]";
    }
    takes_names {
        "--name NAME" => args.names.name = Some(checked("--name", &value)?),
            "the name of the container [default: a random name]";
        "--detach" => args.names.detach = true,
            "let the container run in the background, and print its name";
        "--rm" => args.names.removes = true,
            "with --detach: remove what is left at the end";
        "--exec NAME" => args.names.ask(Verb::Exec, &value)?,
            "run COMMAND in a running container";
        "--list" => args.names.ask(Verb::List, &value)?,
            "list the containers";
        "--format json" => args.names.set_format(&value)?,
            "with --list: print it for a program";
        "--logs NAME" => args.names.ask(Verb::Logs, &value)?,
            "print what a container has written";
        "--follow" => args.names.follow = true,
            "with --logs: print until the container ends";
        "--timestamps" => args.names.timestamps = true,
            "with --logs: print the time before each line";
        "--stop NAME" => args.names.ask(Verb::Stop, &value)?,
            "send SIGTERM to a container, and SIGKILL if it does not end";
        "--time SECONDS" => args.names.set_time(&value)?,
            "with --stop: the time before SIGKILL [default: 10]";
        "--kill NAME" => args.names.ask(Verb::Kill, &value)?,
            "send a signal to a container: the word that follows, or KILL";
        "--remove NAME" => args.names.ask(Verb::Remove, &value)?,
            "remove what is left of a container that has ended";
        "--wait NAME" => args.names.ask(Verb::Wait, &value)?,
            "wait for the end of a container, and exit as it did";
    }
    takes_image {
        "--image LAYOUT[:TAG]" => args.image = Some(value.into()),
            "an image on disk in place of --rootfs: a directory in the OCI image layout";
        "--store DIR" => args.store = Some(value.into()),
            "the directory for unpacked layers [default: container-layers in $XDG_DATA_HOME, else in ~/.local/share]";
    }
    takes_process {
        "--entrypoint WORD" => args.entrypoint = Some(words(vec![value])?),
            "the first word of the command, in place of the image's; \"\" for none";
        "--env NAME[=VALUE]" => args.env.extend(process::parse_env(value)?),
            "a variable for the command; without a value, yours; repeat it for more";
        "--workdir DIR" => args.workdir = Some(process::parse_workdir(value)?),
            "the directory in the container where the command starts; made if it is missing";
        "--hostname NAME" => args.hostname = Some(process::parse_hostname(value)?),
            "the hostname in the container";
        "--read-only" => args.read_only = true,
            "let nobody write to the root; /dev, /tmp and other mounts stay as they are";
        "--tmpfs DIR[:size=SIZE,mode=MODE]" => args.tmpfs.push(Tmpfs::parse(&value)?),
            "an empty directory in memory; repeat it for more";
    }
    takes_users {
        "--user USER[:GROUP]" => args.user = Some(process::text("--user", value)?),
            "the user and group of the command, by name in the root or by number";
        "--ids WHOSE" => args.ids = Some(process::text("--ids", value)?),
            "one: map one ID; for root: the user whose subordinate IDs the container gets";
    }
}
