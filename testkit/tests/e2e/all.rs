//! The features that all steps share: the command line, the exit status, the
//! streams, the environment and the open files.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use testkit::procs::{end_of, having, ignored, running, token, wait_until};
use testkit::{
    STEPS, bin, containers_work, has_init, has_pid_namespace, is_one_line, lesson, sh, stderr,
    stdout, step, steps, tempdir,
};

#[test]
fn help_and_version_go_to_standard_output() {
    for name in STEPS.iter().copied() {
        for option in ["--help", "-h"] {
            let output = step(name).args([option, "sh"]).output().expect("start a step");
            assert_eq!(output.status.code(), Some(0), "{name}");
            assert!(stdout(&output).contains("usage: "), "{name}: {}", stdout(&output));
            assert_eq!(stderr(&output), "", "{name}");
            assert_eq!(stdout(&output).contains("--rootfs"), has_init(name), "{name}");
            assert_eq!(stdout(&output).contains("--lower"), lesson(name).has_layers, "{name}");
        }
        for option in ["--version", "-V"] {
            let output = step(name).arg(option).output().expect("start a step");
            assert_eq!(output.status.code(), Some(0), "{name}");
            assert_eq!(stdout(&output), format!("{name} {}", env!("CARGO_PKG_VERSION")));
        }
    }
}

#[test]
fn a_command_line_without_sense_is_status_2_and_the_usage() {
    let wrong: [&[&str]; 6] =
        [&[], &["--"], &["--such"], &["-x", "sh"], &["--help=x"], &["--a\n\u{1b}[31m", "sh"]];
    for name in STEPS.iter().copied() {
        for words in wrong {
            let output = step(name).args(words).output().expect("start a step");
            assert_eq!(output.status.code(), Some(2), "{name} {words:?}");
            assert_eq!(stdout(&output), "", "{name} {words:?}");
            let error = stderr(&output);
            let (first, usage) = error.split_once('\n').expect("an error and the usage");
            assert!(is_one_line(name, first), "{name} {words:?}: {error}");
            assert!(usage.starts_with(&format!("usage: {name} ")), "{name} {words:?}: {error}");
            // The error is still on the screen.
            assert_eq!(usage.lines().count(), 1, "{name} {words:?}: {error}");
        }
    }
    for words in
        [&["--rootfs"][..], &["--rootfs", "/"], &["--rootfs=", "sh"], &["--rootfs", "", "sh"]]
    {
        let output = step("step08-overlay").args(words).output().expect("start a step");
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", stderr(&output));
    }
}

#[test]
fn output_that_cannot_be_written_is_no_panic() {
    for name in STEPS.iter().copied() {
        for words in [&["--help"][..], &["--version"], &[], &["--such"]] {
            let full = || File::options().write(true).open("/dev/full").expect("open /dev/full");
            let output = step(name).args(words).stdout(full()).output().expect("start a step");
            let code = output.status.code().expect("no signal");
            assert!(matches!(code, 2 | 125), "{name} {words:?}: {code}");
            assert!(!stderr(&output).contains("panicked"), "{name}: {}", stderr(&output));

            let status = step(name).args(words).stdout(full()).stderr(full()).status();
            let code = status.expect("start a step").code().expect("no signal");
            assert!(matches!(code, 2 | 125), "{name} {words:?}: {code}");
        }
    }
}

