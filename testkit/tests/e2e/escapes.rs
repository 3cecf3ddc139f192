//! Tries ways out of a container, and compares them with the tables in `docs/trust.md`.
//!
//! For most of them, the program inside is this test itself: a layer has a copy of it.
//! No check changes the host: it opens a file and does not write to it, or it makes a call
//! that a mistake of a kernel needs, and not the mistake.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Error, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use libc::{c_long, c_ulong};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, chdir, chroot, fork};
use testkit::procs::token;
use testkit::pty::Terminal;
use testkit::{
    Scratches, bin, containers_work, copy_program, is_root, lesson, rootfs, scratch_place, skip,
    stderr, stdout, workspace,
};

use crate::exec::watch_for_newcomers;

/// The lessons in the tables.
const TRIED: [&str; 3] = ["step08-overlay", "step10-dev", "step13-seccomp"];
/// The ways that the program inside tries.
const INSIDE: [&str; 12] = [
    "root", "core_pattern", "sysrq-trigger", "kcore", "disk", "process-1", "descriptors",
    "abstract", "release_agent", "fsopen", "netfilter", "packets",
];
const NAME: &str = "escapes::each_way_out_ends_as_the_page_says";
/// The variable that names a way to the program inside.
const WAY: &str = "WAY_OUT";
/// What the program inside prints before the result.
const RESULT: &str = "result: ";

