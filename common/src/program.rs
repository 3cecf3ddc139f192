//! What a program's file says about the files that it needs to start.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// A program, by what it needs to start.
#[derive(Debug, PartialEq, Eq)]
pub enum Program {
    /// Nothing but the kernel.
    Static,
    /// The loader that its file names, and maybe libraries.
    Dynamic(PathBuf),
    /// The interpreter in its `#!` line. Empty if the line names no interpreter.
    Script(PathBuf),
}

impl Program {
    /// Reads what a file is: a script, execve(2), "Interpreter scripts", or a
    /// program with or without a loader, elf(5). Nothing when it is neither, is
    /// damaged or cannot be read.
    pub fn of(file: &File) -> Option<Program> {
        Program::read(|bytes, at| file.read_at(bytes, at).ok())
    }

    fn read(read: impl Fn(&mut [u8], u64) -> Option<usize>) -> Option<Program> {
        // The kernel reads 256 bytes of a script.
        let mut head = [0; 256];
        let len = read(&mut head, 0)?;
        let head = &head[..len];
        if let Some(line) = head.strip_prefix(b"#!") {
            // As the kernel does: other blanks belong to the name.
            let line = line.split(|&b| b == b'\n').next()?;
            let start = line.iter().position(|b| !matches!(b, b' ' | b'\t')).unwrap_or(line.len());
            let word = line[start..].split(|b| matches!(b, b' ' | b'\t' | 0)).next()?;
            return Some(Program::Script(path(word)));
        }
        let exact = |len: u64, at: u64| {
            // A path takes a page at most.
            let mut bytes = vec![0; usize::try_from(len).ok().filter(|&len| len <= 4096)?];
            (read(&mut bytes, at)? == bytes.len()).then_some(bytes)
        };
        let little = head.get(5)? == &1;
        let number = |len: u64, at: u64| {
            let mut bytes = exact(len, at)?;
            if little {
                bytes.reverse();
            }
            Some(bytes.iter().fold(0, |n, &b| n << 8 | u64::from(b)))
        };
        // How long an address is, and where the header has the table of
        // segments, the size and the number of its entries, and an entry its
        // offset and size.
        let (word, [table, size, count, offset, length]) = match head.get(..5)? {
            b"\x7fELF\x01" => (4, [28, 42, 44, 4, 16]),
            b"\x7fELF\x02" => (8, [32, 54, 56, 8, 32]),
            _ => return None,
        };
        let (table, size, count) = (number(word, table)?, number(2, size)?, number(2, count)?);
        for entry in 0..count {
            let at = table.checked_add(entry * size)?;
            if number(4, at)? == u64::from(libc::PT_INTERP) {
                let start = number(word, at.checked_add(offset)?)?;
                let name = exact(number(word, at.checked_add(length)?)?, start)?;
                return Some(Program::Dynamic(path(name.split(|&b| b == 0).next()?)));
            }
        }
        Some(Program::Static)
    }
}

/// The machine that a program is for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Machine {
    /// The machine of this program.
    Own,
    /// The same, with addresses of 32 bits.
    Narrow,
    Other,
}

impl Machine {
    /// Reads the first fields of a program; elf(5).
    pub(crate) fn of(file: &File) -> Machine {
        // With the order of bytes of this machine, and another machine if it has no name here.
        let (own, narrow) = match () {
            () if cfg!(target_arch = "x86_64") => (libc::EM_X86_64, libc::EM_386),
            () if cfg!(target_arch = "aarch64") => (libc::EM_AARCH64, libc::EM_ARM),
            () if cfg!(target_arch = "riscv64") => (libc::EM_RISCV, libc::EM_RISCV),
            () if cfg!(target_arch = "powerpc64") => (libc::EM_PPC64, libc::EM_PPC),
            () if cfg!(target_arch = "s390x") => (libc::EM_S390, libc::EM_S390),
            () => (libc::EM_NONE, libc::EM_NONE),
        };
        let mut head = [0; 20];
        if file.read_exact_at(&mut head, 0).is_err() {
            return Machine::Other;
        }
        match (&head[..5], u16::from_ne_bytes([head[18], head[19]])) {
            (b"\x7fELF\x02", machine) if machine == own => Machine::Own,
            (b"\x7fELF\x01", machine) if machine == narrow => Machine::Narrow,
            _ => Machine::Other,
        }
    }
}

fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(bytes: &[u8]) -> Option<Program> {
        Program::read(|into, at| {
            let rest = bytes.get(usize::try_from(at).ok()?..)?;
            let len = rest.len().min(into.len());
            into[..len].copy_from_slice(&rest[..len]);
            Some(len)
        })
    }

    #[test]
    fn a_script_names_its_interpreter() {
        let named = |head: &[u8]| match program(head) {
            Some(Program::Script(path)) => path.display().to_string(),
            other => format!("{other:?}"),
        };
        assert_eq!(named(b"#!/bin/bash\necho"), "/bin/bash");
        assert_eq!(named(b"#! /usr/bin/env -S sh\n"), "/usr/bin/env");
        assert_eq!(named(b"#!/bin/x"), "/bin/x");
        assert_eq!(named(b"#! \t\x0c/bin/x\0y\n"), "\x0c/bin/x");
        assert_eq!(named(b"#!"), "");
        assert_eq!(named(b"#!\n/bin/sh"), "");
        assert_eq!(named(b"echo"), "None");
    }

    #[test]
    fn a_program_names_its_loader() {
        let loader = Some(Program::Dynamic("/lib/ld.so".into()));
        let mut elf = vec![0; 64 + 56 + 16];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[32] = 64; // program headers begin
        elf[54] = 56; // size of a program header
        elf[56] = 1; // their number
        elf[64] = 3; // PT_INTERP
        elf[72] = 120; // its offset
        elf[96] = 11; // its length
        elf[120..131].copy_from_slice(b"/lib/ld.so\0");
        assert_eq!(program(&elf), loader);
        for len in 0..elf.len() {
            // Cut off anywhere, it must not panic.
            let _ = program(&elf[..len]);
        }
        elf[64] = 1; // PT_LOAD
        assert_eq!(program(&elf), Some(Program::Static));
        elf[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(program(&elf), None);

        // Of 32 bits, in either order.
        for (order, at) in [(1, 0), (2, 1)] {
            let mut elf = vec![0; 52 + 32 + 11];
            elf[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 1, order]);
            for (field, long, value) in [
                (28, true, 52),
                (42, false, 32),
                (44, false, 1),
                (52, true, 3),
                (56, true, 84),
                (68, true, 11),
            ] {
                let last = if long { 3 } else { 1 };
                elf[field + at * last] = value;
            }
            elf[84..].copy_from_slice(b"/lib/ld.so\0");
            assert_eq!(program(&elf), loader);
        }
    }
}
