//! The code that every step needs and no lesson explains.
//!
//! A step makes every system call of its lesson itself. This crate does the
//! rest, like Go's `os/exec`. It reads the command line ([`Step`],
//! [`Args`]). It clones the child and waits for it ([`clone()`],
//! [`Child::wait`]). It does the work of process 1 ([`fork`], [`Run::reap`]), and
//! executes the command ([`exec()`]). It manages the terminal, and the scratch
//! directory of an overlay ([`Scratch`]). It reports a failed system call as one
//! line with a remedy ([`hint()`]).

mod bind;
mod capabilities;
mod clone;
mod console;
mod device;
mod doing;
mod error;
mod exec;
mod exit;
mod group;
mod hint;
mod host;
mod inherit;
mod init;
mod landlock;
mod limits;
mod line;
mod mount;
mod names;
mod network;
pub mod open;
mod overlay;
#[cfg(test)]
mod place;
mod process;
mod program;
mod remove;
mod runner;
mod scratch;
mod seat;
mod seccomp;
mod signals;
mod slirp;
mod step;
mod streams;
mod terminal;
mod tool;
mod trust;
mod wait;
mod workspace;

pub use bind::{Bind, Place, Root};
pub use capabilities::{Capabilities, Capability, drop_bounding, set_capabilities};
pub use clone::clone;
pub use console::{console, use_devices};
pub use device::{device_flags, set_device_flags};
pub use doing::errno_of;
pub use error::{causes, note, one_line, printable};
pub use exec::{exec, fresh_environment};
pub use exit::Exit;
pub use group::Group;
pub use hint::hint;
pub use init::{Run, fork};
pub use limits::Limits;
pub use line::wait_for_runner;
pub use mount::{mount_setattr, move_mount, open_tree};
pub use names::{PASTA_DNS, write_names};
pub use network::{Network, Port, Subnet};
pub use overlay::lowerdir;
pub use program::Program;
pub use remove::{remove_tree, remove_tree_in};
pub use runner::Child;
pub use scratch::{Entry, Scratch};
pub use seat::Seat;
pub use seccomp::{SYS_KEXEC_FILE_LOAD, audit_arch, set_filter};
pub use signals::end_on_closed_pipe;
pub use slirp::Slirp;
pub use step::{Args, Step, named_rootfs};
pub use tool::{PACKAGES, has_tool, run};
pub use trust::{is_trusted, others_can_rename_in};
pub use workspace::{own_rootfs, workspace};

#[cfg(test)]
mod tests {
    use std::fs;

    #[test]
    fn the_page_names_each_public_name() {
        let page = fs::read_to_string(crate::workspace().join("docs/common.md")).expect("a page");
        let source = include_str!("lib.rs");
        let uses = source.split("\npub use ").skip(1).filter_map(|rest| rest.split(';').next());
        let lists = uses.filter_map(|path| path.rsplit("::").next());
        let names = lists.flat_map(|list| list.split(|c: char| "{}, \n".contains(c)));
        let missing: Vec<&str> = names.filter(|name| !page.contains(&format!("`{name}"))).collect();
        assert_eq!(missing, [""; 0]);
    }
}
