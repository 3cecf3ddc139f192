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
    /// Reads what a file is: a script, execve(2), "Interpreter scripts", or a program with or
    /// without a loader, elf(5). Nothing when it is neither, is damaged or cannot be read.
    pub fn of(file: &File) -> Option<Program> {
        Program::with_machine(file).0
    }

    /// As [`Program::of`], with the machine that the file is for.
    pub(crate) fn with_machine(file: &File) -> (Option<Program>, Machine) {
        // The kernel reads 256 bytes of a script. The header of a program is shorter.
        let mut head = [0; 256];
        let len = file.read_at(&mut head, 0).unwrap_or(0);
        let head = &head[..len];
        (Program::read(head, |bytes, at| file.read_at(bytes, at).ok()), Machine::of(head))
    }

    /// Reads a file that begins with `head`.
    fn read(head: &[u8], read: impl Fn(&mut [u8], u64) -> Option<usize>) -> Option<Program> {
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
        let elf = Elf::of(head)?;
        let (table, entry_size) = (elf.number(head, &TABLE)?, elf.number(head, &ENTRY_SIZE)?);
        // The part of an entry that the kernel knows.
        let entry_len = [size_of::<libc::Elf32_Phdr>(), size_of::<libc::Elf64_Phdr>()];
        for entry in 0..elf.number(head, &ENTRIES)? {
            let at = table.checked_add(entry * entry_size)?;
            let segment = exact(entry_len[usize::from(elf.is_wide)] as u64, at)?;
            let in_segment = |field| elf.number(&segment, field);
            if in_segment(&KIND)? == u64::from(libc::PT_INTERP) {
                let name = exact(in_segment(&LENGTH)?, in_segment(&OFFSET)?)?;
                return Some(Program::Dynamic(path(name.split(|&b| b == 0).next()?)));
            }
        }
        Some(Program::Static)
    }
}

/// The place and the length of a number, in a program of 32 bits and in one of 64; elf(5).
type Field = [(usize, usize); 2];

/// e_machine; e_phoff, the table of segments; e_phentsize and e_phnum, the size and the number of
/// its entries.
const MACHINE: Field = [(18, 2), (18, 2)];
const TABLE: Field = [(28, 4), (32, 8)];
const ENTRY_SIZE: Field = [(42, 2), (54, 2)];
const ENTRIES: Field = [(44, 2), (56, 2)];
/// Of a segment: p_type; p_offset, its place in the file; p_filesz, its length there, in bytes.
const KIND: Field = [(0, 4), (0, 4)];
const OFFSET: Field = [(4, 4), (8, 8)];
const LENGTH: Field = [(16, 4), (32, 8)];

/// What the first bytes of a program say about the rest of it.
struct Elf {
    is_wide: bool,
    is_little: bool,
}

impl Elf {
    /// Nothing if these are not the first bytes of a program.
    fn of(head: &[u8]) -> Option<Elf> {
        let is_wide = match head.get(..5)? {
            b"\x7fELF\x01" => false,
            b"\x7fELF\x02" => true,
            _ => return None,
        };
        Some(Elf { is_wide, is_little: head.get(5)? == &1 })
    }

    fn number(&self, bytes: &[u8], field: &Field) -> Option<u64> {
        let (at, len) = field[usize::from(self.is_wide)];
        let bytes = bytes.get(at..at + len)?.iter();
        let add = |number, byte: &u8| number << 8 | u64::from(*byte);
        Some(if self.is_little { bytes.rev().fold(0, add) } else { bytes.fold(0, add) })
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
    /// Reads the header of a program; elf(5).
    fn of(head: &[u8]) -> Machine {
        // A machine without a name here is another machine than its own.
        let (own, narrow) = match () {
            () if cfg!(target_arch = "x86_64") => (libc::EM_X86_64, libc::EM_386),
            () if cfg!(target_arch = "aarch64") => (libc::EM_AARCH64, libc::EM_ARM),
            () if cfg!(target_arch = "riscv64") => (libc::EM_RISCV, libc::EM_RISCV),
            () if cfg!(target_arch = "powerpc64") => (libc::EM_PPC64, libc::EM_PPC),
            () if cfg!(target_arch = "s390x") => (libc::EM_S390, libc::EM_S390),
            () => (libc::EM_NONE, libc::EM_NONE),
        };
        let Some(elf) = Elf::of(head) else { return Machine::Other };
        let has_own_order = elf.is_little == cfg!(target_endian = "little");
        match elf.number(head, &MACHINE).filter(|_| has_own_order) {
            Some(machine) if elf.is_wide && machine == own.into() => Machine::Own,
            Some(machine) if !elf.is_wide && machine == narrow.into() => Machine::Narrow,
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
        Program::read(&bytes[..bytes.len().min(256)], |into, at| {
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
    fn this_program_is_for_this_machine() {
        let this = File::open("/proc/self/exe").expect("open");
        assert_eq!(Program::with_machine(&this).1, Machine::Own);
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
