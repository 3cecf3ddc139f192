//! Lesson 19: the recipe of lesson 18, until the command could be executed.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, Result, bail};
use common::{Child, Relay};
use nix::sys::prctl::set_dumpable;
use nix::unistd::{fchdir, getpid};

use crate::namespaces::Kind;
use crate::start::{Line, listen};
use crate::state::Container;
use crate::status::{State, Status};
use crate::wanted::Wanted;
use crate::{capabilities, devices, end, filter, hooks, join, meetings, members, mounts};
use crate::{namespaces, network, root, scheduler, start, terminal, users, values};

/// Makes a container that waits for `start`. If that fails, nothing of it stays.
pub(crate) fn create(
    root: &Path,
    name: &str,
    wanted: &Wanted,
) -> Result<(Container, Child, Option<Relay>)> {
    let container = Container::make(root, name)?;
    match make(&container, wanted) {
        Ok((child, relay)) => {
            container.unlock()?;
            Ok((container, child, relay))
        }
        Err(error) => {
            // The first error says more.
            let _ = end::destroy(&container);
            Err(error)
        }
    }
}

fn make(container: &Container, wanted: &Wanted) -> Result<(Child, Option<Relay>)> {
    let bundle = &wanted.bundle;
    let mut config = container.keep_config(bundle)?;
    config.root.path = config.find_root(bundle)?;
    let config = &config;
    let linux = &config.linux;
    let sets = &config.process.capabilities.given(namespaces::has(linux, Kind::User))?;
    let filter = linux.seccomp.as_ref().map(filter::compile).transpose()?;
    terminal::check(&config.process, wanted.console.is_some(), wanted.relays)?;
    let plans = config.mounts.iter().map(|it| it.plan(config, bundle));
    let plans = plans.collect::<Result<Vec<_>>>()?;
    let mut state = State {
        oci_version: config.oci_version.clone(),
        id: container.name.clone(),
        bundle: bundle.clone(),
        rootfs: config.root.path.clone(),
        annotations: config.annotations.clone(),
        hooks: Some(config.hooks.clone()),
        ..State::default()
    };
    let groups = members::make_groups((container, &mut state), linux)?;
    let socket = start::make_socket(container)?;
    let (errors, theirs) = UnixStream::pair().context("open a line for errors")?;
    let line = Line(File::from(OwnedFd::from(theirs)));
    let mut inside = state.clone();
    let hooks = &config.hooks;

    let (first, mut tasks) = (groups.first()?, join::open_tasks(&groups)?);
    let stages = |line: &mut Line| {
        join::join_groups(&mut tasks)?;
        common::wait_for_runner(Some(()))?;
        if wanted.new_keyring {
            common::leave_keyring()?;
        }
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
        let terminal = terminal::open(&config.process, &root, true)?;
        values::set_values(config, &root)?;
        config.process.make_directory(&root)?;
        let home = users::home(config, &root)?;
        root::protect_host(linux, &root, &kept)?;
        // Hooks may still change what is in the namespaces.
        common::wait_for_runner(hooks.are_early())?;
        inside.pid = Some(getpid().as_raw());
        if !hooks.create_container.is_empty() {
            fchdir(&tree).context("go to the root")?;
            let state = inside.to_json(Status::Creating);
            hooks::run(&hooks.create_container, "createContainer", &state)?;
        }
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
        // No file of the host may lead out of the root.
        common::close_descriptors_but(
            wanted.passed,
            &[socket.as_raw_fd(), line.0.as_raw_fd()],
        )?;
        users::give_streams(config);
        users::become_user(config)?;
        start::outlive_parent()?;
        capabilities::act_as_command(sets)?;
        let command = config.process.find(home)?;
        common::wait_for_runner(Some(()))?;
        start::wait(&socket, line)?;
        capabilities::limit_command(config, sets, filter.as_ref())?;
        // Its file is the container's, so it may do no more than the command.
        let state = inside.to_json(Status::Created);
        let env = || config.process.env.clone();
        hooks::run_with(&hooks.start_container, "startContainer", &state, env)?;
        command.start()
    };
    // Only a command in the foreground shares the caller's terminal.
    let alone = config.process.terminal || !wanted.relays;
    let work = move || line.telling(stages);
    let mut child = namespaces::clone(config, alone, first, work)?;
    let relay =
        meetings::hold(&mut child, config, wanted, (container, &mut state), &groups)?;
    if state.created.is_none() {
        listen(errors)?;
        bail!("make the container: its process has ended before it was ready");
    }
    Ok((child, relay))
}