#[test]
fn what_follows_the_command_is_its_own() {
    if !containers_work() {
        return;
    }
    for name in steps() {
        let words =
            ["/bin/sh", "-c", r#"printf '<%s>' "$@""#, "--", "--help", "-x", "--", "", "a b"];
        for before in [&[][..], &["--"]] {
            let output = step(name).args(before).args(words).output().expect("start a step");
            assert_eq!(stdout(&output), "<--help><-x><--><><a b>", "{name}: {}", stderr(&output));
        }
    }
}

#[test]
fn the_exit_status_is_the_commands_own() {
    if !containers_work() {
        return;
    }
    for name in steps() {
        for code in [0, 1, 2, 77, 125, 126, 127, 128, 255] {
            let output = sh(name, &format!("exit {code}"));
            assert_eq!(output.status.code(), Some(code), "{name}: {}", stderr(&output));
            assert_eq!(stderr(&output), "", "{name}");
        }
    }
}

#[test]
fn a_signal_is_128_and_its_number() {
    if !containers_work() {
        return;
    }
    // In step 5 the command is process 1, which no signal from inside ends.
    for name in steps().filter(|name| *name != "step05-pid") {
        // Leave out the signals that do not end a process, and SIGQUIT, which the
        // shell of busybox ignores.
        let ends = |n: &i32| ![3, 17, 18, 19, 20, 21, 22, 23, 28].contains(n);
        // If the caller ignores a signal, the command ignores it too, except
        // SIGPIPE.
        let heard = |n: &i32| *n == 13 || !ignored(*n);
        for signal in (1..=31).filter(ends).chain([34, 64]).filter(heard) {
            let script = format!("ulimit -c 0; kill -{signal} $$; exit 0");
            let output = sh(name, &script);
            assert_eq!(output.status.code(), Some(128 + signal), "{name}: {}", stderr(&output));
            assert_eq!(output.status.signal(), None, "{name}");
        }
    }
}

#[test]
fn a_command_that_is_missing_is_127_and_one_that_cannot_run_126() {
    if !containers_work() {
        return;
    }
    for name in steps() {
        let cases: [(&str, i32, &str); 7] = [
            ("no-such-command", 127, "not found in PATH"),
            ("/no/such/command", 127, "No such file or directory"),
            ("/etc/passwd/x", 127, "No such file or directory"),
            ("", 127, "empty"),
            ("/etc", 126, "directory"),
            ("/", 126, "directory"),
            ("/etc/passwd", 126, "cannot execute it"),
        ];
        for (command, code, why) in cases {
            let output = step(name).arg("--").arg(command).output().expect("start a step");
            let error = stderr(&output);
            assert_eq!(output.status.code(), Some(code), "{name} {command:?}: {error}");
            assert!(
                is_one_line(name, &error) && error.contains(why),
                "{name} {command:?}: {error}"
            );
            assert_eq!(stdout(&output), "", "{name} {command:?}");
        }
    }
}

#[test]
fn the_streams_are_the_callers() {
    if !containers_work() {
        return;
    }
    for name in steps() {
        let mut child = step(name)
            .args(["/bin/sh", "-c", "cat; echo err >&2"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start a step");
        let text = "x".repeat(300_000);
        let mut stdin = child.stdin.take().expect("a pipe");
        let typed = text.clone();
        let writer = std::thread::spawn(move || stdin.write_all(typed.as_bytes()));
        let output = child.wait_with_output().expect("wait");
        writer.join().expect("join").expect("write");
        assert!(stdout(&output) == text, "{name}: {} bytes came", output.stdout.len());
        assert_eq!(stderr(&output), "err", "{name}");
    }
}

#[test]
fn a_closed_stream_harms_nobody() {
    if !containers_work() {
        return;
    }
    for name in steps() {
        for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
            // A file that the step opens must not get the number 0, 1 or 2: the
            // command would take it for a stream.
            let script =
                format!(r#""$0" /bin/sh -c 'read line; echo out; echo err >&2; exit 7' {closed}"#);
            let mut shell = Command::new("sh");
            shell.args(["-c", &script]).arg(bin(name)).env("CONTAINER_ROOTFS", testkit::rootfs());
            let output = shell.stdin(Stdio::null()).output().expect("start a shell");
            assert_eq!(output.status.code(), Some(7), "{name} {closed}: {}", stderr(&output));
            let expected =
                if closed.contains(" >") || closed.starts_with('>') { "" } else { "out" };
            assert_eq!(stdout(&output), expected, "{name} {closed}");
        }
    }
}

#[test]
fn only_the_first_lessons_get_the_callers_environment() {
    if !containers_work() {
        return;
    }
    for name in steps() {
        let mut command = step(name);
        command.env_clear();
        if has_init(name) {
            command.env("CONTAINER_ROOTFS", testkit::rootfs());
        }
        command.env("SECRET", "of the host").env("TERM", "dumb").env("PATH", "/usr/bin:/bin");
        // A shell would add its own variables.
        let output = command.args(["/usr/bin/env"]).output().expect("start a step");
        let mut lines: Vec<String> = stdout(&output).lines().map(str::to_owned).collect();
        lines.sort();
        if has_init(name) {
            let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
            assert_eq!(lines, ["HOME=/root", path, "TERM=dumb"], "{name}: {}", stderr(&output));
        } else {
            assert!(lines.contains(&"SECRET=of the host".to_owned()), "{name}: {lines:?}");
            assert_eq!(lines.len(), 3, "{name}: {lines:?}");
        }
    }
}

#[test]
fn no_open_file_and_no_variable_of_the_caller_gets_in() {
    if !containers_work() {
        return;
    }
    for name in steps() {
        let token = token();
        let script = r#"exec 3</etc/passwd 4</ 5>/dev/null 7</etc 9</dev/null; exec "$@""#;
        let mut shell = Command::new("sh");
        shell.args(["-c", script, "sh"]).arg(bin(name));
        shell.args(["/bin/sh", "-c", "read line", &token]).env("SECRET", "of the host");
        shell.env("CONTAINER_ROOTFS", testkit::rootfs());
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = shell.spawn().expect("start a shell");

        let command = running("/bin/sh", &token);
        // For a moment, the loader has its libraries open.
        wait_until(&format!("{name} with only 0, 1 and 2 open"), || {
            command.descriptors().iter().map(|fd| fd.0).eq([0, 1, 2])
        });
        if has_init(name) {
            let init = command.parent().expect("process 1");
            // The container sees these links in /proc/1. No link may lead out.
            for (fd, link) in init.descriptors() {
                assert!(fd < 3 || !link.is_absolute(), "{name}: {fd} is {}", link.display());
            }
            // Only root of the host may read it.
            match fs::read(format!("/proc/{}/environ", init.0)) {
                Err(error) => assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{name}"),
                Ok(environment) => {
                    let environment = String::from_utf8_lossy(&environment);
                    assert!(!environment.contains("SECRET"), "{name}: {environment}");
                }
            }
        }
        drop(child.stdin.take());
        assert_eq!(end_of(&mut child).code(), Some(1), "{name}");
        if has_pid_namespace(name) {
            assert_eq!(having(&token), [], "{name}");
        }
    }
}

/// A line of `/proc/self/status` in the container. The shell command `before` sets
/// the caller's signals.
fn status_inside(name: &str, before: &str, key: &str) -> String {
    let token = token();
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{before}; exec \"$@\""), "sh"]).arg(bin(name));
    shell.args(["/bin/sh", "-c", "read line; exit 7", &token]);
    shell.env("CONTAINER_ROOTFS", testkit::rootfs());
    shell.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = shell.spawn().expect("start a shell");
    let status = running("/bin/sh", &token).status(key).expect("it is running");
    drop(child.stdin.take());
    assert_eq!(end_of(&mut child).code(), Some(7), "{name}");
    status
}

