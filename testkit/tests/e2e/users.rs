//! Containers with more than one user: the maps, `--user`, and the removal of their files.

use std::process::{Command, Output, Stdio};

use testkit::pty::{INTERRUPT, Terminal, keys_work};
use testkit::{bin, containers_work, is_one_line, is_root, rootfs, skip, stderr, stdout};

const STEP: &str = "step16-images";

/// Gives root and the user `course` subordinate IDs, on a host with its own mounts and network, and runs a script as
/// one of them. `course` has a copy of the root as its own. `$SETUP` changes the host before.
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
    eval "$SETUP"
    [ "$WHO" = course ] || exec sh -c "$SCRIPT" sh "$@"
    cp -a "$CONTAINER_ROOTFS" /run/root
    chown -R 4242:4242 /run/root
    export CONTAINER_ROOTFS=/run/root RANGE='400000000 65536'
    exec setpriv --reuid 4242 --regid 4242 --groups 4242,12 sh -c "$SCRIPT" sh "$@""#;

/// A directory of the test's own, which is removed at the end, and a function.
const PRELUDE: &str = r#"
    export TMPDIR=$(mktemp -d)
    chmod 755 "$TMPDIR"
    trap 'rm -rf "$TMPDIR"' EXIT
    cd "$TMPDIR"
    [ -n "$RANGE" ] || RANGE=$(awk -F: -v name="$(id -un)" '$1 == name { print $2, $3; exit }' /etc/subuid)
    FIRST=${RANGE% *}
    until_true() {
        tries=0
        until "$@"; do
            tries=$((tries + 1))
            [ $tries -lt 600 ] || { echo "not in time: $*"; exit 1; }
            sleep 0.1
        done
    }
    "#;

/// The callers that can be had here: root and an ordinary user, or this user. Nothing if the host
/// lacks something.
fn callers(tools: &str) -> &'static [&'static str] {
    if !containers_work() {
        return &[];
    }
    let look = "for it; do command -v $it >&2 || echo $it; done
        ls /etc/subuid /etc/subgid >&2 || echo /etc/subuid
        [ $(id -u) = 0 ] || grep -q \"^$(id -un):\" /etc/subuid || echo range of subordinate IDs";
    let mut command = Command::new("sh");
    command.args(["-c", look, "sh", "newuidmap", "newgidmap", "setpriv", "unshare", "mktemp"]);
    let output = command.args(["awk", "pgrep"]).args(tools.split_whitespace()).output();
    let lacks = stdout(&output.expect("start sh"));
    if !lacks.is_empty() {
        skip(&format!("there is no {}", lacks.replace('\n', ", ")));
        return &[];
    }
    if is_root() { &["root", "course"] } else { &["this user"] }
}

/// A command that runs a script as a caller.
fn script_of(who: &str, setup: &str, script: &str) -> Command {
    let script = format!("{PRELUDE}{script}");
    let mut command = Command::new(if is_root() { "unshare" } else { "sh" });
    match is_root() {
        true => command.args(["--mount", "--net", "sh", "-c", HOST, "sh"]),
        false => command.args(["-c", &script, "sh"]),
    };
    command.env("WHO", who).env("SETUP", setup).env("SCRIPT", &script).env("STEP", bin(STEP));
    command.env("CONTAINER_ROOTFS", rootfs()).stdin(Stdio::null());
    command.env("TEST", std::env::current_exe().expect("a test has a path"));
    command
}

fn run(who: &str, setup: &str, script: &str) -> Output {
    script_of(who, setup, script).output().expect("start a script")
}

/// Runs a script as each caller, and compares the lines that it prints. It prints nothing to
/// standard error.
fn says(tools: &str, script: &str, lines: &str) {
    for who in callers(tools) {
        let output = run(who, "", script);
        let error = stderr(&output);
        assert_eq!(stdout(&output), lines, "{who}: {error}");
        assert_eq!(error, "", "{who}");
    }
}

