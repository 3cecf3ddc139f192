//! Lesson 19: the container waits for `start`, and `start` hears how that went.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};

use anyhow::{Context, Result, bail, ensure};
use common::Exit;
use nix::sys::prctl::set_pdeathsig;

use crate::state::{Container, SOCKET};
use crate::status::Status;
use crate::{end, hooks};

/// A line on which a child tells why it ends: to `create`, and later to `start`. The
/// kernel closes it when the child becomes the command.
pub(crate) struct Line(pub(crate) File);

impl Line {
    /// Does the stages of a child. Tells an error of theirs, in the place of printing it.
    pub(crate) fn telling(
        mut self,
        stages: impl FnOnce(&mut Line) -> Result<Exit>,
    ) -> Result<Exit> {
        Ok(stages(&mut self).unwrap_or_else(|error| self.tell(&error)))
    }

    fn tell(&mut self, error: &anyhow::Error) -> Exit {
        let exit = common::status_of(error);
        let text = [&[exit.code()], common::one_line(error).as_bytes()].concat();
        // An error means that nobody listens.
        let _ = self.0.write_all(&text);
        exit
    }
}

/// Reads from the other end until the child closes it. An error of the child is one here.
pub(crate) fn listen(mut line: impl Read) -> Result<()> {
    let mut said = Vec::new();
    line.read_to_end(&mut said).context("hear of the container")?;
    match &said[..] {
        [] => Ok(()),
        [code, text @ ..] => {
            let text = String::from_utf8_lossy(text).into_owned();
            Err(common::failure(Exit::of_code(*code), text))
        }
    }
}

/// Makes the socket on which the container will wait. No other user can reach it.
pub(crate) fn make_socket(container: &Container) -> Result<UnixListener> {
    UnixListener::bind(container.at(SOCKET)).context("make the socket for `start`")
}

/// Waits in the container for `start`. From now on, errors are for `start`.
pub(crate) fn wait(socket: &UnixListener, line: &mut Line) -> Result<()> {
    let (mut stream, _) = socket.accept().context("wait for `start`")?;
    // Without a byte, `start` has ended before.
    let began = stream.read(&mut [0]).is_ok_and(|count| count == 1);
    line.0 = File::from(OwnedFd::from(stream));
    ensure!(began, "wait for `start`: it has ended");
    Ok(())
}

/// Lets this process live on without its parent.
pub(crate) fn outlive_parent() -> Result<()> {
    set_pdeathsig(None).context("live on without the runtime")
}

/// Starts the command of a container that waits, and returns when it is executed.
pub(crate) fn start(container: &Container) -> Result<()> {
    let name = &container.name;
    let (state, status) = container.look()?;
    ensure!(
        status == Status::Created,
        "start the container {name}: it is {}; only a created container can be started",
        status.word()
    );
    let hooks = container.hooks(&state)?;
    let doing = || format!("start the container {name}");
    let mut stream = match UnixStream::connect(container.at(SOCKET)) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            bail!("{}: its process does not wait; delete the container", doing())
        }
        stream => stream.with_context(doing)?,
    };
    fs::remove_file(container.at(SOCKET)).with_context(doing)?;
    stream.write_all(&[1]).with_context(doing)?;
    listen(stream)?;
    let json = state.to_json(Status::Running);
    let ran = hooks::run(&hooks.poststart, "poststart", &json);
    if ran.is_err() {
        // As the specification says. It may have ended.
        let _ = end::kill(container, libc::SIGKILL);
    }
    ran
}
