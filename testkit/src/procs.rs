//! Finds processes from outside of the container, by words on their command lines.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Enough time for a busy machine. A test that waits longer has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Keeps a shell busy for a minute. `read` does not work here: if a signal comes
/// just before `read` sleeps, the shell runs the trap only after `read` ends.
pub const IDLE: &str = "i=0; while [ $i -lt 600 ]; do sleep 0.1; i=$((i+1)); done";

/// A word that no other process has on its command line.
pub fn token() -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("token-{}-{count}-", std::process::id())
}

/// A time in seconds that no other process uses for sleep.
pub fn naptime() -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(1000);
    format!("{}{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Waits until `done` returns a value, for [`PATIENCE`]. All functions here that wait use
/// this.
pub fn wait_for<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = done() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}");
        sleep(Duration::from_millis(2));
    }
}

/// Waits until `done` is true.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    wait_for(what, || done().then_some(()));
}

/// Waits for the end of a child.
pub fn end_of(child: &mut Child) -> ExitStatus {
    wait_for("a child's end", || child.try_wait().expect("wait"))
}

/// Starts a step that runs a script. The test can read the output line by line, and
/// the input stays open.
///
/// For the first process of a background pipeline, busybox's shell opens /dev/null,
/// which the container lacks: hence `: | … &`.
pub fn scripted(mut step: Command, script: &str, token: &str) -> (Child, BufReader<ChildStdout>) {
    step.args(["/bin/sh", "-c", script, token]);
    step.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = step.spawn().expect("start a step");
    let output = BufReader::new(child.stdout.take().expect("a pipe"));
    (child, output)
}

/// The next line of a step's output, or nothing at the end.
pub fn line(from: &mut impl BufRead) -> String {
    let mut line = String::new();
    from.read_line(&mut line).expect("read a line");
    line.trim_end().to_owned()
}

/// The processes with `token` on their command line, without zombies, the oldest first.
pub fn having(token: &str) -> Vec<Proc> {
    let has = |proc: &Proc| proc.words().iter().any(|word| word.contains(token));
    let found = every().into_iter().filter(has);
    let mut aged: Vec<(i64, Proc)> = found.map(|proc| (proc.start(), proc)).collect();
    aged.sort_by(|(first, one), (second, other)| first.cmp(second).then(one.by_id(*other)));
    aged.into_iter().map(|(_, proc)| proc).collect()
}

/// Every process, in the order of their IDs.
pub fn every() -> Vec<Proc> {
    let entries = fs::read_dir("/proc").expect("read /proc").flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut all: Vec<Proc> = ids.map(Proc).collect();
    all.sort_by_key(|proc| proc.0);
    all
}

/// Waits for a process with `token` on its command line that runs `program`, and returns
/// the oldest: the child of a runner has its command line.
pub fn running(program: &str, token: &str) -> Proc {
    wait_for(&format!("{program} with {token}"), || {
        let runs = |proc: &Proc| proc.words().first().is_some_and(|word| word == program);
        having(token).into_iter().find(runs)
    })
}

/// Waits until no process has `token` on its command line.
pub fn gone(token: &str) {
    wait_until(&format!("the end of {:?}", having(token)), || having(token).is_empty());
}

/// Waits until a process is in one of `states`; see [`Proc::state`].
pub fn in_state(proc: Proc, states: &str) {
    wait_until(&format!("{proc:?} in {states}"), || {
        proc.state().is_some_and(|state| states.contains(state))
    });
}

/// Whether the caller of the tests ignores a signal, as nohup(1) and the `&` of a
/// script do. No shell can change that.
pub fn ignored(number: i32) -> bool {
    let set = Proc(std::process::id() as i32).status("SigIgn").expect("a process");
    u64::from_str_radix(&set, 16).expect("a number") >> (number - 1) & 1 == 1
}

/// A process, by its ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proc(pub i32);

impl Proc {
    /// The process of a child.
    pub fn of(child: &Child) -> Proc {
        Proc(i32::try_from(child.id()).expect("an ID"))
    }

