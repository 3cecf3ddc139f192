//! The places of scratch directories, and their owners. A step does not use the
//! directory of another user, and starts its container in the next place.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Output};

use nix::sys::stat::Mode;
use nix::unistd::{getgid, getgroups, getuid, mkfifo};
use testkit::procs::end_of;
use testkit::{
    bin, containers_work, is_one_line, is_root, rootfs, scratch_place, skip, stderr, stdout, step,
    within,
};

const STEP: &str = "step08-overlay";

/// Prints the upper directory from the options of the mount.
const WHERE: &str = "sed -n 's/.*,upperdir=\\([^,]*\\),.*/\\1/p' /proc/self/mountinfo";

/// Fails unless the step exited with 125 and printed only `said`.
fn refused(output: &Output, said: &str) {
    let error = stderr(output);
    assert_eq!((output.status.code(), &*error), (Some(125), &*format!("{STEP}: {said}")));
    assert!(is_one_line(STEP, &error), "{error}");
}

/// A program of the workspace. Before it, `setup` changes the places of scratch
/// directories; `$TMPDIR` is not set. The root and the programs may be in these
/// places, so the script binds them to `m` and `b` in the current directory, which
/// stays.
fn covered(place: &Path, setup: &str, program: &str) -> Command {
    for dir in ["m", "b"] {
        fs::create_dir(place.join(dir)).expect("make a directory");
    }
    let mut command = within(
        &format!(
            "mount --rbind \"$ROOT\" m\nmount --rbind \"$BIN\" b\nshift\nset -- ./b/{program} \"$@\"\n\
             unset TMPDIR\n{setup}"
        ),
        program,
    );
    command.current_dir(place);
    command
}

/// Runs a script in a container, as [`covered`].
fn placed(setup: &str, script: &str) -> Output {
    let place = scratch_place();
    let mut command = covered(place.path(), setup, STEP);
    command.args(["--rootfs", "m", "/bin/sh", "-c", script]);
    command.output().expect("start a step")
}

/// A file system of 2 GB, and one of 64 MB as Docker gives to a container.
const LARGE: &str = "mount -t tmpfs -o size=2g,mode=1777 tmpfs";
const SMALL: &str = "mount -t tmpfs -o size=64m,mode=1777 tmpfs";
/// A file system whose files have no user attributes.
const WITHOUT_ATTRIBUTES: &str = "mount -t ramfs ramfs";

#[test]
fn the_first_place_with_room_and_attributes_is_taken() {
    if !containers_work() {
        return;
    }
    let all = |shm: &str, tmp: &str, var: &str| {
        let mut setup = String::new();
        for (kind, at) in [(shm, "/dev/shm"), (tmp, "/tmp"), (var, "/var/tmp")] {
            setup += &format!("{kind} {at} && chmod 1777 {at}\n");
        }
        setup
    };
    let theirs = "mkdir -m 0777 /dev/shm/containers-0";
    let file = ": >/dev/shm/containers-0";
    let fifo = "mkfifo /dev/shm/containers-0";
    for (setup, place) in [
        (all(LARGE, LARGE, LARGE), "/dev/shm"),
        (all(SMALL, LARGE, LARGE), "/tmp"),
        (all(SMALL, SMALL, LARGE), "/var/tmp"),
        // No place has enough room: the step takes the place with the most.
        (all(SMALL, SMALL, SMALL), "/dev/shm"),
        (all(SMALL, "mount -t tmpfs -o size=128m tmpfs", SMALL), "/tmp"),
        (all(WITHOUT_ATTRIBUTES, LARGE, LARGE), "/tmp"),
        (all(WITHOUT_ATTRIBUTES, WITHOUT_ATTRIBUTES, LARGE), "/var/tmp"),
        (all(WITHOUT_ATTRIBUTES, WITHOUT_ATTRIBUTES, SMALL), "/var/tmp"),
        // Another user may write to it, or the name is not a directory.
        (all(LARGE, LARGE, LARGE) + theirs, "/tmp"),
        (all(LARGE, LARGE, LARGE) + file, "/tmp"),
        (all(LARGE, LARGE, LARGE) + fifo, "/tmp"),
        // For root, too, a read-only place does not count.
        (all("mount -t tmpfs -o ro tmpfs", LARGE, LARGE).replace(" && chmod", " || chmod"), "/tmp"),
    ] {
        let output = placed(&setup, WHERE);
        assert_eq!(stderr(&output), "", "{setup}");
        let upper = stdout(&output);
        assert!(upper.starts_with(&format!("{place}/containers-0/")), "{setup}: {upper}");
    }
}