#[test]
fn a_container_has_the_caller_and_its_subordinate_ids() {
    says(
        "",
        r#"
        named() { awk '{ print $1, $2, $3 }' | sed "s/^0 $(id -u) 1/0 caller 1/; s/^1 $FIRST 65536/1 range 65536/"; }
        "$STEP" sh -c '
            cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups
            grep -h Groups: /proc/1/status /proc/self/status
            >/file
            for id in 1 65536 65537; do
                chown $id:$id /file 2>/dev/null || echo $id is refused
                ls -ln /file
            done' | sed 's/^-rw-r--r-- *1 //' | named
        mkfifo ready
        "$STEP" sh -c 'echo; exec sleep 1000' >ready & runner=$!
        read -r line <ready
        named </proc/$(pgrep -P $runner)/uid_map
        kill $runner
        wait $runner
        "#,
        "0 caller 1\n1 range 65536\n0 caller 1\n1 range 65536\nallow  \nGroups:  \nGroups:  \n\
         1 1 0\n65536 65536 0\n65537 is refused\n65536 65536 0\n0 caller 1\n1 range 65536",
    );
}

/// A range may be in several lines, and smaller than others; the user may have its number there.
#[test]
fn several_ranges_of_a_user_follow_each_other() {
    if !is_root() {
        skip("only root can give a user other IDs");
        return;
    }
    for who in callers("") {
        let setup = r#"id=$WHO; [ $WHO = root ] || id=4242
            printf '%s\n' $WHO:300000000:10 bob:1:9 $id:400000000:20 $WHO:300000005:6 >/run/ids"#;
        let script = r#""$STEP" cat /proc/self/uid_map | awk 'NR > 1 { print $1, $2, $3 }'
            "$STEP" sh -c '>/file; chown 31 /file && ! chown 32 /file' 2>/dev/null && echo 31"#;
        let output = run(who, setup, script);
        let lines = "1 300000000 10\n11 400000000 20\n31 300000010 1\n31";
        assert_eq!(stdout(&output), lines, "{who}: {}", stderr(&output));
    }
}

#[test]
fn what_changes_its_user_works() {
    let has = |program: &&str| {
        ["bin", "usr/bin", "usr/sbin"]
            .iter()
            .any(|dir| rootfs().join(dir).join(program).symlink_metadata().is_ok())
    };
    if !callers("").is_empty() && !["su", "adduser"].iter().all(has) {
        skip("the root has no su and adduser");
        return;
    }
    says(
        "",
        r#"
        "$STEP" sh -c '
            adduser -D ann && addgroup ann audio && su ann -c "id; touch /home/ann/file"
            stat -c "%U %G" /home/ann/file
            su ann -c "su -c id" 2>&1' | sed 's/audio/group/g'
        "#,
        "uid=1000(ann) gid=1000(ann) groups=18(group),1000(ann)\nann ann\n\
         su: must be suid to work properly",
    );
}

/// The files of a root for `--user`.
const LAYER: &str = r#"
    mkdir -p layer/etc
    echo root:x:0:0::/root:/bin/sh >layer/etc/passwd
    echo ann:x:1000:100::/home:/bin/sh >>layer/etc/passwd
    printf 'users:x:100:\nwheel:x:10:root,ann\nfar:x:70000:far\n' >layer/etc/group
    echo far:x:5:5::/:/bin/sh >>layer/etc/passwd
    step() { "$STEP" --lower layer --lower "$CONTAINER_ROOTFS" "$@"; }
    "#;

#[test]
fn a_user_of_the_root_has_its_number_groups_and_home() {
    let script = r#"
        for user in ann 1000 ann:wheel 1000:7 root 0 7 65536:65536 ann:users; do
            step --user $user sh -c '
                echo $1 $(id -u) $(id -g) $(sed -n "s/Groups:\t//p" /proc/self/status) $HOME' sh $user
        done
        step sh -c 'echo no user $(id -u) $(id -g) $(sed -n "s/Groups:\t//p" /proc/self/status) $HOME'
        "#;
    says(
        "",
        &(LAYER.to_owned() + script),
        "ann 1000 100 10 100 /home\n1000 1000 100 10 100 /home\nann:wheel 1000 10 10 /home\n\
         1000:7 1000 7 7 /home\nroot 0 0 0 10 /root\n0 0 0 0 10 /root\n7 7 0 0 /\n\
         65536:65536 65536 65536 65536 /\nann:users 1000 100 100 /home\nno user 0 0 /root",
    );
}

