//! Lesson 17: a container that stays when its caller goes.

use std::io::Read;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use common::{Args, Capabilities, Exit, Group, Keep};
use nix::sys::socket::{MsgFlags, send};
use nix::unistd::{Pid, close, getpid, setsid};

use crate::facts::{Facts, Running};
use crate::list;
use crate::log::Log;
use crate::process::Process;
use crate::state::Container;

/// The keeper of a container. This is the runner: in the foreground, or alone in the
/// background.
#[derive(Debug)]
pub(crate) struct Keeper {
    /// Nothing if the container runs without its state.
    container: Option<Container>,
    facts: Facts,
    /// Whether the caller wants to name it later.
    is_named: bool,
    background: Option<Background>,
    is_executed: bool,
}

/// What a keeper in the background has. The caller waits until the command is executed.
#[derive(Debug)]
struct Background {
    log: Log,
    caller: Option<UnixStream>,
}

/// The code that starts a container.
type Start = fn(&Args, &mut Keeper) -> Result<Exit>;

/// Starts a container, and keeps it.
pub(crate) fn start(args: &Args, start: Start) -> Result<Exit> {
    if !args.names.detach {
        return Keeper::new(args)?.keep(args, start);
    }
    let (mut line, caller) = UnixStream::pair().context("open a line to the keeper")?;
    common::spawn(|| {
        // This is the caller's end. Nothing here drops it.
        close(line.as_raw_fd()).context("close the line of the caller")?;
        // Its own session: the terminal of the caller sends it no signal, and does not
        // end it.
        setsid().context("begin a session")?;
        let mut keeper = Keeper::new(args)?;
        // From here on, an error goes to the log, and so to the caller.
        let log = Log::begin().context("make the pipes of a log")?;
        keeper.background = Some(Background { log, caller: Some(caller) });
        keeper.keep(args, start)
    })?;
    let mut answer = Vec::new();
    line.read_to_end(&mut answer).context("wait for the keeper")?;
    match answer.split_first() {
        Some((0, name)) => common::print(&String::from_utf8_lossy(name)),
        Some((&status, _)) => Ok(Exit::of_code(status)),
        None => Ok(Exit::SETUP),
    }
}

impl Keeper {
    fn new(args: &Args) -> Result<Keeper> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let root = args.image.clone().unwrap_or_else(|| args.rootfs());
        let facts = Facts {
            root: root.display().to_string(),
            ports: args.ports.iter().map(ToString::to_string).collect(),
            since: since.as_secs(),
            detached: args.names.detach,
            keeper: Running::of(getpid()),
            init: None,
            command: None,
            process: None,
            capabilities: 0,
            group: None,
        };
        let name = args.names.name.as_deref();
        let is_named = name.is_some() || args.names.detach;
        let container = list::need(is_named, Container::make(name, &facts))?;
        Ok(Keeper { container, facts, is_named, background: None, is_executed: false })
    }

    /// Remembers what `--exec` needs.
    pub(crate) fn remember(
        &mut self,
        process: &Process,
        group: Option<&Group>,
        kept: Capabilities,
    ) {
        self.facts.process = Some(process.clone());
        self.facts.group = group.map(|group| group.path().to_owned());
        self.facts.capabilities = kept.bits();
    }

    /// Starts the container, waits for its end, and writes it down.
    fn keep(mut self, args: &Args, start: Start) -> Result<Exit> {
        let exit = start(args, &mut self).unwrap_or_else(|error| common::report(&error));
        let Keeper { container, background, is_executed, .. } = self;
        let stays = background.is_some() && is_executed && !args.names.removes;
        let caller = background.and_then(|mut background| {
            background.log.finish();
            background.caller
        });
        if let Some(container) = container {
            if is_executed {
                container.write_end(exit.code())?;
            }
            if !stays {
                container.remove()?;
            }
        }
        if let Some(caller) = caller {
            tell(&caller, &[exit.code()])?;
        }
        Ok(exit)
    }
}

/// Answers the caller.
fn tell(caller: &UnixStream, answer: &[u8]) -> Result<()> {
    // Without this flag, SIGPIPE would come, and go on to the command.
    let sent = send(caller.as_raw_fd(), answer, MsgFlags::MSG_NOSIGNAL);
    sent.map(drop).context("answer the caller, which has ended")
}

impl Keep for Keeper {
    fn outputs(&self) -> Vec<BorrowedFd<'_>> {
        self.background.iter().flat_map(|background| background.log.pipes()).collect()
    }

    fn read(&mut self, number: usize) -> Result<()> {
        self.background.iter_mut().for_each(|background| background.log.read(number));
        Ok(())
    }

    fn executed(&mut self, init: Pid, command: Pid) -> Result<()> {
        (self.facts.init, self.facts.command) = (Running::of(init), Running::of(command));
        if let Some(container) = &self.container
            && list::need(self.is_named, container.write(&self.facts))?.is_none()
        {
            self.container.take().map_or(Ok(()), Container::remove)?;
        }
        if let Some(container) = &self.container
            && let Some(Background { log, caller }) = &mut self.background
        {
            log.write_to(container.at(""));
            if let Some(caller) = caller.take() {
                // Without a caller, nobody knows the name: the container ends.
                tell(&caller, &[&[0], container.name.as_bytes()].concat())?;
            }
        }
        self.is_executed = true;
        Ok(())
    }
}
