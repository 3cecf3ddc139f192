//! Remedies for system calls that fail.

mod table;

pub(crate) use table::NO_ROOT;

use std::path::Path;

use anyhow::Error;

use crate::said::doing::{Call, Doing, Said, WORDS, errno_of};

/// A failed call.
struct Failed {
    call: Call,
    /// What follows the words of the context.
    object: String,
}

impl Failed {
    /// Reads the type of a context from this crate, else the words of a context from a lesson.
    fn of(error: &Error) -> Failed {
        if let Some(Doing { call, object, .. }) = error.downcast_ref() {
            return Failed { call: *call, object: object.clone() };
        }
        let known = error.chain().find_map(|cause| Failed::read(&cause.to_string()));
        known.unwrap_or(Failed { call: Call::Any, object: String::new() })
    }

    /// Only the first words count: the name at the end may contain any words.
    fn read(doing: &str) -> Option<Failed> {
        let known = |(words, call): &(&str, Call)| Some((*call, doing.strip_prefix(words)?));
        let (call, object) = of_group(doing).or_else(|| WORDS.iter().find_map(known))?;
        Some(Failed { call, object: object.to_owned() })
    }
}

/// The action of a lesson that writes to a file of a group, and the file.
fn of_group(doing: &str) -> Option<(Call, &str)> {
    let (_value, file) = doing.strip_prefix("write ")?.rsplit_once(" to ")?;
    file.starts_with("/sys/fs/cgroup/").then(|| (Call::write_group(Path::new(file)), file))
}

/// The remedy for an error from a failed system call, or from a tool of the host: the first
/// that fits, if there is any. A remedy that we could not try says "likely".
pub fn hint(error: &Error) -> Option<&'static str> {
    if let Some(Said(message)) = error.downcast_ref() {
        return table::for_tool(message);
    }
    let errno = error.chain().find_map(errno_of)?;
    table::remedy(&Failed::of(error), errno)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use nix::errno::Errno;

    use super::*;
    use crate::workspace;

    fn of(doing: &str, errno: Errno) -> &'static str {
        hint(&Error::from(errno).context(doing.to_owned())).unwrap_or_default()
    }

    #[test]
    fn the_first_remedy_that_fits_is_taken() {
        assert!(of("chroot to /x", Errno::ENOENT).contains("fetch-rootfs"));
        // This process is not process 1.
        assert!(of("mount proc on /proc", Errno::EPERM).contains("PID namespace"));
        for (kind, remedy) in
            [("mqueue", "IPC"), ("sysfs", "network"), ("ext4", "root of the host")]
        {
            assert!(of(&format!("mount {kind} on /x"), Errno::EPERM).contains(remedy));
        }
        assert!(of("read /x/config.json", Errno::ENOENT).contains("bundle"));
        assert_eq!(of("read /x/other", Errno::ENOENT), "");
        assert!(of("make /tmp/x", Errno::ENOSPC).contains("full"));
        assert!(of("set the bridge's route_localnet", Errno::EROFS).contains("pasta"));
        assert_eq!(of("chdir to /", Errno::EIO), "");
        // Words in a name do not count.
        assert!(of("chroot to /proc/self/fd/9", Errno::EACCES).contains("let this user enter"));
        assert!(of("chroot to /mount proc", Errno::ENOENT).contains("fetch-rootfs"));
    }

    #[test]
    fn a_failure_of_this_crate_is_known_whatever_is_said_around_it() {
        let of = |call, object: &str, errno| {
            let doing = Doing::new(call, "do this with ", object);
            let error = Error::from(errno).context(doing).context("bind /x to /y");
            hint(&error).unwrap_or_default()
        };
        for (call, object, errno, remedy) in [
            (Call::Clone, "CLONE_NEWNET", Errno::EPERM, "step 3"),
            (Call::Clone, "CLONE_NEWUSER", Errno::ENOSPC, "max_user_namespaces"),
            (Call::UseGroups, "/x", Errno::EROFS, "read-only"),
            (Call::UseGroups, "/x", Errno::EACCES, "Delegate=yes"),
            (Call::Publish, "127.0.0.1:80:80/tcp", Errno::EACCES, "port_start"),
            (Call::OpenPlace, "/x", Errno::ENOTDIR, "a directory is needed"),
            (Call::CopyFile, "x", Errno::ENOSPC, "a larger size"),
        ] {
            let said = of(call, object, errno);
            assert!(said.contains(remedy), "{call:?}: {said}");
        }
        let scratch = Doing::new(Call::MakeScratch, "make ", "/x");
        let error = Error::from(std::io::Error::from_raw_os_error(libc::EROFS)).context(scratch);
        assert!(hint(&error).is_some_and(|remedy| remedy.contains("--scratch")));
        for (file, errno, remedy) in [
            ("cgroup.subtree_control", Errno::ENOENT, "controller"),
            ("memory.swap.max", Errno::ENOENT, "swapaccount"),
            ("pids.max", Errno::EINVAL, "a smaller number"),
        ] {
            let file = Path::new("/sys/fs/cgroup/x").join(file);
            let said = of(Call::write_group(&file), "0", errno);
            assert!(said.contains(remedy), "{said}");
            // A lesson has only words.
            let said =
                super::hint(&Error::from(errno).context(format!("write 0 to {}", file.display())));
            assert!(said.is_some_and(|said| said.contains(remedy)), "{said:?}");
        }
    }

    /// The first row counts: a row with fewer words must come later.
    #[test]
    fn no_row_hides_a_later_one() {
        for (at, (first, _)) in WORDS.iter().enumerate() {
            let hidden = WORDS[at + 1..].iter().find(|(later, _)| later.starts_with(first));
            assert!(hidden.is_none(), "{first:?} hides {hidden:?}");
        }
    }

    /// Each row has words of a program. Tests lie in directories below.
    #[test]
    fn each_row_is_of_a_program() {
        let list = |dir: PathBuf| dir.read_dir().into_iter().flatten().flatten();
        let sources = list(workspace().to_owned()).flat_map(|it| list(it.path().join("src")));
        let sources = sources.filter_map(|file| fs::read_to_string(file.path()).ok());
        let sources: Vec<String> = sources.collect();
        let mut contexts = Vec::new();
        for source in &sources {
            // `context("…")`, and `context(|| format!("…"))` or its like.
            let texts = source.split("context(").skip(1);
            let texts = texts.filter_map(|rest| rest.split('"').nth(1));
            contexts.extend(texts.map(|text| text.split('{').next().unwrap_or_default()));
        }
        for (words, _) in WORDS {
            assert!(contexts.iter().any(|it| it.starts_with(words)), "{words}");
        }
    }
}