#[test]
fn a_user_that_the_container_does_not_have_is_refused() {
    for who in callers("") {
        for (options, why) in [
            ("--user bob", "find the user bob: there is no user bob in /etc/passwd of the root; "),
            (
                "--user ann:bob",
                "find the user ann:bob: there is no group bob in /etc/group of the root; ",
            ),
            (
                "--user 65537",
                "find the user 65537: user 65537 is none of the container's, which are 0 to ",
            ),
            (
                "--user 1:65537",
                "find the user 1:65537: group 65537 is none of the container's, which ",
            ),
            (
                "--user far",
                "find the user far: group 70000 is none of the container's, which are 0 to ",
            ),
            (
                "--user 4294967295",
                "find the user 4294967295: 4294967295 is greater than any number of ",
            ),
            (
                "--ids one --user ann",
                "find the user ann: the container has only user 0 and group 0; ",
            ),
            (
                "--ids one --user 0:5",
                "find the user 0:5: the container has only user 0 and group 0; ",
            ),
        ] {
            let output = run(who, "", &format!("{LAYER}\nstep {options} true"));
            let error = stderr(&output);
            assert_eq!(output.status.code(), Some(125), "{who} {options}: {error}");
            assert!(error.starts_with(&format!("{STEP}: {why}")), "{who}: {error}");
            assert!(is_one_line(STEP, &error), "{error}");
        }
        let output = run(who, "", &format!("{LAYER}\nstep --ids one --user root id -u"));
        assert_eq!((&*stdout(&output), &*stderr(&output)), ("0", ""), "{who}");
    }
}

/// Process 1 has no capability left but one, by which it sends signals to another user.
#[test]
fn a_user_has_no_capabilities_and_gets_signals() {
    says(
        "",
        r#"
        caps() { sed -n 's/^\(Cap[A-Z].*\|NoNewPrivs\):\t0*/\1 /p'; }
        "$STEP" --user 1000 sh -c 'grep -E "^(CapInh|CapPrm|CapEff|CapAmb|NoNew)" /proc/self/status' | caps
        "$STEP" --user 1000 --cap-drop ALL cat /proc/self/status | caps
        "$STEP" --user 0 --cap-drop ALL cat /proc/self/status | caps
        # The command can begin before process 1 has dropped the rest. After that, process 1 sleeps.
        "$STEP" --cap-drop ALL sh -c 'until grep -q "^State:.S" /proc/1/status; do :; done; cat /proc/1/status' | caps
        mkfifo ready
        for signal in TERM USR1; do
            "$STEP" --user 1000 --cap-drop ALL sh -c "
                trap 'echo got $signal; exit 7' $signal; echo
                for i in \$(seq 300); do sleep 0.1; done" >ready &
            { read -r line; kill -$signal $!; cat; } <ready
            wait $! || echo $?
        done
        "#,
        "CapInh \nCapPrm \nCapEff \nCapAmb \nNoNewPrivs 1\n\
         CapInh \nCapPrm \nCapEff \nCapBnd \nCapAmb \nNoNewPrivs 1\n\
         CapInh \nCapPrm \nCapEff \nCapBnd \nCapAmb \nNoNewPrivs 1\n\
         CapInh \nCapPrm 20\nCapEff 20\nCapBnd 20\nCapAmb \nNoNewPrivs 1\n\
         got TERM\n7\ngot USR1\n7",
    );
}

