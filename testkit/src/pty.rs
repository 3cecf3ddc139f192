//! A terminal with a user at it.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::Signal;
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::tcgetpgrp;
use pty_process::Size;
use pty_process::blocking::{Pty, open};

use crate::procs::{PATIENCE, Proc, end_of, ignored, running, wait_until};
use crate::{Scratches, scratch_place};

/// Ctrl-C.
pub const INTERRUPT: &str = "\x03";
/// Ctrl-\.
pub const QUIT: &str = "\x1c";
/// Ctrl-Z.
pub const SUSPEND: &str = "\x1a";
/// Ctrl-D.
pub const END: &str = "\x04";

/// The shells of this host to call the steps from.
pub fn shells() -> impl Iterator<Item = &'static str> {
    ["/bin/sh", "/bin/bash"].into_iter().filter(|shell| Path::new(shell).exists())
}

/// The steps whose command is not process 1. Process 1 gets Ctrl-C and Ctrl-Z only
/// if it handles them.
pub fn ordinary() -> impl Iterator<Item = &'static str> {
    crate::steps().filter(|name| *name != "step05-pid")
}

/// Whether containers and keys work. If the caller ignores the signal of a key, as
/// the `&` of a script does, its shells ignore it too.
pub fn keys_work() -> bool {
    let keys = [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTSTP, Signal::SIGHUP];
    let work = !keys.into_iter().any(|signal| ignored(signal as i32));
    crate::containers_work()
        && (work || crate::skip("the caller of the tests ignores the signal of a key"))
}

/// A pseudo-terminal and the process that leads its session.
pub struct Terminal {
    scratches: Scratches,
    programs: Option<Scratches>,
    pty: Pty,
    seen: String,
    /// The process that leads the session.
    pub leader: Child,
}

impl Terminal {
    /// Starts a command as the leader of a session on a new terminal, 24 lines
    /// by 80.
    pub fn start(mut command: Command) -> Terminal {
        let scratches = scratch_place();
        command.env("TMPDIR", scratches.path()).env("XDG_RUNTIME_DIR", scratches.path());
        let (pty, pts) = open().expect("open a terminal");
        pty.resize(Size::new(24, 80)).expect("resize a terminal");
        let leader = pty_process::blocking::Command::from(command).spawn(pts);
        let leader = leader.expect("start a command on a terminal");
        fcntl(&pty, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("do not block");
        Terminal { scratches, programs: None, pty, seen: String::new(), leader }
    }

    /// An interactive shell of the host. Its prompt differs from its echo, and the steps
    /// are in its PATH.
    pub fn shell(program: &str) -> Terminal {
        let mut shell = Command::new(program);
        if program.ends_with("bash") {
            shell.args(["--norc", "--noprofile"]);
        }
        let steps = crate::bin(crate::STEPS[0]);
        // A colon in its name would end it in PATH.
        let programs = scratch_place();
        let link = programs.path().join("steps");
        symlink(steps.parent().expect("a directory"), &link).expect("make a link");
        let path = std::env::var("PATH").unwrap_or_default();
        shell.arg("-i").env("PS1", "host> ").env("HISTFILE", "/dev/null").env("TERM", "dumb");
        shell.env("PATH", format!("{}:{path}", link.display())).env_remove("ENV");
        shell.env("CONTAINER_ROOTFS", crate::rootfs());
        let mut terminal = Terminal::start(shell);
        terminal.programs = Some(programs);
        terminal.see("host> ");
        terminal
    }

    /// The directory for the scratch directories of the containers on this terminal.
    pub fn scratches(&self) -> &Path {
        self.scratches.path()
    }

    /// Types text.
    pub fn keys(&mut self, keys: &str) {
        let deadline = Instant::now() + PATIENCE;
        let mut left = keys.as_bytes();
        while !left.is_empty() {
            match self.pty.write(left) {
                Ok(count) => left = &left[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.listen(Duration::from_millis(5));
                }
                Err(error) => panic!("type {keys:?}: {error}; seen {:?}", self.seen),
            }
            assert!(Instant::now() < deadline, "type {keys:?}: no process reads");
        }
    }

    /// Types a line.
    pub fn line(&mut self, line: &str) {
        self.keys(&format!("{line}\n"));
    }

    /// Waits for `text` on the screen, and returns the text before it.
    pub fn see(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                let mut before = std::mem::replace(&mut self.seen, rest);
                before.truncate(at);
                return before;
            }
            let open = self.listen(Duration::from_millis(100));
            let late = Instant::now() > deadline;
            let lost = late || !open && !self.seen.contains(text);
            assert!(!lost, "no {text:?} in {:?}", self.seen);
        }
    }

    /// Runs a line in the shell at the prompt, and returns its output.
    pub fn run(&mut self, line: &str) -> String {
        self.line(line);
        let shown = self.see("host> ");
        // The first line is the echo.
        shown.split_once('\n').map_or("", |(_echo, output)| output).replace('\r', "")
    }

    /// Reads for at most this time. Returns whether the terminal is still
    /// open.
    fn listen(&mut self, time: Duration) -> bool {
        let time = u16::try_from(time.as_millis()).expect("a short time");
        let mut fds = [PollFd::new(self.pty.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, time).expect("poll");
        let mut bytes = [0; 4096];
        match self.pty.read(&mut bytes) {
            Ok(0) => false,
            Ok(count) => {
                self.seen += &String::from_utf8_lossy(&bytes[..count]);
                true
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => true,
            // EIO: no process has it open.
            Err(_closed) => {
                sleep(Duration::from_millis(5));
                false
            }
        }
    }

    /// The modes of the terminal.
    pub fn modes(&self) -> Termios {
        tcgetattr(&self.pty).expect("read the terminal's modes")
    }

    /// The process group in the foreground.
    pub fn foreground(&self) -> i64 {
        tcgetpgrp(&self.pty).expect("read the foreground").as_raw().into()
    }

    /// Waits until a process has the terminal.
    pub fn is_lent_to(&self, proc: Proc) {
        wait_until("the foreground", || Some(self.foreground()) == proc.group());
    }

    /// Waits until a step's sleep has the terminal. Returns the sleep and the runner.
    pub fn asleep(&self, name: &str, time: &str) -> (Proc, Proc) {
        let sleep = running("sleep", time);
        self.is_lent_to(sleep);
        (sleep, running(name, time))
    }

    /// Changes the size of the window.
    pub fn resize(&self, lines: u16, columns: u16) {
        self.pty.resize(Size::new(lines, columns)).expect("resize a terminal");
    }

    /// Reads until the leader has ended, and returns the rest of the output.
    pub fn end(mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + PATIENCE;
        while self.listen(Duration::from_millis(5))
            || self.leader.try_wait().expect("wait").is_none()
        {
            assert!(Instant::now() < deadline, "no end; seen {:?}", self.seen);
        }
        let status = end_of(&mut self.leader);
        (status, std::mem::take(&mut self.seen))
    }

    /// Hangs up, as when the user closes the window. Returns the leader.
    pub fn hang_up(self) -> Child {
        self.leader
    }
}