    fn file(self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.0))
    }

    /// Its command line. Empty for a zombie or a process that has ended.
    pub fn words(self) -> Vec<String> {
        let line = fs::read(self.file("cmdline")).unwrap_or_default();
        let words = line.split_inclusive(|&b| b == 0);
        words.map(|word| String::from_utf8_lossy(word).trim_end_matches('\0').to_owned()).collect()
    }

    /// A line of its status; proc_pid_status(5).
    pub fn status(self, key: &str) -> Option<String> {
        let status = fs::read_to_string(self.file("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.map(|line| line.trim().to_owned())
    }

    /// Its state, such as `S`, `T` (stopped) or `Z` (zombie).
    pub fn state(self) -> Option<char> {
        self.status("State")?.chars().next()
    }

    /// The numbers after the name in proc_pid_stat(5): the first is field 4.
    fn numbers(self) -> Vec<i64> {
        let stat = fs::read_to_string(self.file("stat")).unwrap_or_default();
        let after = stat.rsplit_once(") ").map_or("", |(_, after)| after);
        after.split(' ').skip(1).map_while(|word| word.trim().parse().ok()).collect()
    }

    /// Its private memory, in kB: without the pages that it shares with its file,
    /// because their number depends on the rest of the machine.
    pub fn memory(self) -> u64 {
        let memory = self.status("RssAnon").expect("it is running");
        memory.trim_end_matches(" kB").parse().expect("a number")
    }

    /// Its parent.
    pub fn parent(self) -> Option<Proc> {
        self.numbers().first().map(|&id| Proc(id as i32))
    }

    /// Its children, with zombies.
    pub fn children(self) -> Vec<Proc> {
        every().into_iter().filter(|proc| proc.parent() == Some(self)).collect()
    }

    /// Its process group.
    pub fn group(self) -> Option<i64> {
        self.numbers().get(1).copied()
    }

    /// The time when it started, in clock ticks.
    fn start(self) -> i64 {
        self.numbers().get(18).copied().unwrap_or_default()
    }

    /// Which of two processes that started in the same clock tick is older. After the
    /// highest ID, the kernel gives the lowest that is free.
    fn by_id(self, other: Proc) -> std::cmp::Ordering {
        let highest = fs::read_to_string("/proc/sys/kernel/pid_max").unwrap_or_default();
        let far =
            highest.trim().parse().is_ok_and(|it: i32| self.0.abs_diff(other.0) > it as u32 / 2);
        if far { other.0.cmp(&self.0) } else { self.0.cmp(&other.0) }
    }

    /// The number of its controlling terminal; 0 without one.
    pub fn terminal(self) -> Option<i64> {
        self.numbers().get(3).copied()
    }

    /// The processor time it has used, in clock ticks.
    pub fn ticks(self) -> i64 {
        let numbers = self.numbers();
        numbers.get(10).zip(numbers.get(11)).map_or(0, |(user, system)| user + system)
    }

    /// Its open descriptors: number and link.
    pub fn descriptors(self) -> Vec<(i32, PathBuf)> {
        let mut found: Vec<(i32, PathBuf)> = fs::read_dir(self.file("fd"))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let number = entry.file_name().to_str()?.parse().ok()?;
                Some((number, fs::read_link(entry.path()).ok()?))
            })
            .collect();
        found.sort();
        found
    }

    /// Sends it a signal. Returns whether it exists.
    pub fn kill(self, signal: Signal) -> bool {
        kill(Pid::from_raw(self.0), signal).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{containers_work, skip};

    /// The IDs of a PID namespace begin again after the highest.
    #[test]
    fn a_parent_is_older_than_its_child_with_a_lower_id() {
        const NAME: &str = "procs::tests::a_parent_is_older_than_its_child_with_a_lower_id";
        const LAST: &str = "/proc/sys/kernel/ns_last_pid";
        if std::env::var_os("INSIDE").is_none() {
            if !containers_work() {
                return;
            }
            let mut host = Command::new("unshare");
            host.args(["--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"]);
            let look =
                host.args(["sh", "-c", "test -w \"$0\" && exec \"$@\"", LAST, "env"]).output();
            if !look.is_ok_and(|look| look.status.success()) {
                skip("unshare mounts no proc here, or proc has no ns_last_pid");
                return;
            }
            host.arg("INSIDE=1").arg(std::env::current_exe().expect("a test has a path"));
            let test = host.args(["--exact", NAME, "--nocapture"]).output().expect("start a test");
            assert!(test.status.success(), "{}", String::from_utf8_lossy(&test.stderr));
            return;
        }
        let highest = fs::read_to_string("/proc/sys/kernel/pid_max").expect("read a number");
        let highest: u32 = highest.trim().parse().expect("a number");
        fs::write(LAST, (highest - 2).to_string()).expect("choose the next ID");
        let (token, time) = (token(), naptime());
        let mut parent = Command::new("sh");
        parent.args(["-c", &format!("(sleep {time}; :); :"), &token]);
        let mut parent = parent.spawn().expect("start a shell");
        running("sleep", &time);
        let (found, all) = (running("sh", &token), having(&token));
        parent.kill().expect("end the shell");
        parent.wait().expect("wait");
        assert_eq!(found, Proc(highest as i32 - 1));
        assert_eq!(all.len(), 2, "{all:?}");
        assert!(all[1].0 < all[0].0, "{all:?}");
    }
}
