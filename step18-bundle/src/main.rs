//! Lesson 18: a container from a file.

mod calls;
mod capabilities;
mod config;
mod device_lines;
mod device_program;
mod devices;
mod filter;
mod groups;
mod json;
mod limits;
mod memory;
mod mounts;
mod namespaces;
mod network;
mod numbers;
mod options;
mod plan;
mod process;
mod program;
mod resources;
mod root;
mod rules;
mod scheduler;
mod seal;
mod spec;
mod terminal;
mod users;
mod values;

use std::ffi::CString;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use common::{Args, Exit, Relay};
use nix::sys::prctl::set_dumpable;

use crate::config::Config;
use crate::namespaces::Kind;

fn main() -> ExitCode {
    let step = common::step!();
    step.takes_words("run [--bundle DIR] NAME | spec [--bundle DIR]").run(verb)
}

/// Does what the first word says.
fn verb(args: &Args) -> Result<Exit> {
    let words = args.command.iter().map(CString::as_c_str).map(|word| word.to_str());
    let words = words.collect::<Result<Vec<_>, _>>().context("read the command line")?;
    match words[..] {
        ["spec"] => spec::write(Path::new("."), false),
        ["spec", "--bundle" | "-b", bundle] => spec::write(Path::new(bundle), false),
        ["run", "--bundle" | "-b", bundle, name] => run(Path::new(bundle), name),
        ["run", name] if !name.starts_with('-') => run(Path::new("."), name),
        _ => bail!("read the command line: give `run [--bundle DIR] NAME` or `spec`"),
    }
}

/// Runs the container of a bundle, and exits as its command did.
fn run(bundle: &Path, name: &str) -> Result<Exit> {
    config::check_name(name)?;
    seal::use_copy()?;
    let doing = || format!("open the bundle {}", bundle.display());
    let bundle = &bundle.canonicalize().with_context(doing)?;
    let config = &Config::read(bundle)?;
    let linux = &config.linux;
    let sets = &config.process.capabilities.given(namespaces::has(linux, Kind::User))?;
    let filter = linux.seccomp.as_ref().map(filter::compile).transpose();
    let filter = filter.context("read linux.seccomp")?;
    let mounts = config.mounts.iter();
    let plans = mounts.map(|it| it.plan(config, bundle).with_context(|| it.doing()));
    let plans = plans.collect::<Result<Vec<_>>>()?;
    let groups = groups::make_groups(&linux.cgroups_path, &linux.resources, name)?;
    ensure!(
        !config.process.terminal
            || namespaces::is_new(linux, Kind::Pid)
            || groups.are_own(),
        "process.terminal needs a new PID namespace, or a control group; add one"
    );

    let mut child = namespaces::clone(config, config.process.terminal, None, || {
        common::wait_for_runner(Some(()))?;
        // With other IDs, this process may not find it.
        let place = mounts::look(&config.root.path).context("find the root")?;
        users::take_ids(namespaces::has(linux, Kind::User))?;
        namespaces::hide_groups(linux)?;
        if namespaces::is_new(linux, Kind::Network) {
            network::start_loopback()?;
        }
        values::set_names(config)?;
        config.process.choose_profile()?;
        let (root, tree) = root::mount_root(config, &place).context("mount the root")?;
        let mut kept = Vec::new();
        for plan in plans {
            let doing = plan.mount.doing();
            let mounted = mounts::mount(plan, bundle, &root, &groups);
            kept.extend(mounted.context(doing)?);
        }
        devices::make_nodes(config, &root)?;
        let terminal = terminal::open(&config.process, &root)?;
        values::set_values(config, &root)?;
        config.process.make_directory(&root)?;
        let home = users::home(config, &root)?;
        root::protect_host(linux, &root, &kept)?;
        root::enter_root(&tree, config)?;
        drop((root, tree, place, kept));
        // Root of a user namespace could not raise limits. Low ones end earlier stages.
        common::wait_for_runner(Some(()))?;
        // From now on, this process has files that the container can reach.
        set_dumpable(false).context("keep others from tracing this process")?;
        scheduler::set_own(linux)?;
        users::set_umask(config);
        capabilities::drop_bounding(sets)?;
        if let Some(terminal) = terminal {
            common::use_terminal(&terminal)?;
        }
        users::give_streams(config);
        users::become_user(config)?;
        common::end_with_parent()?;
        capabilities::act_as_command(sets)?;
        let command = config.process.find(home)?;
        capabilities::limit_command(config, sets, filter.as_ref())?;
        command.start()
    })?;
    child.meet(Some(()), |(), id| {
        if namespaces::is_new(linux, Kind::User) {
            users::write_maps([&linux.uid_mappings, &linux.gid_mappings], id)?;
        }
        groups.add(id)
    })?;
    let _relay = child.take_terminal(config.process.terminal, Relay::start)?;
    child.meet(Some(()), |(), id| config.process.set_limits(id))?;
    let exit = child.wait();
    // Processes that are left may have the terminal.
    drop(groups);
    exit
}