#[test]
fn signals_are_as_the_caller_set_them_and_none_is_blocked() {
    if !containers_work() {
        return;
    }
    for name in steps() {
        let ignored = |before: &str| {
            let set = status_inside(name, before, "SigIgn");
            // The shell of busybox ignores SIGQUIT itself.
            u64::from_str_radix(&set, 16).expect("a number") & !(1 << 2)
        };
        let plain = ignored(":");
        let (hup, usr1, pipe, chld) = (1 << 0, 1 << 9, 1 << 12, 1 << 16);
        assert_eq!(plain & (pipe | chld), 0, "{name}: {plain:x}");
        // As nohup(1) does.
        assert_eq!(ignored("trap '' HUP USR1"), plain | hup | usr1, "{name}");
        // Every Rust program ignores SIGPIPE: the step must restore the caller's
        // setting.
        assert_eq!(ignored("trap '' PIPE"), plain | pipe, "{name}");
        assert_eq!(status_inside(name, ":", "SigBlk"), "0000000000000000", "{name}");
    }
}

#[test]
fn the_umask_is_the_callers_until_the_root_is_another() {
    if !containers_work() {
        return;
    }
    for name in steps() {
        for (mask, own) in [("077", "0077"), ("0", "0000"), ("0777", "0777")] {
            let expected = if has_init(name) { "0022" } else { own };
            assert_eq!(status_inside(name, &format!("umask {mask}"), "Umask"), expected, "{name}");
        }
    }
}

#[test]
fn what_goes_in_arrives() {
    if !containers_work() {
        return;
    }
    let word = prop::collection::vec(1..=255u8, 0..24).prop_map(OsString::from_vec);
    let words = prop::collection::vec(word, 0..6);
    for name in steps() {
        let mut runner = TestRunner::new(Config { cases: 12, ..Config::default() });
        let arrives = runner.run(&words, |words| {
            let mut command = step(name);
            command.args(["/bin/sh", "-c", r#"for word; do printf '%s\0' "$word"; done"#, "sh"]);
            let output = command.args(&words).output().expect("start a step");
            let mut sent = Vec::new();
            for word in words {
                sent.extend(word.into_vec());
                sent.push(0);
            }
            prop_assert_eq!(output.stdout, sent);
            prop_assert!(output.stderr.is_empty());
            Ok(())
        });
        arrives.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn many_arguments_and_a_long_one_arrive() {
    if !containers_work() {
        return;
    }
    for name in steps() {
        let many: Vec<String> = (0..2000).map(|n| n.to_string()).collect();
        let mut command = step(name);
        command.args(["/bin/sh", "-c", r#"echo $# ${2000}"#, "sh"]).args(&many);
        let output = command.output().expect("start a step");
        assert_eq!(stdout(&output), "2000 1999", "{name}: {}", stderr(&output));

        let long = "x".repeat(128 * 1024 - 1);
        let output = step(name).args(["/bin/sh", "-c", "echo ${#1}", "sh", &long]).output();
        let output = output.expect("start a step");
        assert_eq!(stdout(&output), "131071", "{name}: {}", stderr(&output));
    }
}

#[test]
fn a_removed_current_directory_harms_nobody() {
    if !containers_work() {
        return;
    }
    for name in steps() {
        let dir = tempdir();
        let script = r#"cd "$0" && rmdir "$0" && exec "$1" /bin/sh -c 'exit 7'"#;
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).arg(dir.path()).arg(bin(name));
        let output = shell.env("CONTAINER_ROOTFS", testkit::rootfs()).output();
        let output = output.expect("start a shell");
        assert_eq!(output.status.code(), Some(7), "{name}: {}", stderr(&output));
    }
}
