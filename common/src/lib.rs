//! The code that every step needs and no lesson explains.
//!
//! A step makes every system call of its lesson itself. This crate does the rest, like Go's
//! `os/exec`. It reads the command line ([`Step`], [`Args`]). It clones the child and waits for it
//! ([`clone()`], [`Child::wait`]). It does the work of process 1 ([`fork`], [`Run::reap`]), and
//! executes the command ([`exec()`]). It manages the terminal, and the scratch directory of an
//! overlay ([`Scratch`]). It reports a failed system call as one line with a remedy ([`hint()`]).

mod args;
mod calls;
mod child;
mod group;
mod hierarchy;
mod net;
mod places;
mod said;

pub use args::ids::{IdRange, Ids};
pub use args::limits::Limits;
pub use args::process::{Tmpfs, is_inside, variable};
pub use args::step::{Args, Step, named_rootfs};
pub use args::verbs::{Names, Verb};
pub use args::workspace::{own_rootfs, workspace};
pub use calls::bpf::attach_device_program;
pub use calls::capabilities::{
    Capabilities, Capability, drop_bounding, permitted, raise_ambient, set_capabilities,
};
pub use calls::device::{device_flags, set_device_flags};
pub use calls::mount::{
    change_mount, fsconfig, fsmount, fsopen, mount_setattr, move_mount, open_tree,
};
pub use calls::process::{
    pidfd_open, pidfd_send_signal, pidfd_wait, set_domainname, set_io_priority, set_limit,
    set_memory_policy, set_personality, set_scheduler,
};
pub use calls::seccomp::{SYS_KEXEC_FILE_LOAD, audit_arch, set_filter, set_filter_with};
pub use child::clone::{clone, clone_after, clone_in_group, end_with_parent, spawn};
pub use child::console::{console, open_to_users, use_devices};
pub use child::exec::{
    become_program, exec, exec_with, find_program, fresh_environment, start_again,
};
pub use child::exit::Exit;
pub use child::inherit::{close_descriptors, close_descriptors_but, leave_keyring};
pub use child::init::{Run, fork};
pub use child::line::{Told, give_terminal, tell_start, wait_for_runner};
pub use child::program::Program;
pub use child::pseudoterminal::{Relay, open_pseudoterminal, resize, use_terminal};
pub use child::runner::{Child, Keep};
pub use child::signals::{end_on_closed_pipe, reset_signals, signal_number, stop_if_asked};
pub use child::timeout::{InTime, Timeout};
pub use child::within::in_child;
pub use group::Group;
pub use hierarchy::{
    Hierarchy, are_frozen, each_group, end_groups, hierarchies, processes_in, signal_groups,
    thaw_groups,
};
pub use net::names::{PASTA_DNS, write_names};
pub use net::network::{Network, Port, Subnet};
pub use net::seat::Seat;
pub use net::slirp::Slirp;
pub use net::tool::{PACKAGES, has_tool, run, run_both};
pub use places::bind::{Bind, Place, Root};
pub use places::copy::copy_files;
pub use places::open;
pub use places::overlay::lowerdir;
pub use places::private::{Private, Purpose, private_directory, runtime_directory};
pub use places::remove::{remove_tree, remove_tree_in};
pub use places::scratch::{Entry, InMap, Scratch};
pub use places::trust::{
    changeable, directory_of, is_trusted, others_can_rename_in, trusted_directory,
};
pub use places::users::User;
pub use said::doing::errno_of;
pub use said::error::{causes, failure, note, one_line, print, printable, report, status_of};
pub use said::hint::hint;
pub use said::time::utc;

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
