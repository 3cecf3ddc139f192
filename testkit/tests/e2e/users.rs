//! Containers with more than one user: the maps, `--user`, and the removal of their files.

use std::process::{Command, Output};

use testkit::{bin, containers_work, is_root, rootfs, skip, stderr, stdout};

const STEP: &str = "step16-images";

/// Gives root and the user `course` subordinate IDs, in a mount namespace, and runs a script as
/// one of them. `course` has a copy of the root as its own.
const HOST: &str = r#"
    set -e
    mount -t tmpfs -o mode=755 tmpfs /run
    mkdir -m 1777 /run/tmp
    { cat /etc/passwd; echo course:x:4242:4242::/:/bin/sh; } >/run/passwd
    printf 'root:300000000:65536\ncourse:400000000:65536\n' >/run/ids
    mount --bind /run/passwd /etc/passwd
    mount --bind /run/ids /etc/subuid
    mount --bind /run/ids /etc/subgid
    export TMPDIR=/run/tmp RANGE='300000000 65536'
    [ "$WHO" = course ] || exec sh -c "$SCRIPT"
    cp -a "$CONTAINER_ROOTFS" /run/root
    chown -R 4242:4242 /run/root
    export CONTAINER_ROOTFS=/run/root RANGE='400000000 65536'
    exec setpriv --reuid 4242 --regid 4242 --clear-groups sh -c "$SCRIPT""#;

/// The functions that the scripts use, and the calling user's range.
const PRELUDE: &str = r#"
    [ -n "$TMPDIR" ] && [ "$TMPDIR" != /tmp ] || export TMPDIR=$(mktemp -d)
    if [ -z "$RANGE" ]; then
        RANGE=$(awk -F: -v name=$(id -un) '$1 == name { print $2, $3; exit }' /etc/subuid)
    fi
    FIRST=${RANGE% *}
    until_true() {
        for _ in $(seq 600); do "$@" && return; sleep 0.1; done
        echo "not in time: $*"
        exit 1
    }
    "#;

/// Runs a script as each caller that can be had here, root and an ordinary user, and returns
/// what they said. Nothing if the host lacks something.
fn as_callers(tools: &str, script: &str) -> Vec<(&'static str, Output)> {
    if !containers_work() {
        return Vec::new();
    }
    let tools = format!("newuidmap newgidmap setpriv unshare awk mktemp {tools}");
    let look = "for it; do command -v $it >&2 || echo $it; done; ls /etc/subuid /etc/subgid >&2 || echo files";
    let mut command = Command::new("sh");
    command.args(["-c", look, "sh"]).args(tools.split_whitespace());
    let lacks = stdout(&command.output().expect("start sh"));
    if !lacks.is_empty() {
        skip(&format!("there is no {}", lacks.replace('\n', ", ")));
        return Vec::new();
    }
    let callers = if is_root() { &["root", "course"][..] } else { &["this user"] };
    let run = |who: &&'static str| {
        let script = format!("{PRELUDE}{script}");
        let mut command = match is_root() {
            true => Command::new("unshare"),
            false => Command::new("sh"),
        };
        match is_root() {
            true => command.args(["--mount", "sh", "-c", HOST]),
            false => command.args(["-c", &script]),
        };
        command.env("WHO", who).env("SCRIPT", &script).env("STEP", bin(STEP));
        command.env("CONTAINER_ROOTFS", rootfs());
        command.env("TEST", std::env::current_exe().expect("a test has a path"));
        (*who, command.output().expect("start a script"))
    };
    callers.iter().map(run).collect()
}

/// Runs a script as each caller, and compares the lines that it prints.
fn says(tools: &str, script: &str, lines: &str) {
    for (who, output) in as_callers(tools, script) {
        let (said, error) = (stdout(&output), stderr(&output));
        assert_eq!(said, lines, "{who}: {error}");
    }
}

#[test]
fn a_container_has_the_caller_and_its_subordinate_ids() {
    says(
        "",
        r#"
        "$STEP" sh -c '
            cat /proc/self/uid_map
            grep Groups: /proc/self/status
            >/file
            for id in 1 65536 65537; do
                chown $id:$id /file 2>/dev/null && ls -ln /file || echo $id is refused
            done' | awk '{ print $1, $2, $3, $4 }' |
            sed "s/^0 $(id -u) 1/0 caller 1/; s/^1 $FIRST 65536/1 range 65536/; s/ 1 root / /"
        "#,
        "0 caller 1 \n1 range 65536 \nGroups:   \n\
         -rw-r--r-- 1 1 1\n-rw-r--r-- 1 65536 65536\n65537 is refused ",
    );
}