#[test]
fn where_no_place_is_left_the_remedy_is_named() {
    if !containers_work() {
        return;
    }
    let setup = format!(
        "for at in /dev/shm /tmp /var/tmp; do
            {LARGE} $at; mkdir $at/containers-0; chmod 0777 $at/containers-0
        done"
    );
    let said = "make scratch directories in /var/tmp/containers-0: it belongs to user 0 and group \
        0 and has mode 777, but must belong to user 0, and no other user may write to it; \
        set TMPDIR to another directory";
    refused(&placed(&setup, ":"), said);
    // The remedy works.
    let other = format!("{setup}\nmkdir -m 700 /tmp/mine && export TMPDIR=/tmp/mine");
    let output = placed(&other, WHERE);
    assert!(stdout(&output).starts_with("/tmp/mine/"), "{}", stderr(&output));
}

#[test]
fn a_place_without_user_attributes_is_told_and_diagnosed() {
    if !containers_work() {
        return;
    }
    let ramfs = |at: &str| format!("{WITHOUT_ATTRIBUTES} {at}\n");
    let setup = ["/dev/shm", "/tmp", "/var/tmp"].map(ramfs).concat();
    let said = stderr(&placed(&setup, ":"));
    let why = "on a file system without user attributes, as a tmpfs before Linux 6.6: you cannot \
        delete a directory with files of a lower layer (\"I/O error\"); name a directory on a disk with \
        --scratch or TMPDIR";
    assert!(said.lines().next().is_some_and(|line| line.ends_with(why)), "{said}");
    let place = scratch_place();
    let mut doctor = covered(place.path(), &setup, "xtask");
    let found = stdout(&doctor.arg("doctor").output().expect("start xtask"));
    let mut lines = found.lines().skip_while(|line| !line.starts_with("FAIL"));
    let (rung, cause) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    assert!(rung.contains("(from lesson 8 on)") && cause.contains("; "), "{found}");
}

#[test]
fn a_fifo_among_the_scratch_directories_is_not_waited_for() {
    if !containers_work() {
        return;
    }
    let place = scratch_place();
    let home = place.path().join(format!("containers-{}", getuid()));
    fs::create_dir(&home).expect("make a home");
    // No process has an ID this high.
    mkfifo(&home.join("2000000000.0"), Mode::S_IRWXU).expect("make a FIFO");
    let mut command = step(STEP);
    let mut child = command.env("TMPDIR", place.path()).arg("true").spawn().expect("start a step");
    assert_eq!(end_of(&mut child).code(), Some(0));
}