#[test]
fn without_a_range_or_a_tool_a_container_has_one_user() {
    if !is_root() {
        // Another test has --ids one.
        skip("only root can take the IDs of a user away");
        return;
    }
    let lacks = |files, options| {
        format!("WHO has no range of IDs in {files}; as root: usermod {options} WHO")
    };
    let both = "--add-subuids 500005-565540 --add-subgids 500005-565540";
    let tools = "newuidmap(1) and newgidmap(1) are missing; as root: apt-get install uidmap";
    for who in callers("") {
        for (setup, why) in [
            ("echo bob:500000:5 >/run/ids", lacks("/etc/subuid and /etc/subgid", both)),
            (
                "echo $WHO:0:0 >/run/ids; echo bob:500000:5 >>/run/ids",
                lacks("/etc/subuid and /etc/subgid", both),
            ),
            (
                "echo bob:500000:5 >/run/gids; mount --bind /run/gids /etc/subgid",
                lacks("/etc/subgid", "--add-subgids 400065536-400131071"),
            ),
            ("mount --bind /dev/null $(command -v newgidmap)", tools.to_owned()),
            (
                "sed /^course/d /run/passwd >/run/other; mount --bind /run/other /etc/passwd",
                "user 4242 has no name".to_owned(),
            ),
            (
                "sed s/:4242:4242:/:4242:4243:/ /run/passwd >/run/other; mount --bind /run/other /etc/passwd",
                "group 4242 is not the group of course in /etc/passwd".to_owned(),
            ),
        ] {
            // The note goes to the terminal, and the output to a file.
            let script = r#"{
                "$STEP" sh -c 'cat /proc/self/uid_map /proc/self/setgroups'
                "$STEP" --ids one id -u
                "$STEP" true 2>&1
            } </dev/null >file
            echo middle; cat file; echo end"#;
            let mut terminal = Terminal::start(script_of(who, setup, script));
            let error = terminal.see("middle\r\n").replace("\r\n", "");
            let said = terminal.see("end\r\n");
            let lines: Vec<_> = said.split_whitespace().collect();
            // Root needs no tool and no name.
            if *who == "root" && !why.contains("WHO") {
                assert_eq!((&*error, lines.get(3)), ("", Some(&"1")), "{setup}");
                continue;
            }
            let expected = format!("{STEP}: the container has only one user: {why}");
            assert!(error.starts_with(&expected.replace("WHO", who)), "{who} {setup}: {error}");
            assert!(is_one_line(STEP, &error), "{error}");
            assert_eq!(
                (lines.len(), lines[2], lines[3], lines[4]),
                (5, "1", "deny", "0"),
                "{said}"
            );
        }
    }
}

/// newuidmap(1) then gets no rights. Root does not need it.
#[test]
fn a_caller_with_no_new_privs_has_a_container_of_one_user() {
    for who in callers("") {
        let script = r#"setpriv --no-new-privs "$STEP" grep -c . /proc/self/uid_map"#;
        let output = run(who, "", script);
        let lines = if *who == "root" { "2" } else { "1" };
        assert_eq!((&*stdout(&output), &*stderr(&output)), (lines, ""), "{who}");
    }
}

#[test]
fn root_takes_the_ids_of_the_user_that_it_names() {
    for who in callers("") {
        let script = r#"
            for ids in course 4242 root nobody; do "$STEP" --ids $ids cat /proc/self/uid_map; done"#;
        let output = run(who, "", script);
        let (said, error) = (stdout(&output), stderr(&output));
        let said: Vec<_> = said.split_whitespace().collect();
        let (root, course) = ("0 0 1 1 300000000 65536", "1 400000000 65536");
        let not_root =
            |user| format!("{STEP}: --ids {user}: only root can use the IDs of another user");
        match *who {
            "root" => {
                assert_eq!(said.join(" "), format!("0 0 1 {course} 0 0 1 {course} {root}"));
                assert!(error.starts_with(&format!("{STEP}: --ids nobody: nobody has no range")));
            }
            "course" => {
                assert_eq!(said.join(" "), format!("0 4242 1 {course} 0 4242 1 {course}"));
                let lines: Vec<_> = error.lines().collect();
                assert!(lines[0].starts_with(&not_root("root")), "{error}");
                assert!(lines[1].starts_with(&not_root("nobody")), "{error}");
            }
            _ => assert!(error.contains(&not_root("root")), "{error}"),
        }
    }
}

/// The child meets the runner twice.
#[test]
fn a_container_with_users_has_a_network() {
    if !is_root() {
        skip("only root can make a network for the test");
        return;
    }
    let setup = "ip link set lo up; ip link add one type veth peer name two; ip link set one up
        ip link set two up; ip address add 192.0.2.1/24 dev one
        ip route add default via 192.0.2.2";
    for who in callers("ip nft nsenter pasta slirp4netns") {
        let script = r#"
            [ -w /dev/net/tun ] || { echo no tun; exit; }
            kinds=pasta
            [ $(id -u) = 0 ] && kinds='pasta bridge'
            for kind in $kinds; do
                "$STEP" --network $kind --publish 8080:80 --user 1000 sh -c '
                    id -u
                    grep -c . /proc/self/uid_map
                    sed -n "s/	.*//; s/^192.0.2.1$/pasta/p; s/^10.219.0.2$/bridge/p" /etc/hosts' || echo $?
            done"#;
        let output = run(who, setup, script);
        let (said, error) = (stdout(&output), stderr(&output));
        match (*who, &*said) {
            (_, "no tun") => drop(skip("this user cannot open /dev/net/tun")),
            ("root", said) => assert_eq!(said, "1000\n2\npasta\n1000\n2\nbridge", "{error}"),
            (_, said) => assert_eq!(said, "1000\n2\npasta", "{error}"),
        }
    }
}

