//! Runs slirp4netns(1), and tells it the published ports.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::PollTimeout;
use nix::unistd::{dup, pipe};

use crate::child::signals::Patience;
use crate::net::network::Port;
use crate::net::tool::{kill, read_all, said, start};
use crate::said::doing::{Call, Doing, Said};
use crate::said::error::printable;

/// A running slirp4netns. It ends when this is dropped, or when the runner ends.
pub struct Slirp {
    process: Child,
    /// A pipe from it: a byte when the network is ready, and the end when it has ended.
    line: File,
}

impl Slirp {
    /// Starts it with the option `--ready-fd`, and waits until the network is ready. It must read
    /// its end from standard input. Fails when it ends instead, with its message. Fails when a
    /// signal asks the runner to end.
    pub fn start(command: &mut Command) -> Result<Slirp> {
        let doing = "start slirp4netns";
        // It writes other lines to standard output. It closes `ready` after the byte; the kernel
        // closes `alive` when it ends.
        let (line, ready) = pipe().context(doing)?;
        fcntl(&line, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).context(doing)?;
        let alive = dup(&ready).context(doing)?;
        command.arg(format!("--ready-fd={}", ready.as_raw_fd()));
        let (process, errors) = start(command.stdin(Stdio::piped()).stdout(Stdio::null()))?;
        let mut slirp = Slirp { process, line: line.into() };
        drop((ready, alive));
        if !slirp.hear().context(doing)? {
            let text = said(errors).context(doing)?;
            let lines = text.lines().map(str::trim).filter(|line| !line.starts_with("WARNING"));
            let message = printable(&lines.collect::<Vec<_>>().join(" "));
            return Err(Said(message)).context(doing);
        }
        Ok(slirp)
    }

    /// Waits for the byte. Returns whether it came: else the process has ended.
    fn hear(&mut self) -> Result<bool> {
        let mut patience = Patience::new()?;
        while !patience.sleep(Some(self.line.as_fd()), PollTimeout::NONE)? {}
        Ok(self.line.read(&mut [0])? > 0)
    }

    /// Publishes a port, by a request to the socket that `--api-socket` names. Fails when
    /// slirp4netns refuses the port. Fails when a signal asks the runner to end.
    pub fn publish(&mut self, socket: &Path, port: &Port) -> Result<()> {
        let doing =
            || Doing::new(Call::Publish, "publish ", format_args!("{port} with slirp4netns"));
        let Port { address, host, inside, protocol } = port;
        let request = format!(
            r#"{{"execute": "add_hostfwd", "arguments": {{"proto": "{protocol}",
            "host_addr": "{address}", "host_port": {host}, "guest_port": {inside}}}}}"#
        );
        let mut patience = Patience::new()?;
        let mut line = loop {
            // It makes the socket a moment after it is ready.
            match UnixStream::connect(socket) {
                Err(error) if is_early(&error) && self.process.try_wait()?.is_none() => {
                    patience.sleep(None, PollTimeout::from(1u8)).with_context(doing)?;
                }
                connected => break connected.with_context(doing)?,
            }
        };
        line.write_all(request.as_bytes()).with_context(doing)?;
        line.shutdown(Shutdown::Write).with_context(doing)?;
        let answer = read_all(&mut line).with_context(doing)?;
        let answer = String::from_utf8_lossy(&answer);
        ensure!(answer.contains("\"return\""), "{}: {}", doing(), printable(answer.trim()));
        Ok(())
    }
}

/// Whether a socket may still be on its way.
fn is_early(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused)
}

impl Drop for Slirp {
    fn drop(&mut self) {
        // It sees the end of its standard input, and ends.
        drop(self.process.stdin.take());
        // If the start failed, the byte may still come.
        let mut heard = self.hear();
        while matches!(heard, Ok(true)) {
            heard = self.hear();
        }
        if heard.is_err() {
            kill(&self.process);
        }
        // An error means that it had ended, and the runner has reaped it.
        let _ = self.process.wait();
    }
}