#[test]
fn under_nohup_memory_is_not_the_place() {
    if !containers_work() {
        return;
    }
    let mut command = Command::new("sh");
    command.args(["-c", r#"trap '' HUP && exec "$@""#, "sh"]).arg(bin(STEP));
    command.env("CONTAINER_ROOTFS", rootfs()).env_remove("TMPDIR").args(["/bin/sh", "-c", WHERE]);
    let output = command.output().expect("start a shell");
    let upper = stdout(&output);
    // logind keeps the files of root and of system users.
    let memory = upper.starts_with("/dev/shm/");
    assert!(!memory || getuid().as_raw() < 1000, "{upper}{}", stderr(&output));
}

#[test]
fn what_a_named_scratch_directory_holds_is_looked_at() {
    if !containers_work() {
        return;
    }
    let place = scratch_place();
    let (kept, mine) = (place.path().join("kept"), place.path().join("mine"));
    fs::create_dir(&mine).expect("make a directory");
    let run = || {
        let mut command = step(STEP);
        command.arg("--scratch").arg(&kept).args(["/bin/sh", "-c", "echo x >/x"]);
        command.output().expect("start a step")
    };
    let none = "it is not a directory; remove it, or name another scratch directory";
    for entry in ["upper", "work", "merged"] {
        for kind in ["link", "dangling link", "file", "FIFO"] {
            fs::create_dir(&kept).expect("make a directory");
            let at = kept.join(entry);
            match kind {
                "link" => symlink(&mine, &at).expect("make a link"),
                "dangling link" => symlink("gone", &at).expect("make a link"),
                "file" => fs::write(&at, "").expect("write a file"),
                _ => mkfifo(&at, Mode::S_IRWXU).expect("make a FIFO"),
            }
            let said = format!("use the scratch directory {}: {none}", at.display());
            refused(&run(), &said);
            common::remove_tree(&kept).expect("remove it");
        }
    }
    assert_eq!(mine.read_dir().expect("a directory").count(), 0);

    // Only the caller can enter the new directory.
    assert_eq!(run().status.code(), Some(0));
    assert_eq!(fs::metadata(&kept).expect("look at it").mode() & 0o7777, 0o700);
    // Others can write to it now.
    fs::set_permissions(&kept, Permissions::from_mode(0o707)).expect("set the mode");
    let found = fs::metadata(&kept).expect("look at it");
    refused(
        &run(),
        &format!(
            "use the scratch directory {}: it belongs to user {} and group {} and has mode 707; \
             name a directory that belongs to user {1} and that no other user can write to",
            kept.display(),
            found.uid(),
            found.gid()
        ),
    );
    common::remove_tree(&kept).expect("remove it");
}

/// A second group of this process, or any group for root.
fn other_group() -> Option<u32> {
    let groups = getgroups().expect("groups");
    let other = groups.into_iter().find(|&group| group != getgid()).map(|group| group.as_raw());
    other.or(is_root().then_some(1234))
}

#[test]
fn what_is_made_in_a_directory_of_another_group_gets_the_callers() {
    if !containers_work() {
        return;
    }
    let Some(group) = other_group() else {
        skip("this user has one group");
        return;
    };
    let place = scratch_place();
    let shared = place.path().join("shared");
    fs::create_dir(&shared).expect("make a directory");
    chown(&shared, None, Some(group)).expect("give it to a group");
    fs::set_permissions(&shared, Permissions::from_mode(0o2755)).expect("set the mode");
    let script = "rm -r /etc && mkdir /etc && echo x >/etc/x && stat -c %a /";
    let fine = |command: &mut Command| {
        let output = command.args(["/bin/sh", "-c", script]).output().expect("start a step");
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
        assert_eq!(stdout(&output), "755");
    };
    fine(step(STEP).env("TMPDIR", &shared));
    fine(step(STEP).arg("--scratch").arg(shared.join("new")));
    common::remove_tree(&shared.join("new")).expect("remove it");
    // The same holds for the directory itself.
    fine(step(STEP).arg("--scratch").arg(&shared));

    // The same holds for a root that is unpacked there.
    let root = shared.join("root");
    let mut fetch = Command::new(bin("xtask"));
    fetch.args(["fetch-rootfs", "--from-host", "--dest"]).arg(&root);
    let fetched = fetch.output().expect("start xtask");
    assert!(fetched.status.success(), "{}", stderr(&fetched));
    fine(step(STEP).arg("--rootfs").arg(&root));

    // If a directory already has another group, the message names the group.
    let upper = shared.join("upper");
    chown(&upper, None, Some(group)).expect("give it to a group");
    let output = step(STEP).arg("--scratch").arg(&shared).arg("true").output();
    let (uid, gid) = (getuid(), getgid());
    refused(
        &output.expect("start a step"),
        &format!(
            "use the scratch directory {}: it belongs to user {uid} and group {group} and has mode \
             755, and the container has only user {uid} and group {gid}; name another directory",
            upper.display()
        ),
    );
    common::remove_tree(&shared).expect("remove it");
}

/// Root inside can make a set-user-ID file, which another user of the host must not run:
/// CVE-2021-41091.
#[test]
fn a_named_scratch_directory_is_closed_to_others() {
    if !containers_work() {
        return;
    }
    let place = scratch_place();
    let named = place.path().join("box");
    let run = |script: &str| {
        let mut command = step(STEP);
        command.arg("--scratch").arg(&named).args(["/bin/sh", "-c", script]);
        command.output().expect("start a step")
    };
    let mode = || fs::metadata(&named).expect("look").mode() & 0o7777;
    let open = || fs::set_permissions(&named, Permissions::from_mode(0o755)).expect("set the mode");
    for made in ["by the step", "by the caller", "in a run before"] {
        if made != "by the step" {
            open();
        }
        let output = run("cp /bin/sh /own; chmod 4755 /own");
        assert_eq!(output.status.code(), Some(0), "{made}: {}", stderr(&output));
        assert_eq!(mode(), 0o700, "{made}");
        let own = fs::metadata(named.join("upper/own")).expect("look").mode();
        assert_eq!(own & 0o7777, 0o4755, "{made}");
        if made == "by the step" {
            // An ordinary user cannot look into work/work.
            common::remove_tree(&named).expect("remove it");
            fs::create_dir(&named).expect("make a directory");
        }
    }
    // The caller may need it for other files.
    open();
    fs::write(named.join("page.html"), "for all").expect("write a file");
    let said = "other users can enter it, and it has files of its own, such as page.html; name a \
        new directory, or chmod 700 this one";
    refused(&run("true"), &format!("use the scratch directory {}: {said}", named.display()));
    assert_eq!(mode(), 0o755);
}

#[test]
fn an_overlay_that_the_kernel_makes_read_only_is_refused() {
    if !containers_work() {
        return;
    }
    let place = scratch_place();
    fs::create_dir(place.path().join("m")).expect("make a directory");
    // The scratch directory uses all inodes, so that none is left for work/work.
    let mut command = within("mount -t tmpfs -o nr_inodes=5 tmpfs m", STEP);
    command.args(["--scratch", "m/s", "true"]).current_dir(place.path());
    let said = "use the overlay on m/s/merged: it is read-only, because the kernel could not \
        make work/work in the scratch directory; the file system is likely full: \
        free some space, or name a directory on another file system with --scratch or TMPDIR";
    refused(&command.output().expect("start a step"), said);
}

#[test]
fn a_scratch_directory_of_another_user_is_refused() {
    if !containers_work() {
        return;
    }
    if !is_root() {
        skip("only root can give a directory away");
        return;
    }
    let place = scratch_place();
    let kept = place.path().join("kept");
    let run = || step(STEP).arg("--scratch").arg(&kept).arg("true").output().expect("start a step");
    assert_eq!(run().status.code(), Some(0));
    let upper = kept.join("upper");
    chown(&upper, Some(1), Some(1)).expect("give it away");
    let why = "it belongs to user 1 and group 1 and has mode 755";
    let said = format!(
        "use the scratch directory {}: {why}, and the container has only user 0 and group 0; \
         name another directory",
        upper.display()
    );
    refused(&run(), &said);
    chown(&kept, Some(1), Some(1)).expect("give it away");
    let why = "it belongs to user 1 and group 1 and has mode 700; name a directory that belongs to \
        user 0 and that no other user can write to";
    refused(&run(), &format!("use the scratch directory {}: {why}", kept.display()));

    // A link of another user could lead to any directory of ours.
    let link = place.path().join("link");
    chown(&kept, Some(0), Some(0)).expect("take it back");
    symlink(&kept, &link).expect("make a link");
    std::os::unix::fs::lchown(&link, Some(1), Some(1)).expect("give it away");
    let why = "is a symbolic link that belongs to user 1 and group 1 and has mode 777";
    for named in [link.clone(), link.join("below")] {
        let output = step(STEP).arg("--scratch").arg(&named).arg("true").output();
        let (named, link) = (named.display(), link.display());
        let said =
            format!("use the scratch directory {named}: {link} {why}; name another directory");
        refused(&output.expect("start a step"), &said);
    }
    assert!(!kept.join("below").exists());
    common::remove_tree(&kept).expect("remove it");
}

#[test]
fn a_home_that_others_could_change_is_refused() {
    if !containers_work() {
        return;
    }
    let elsewhere = testkit::tempdir();
    let make = |what: &str, home: &Path| match what {
        "a symbolic link" => symlink(elsewhere.path(), home),
        "a file" => fs::write(home, ""),
        "a FIFO" => Ok(mkfifo(home, Mode::S_IRWXU)?),
        _ => {
            fs::create_dir(home)?;
            match what {
                "for its group" => fs::set_permissions(home, Permissions::from_mode(0o770)),
                "for all" => fs::set_permissions(home, Permissions::from_mode(0o1777)),
                _ => chown(home, Some(65534), Some(65534)),
            }
        }
    };
    let (uid, gid) = (getuid(), getgid());
    let none = "it is not a directory".to_owned();
    let belongs = |uid: u32, gid: u32, mode: &str| {
        let us = getuid();
        format!(
            "it belongs to user {uid} and group {gid} and has mode {mode}, but must belong \
             to user {us}, and no other user may write to it"
        )
    };
    for (what, why) in [
        ("a symbolic link", &none),
        ("a file", &none),
        ("a FIFO", &none),
        ("for its group", &belongs(uid.as_raw(), gid.as_raw(), "770")),
        ("for all", &belongs(uid.as_raw(), gid.as_raw(), "1777")),
        ("another user's", &belongs(65534, 65534, "755")),
    ] {
        if what == "another user's" && !is_root() {
            skip("only root can make a directory of another user's");
            continue;
        }
        let place = scratch_place();
        let home = place.path().join(format!("containers-{uid}"));
        make(what, &home).expect("make a home");
        let output = step(STEP).env("TMPDIR", place.path()).arg("true").output();
        let doing = format!("make scratch directories in {}", home.display());
        let output = output.expect("start a step");
        refused(&output, &format!("{doing}: {why}; set TMPDIR to another directory"));
        assert_eq!(elsewhere.path().read_dir().expect("a directory").count(), 0, "{what}");
    }
}
