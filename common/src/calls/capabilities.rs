//! Capabilities: their names, and the calls that take them away; capabilities(7).

use std::ffi::OsStr;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use libc::c_int;
use nix::errno::Errno;

/// The names by number, without CAP_. An overlay in a user namespace needs Linux 5.11,
/// and that kernel has all of them.
const NAMES: [&str; 41] = [
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID",
    "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW",
    "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT",
    "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD",
    "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG",
    "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
];

/// In the set of an option: the word ALL. No kernel has a capability with this number.
const ALL: u64 = 1 << 63;

/// The number of a capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability(u8);

impl Capability {
    /// Reads a name, with or without CAP_, in upper or lower case.
    fn named(word: &str) -> Option<Capability> {
        let word = word.to_ascii_uppercase();
        let name = word.strip_prefix("CAP_").unwrap_or(&word);
        let number = NAMES.iter().position(|known| *known == name)?;
        u8::try_from(number).ok().map(Capability)
    }

    /// 1 if this process has it in its bounding set, 0 if not, and a negative number if this
    /// kernel does not have it; PR_CAPBSET_READ in prctl(2).
    fn in_bounding_set(self) -> c_int {
        change(libc::PR_CAPBSET_READ, self.0.into(), 0)
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.get(usize::from(self.0)) {
            Some(name) => write!(f, "CAP_{name}"),
            None => write!(f, "capability {}", self.0),
        }
    }
}

/// A set of capabilities: bit N is the capability with the number N.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(u64);

impl Capabilities {
    /// The set of these names. Fails when a name is wrong.
    pub fn of(names: &[impl AsRef<str>]) -> Result<Capabilities> {
        names.iter().try_fold(Capabilities::default(), |set, name| {
            let name = name.as_ref();
            let named = Capability::named(name);
            let named = named.with_context(|| format!("{name}: there is no such capability"))?;
            Ok(Capabilities(set.0 | 1 << named.0))
        })
    }

    /// This set, and the capabilities with these names. Fails when a name is wrong.
    pub fn and(self, names: &[&str]) -> Result<Capabilities> {
        Ok(Capabilities(self.0 | Capabilities::of(names)?.0))
    }

    /// The capabilities that both sets have.
    #[must_use]
    pub fn within(self, other: Capabilities) -> Capabilities {
        Capabilities(self.0 & other.0)
    }

    /// The capabilities in this set.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        (0..NAMES.len() as u8).map(Capability).filter(move |it| self.0 & 1 << it.0 != 0)
    }

    /// The set as a number, as in proc_pid_status(5).
    pub fn bits(self) -> u64 {
        self.0
    }

    /// The set with this number.
    pub fn of_bits(bits: u64) -> Capabilities {
        Capabilities(bits)
    }

    /// The capabilities of this kernel that are not in this set.
    pub fn others(self) -> impl Iterator<Item = Capability> {
        let is_known =
            |it: &Capability| usize::from(it.0) < NAMES.len() || it.in_bounding_set() >= 0;
        let all = (0..63).map(Capability).take_while(is_known);
        all.filter(move |it| self.0 & 1 << it.0 == 0)
    }
}

/// The names in `--cap-add` and `--cap-drop`.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    add: u64,
    drop: u64,
}

impl Changes {
    /// Reads the value of `--cap-add`.
    pub(crate) fn add(&mut self, word: &OsStr) -> Result<()> {
        self.add |= bit("--cap-add", word)?;
        self.check("--cap-add", word)
    }

    /// Reads the value of `--cap-drop`.
    pub(crate) fn drop(&mut self, word: &OsStr) -> Result<()> {
        self.drop |= bit("--cap-drop", word)?;
        self.check("--cap-drop", word)
    }

    /// Fails if both options name the last word.
    fn check(&self, option: &str, word: &OsStr) -> Result<()> {
        ensure!(
            self.add & self.drop == 0,
            "{option} {}: --cap-add and --cap-drop both name it; name it only once",
            word.display()
        );
        Ok(())
    }

    /// Changes a set. ALL counts before each name, whatever the order of the options.
    pub(crate) fn apply(&self, usual: Capabilities) -> Capabilities {
        let from = match (self.add & ALL, self.drop & ALL) {
            (ALL, _) => u64::MAX,
            (_, ALL) => 0,
            _ => usual.0,
        };
        Capabilities(from & !self.drop | self.add)
    }
}

/// The bit of a name, or of the word ALL.
fn bit(option: &str, word: &OsStr) -> Result<u64> {
    let text = word.to_str().unwrap_or_default();
    let named = Capability::named(text).map(|named| 1 << named.0);
    named.or_else(|| text.eq_ignore_ascii_case("ALL").then_some(ALL)).with_context(|| {
        let (shown, names) = (word.display(), NAMES.join(" "));
        format!("{option} {shown}: there is no such capability; give ALL or a name: {names}")
    })
}

/// Drops a capability from this process's bounding set: no program that the process executes can
/// get it. PR_CAPBSET_DROP in prctl(2). Does nothing if it is not in the set: a drop makes new
/// credentials, which takes longer than to ask. Fails when this process does not have CAP_SETPCAP.
pub fn drop_bounding(capability: Capability) -> nix::Result<()> {
    if capability.in_bounding_set() == 0 {
        return Ok(());
    }
    Errno::result(change(libc::PR_CAPBSET_DROP, capability.0.into(), 0)).map(drop)
}

/// prctl(2) with an option about capabilities, which takes at most two numbers.
fn change(option: c_int, first: libc::c_ulong, second: libc::c_ulong) -> c_int {
    const NONE: libc::c_ulong = 0;
    #[allow(unsafe_code, reason = "nix has none of these options")]
    // SAFETY: the call takes numbers and touches no memory.
    unsafe {
        libc::prctl(option, first, second, NONE, NONE)
    }
}

