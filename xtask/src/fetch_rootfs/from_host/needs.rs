//! The files that a program of this machine needs to run: its loader and libraries,
//! or an interpreter.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use common::{Program, open};

/// The kind of the program in a file.
pub(super) fn program(file: &Path) -> Result<Program> {
    let program = Program::of(&open::regular(file)?);
    let program = program.context("it is not a program, or it is damaged")?;
    ensure!(program != Program::Script(PathBuf::new()), "its #! line names no interpreter");
    Ok(program)
}

/// The file of a program and the files that it needs. All of them are readable.
pub(super) fn needed_by(file: &Path) -> Result<Vec<PathBuf>> {
    let mut files = vec![file.to_owned()];
    match program(file)? {
        Program::Static => {}
        Program::Dynamic(loader) => {
            files.extend(libraries(file, &loader)?);
            files.push(loader);
        }
        Program::Script(interpreter) => {
            // An interpreter that is itself a script is not supported.
            if let Program::Dynamic(loader) = program(&interpreter)? {
                files.extend(libraries(&interpreter, &loader)?);
                files.push(loader);
            }
            files.push(interpreter);
        }
    }
    for file in &files {
        open::regular(file).with_context(|| format!("read {}", file.display()))?;
    }
    Ok(files)
}

/// The libraries that a program needs, as its loader lists them: ldd(1) also uses
/// `--list`, with glibc and with musl.
fn libraries(file: &Path, loader: &Path) -> Result<Vec<PathBuf>> {
    let doing = || format!("list the libraries of {}", file.display());
    // Without the caller's variables, such as LD_LIBRARY_PATH: a container does not
    // have them.
    let listed = Command::new(loader).arg("--list").arg(file).env_clear().output();
    let listed = listed.with_context(doing)?;
    ensure!(listed.status.success(), "{}: its loader failed", doing());
    let mut libraries = Vec::new();
    for line in listed.stdout.split(|&byte| byte == b'\n') {
        if let Some(library) = library(line)? {
            // Older versions of glibc load this library later, to look up users in
            // /etc/passwd.
            let of_users = library.with_file_name("libnss_files.so.2");
            if library.file_name() == Some(OsStr::new("libc.so.6")) && of_users.exists() {
                libraries.push(of_users);
            }
            libraries.push(library);
        }
    }
    Ok(libraries)
}

/// The file in one line of the loader's list, such as
/// `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f...)`.
fn library(line: &[u8]) -> Result<Option<PathBuf>> {
    let line = String::from_utf8_lossy(line);
    let file = line.split_once(" => ").map_or(&*line, |(_name, file)| file).trim();
    ensure!(file != "not found", "{} is missing", line.trim());
    let file = file.rsplit_once(" (0x").map_or(file, |(file, _address)| file);
    // The kernel's own linux-vdso.so.1 has no file.
    Ok(file.starts_with('/').then(|| file.into()))
}

#[cfg(test)]
mod tests {
    use std::{env, fs};

    use super::*;

    #[test]
    fn the_loaders_list_is_read() {
        let read = |line: &str| library(line.as_bytes()).ok().flatten();
        for (line, file) in [
            ("\tlinux-vdso.so.1 (0x00007ffd)", None),
            ("\tlibc.so.6 => /lib/x/libc.so.6 (0x00007f)", Some("/lib/x/libc.so.6")),
            ("\t/lib64/ld-linux-x86-64.so.2 (0x00007f)", Some("/lib64/ld-linux-x86-64.so.2")),
            ("\tlibc.musl.so.1 => /lib/ld-musl.so.1 (0x7f)", Some("/lib/ld-musl.so.1")),
            ("\tlibx.so => /a (b)/libx.so (0x7f)", Some("/a (b)/libx.so")),
            ("\tstatically linked", None),
            ("", None),
        ] {
            assert_eq!(read(line), file.map(PathBuf::from), "{line}");
        }
        assert!(library(b"\tlibx.so => not found").is_err());
    }

    #[test]
    fn a_program_is_known_by_what_it_needs() {
        let dir = testkit::tempdir();
        let script = dir.path().join("script");
        fs::write(&script, "#! /bin/sh -e\n").expect("write");
        let interpreter = "/bin/sh".into();
        assert_eq!(program(&script).expect("read"), Program::Script(interpreter));
        for none in [
            "",
            "#!",
            "#!\n/bin/sh",
            "\x7fELF",
            "text, and enough of it to be longer than the header of an ELF file",
        ] {
            fs::write(&script, none).expect("write");
            assert!(program(&script).is_err(), "{none}");
        }
        // A FIFO, which would block a reader.
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("make a FIFO");
        assert!(program(&fifo).is_err());
        // If this test has a loader, the program names it.
        let this = env::current_exe().expect("a path");
        let maps = fs::read_to_string("/proc/self/maps").expect("read");
        match program(&this).expect("read") {
            Program::Dynamic(loader) => {
                let loader = fs::canonicalize(loader).expect("a loader");
                assert!(maps.contains(loader.to_str().expect("text")), "{loader:?}\n{maps}");
                assert!(needed_by(&this).expect("list").len() > 1);
            }
            kind => assert_eq!(kind, Program::Static),
        }
    }
}