#[test]
fn each_way_out_ends_as_the_page_says() {
    if let Ok(way) = env::var(WAY) {
        return try_inside(&way);
    }
    if !containers_work() {
        return;
    }
    let page = Page::read();
    let host = Host::new();
    let mut wrong = Vec::new();
    for way in page.ways() {
        let lacks = host.lacks(&way);
        if let Some(why) = &lacks {
            skip(&format!("{way}: {why}"));
        }
        for step in TRIED {
            let result = host.attempt(step, &way);
            let (works, told) = (result == "works", page.tells(step, &way));
            // A host that lacks something can only close a way.
            if works != told && (works || lacks.is_none()) {
                wrong.push(format!("{step} {way}: {result}, but the page says {told}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The tables of the page: for each row, its ways, and whether each lesson lets them work.
struct Page(Vec<(BTreeSet<String>, BTreeMap<&'static str, bool>)>);

impl Page {
    fn read() -> Page {
        let page = fs::read_to_string(workspace().join("docs/trust.md")).expect("a page");
        let mut rows = Vec::new();
        let mut columns = BTreeMap::new();
        for line in page.lines() {
            let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
            let column = |name: &str| cells.iter().position(|cell| *cell == name);
            let Some(last) = cells.last().filter(|_| line.starts_with('|')) else {
                columns.clear();
                continue;
            };
            if columns.is_empty() && *last == "check" {
                for step in TRIED {
                    let number = lesson(step).number.to_string();
                    columns.insert(step, column(&number).expect("a column for each lesson"));
                }
            } else if !columns.is_empty() && !last.starts_with('-') {
                let ways = last.split('`').skip(1).step_by(2).map(str::to_owned).collect();
                let cell = |at: &usize| match cells[*at] {
                    "works" => true,
                    "as root" => is_root(),
                    "no" => false,
                    other => panic!("{other:?} in {line}"),
                };
                rows.push((ways, columns.iter().map(|(step, at)| (*step, cell(at))).collect()));
            }
        }
        Page(rows)
    }

    /// Every way that the page names. They are the ways that this test knows.
    fn ways(&self) -> BTreeSet<String> {
        let ways: BTreeSet<_> = self.0.iter().flat_map(|(ways, _)| ways).cloned().collect();
        let known = INSIDE.into_iter().chain(["crypto", "terminal", "links", "exe", "set-user-ID"]);
        assert_eq!(ways, known.map(str::to_owned).collect());
        ways
    }

    /// Whether a way works in a lesson. All rows that name it agree.
    fn tells(&self, step: &str, way: &str) -> bool {
        let rows = self.0.iter().filter(|(ways, _)| ways.contains(way));
        let told: BTreeSet<_> = rows.map(|(_, steps)| steps[step]).collect();
        assert_eq!(told.len(), 1, "two rows of the page differ about {way} in {step}");
        told.contains(&true)
    }
}

/// The things outside of the containers that the attempts need.
pub(crate) struct Host {
    /// A layer with this test, its loader and its libraries.
    layer: Scratches,
    /// The words that start this test in the layer.
    program: Vec<String>,
    /// A socket without a file, which only its network namespace has.
    _socket: UnixListener,
    name: String,
    /// Whether the layer has [`EVIL`].
    evil: bool,
}

impl Host {
    pub(crate) fn new() -> Host {
        let layer = scratch_place();
        let dir = layer.path().join("way-out");
        fs::create_dir(&dir).expect("make a directory");
        let test = env::current_exe().expect("a test has a path");
        copy_program(&test, &dir.join("test"));
        let libraries = libraries();
        for library in &libraries {
            copy_program(library, &dir.join(library.file_name().expect("a name")));
        }
        let mut names = libraries.iter().filter_map(|library| library.file_name()?.to_str());
        let mut program = Vec::new();
        if let Some(loader) = names.find(|name| name.starts_with("ld-")) {
            program.extend([
                format!("/way-out/{loader}"),
                "--library-path".into(),
                "/way-out".into(),
            ]);
        }
        let words = ["/way-out/test", "--exact", NAME, "--nocapture"];
        program.extend(words.map(str::to_owned));
        let name = format!("way-out-{}", token());
        let address = SocketAddr::from_abstract_name(&name).expect("an address");
        let socket = UnixListener::bind_addr(&address).expect("bind a socket");
        let evil = compile(&layer.path().join("evil.so")) && !libraries.is_empty();
        Host { layer, program, _socket: socket, name, evil }
    }

    /// The reason why a way cannot work here, in any lesson.
    fn lacks(&self, way: &str) -> Option<String> {
        let lacks = |missing: bool, why: &str| missing.then(|| why.to_owned());
        match way {
            "sysrq-trigger" => lacks(!Path::new("/proc/sysrq-trigger").exists(), "no such file"),
            "release_agent" => lacks(old_groups().is_empty(), "no control groups v1"),
            "crypto" => open(libc::SYS_socket, CRYPTO).err().map(|error| error.to_string()),
            "netfilter" => open(libc::SYS_socket, NETFILTER).err().map(|error| error.to_string()),
            "terminal" => {
                let setting = fs::read_to_string("/proc/sys/dev/tty/legacy_tiocsti");
                lacks(setting.is_ok_and(|text| text == "0\n"), "dev.tty.legacy_tiocsti is 0")
            }
            // Then the code of the step runs, and does nothing evil.
            "exe" => lacks(!self.evil, "no C compiler, or the programs are static"),
            _ => None,
        }
    }

    /// A step without a command yet, with our layer above the root.
    pub(crate) fn step(&self, program: &Path, top: Option<&Path>) -> Command {
        let mut command = Command::new(program);
        for lower in top.into_iter().chain([self.layer.path(), rootfs()]) {
            command.arg("--lower").arg(lower);
        }
        command.stdin(Stdio::null());
        command
    }

    /// The command that tries a way inside.
    pub(crate) fn inside(&self, mut step: Command, way: &str) -> Command {
        step.arg("env").arg(format!("{WAY}={way}")).arg(format!("SOCKET={}", self.name));
        step.args(&self.program);
        step
    }

    /// Tries a way. Returns `works`, or the reason why it does not.
    fn attempt(&self, step: &str, way: &str) -> String {
        match way {
            "links" => return self.links(step),
            "exe" => return self.program_of_the_step(step),
            "set-user-ID" => return self.program_for_all(step),
            _ => {}
        }
        let command = self.inside(self.step(&bin(step), None), way);
        let said = if way == "terminal" {
            Terminal::start(command).end().1
        } else {
            // The caller leaves a directory open.
            let mut caller = Command::new("/bin/sh");
            caller.args(["-c", "exec \"$@\" 7</", "sh"]);
            caller.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
            let output = caller.output().expect("start a step");
            format!("{}\n{}", stdout(&output), String::from_utf8_lossy(&output.stderr))
        };
        let result = said.lines().find_map(|line| Some(line.split_once(RESULT)?.1.trim_end()));
        result.unwrap_or_else(|| panic!("{step} {way}: {said}")).to_owned()
    }
}

/// The ways that need more than the program inside.
impl Host {
    /// A root that has symbolic links to a directory of the host at mount points, and a
    /// directory that a container wrote, with such a link at the source of a bind.
    fn links(&self, step: &str) -> String {
        let (outside, top, volume) = (testkit::tempdir(), testkit::tempdir(), testkit::tempdir());
        symlink(outside.path(), volume.path().join("sub")).expect("make a link");
        fs::write(outside.path().join("marker"), "outside").expect("write a file");
        let up = format!("../../../../../../../../../../..{}", outside.path().display());
        let binds = lesson(step).number >= 10;
        for at in ["proc", "dev", "sys", "tmp", "place"] {
            for target in [outside.path(), Path::new(&up)] {
                let link = top.path().join(at);
                symlink(target, &link).expect("make a link");
                let mut command = self.step(&bin(step), Some(top.path()));
                if binds {
                    command.args(["--bind", "/etc:/place/made"]);
                }
                let read = format!("cat /{at}/marker");
                let output = command.args(["/bin/sh", "-c", &read]).output();
                let said = stdout(&output.expect("start a step"));
                let names = fs::read_dir(outside.path()).expect("list it").count();
                if said == "outside" || names != 1 {
                    return "works".into();
                }
                fs::remove_file(link).expect("remove a link");
            }
        }
        if binds {
            for source in ["sub", "sub/marker"] {
                let mut command = self.step(&bin(step), None);
                command.arg("--bind").arg(format!("{}/{source}:/volume", volume.path().display()));
                command.args(["/bin/sh", "-c", "cat /volume /volume/marker"]);
                if stdout(&command.output().expect("start a step")).contains("outside") {
                    return "works".into();
                }
            }
        }
        "no link leads out".into()
    }

    /// Root inside makes a set-user-ID program in a scratch directory that was open to others.
    fn program_for_all(&self, step: &str) -> String {
        let scratch = scratch_place();
        let mode = |of: &Path| fs::metadata(of).expect("look").permissions().mode();
        fs::set_permissions(scratch.path(), Permissions::from_mode(0o755)).expect("chmod");
        let mut command = self.step(&bin(step), None);
        command.arg("--scratch").arg(scratch.path());
        command.args(["/bin/sh", "-c", "cp /bin/sh /own && chmod 4755 /own"]);
        let output = command.output().expect("start a step");
        assert_eq!(mode(&scratch.path().join("upper/own")) & 0o4001, 0o4001, "{}", stderr(&output));
        if mode(scratch.path()) & 0o077 == 0 { "closed" } else { "works" }.into()
    }

    /// A root that leads the command to the step itself. Its code then tries to change the
    /// step's program.
    fn program_of_the_step(&self, name: &str) -> String {
        let root = EvilRoot::new(name);
        for (script, mode, interpreter) in [
            ("script", 0o755, "/proc/self/exe"),
            ("leased", 0o755, "/proc/self/exe"),
            ("second", 0o755, "/script"),
            ("hidden", 0o111, "/proc/self/exe"),
        ] {
            let file = root.top.path().join(script);
            fs::write(&file, format!("#!{interpreter}\n")).expect("write a script");
            fs::set_permissions(&file, Permissions::from_mode(mode)).expect("chmod");
        }
        let foreign = root.top.path().join("foreign");
        fs::write(&foreign, "FOREIGN").expect("write a file");
        fs::set_permissions(&foreign, Permissions::from_mode(0o755)).expect("chmod");
        let mut last = String::new();
        for command in
            ["/proc/self/exe", "/link", "/script", "/second", "/hidden", "/leased", "/foreign"]
        {
            let mut step = self.step(&root.program, Some(root.top.path()));
            if lesson(name).number >= 12 {
                // Without it, the step may not read each file that it may execute.
                step.args(["--cap-drop", "DAC_OVERRIDE"]);
            }
            step.arg(command);
            if command == "/foreign" {
                step = with_handler(&step);
            }
            let lease = (command == "/leased").then(|| Lease::of(&root.top.path().join("leased")));
            let output = step.output().expect("start a step");
            drop(lease);
            if let Some(result) = stdout(&output).strip_prefix(RESULT) {
                return result.to_owned();
            }
            last = stderr(&output);
        }
        last
    }
}

/// While a step starts, another container changes the link that is the command: between the
/// look and the start, the link leads to the step.
#[test]
fn a_command_that_changes_meanwhile_is_not_the_step() {
    /// Without Landlock, one of about twenty starts the step.
    const TRIES: u32 = 150;
    let host = Host::new();
    if let Some(why) = host.lacks("exe") {
        skip(&why);
        return;
    }
    if !containers_work() {
        return;
    }
    let (root, shared) = (EvilRoot::new("step13-seccomp"), testkit::tempdir());
    let (link, next) = (shared.path().join("link"), shared.path().join("next"));
    symlink("/bin/true", &link).expect("make a link");
    let start = || {
        let mut step = host.step(&root.program, Some(root.top.path()));
        step.arg("--bind").arg(format!("{}:/shared", shared.path().display()));
        stdout(&step.arg("/shared/link").output().expect("start a step"))
    };
    let enough = AtomicBool::new(false);
    let out = thread::scope(|scope| {
        scope.spawn(|| {
            while !enough.load(Ordering::Relaxed) {
                for target in ["/bin/true", "/proc/self/exe"] {
                    symlink(target, &next).expect("make a link");
                    fs::rename(&next, &link).expect("replace a link");
                }
            }
        });
        let out = (0..TRIES).map(|_| start()).find(|said| said == &format!("{RESULT}works"));
        enough.store(true, Ordering::Relaxed);
        out
    });
    assert_eq!(out, None);
}

/// A copy of a step's program, and a layer with a link to it. The loader of the layer adds
/// [`EVIL`] to each program.
struct EvilRoot {
    _place: Scratches,
    top: Scratches,
    program: PathBuf,
}

impl EvilRoot {
    fn new(name: &str) -> EvilRoot {
        let (place, top) = (testkit::tempdir(), testkit::tempdir());
        // The other tests use the program itself.
        let program = place.path().join(name);
        copy_program(&bin(name), &program);
        for library in libraries() {
            // Loaders are in the first two, and each looks for libraries in one of these.
            let here = library.parent().expect("a directory").strip_prefix("/");
            for dir in [Path::new("lib64"), Path::new("lib"), here.expect("an absolute path")] {
                let dir = top.path().join(dir);
                fs::create_dir_all(&dir).expect("make directories");
                copy_program(&library, &dir.join(library.file_name().expect("a name")));
            }
        }
        fs::create_dir_all(top.path().join("etc")).expect("make a directory");
        fs::write(top.path().join("etc/ld.so.preload"), "/evil.so\n").expect("write a file");
        symlink("/proc/self/exe", top.path().join("link")).expect("make a link");
        EvilRoot { _place: place, top, program }
    }
}

/// The step, in a namespace with a handler for files that begin with FOREIGN; without
/// change, if the kernel is older than 6.7. The interpreter of the handler is `/link`.
fn with_handler(step: &Command) -> Command {
    let script = "mount -t binfmt_misc none /proc/sys/fs/binfmt_misc 2>/dev/null && \
        echo ':foreign:M::FOREIGN::/link:' >/proc/sys/fs/binfmt_misc/register; exec \"$@\"";
    let mut command = Command::new(bin("step04-uidmap"));
    command.args(["/bin/sh", "-c", script, "sh"]).arg(step.get_program()).args(step.get_args());
    command.stdin(Stdio::null());
    command
}

/// A lease on a file, as another container can hold it: fcntl(2), F_SETLEASE. The kernel
/// then refuses an open that does not wait.
struct Lease {
    over: Arc<AtomicBool>,
    holder: Option<JoinHandle<()>>,
}

#[allow(unsafe_code, reason = "nix has no leases")]
impl Lease {
    fn of(path: &Path) -> Lease {
        let file = File::open(path).expect("open a file");
        let fd = file.as_raw_fd();
        /// Not in libc.
        const F_SETSIG: libc::c_int = 10;
        // SAFETY: only numbers; a break of the lease sends SIGURG, which does nothing, in the
        // place of SIGIO.
        let taken = unsafe {
            libc::fcntl(fd, F_SETSIG, libc::SIGURG);
            libc::fcntl(fd, libc::F_SETLEASE, libc::F_WRLCK)
        };
        assert_eq!(taken, 0, "take a lease: {}", Error::last_os_error());
        let over = Arc::new(AtomicBool::new(false));
        let watch = over.clone();
        let holder = thread::spawn(move || {
            // SAFETY: only numbers.
            while unsafe { libc::fcntl(fd, libc::F_GETLEASE) } == libc::F_WRLCK
                && !watch.load(Ordering::Relaxed)
            {
                thread::yield_now();
            }
            // The end of the lease: an open was refused.
            drop(file);
        });
        Lease { over, holder: Some(holder) }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let ended = self.holder.take().map(JoinHandle::join);
        assert!(thread::panicking() || ended.is_none_or(|ended| ended.is_ok()));
    }
}

/// The code in the step's process: the library runs before its `main`. In a root of the host's
/// libraries it also runs in other programs, and does nothing there.
const EVIL: &str = r#"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
__attribute__((constructor)) static void run(void) {
    char name[4096] = "";
    if (readlink("/proc/self/exe", name, sizeof name - 1) < 0 || !strstr(name, "/step"))
        return;
    int changed = open("/proc/self/exe", O_WRONLY) >= 0
        || !fchmod(open("/proc/self/exe", O_RDONLY), 0711);
    printf("result: %s\n", changed ? "works" : strerror(errno));
    fflush(stdout);
    _exit(0);
}
"#;

/// Compiles [`EVIL`] to a library. Returns whether it could.
fn compile(to: &Path) -> bool {
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-x", "c", "-", "-o"]).arg(to).stdin(Stdio::piped());
    let Ok(mut compiler) = compiler.spawn() else { return false };
    let mut source = compiler.stdin.take().expect("a pipe");
    source.write_all(EVIL.as_bytes()).expect("write the source");
    drop(source);
    compiler.wait().expect("wait for the compiler").success()
}

/// The libraries of this process, with their loader. The steps need no others.
fn libraries() -> BTreeSet<PathBuf> {
    let test = env::current_exe().expect("a test has a path");
    let maps = fs::read_to_string("/proc/self/maps").expect("read the maps");
    let paths = maps.lines().filter_map(|line| Some(PathBuf::from(&line[line.find('/')?..])));
    paths.filter(|path| *path != test && path.is_file()).collect()
}

/// The control groups v1 of this process: the options that mount their hierarchies.
fn old_groups() -> Vec<String> {
    let groups = fs::read_to_string("/proc/self/cgroup").expect("read the groups");
    let names = groups.lines().filter_map(|line| line.split(':').nth(1));
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

// From here on: the program inside.

/// Tries a way out, and prints the result.
#[allow(unsafe_code, reason = "only a process with one thread can make a user namespace")]
fn try_inside(way: &str) {
    // SAFETY: the other threads of this test hold no lock: they wait for this thread.
    if let ForkResult::Parent { child } = unsafe { fork() }.expect("fork") {
        waitpid(child, None).expect("wait for a child");
        return;
    }
    let result = attempt(way).map_or_else(|error| error.to_string(), |()| "works".into());
    io::stdout().write_all(format!("{RESULT}{result}\n").as_bytes()).expect("print");
    std::process::exit(0);
}

/// Tries a way out, as root of the container.
fn attempt(way: &str) -> io::Result<()> {
    match way {
        "root" => leave_root(),
        "core_pattern" => open_to_write("/proc/sys/kernel/core_pattern", "/proc/sys"),
        "sysrq-trigger" => open_to_write("/proc/sysrq-trigger", "/proc/sysrq-trigger"),
        "kcore" => File::open("/proc/kcore")?.read_exact(&mut [0]),
        "disk" => Ok(mknod("/disk", SFlag::S_IFBLK, Mode::S_IRWXU, makedev(8, 0))?),
        "process-1" => process_1(),
        "descriptors" => descriptors(),
        "abstract" => {
            let name = env::var_os("SOCKET").unwrap_or_default();
            let address = SocketAddr::from_abstract_name(name.as_encoded_bytes())?;
            UnixStream::connect_addr(&address).map(drop)
        }
        "terminal" => type_into_terminal(),
        "newcomer" => watch_for_newcomers(),
        "packets" => open(libc::SYS_socket, PACKETS).map(drop),
        "crypto" => open(libc::SYS_socket, CRYPTO).map(drop),
        "release_agent" => in_namespaces(CloneFlags::CLONE_NEWCGROUP, open_release_agent),
        "fsopen" => in_namespaces(CloneFlags::empty(), || {
            open(libc::SYS_fsopen, [c"tmpfs".as_ptr() as usize, 0, 0]).map(drop)
        }),
        "netfilter" => in_namespaces(CloneFlags::CLONE_NEWNET, ask_netfilter),
        other => Err(Error::other(format!("no such way: {other}"))),
    }
}

/// Tries it here, then with new namespaces, then as root of a new user namespace.
fn in_namespaces(new: CloneFlags, attempt: impl Fn() -> io::Result<()>) -> io::Result<()> {
    let user = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS;
    attempt()
        .or_else(|_refused| {
            unshare(new)?;
            attempt()
        })
        .or_else(|_refused| {
            unshare(user | new)?;
            fs::write("/proc/self/setgroups", "deny")?;
            fs::write("/proc/self/uid_map", "0 0 1")?;
            fs::write("/proc/self/gid_map", "0 0 1")?;
            attempt()
        })
}

/// The way out of a chroot: a second one, below which the current directory is not.
fn leave_root() -> io::Result<()> {
    let root = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let before = root(fs::metadata("/")?);
    fs::create_dir("/below")?;
    chroot("/below")?;
    for _ in 0..50 {
        chdir("..")?;
    }
    chroot(".")?;
    if root(fs::metadata("/")?) == before {
        return Err(Error::other("in the same root"));
    }
    Ok(())
}

/// Opens a file of the kernel, if need be without the mount that protects it.
fn open_to_write(path: &str, mounted: &str) -> io::Result<()> {
    let open = || OpenOptions::new().write(true).open(path).map(drop);
    open().or_else(|_refused| {
        umount2(mounted, MntFlags::MNT_DETACH)?;
        open()
    })
}

/// Process 1 is the program of the step, on the host's file system.
fn process_1() -> io::Result<()> {
    let links = ["exe", "root", "cwd", "fd/0"];
    let read = links.map(|link| fs::read_link(format!("/proc/1/{link}")));
    if read.iter().all(Result::is_err) { Err(Error::other("out of reach")) } else { Ok(()) }
}

/// Looks for open files besides the standard ones, and for a current directory outside.
fn descriptors() -> io::Result<()> {
    let mut open = Vec::new();
    for number in 3..1024 {
        // The list itself is open, too, while it is read.
        open.extend(fs::read_link(format!("/proc/self/fd/{number}")).ok());
    }
    if open.is_empty() && env::current_dir()? == Path::new("/") {
        return Err(Error::other("none"));
    }
    Ok(())
}

/// Pushes a character into the terminal of the caller, whose shell would read it later.
#[allow(unsafe_code, reason = "no library has TIOCSTI")]
fn type_into_terminal() -> io::Result<()> {
    let key = b'#';
    // The kernel reads the low half of the number.
    for request in [libc::TIOCSTI as c_ulong, libc::TIOCSTI as c_ulong | 1 << 32] {
        // SAFETY: the kernel reads one byte, which lives longer than the call.
        let typed = unsafe { libc::syscall(libc::SYS_ioctl, 0, request, &raw const key) };
        if typed == 0 {
            return Ok(());
        }
    }
    Err(Error::last_os_error())
}

/// Mounts a hierarchy of control groups v1, and opens the file that names a program which
/// the kernel runs as root.
fn open_release_agent() -> io::Result<()> {
    let mut last = Err(Error::other("no control groups v1"));
    let place = Path::new("/groups");
    fs::create_dir_all(place)?;
    for group in old_groups() {
        last = mount(Some("cgroup"), place, Some("cgroup"), MsFlags::empty(), Some(&*group))
            .map_err(Error::from)
            .and_then(|()| {
                let agent = OpenOptions::new().write(true).open(place.join("release_agent"));
                umount2(place, MntFlags::MNT_DETACH)?;
                agent.map(drop)
            });
        if last.is_ok() {
            break;
        }
    }
    last
}

const PACKETS: [usize; 3] = [libc::AF_PACKET as usize, libc::SOCK_RAW as usize, 0];
const CRYPTO: [usize; 3] = [libc::AF_ALG as usize, libc::SOCK_SEQPACKET as usize, 0];
const NETFILTER: [usize; 3] =
    [libc::AF_NETLINK as usize, libc::SOCK_RAW as usize, libc::NETLINK_NETFILTER as usize];

/// Asks nf_tables(4) for the number of its rule set: netlink(7). The kernel answers EPERM
/// without CAP_NET_ADMIN, whatever the question.
fn ask_netfilter() -> io::Result<()> {
    /// The 16th message of the subsystem 10, NFT_MSG_GETGEN.
    const QUESTION: u16 = 10 << 8 | 16;
    let mut message = Vec::new();
    message.extend(20u32.to_ne_bytes());
    message.extend(QUESTION.to_ne_bytes());
    message.extend(((libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16).to_ne_bytes());
    message.resize(20, 0);
    let mut socket = open(libc::SYS_socket, NETFILTER)?;
    socket.write_all(&message)?;
    // The header of the answer and its first number.
    let mut answer = [0; 20];
    let length = socket.read(&mut answer)?;
    assert_eq!(length, answer.len(), "a short answer");
    let kind = u16::from_ne_bytes([answer[4], answer[5]]);
    let number = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
    if kind == libc::NLMSG_ERROR as u16 && number == -libc::EPERM {
        return Err(Error::from_raw_os_error(libc::EPERM));
    }
    Ok(())
}

/// Makes a system call that returns a descriptor.
#[allow(unsafe_code, reason = "no library of this crate has these calls")]
fn open(call: c_long, words: [usize; 3]) -> io::Result<File> {
    // SAFETY: the words are numbers, or a pointer to a string that is never freed. The
    // result is a new descriptor, and no other value owns it.
    unsafe {
        match libc::syscall(call, words[0], words[1], words[2]) {
            -1 => Err(Error::last_os_error()),
            descriptor => Ok(File::from_raw_fd(descriptor as i32)),
        }
    }
}
