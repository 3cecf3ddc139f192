//! Whether the engines of this host can use lesson 19. docs/engines.md says more.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::Result;
use common::{Capabilities, Ids, has_tool};
use nix::unistd::getuid;

use crate::say::print;
use crate::style::Style;

/// What the files must say depends on this.
struct Host {
    is_root: bool,
    has_systemd: bool,
    /// Whether this process may raise hard limits, and lower scores for the OOM killer.
    may_raise: bool,
}

struct Engine {
    /// The programs: one of them is enough.
    programs: &'static [&'static str],
    files: &'static [&'static str],
    needs: &'static [Need],
}

/// On these hosts, the files must have these words, or else the remedy helps. If there
/// are no words, no file helps.
type Need = (fn(&Host) -> bool, Option<&'static str>, &'static str);

const RUNTIME: &str = "step19-runtime";

#[rustfmt::skip]
const ENGINES: [Engine; 4] = [
    Engine {
        programs: &["podman"],
        // The first is also below the user's ~/.config.
        files: &["containers/containers.conf", "/etc/containers/containers.conf"],
        needs: &[
            (|host| host.has_systemd, Some("cgroupfs"),
             "write `cgroup_manager = \"cgroupfs\"` below [engine] in containers.conf"),
            (|host| host.is_root && !host.may_raise, Some("default_ulimits"),
             "this root may not raise limits: write `default_ulimits = [\"nofile=1024:1024\", \"nproc=2048:2048\"]` below [containers] in containers.conf"),
        ],
    },
    Engine {
        programs: &["containerd"],
        files: &[],
        needs: &[(|host| !host.is_root, None, "only root can call it: use sudo")],
    },
    Engine {
        programs: &["docker", "dockerd"],
        files: &["/etc/docker/daemon.json"],
        needs: &[
            (|_| true, Some(RUNTIME), "name the runtime in /etc/docker/daemon.json"),
            (|host| host.has_systemd, Some("native.cgroupdriver=cgroupfs"),
             "write `\"exec-opts\": [\"native.cgroupdriver=cgroupfs\"]` to /etc/docker/daemon.json"),
        ],
    },
    Engine {
        programs: &["kubelet", "crictl"],
        files: &["/etc/containerd/config.toml", "/var/lib/kubelet/config.yaml"],
        needs: &[
            (|_| true, Some(RUNTIME), "name the runtime in /etc/containerd/config.toml"),
            (|_| true, Some("cgroupDriver: cgroupfs"),
             "write `cgroupDriver: cgroupfs` to /var/lib/kubelet/config.yaml"),
            (|host| host.is_root && !host.may_raise, Some("restrict_oom_score_adj = true"),
             "this root may not lower scores: write `restrict_oom_score_adj = true` to /etc/containerd/config.toml"),
        ],
    },
];

/// What a person must do before the engine can use lesson 19. `text` is that of the files.
fn remedies(engine: &Engine, host: &Host, text: &str) -> Vec<&'static str> {
    // A comment says nothing.
    let lines: Vec<&str> = text.lines().filter(|it| !it.trim_start().starts_with('#')).collect();
    let says = |words: &str| lines.iter().any(|line| line.contains(words));
    let lacks =
        engine.needs.iter().filter(|(counts, words, _)| counts(host) && !words.is_some_and(says));
    lacks.map(|(_, _, remedy)| *remedy).collect()
}

/// Prints a line for each engine that is installed.
pub(super) fn advise() -> Result<()> {
    let is_there = |engine: &Engine| engine.programs.iter().copied().find(|it| has_tool(it));
    let found: Vec<_> = ENGINES.iter().filter_map(|it| Some((is_there(it)?, it))).collect();
    if !found.is_empty() && !has_tool(RUNTIME) {
        print(&format!(
            "note  {RUNTIME} is not installed, and engines need it: `cargo xtask dist && sudo install dist/{RUNTIME} /usr/local/bin/`\n"
        ))?;
    }
    let raise = Capabilities::of(&["CAP_SYS_RESOURCE"])?;
    let host = Host {
        is_root: getuid().is_root(),
        has_systemd: Path::new("/run/systemd/system").exists(),
        may_raise: common::permitted()?.bits() & raise.bits() != 0,
    };
    for (name, engine) in found {
        let mut remedies: Vec<String> =
            remedies(engine, &host, &text(engine)).into_iter().map(str::to_owned).collect();
        if name == "podman" && !host.is_root {
            remedies.extend(Ids::of_caller().err().map(|why| common::one_line(&why)));
        }
        let line = if remedies.is_empty() {
            format!("{}  {name} can use lesson 19", Style::of_stdout().green("ok  "))
        } else {
            format!("note  {name} cannot use lesson 19 yet: {}", remedies.join("; "))
        };
        print(&format!("{line}; see docs/engines.md\n"))?;
    }
    Ok(())
}

/// The files of an engine, as far as this user can read them.
fn text(engine: &Engine) -> String {
    let home = env::var_os("HOME").map(|home| Path::new(&home).join(".config"));
    let place = |file: &&str| home.clone().unwrap_or_default().join(file);
    let named = env::var_os("CONTAINERS_CONF").map(PathBuf::from);
    engine.files.iter().map(place).chain(named).flat_map(fs::read_to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HARD: Host = Host { is_root: true, has_systemd: true, may_raise: false };

    fn count(engine: usize, host: &Host, text: &str) -> usize {
        remedies(&ENGINES[engine], host, text).len()
    }

    #[test]
    fn a_comment_in_a_file_helps_nobody() {
        let text = "cgroup_manager = \"cgroupfs\"\n default_ulimits = [\"nofile=1:1\"]\n";
        assert_eq!((count(0, &HARD, ""), count(0, &HARD, text)), (2, 0));
        assert_eq!(count(0, &HARD, &text.replace(" default", " # default")), 1);
        let easy = Host { has_systemd: false, may_raise: true, ..HARD };
        assert_eq!(count(0, &easy, ""), 0);
    }

    #[test]
    fn each_remedy_helps() {
        let user = Host { is_root: false, ..HARD };
        for (at, engine) in ENGINES.iter().enumerate() {
            let words = engine.needs.iter().filter_map(|(_, words, _)| *words);
            assert_eq!(count(at, &HARD, &words.collect::<Vec<_>>().join("\n")), 0, "{at}");
            // The reader is told the words of the file.
            for (_, words, remedy) in engine.needs {
                let named = words.is_none_or(|it| remedy.contains(it) || it == RUNTIME);
                assert!(named, "{remedy}");
            }
        }
        assert_eq!(remedies(&ENGINES[1], &user, ""), ["only root can call it: use sudo"]);
    }
}