/// Another program has the name newuidmap: it fails, or hangs.
#[test]
fn a_tool_that_fails_or_hangs_ends_the_start() {
    for who in callers("").iter().filter(|who| **who != "root") {
        let fake = |program: &str| {
            format!(
                "mkdir bin; printf '#!/bin/sh\\n{program}\\n' >bin/newuidmap; chmod +x bin/newuidmap; export PATH=$PWD/bin:$PATH\n"
            )
        };
        let output =
            run(who, "", &(fake("echo no such luck >&2; exit 3") + r#""$STEP" true; echo $?; ls"#));
        let error = stderr(&output);
        assert!(error.starts_with(&format!("{STEP}: newuidmap ")), "{who}: {error}");
        assert!(error.ends_with(" 65536: no such luck") && error.contains(" 1 1 "), "{error}");
        assert!(is_one_line(STEP, &error), "{error}");
        assert_eq!(stdout(&output), "125\nbin");

        let hangs = fake("echo $$ >pid; exec sleep 1000");
        let script = r#"
            for signal in TERM KILL; do
                "$STEP" true & runner=$!
                until_true test -s pid
                child=$(pgrep -P $runner -x step16-images)
                kill -$signal $runner
                wait $runner || echo $?
                gone() { ! kill -0 $child; }
                until_true gone 2>/dev/null
                # With a killed runner, the tool ends, and not what the tool has started.
                [ $signal = TERM ] || kill -9 -- -$(cat pid)
                rm pid
            done
            PATH=${PATH#*:}
            "$STEP" true
            ls"#;
        let output = run(who, "", &(hangs + script));
        let error = stderr(&output);
        assert_eq!(stdout(&output), "143\n137\nbin", "{who}: {error}");

        if !keys_work() {
            continue;
        }
        let hangs = fake("echo ready >/dev/tty; sleep 1000");
        let script = r#"trap : INT; "$STEP" true; echo =$?; ls"#;
        let mut terminal = Terminal::start(script_of(who, "", &(hangs + script)));
        terminal.see("ready");
        terminal.keys(INTERRUPT);
        terminal.see("=130\r\nbin\r\n");
    }
}

#[test]
fn files_of_other_users_are_removed_also_after_a_kill() {
    says(
        "",
        r#"
        own='mkdir -p /dir/in; touch /dir/in/file; chown -R 65536:65536 /dir; chmod 700 /dir /dir/in'
        "$STEP" sh -c "$own; ls -ln /dir | wc -l"
        ls
        # At any moment of its life.
        for moment in $(seq 40); do
            "$STEP" sh -c "while :; do $own; chown 0 /dir; done" >/dev/null 2>&1 & runner=$!
            sleep 0.00$((moment % 10)); sleep 0.0$((moment / 8))
            kill -9 $runner
            wait $runner
        done 2>/dev/null
        last='mkdir -p /last/in; chown -R 65536:65536 /last; chmod 700 /last; exec sleep 1000'
        "$STEP" sh -c "$last" & runner=$!
        is_closed() { [ "$(stat -c %a containers-*/*/upper/last)" = 700 ]; }
        until_true is_closed 2>/dev/null
        kill -9 $runner
        wait $runner 2>/dev/null
        ls containers-* | head -n 1 | grep -q . && echo something is left
        # The kernel may still be ending a container.
        empty() { "$STEP" true; [ -z "$(ls)" ]; }
        until_true empty
        ls
        "#,
        "2\nsomething is left",
    );
}

#[test]
fn a_named_scratch_directory_keeps_its_users_and_another_container_removes_it() {
    for who in callers("") {
        let script = r#"
            "$STEP" --scratch kept sh -c 'mkdir /dir; chown 65536 /dir; chmod 700 /dir'
            "$STEP" --scratch kept stat -c %u /dir
            "$STEP" --ids one --scratch kept ls /dir 2>&1 | sed 's/ls:.*/closed/'
            "$STEP" --bind "$PWD:/mnt" rm -r /mnt/kept
            ls"#;
        let output = run(who, "", script);
        let (said, error) = (stdout(&output), stderr(&output));
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(
            (lines.len(), lines[0], lines[2]),
            (3, "65536", "closed"),
            "{who}: {said} {error}"
        );
        let expected = "a container with other subordinate IDs has used kept: ";
        assert!(lines[1].starts_with(&format!("{STEP}: {expected}")), "{said}");
        assert_eq!(error, "", "{who}");
    }
}

#[test]
fn a_hostile_file_of_users_is_not_waited_for() {
    const CASES: [(&str, &str); 7] = [
        ("mkfifo $F", "read /etc/passwd in the root: it is not a file"),
        ("mkdir $F", "read /etc/passwd in the root: it is not a file"),
        ("truncate -s 17M $F", "read /etc/passwd in the root: it is longer than 16777216 bytes"),
        ("ln -s passwd $F", "read /etc/passwd in the root: Too many symbolic links"),
        ("ln -s /proc/self/fd/0 $F", "there is no user ann in /etc/passwd of the root"),
        // A file of the host: the root does not have it.
        ("ln -s $TMPDIR/file $F", "there is no user ann in /etc/passwd of the root"),
        (
            "ln -s ../../../../../../..$TMPDIR/file $F",
            "there is no user ann in /etc/passwd of the root",
        ),
    ];
    for who in callers("truncate head") {
        for (what, why) in CASES {
            let script = format!(
                "{LAYER}\nF=layer/etc/passwd; cp $F file; rm $F; {what}
                step --user ann true <file 2>&1"
            );
            let output = run(who, "", &script);
            let expected = format!("{STEP}: find the user ann: {why}");
            let said = stdout(&output);
            assert!(said.starts_with(&expected), "{who} {what}: {said}");
            assert!(is_one_line(STEP, &said), "{said}");
        }
        let script = r#"
            { printf 'ann:x:0\0:0::/:\nann:x::0::/:\nann:x:-1:0::/:\n'
              head -c 9000000 /dev/zero | tr '\0' a
              printf '\nann:x:1000:1000::/:/bin/sh'; } >layer/etc/passwd
            step --user ann id -u"#;
        let output = run(who, "", &(LAYER.to_owned() + script));
        assert_eq!(stdout(&output), "1000", "{who}: {}", stderr(&output));
    }
}

#[test]
fn another_user_cannot_execute_the_step() {
    for who in callers("") {
        let script = r#""$STEP" --user 1000 /proc/self/exe --version 2>&1; echo $?
            "$STEP" --user 1000 /proc/1/exe --version 2>/dev/null; echo $?"#;
        let said = stdout(&run(who, "", script));
        let link = format!("{STEP}: execute /proc/self/exe: a link of /proc leads to it");
        assert!(said.starts_with(&link) && said.ends_with("\n126\n126"), "{who}: {said}");
    }
}

/// nginx and others write their log to /dev/stderr.
#[test]
fn another_user_opens_its_streams_by_name() {
    says(
        "",
        r#"
        script='echo out >/dev/stdout; echo err >/dev/stderr; cat /dev/stdin
            { true </dev/stdout; } 2>/dev/null || echo write only'
        echo in | "$STEP" --user 1000 sh -c "$script" 2>&1 | cat
        echo in >file
        "$STEP" --user 1000 sh -c "$script" <file >log 2>&1
        cat log
        "#,
        "out\nerr\nin\nwrite only\nout\nerr\nin\nwrite only",
    );
}

#[test]
fn another_user_opens_its_terminal_by_name() {
    for who in callers("") {
        let script = r#"
            "$STEP" --user 1000 sh -c 'tty; echo out >/dev/stdout; echo err >/dev/stderr; id -u'
            "$STEP" sh -c 'grep -o "^devpts /dev/pts .*gid=[0-9]*" /proc/mounts | grep -o "gid=.*"'
            echo first=$FIRST"#;
        let mut terminal = Terminal::start(script_of(who, "", script));
        let said = terminal.see("first=");
        assert!(said.contains("/dev/tty\r\nout\r\nerr\r\n1000\r\n"), "{who}: {said}");
        let first: u32 = terminal.see("\r").parse().expect("a number");
        assert!(said.contains(&format!("gid={}\r\n", first + 4)), "{who}: {said} {first}");
    }
}