/// Makes a capability ambient: a program that this process executes has it, whoever the user is.
/// PR_CAP_AMBIENT_RAISE in prctl(2). Fails with EPERM when the capability is not both permitted
/// and inheritable.
pub fn raise_ambient(capability: Capability) -> nix::Result<()> {
    let raise = libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong;
    Errno::result(change(libc::PR_CAP_AMBIENT, raise, capability.0.into())).map(drop)
}

/// The capabilities that this process may make effective; capget(2).
pub fn permitted() -> nix::Result<Capabilities> {
    let mut header = [VERSION, THIS_PROCESS];
    // Effective, permitted and inheritable ones: the low half of each, and the high half.
    let mut sets = [[0_u32; 3]; 2];
    #[allow(unsafe_code, reason = "nix has no capget(2)")]
    // SAFETY: the arrays have the layout of the two structures that the kernel writes for
    // this version.
    let got = unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr()) };
    Errno::result(got)?;
    Ok(Capabilities(u64::from(sets[0][1]) | u64::from(sets[1][1]) << 32))
}

/// _LINUX_CAPABILITY_VERSION_3, which libc does not have.
const VERSION: u32 = 0x2008_0522;

/// The ID that means the caller; capget(2).
const THIS_PROCESS: u32 = 0;

/// Sets the capabilities of this process; capset(2). The kernel ignores capabilities that it does
/// not have. Fails when a set has a capability that this process may not have.
pub fn set_capabilities(
    effective: Capabilities,
    permitted: Capabilities,
    inheritable: Capabilities,
) -> nix::Result<()> {
    let mut header = [VERSION, THIS_PROCESS];
    let half = |shift| [effective, permitted, inheritable].map(|set| (set.0 >> shift) as u32);
    let sets = [half(0), half(32)];
    #[allow(unsafe_code, reason = "nix has no capset(2)")]
    // SAFETY: the arrays have the layout of the two structures that the kernel reads for
    // this version. It may write a version to `header`.
    let set = unsafe { libc::syscall(libc::SYS_capset, header.as_mut_ptr(), sets.as_ptr()) };
    Errno::result(set)?;
    SET.store(true, Ordering::Relaxed);
    Ok(())
}

/// Whether this process has called [`set_capabilities`].
pub(crate) fn are_set() -> bool {
    SET.load(Ordering::Relaxed)
}

static SET: AtomicBool = AtomicBool::new(false);

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(words: &[&str]) -> Result<Capabilities> {
        let mut changes = Changes::default();
        for pair in words.chunks(2) {
            match pair[0] {
                "--cap-add" => changes.add(pair[1].as_ref())?,
                _ => changes.drop(pair[1].as_ref())?,
            }
        }
        Ok(changes.apply(Capabilities::of(&["CHOWN", "KILL"])?))
    }

    fn is(words: &[&str], names: &[&str]) {
        let expected = Capabilities::of(names).expect("names");
        assert_eq!(changed(words).expect("a set"), expected, "{words:?}");
    }

    #[test]
    fn a_name_is_read_in_every_form() {
        for word in ["SYS_ADMIN", "sys_admin", "CAP_SYS_ADMIN", "cap_sys_admin", "Cap_Sys_Admin"] {
            is(&["--cap-add", word], &["CHOWN", "KILL", "SYS_ADMIN"]);
        }
        assert_eq!(Capabilities::of(&["CHOWN", "SYS_ADMIN"]).expect("names").0, 0x20_0001);
        assert_eq!(Capability::named("CHECKPOINT_RESTORE"), Some(Capability(40)));
    }

    #[test]
    fn a_name_without_sense_is_refused() {
        for word in
            ["", "CAP_", "CAP_ALL", "CAP_CAP_CHOWN", "SYS-ADMIN", " CHOWN", "0", "CHOWN,KILL"]
        {
            let said = changed(&["--cap-add", word]).expect_err(word).to_string();
            assert!(said.starts_with(&format!("--cap-add {word}: ")), "{said}");
        }
        assert!(Capabilities::of(&["CHWON"]).is_err());
    }

    #[test]
    fn all_counts_before_each_name_in_any_order() {
        is(&[], &["CHOWN", "KILL"]);
        is(&["--cap-drop", "KILL", "--cap-drop", "MKNOD"], &["CHOWN"]);
        is(&["--cap-add", "kill", "--cap-add", "BPF"], &["CHOWN", "KILL", "BPF"]);
        for words in
            [["--cap-drop", "all", "--cap-add", "BPF"], ["--cap-add", "BPF", "--cap-drop", "ALL"]]
        {
            let kept = changed(&words).expect("a set");
            assert_eq!(kept.0, 1 << 39);
            assert!(!kept.others().any(|other| other == Capability(39)));
            let last = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").expect("read it");
            assert_eq!(kept.others().count().to_string(), last.trim());
        }
        for words in
            [["--cap-add", "ALL", "--cap-drop", "BPF"], ["--cap-drop", "BPF", "--cap-add", "all"]]
        {
            let others: Vec<_> = changed(&words).expect("a set").others().collect();
            assert_eq!(others, [Capability(39)]);
        }
    }

    #[test]
    fn a_name_in_both_options_is_refused() {
        for word in ["KILL", "ALL"] {
            for words in
                [["--cap-add", word, "--cap-drop", word], ["--cap-drop", word, "--cap-add", word]]
            {
                assert!(changed(&words).is_err(), "{words:?}");
            }
        }
    }

    #[test]
    fn a_capability_without_a_name_is_shown_by_its_number() {
        assert_eq!(Capability(21).to_string(), "CAP_SYS_ADMIN");
        assert_eq!(Capability(62).to_string(), "capability 62");
    }
}
