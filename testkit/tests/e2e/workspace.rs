//! A course that another user can change: a step uses neither its root nor its
//! checks.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use testkit::{bin, containers_work, is_root, rootfs, skip, stderr, stdout};

const LESSON: &str = "step01-run";

/// Makes a false course, with a root, and with checks that print `caught`.
fn lay_out(course: &Path) {
    fs::create_dir_all(course.join(LESSON)).expect("make a directory");
    fs::write(course.join(LESSON).join("Cargo.toml"), "[package]\n").expect("write a manifest");
    fs::write(course.join(LESSON).join("verify.sh"), "echo caught\n").expect("write a script");
    symlink(rootfs(), course.join("rootfs")).expect("make a link");
}

#[test]
fn a_course_that_another_user_can_change_is_left_alone() {
    if !containers_work() {
        return;
    }
    // Copies: a program in the target directory of this course finds this course.
    let programs = testkit::tempdir();
    for program in ["step06-chroot", "xtask"] {
        testkit::copy_program(&bin(program), &programs.path().join(program));
    }
    let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode));
    let rows: [(&str, u32, bool); 9] = [
        ("", 0o755, true),
        ("course", 0o755, true),
        // Like /tmp.
        ("", 0o1777, true),
        ("", 0o777, false),
        ("course", 0o777, false),
        ("course", 0o1777, false),
        ("course/step01-run", 0o757, false),
        ("course/step01-run/Cargo.toml", 0o646, false),
        ("another user's", 0, false),
    ];
    for (what, bits, used) in rows {
        let dir = testkit::tempdir();
        let course = dir.path().join("course");
        lay_out(&course);
        if what == "another user's" {
            if !is_root() {
                skip("only root can give a directory away");
                continue;
            }
            chown(course.join(LESSON), Some(65534), Some(65534)).expect("give it away");
        } else {
            mode(&dir.path().join(what), bits).expect("set the mode");
        }
        let start = |program: &str| {
            let mut command = Command::new(programs.path().join(program));
            command.current_dir(course.join(LESSON)).stdin(Stdio::null());
            for variable in ["CARGO", "CARGO_MANIFEST_DIR", "CONTAINER_ROOTFS", "SUDO_UID"] {
                command.env_remove(variable);
            }
            command
        };
        let run = start("step06-chroot").args(["/bin/sh", "-c", "exit 7"]).output();
        let run = run.expect("start a step");
        let told = format!(
            "step06-chroot: the course in {} is not used, because another user could change it: ",
            course.display()
        );
        let said = stderr(&run);
        assert_eq!(said.starts_with(&told), !used, "{what} {bits:o}: {said}");
        assert_eq!(said.matches("is not used").count(), usize::from(!used), "{said}");
        assert_eq!(
            run.status.code() == Some(7) && said.is_empty(),
            used,
            "{what} {bits:o}: {said}"
        );

        let verified = start("xtask").args(["verify", "1"]).output().expect("start xtask");
        assert_ne!(stdout(&verified), "caught", "{what} {bits:o}");
        // The variable shows that cargo builds and runs this course.
        let mut trusted = start("step06-chroot");
        trusted.env("CARGO_MANIFEST_DIR", course.join("xtask"));
        let trusted = trusted.args(["/bin/sh", "-c", "exit 7"]).output().expect("start a step");
        assert_eq!(trusted.status.code(), Some(7), "{what} {bits:o}: {}", stderr(&trusted));
    }
}
