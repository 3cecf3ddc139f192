//! What a program of this machine needs to run: its loader and libraries, or an
//! interpreter.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::super::folder::open_file;

/// A program by what it needs to run.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Program {
    /// Nothing but the kernel.
    Static,
    /// The loader that its file names, and libraries.
    Dynamic { loader: PathBuf },
    /// The interpreter of its first line.
    Script { interpreter: PathBuf },
}

impl Program {
    pub(super) fn of(file: &Path) -> Result<Program> {
        let file = open_file(file)?.context("it is no file")?;
        let mut start = [0; 64];
        let n = file.read_at(&mut start, 0)?;
        if let Some(line) = start[..n].strip_prefix(b"#!") {
            let line = line.split(|&byte| byte == b'\n').next().unwrap_or_default();
            let mut words = line.split(|byte| byte.is_ascii_whitespace());
            let interpreter =
                words.find(|word| !word.is_empty()).context("its #! line names no interpreter")?;
            let interpreter = OsStr::from_bytes(interpreter).into();
            return Ok(Program::Script { interpreter });
        }
        ensure!(n == start.len() && start.starts_with(b"\x7fELF"), "it is not a program");
        Ok(match loader(&file, &start)? {
            Some(loader) => Program::Dynamic { loader },
            None => Program::Static,
        })
    }
}

/// The program header that names the loader; elf(5).
const PT_INTERP: u64 = 3;

/// The loader that an ELF file names, if any. `header` is its beginning.
fn loader(file: &File, header: &[u8; 64]) -> Result<Option<PathBuf>> {
    let (is_64_bit, is_little) = (header[4] == 2, header[5] == 1);
    let number = |bytes: &[u8]| {
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        if is_little { bytes.iter().rev().fold(0, add) } else { bytes.iter().fold(0, add) }
    };
    let (table, size, count) = if is_64_bit {
        (number(&header[32..40]), number(&header[54..56]), number(&header[56..58]))
    } else {
        (number(&header[28..32]), number(&header[42..44]), number(&header[44..46]))
    };
    for index in 0..count {
        let mut row = [0; 56];
        let row = &mut row[..if is_64_bit { 56 } else { 32 }];
        file.read_exact_at(row, table.saturating_add(index * size))?;
        if number(&row[..4]) != PT_INTERP {
            continue;
        }
        let (at, length) = if is_64_bit {
            (number(&row[8..16]), number(&row[32..40]))
        } else {
            (number(&row[4..8]), number(&row[16..20]))
        };
        ensure!(length <= libc::PATH_MAX as u64, "it is damaged");
        let mut name = vec![0; length as usize];
        file.read_exact_at(&mut name, at)?;
        let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
        return Ok(Some(OsStr::from_bytes(name).into()));
    }
    Ok(None)
}

/// A program's file and those that it needs to run, all of them readable.
pub(super) fn needed_by(file: &Path) -> Result<Vec<PathBuf>> {
    let mut files = vec![file.to_owned()];
    match Program::of(file)? {
        Program::Static => {}
        Program::Dynamic { loader } => {
            files.extend(libraries(file, &loader)?);
            files.push(loader);
        }
        Program::Script { interpreter } => {
            // An interpreter that is itself a script is not worth the trouble.
            if let Program::Dynamic { loader } = Program::of(&interpreter)? {
                files.extend(libraries(&interpreter, &loader)?);
                files.push(loader);
            }
            files.push(interpreter);
        }
    }
    for file in &files {
        open_file(file).with_context(|| format!("read {}", file.display()))?;
    }
    Ok(files)
}

/// The libraries that a program needs, by its loader's own word: `--list` is
/// what ldd(1) uses, with glibc and with musl.
fn libraries(file: &Path, loader: &Path) -> Result<Vec<PathBuf>> {
    let doing = || format!("list the libraries of {}", file.display());
    // A container has none of the caller's variables, LD_LIBRARY_PATH included.
    let listed = Command::new(loader).arg("--list").arg(file).env_clear().output();
    let listed = listed.with_context(doing)?;
    ensure!(listed.status.success(), "{}: its loader failed", doing());
    let mut libraries = Vec::new();
    for line in listed.stdout.split(|&byte| byte == b'\n') {
        if let Some(library) = library(line)? {
            // Older versions of glibc load this one for themselves, to look up
            // users in /etc/passwd.
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
        let dir = tempfile::tempdir().expect("make a directory");
        let script = dir.path().join("script");
        fs::write(&script, "#! /bin/sh -e\n").expect("write");
        let interpreter = "/bin/sh".into();
        assert_eq!(Program::of(&script).expect("read"), Program::Script { interpreter });
        for none in [
            "",
            "#!",
            "#!\n/bin/sh",
            "\x7fELF",
            "text, and enough of it to be longer than the header of an ELF file",
        ] {
            fs::write(&script, none).expect("write");
            assert!(Program::of(&script).is_err(), "{none}");
        }
        // One that is waited for, like what lies in PATH as busybox.
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("make a FIFO");
        assert!(Program::of(&fifo).is_err());
        // This test names the loader that it was started by, if any.
        let this = env::current_exe().expect("a path");
        let maps = fs::read_to_string("/proc/self/maps").expect("read");
        match Program::of(&this).expect("read") {
            Program::Dynamic { loader } => {
                let loader = fs::canonicalize(loader).expect("a loader");
                assert!(maps.contains(loader.to_str().expect("text")), "{loader:?}\n{maps}");
                assert!(needed_by(&this).expect("list").len() > 1);
            }
            kind => assert_eq!(kind, Program::Static),
        }
    }
}
