//! The network of a container, on hosts that the tests make: nothing reaches a real network.
//! The networks of an ordinary user have a file of their own.

use std::fs;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::os::unix::fs::symlink;
use std::process::{Command, Output};
use std::thread;

use nix::sched::{CloneFlags, unshare};
use testkit::procs::ignored;
use testkit::{bin, containers_work, is_one_line, is_root, rootfs, skip, stderr, stdout, tempdir};

const STEP: &str = "step15-bridge";

/// Functions for the scripts. `state` prints all that a container could change on a host.
/// `until_true` ends the script after too many tries, and prints `/run/said`.
const PRELUDE: &str = r#"set -eu
mount -t tmpfs none /run
ip link set lo up
state() { ip -d link; ip route show table all; nft list ruleset; }
never() { echo "never: $*"; cat /run/said; exit 1; } >&2
until_true() { tries=0; until "$@"; do tries=$((tries + 1)); [ $tries -lt 6000 ] || never "$@"; sleep 0.1; done; }
"#;

/// Runs a script, with the step in `$STEP`, as root of a host of its own: a network, mounts and
/// processes that end with the script. Without its tools, prints why the test is skipped.
pub(crate) fn on_host(step: &str, tools: &str, script: &str) -> Option<Output> {
    if !containers_work() {
        return None;
    }
    let look = "PATH=$PATH:/usr/sbin:/sbin; for it; do command -v $it >&2 || echo $it; done
        ip -Version >&2 || echo ip of iproute2";
    let mut command = Command::new("sh");
    command.args(["-c", look, "sh", "ip", "nft", "nsenter", "unshare"]);
    let lacks = stdout(&command.args(tools.split_whitespace()).output().expect("start sh"));
    if !lacks.is_empty() {
        skip(&format!("there is no {}", lacks.replace('\n', ", ")));
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    if !is_root() {
        command.arg("--map-root-user");
    }
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    command.args(["sh", "-c", &format!("{PRELUDE}{script}")]).env("PATH", path);
    command.env("STEP", bin(step)).env("CONTAINER_ROOTFS", rootfs());
    command.env("TEST", std::env::current_exe().expect("a test has a path"));
    Some(command.output().expect("start unshare"))
}

/// The names of signals that end a runner, and the exit statuses, a line each. The runner also
/// ignores the signals that the caller of the tests ignores.
pub(crate) fn heeded_signals() -> (String, String) {
    let all = [("TERM", 15), ("HUP", 1), ("INT", 2)];
    let heeded: Vec<_> = all.into_iter().filter(|(_, number)| !ignored(*number)).collect();
    if heeded.len() < all.len() {
        skip("the caller of the tests ignores SIGTERM, SIGHUP or SIGINT; the others are tested");
    }
    let names: Vec<_> = heeded.iter().map(|(name, _)| *name).collect();
    let statuses: Vec<_> = heeded.iter().map(|(_, number)| (128 + number).to_string()).collect();
    (names.join(" "), statuses.join("\n"))
}

/// As `on_host`, for a script that prints only `done`.
fn is_done(tools: &str, script: &str) {
    if let Some(output) = on_host(STEP, tools, script) {
        let (said, error) = (stdout(&output), stderr(&output));
        assert!(output.status.success() && said.lines().last() == Some("done"), "{said}\n{error}");
    }
}

#[test]
fn many_containers_have_different_addresses_and_leave_nothing() {
    // A container has a key, and an ordinary user 200; keyrings(7). Other tests run, too.
    let number = 100;
    let script = r#"
        before=$(state)
        mkfifo /run/end
        for i in $(seq $NUMBER); do
            "$STEP" --network bridge sh -c 'read -r line; cat /etc/hosts' </run/end >>/run/hosts 2>/dev/null &
        done
        exec 3>/run/end
        all_there() { [ "$(ip -o link show master containers0 2>/dev/null | wc -l)" = $NUMBER ]; }
        until_true all_there
        exec 3>&-
        wait
        addresses() { grep -o '10\.219\.[0-9.]*' /run/hosts; }
        [ "$(addresses | sort -u | wc -l)" = $NUMBER ] || addresses
        [ "$(state)" = "$before" ] || state
        [ ! -e /run/containers0.lock ]
        echo done"#;
    is_done("mkfifo seq", &format!("NUMBER={number}\n{script}"));
}

#[test]
fn the_next_start_removes_the_remains_of_killed_runners() {
    let script = r#"
        before=$(state)
        for moment in 00 01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 16 17 18 19 \
            20 21 22 23 24 25 26 27 28 29 30 32 34 36 38 40 45 50 55 60; do
            "$STEP" --network bridge --publish 8080:80 sleep 1000 2>/dev/null &
            sleep 0.$moment
            kill -9 $!
            wait $! || :
        done
        # The kernel removes a device a moment after its container.
        is_clean() {
            "$STEP" --network bridge true 2>/dev/null
            [ "$(state)" = "$before" ]
        }
        until_true is_clean
        [ ! -e /run/containers0.lock ]
        echo done"#;
    is_done("", script);
}

/// The device of a killed container may still be there, and then its table is, too.
#[test]
fn a_port_does_not_lead_to_a_container_that_was_killed() {
    let script = r#"
        mkfifo /run/end
        "$STEP" --network bridge sh -c 'read -r line' </run/end 2>/dev/null &
        exec 3>/run/end
        until_true ip link show container-2 >/run/said 2>&1
        ip link add container-9 up master containers0 type veth peer name nine
        nft 'table ip container-9-tcp-0.0.0.0-8080 { chain it { type nat hook output priority -100
            fib daddr type local tcp dport 8080 dnat to 10.219.0.9:9; }; }'
        mkfifo /run/ready
        "$STEP" --network bridge --publish 8080:9 sh -c 'echo; exec sleep 1000' >/run/ready &
        read -r line </run/ready
        # No program listens in the container, so it refuses the connection.
        timeout 9 bash -c '</dev/tcp/127.0.0.1/8080' 2>/run/said || grep -q refused /run/said
        nft list tables | grep container-9 || echo done"#;
    is_done("bash", script);
}

/// The kernel removes the device of a container before its runner does, and another container
/// can have the name by then.
#[test]
fn a_late_end_leaves_the_device_of_the_next_container() {
    let script = r#"
        there() { ip link show container-2 >/run/said 2>&1 && [ ! -e /run/containers0.lock ]; }
        gone() { ! ip link show container-2 >/run/said 2>&1; }
        "$STEP" --network bridge sleep 1000 2>/dev/null &
        first=$!
        until_true there
        kill -STOP $first
        kill -KILL $(cat /proc/$first/task/$first/children)
        until_true gone
        "$STEP" --network bridge sleep 1000 2>/dev/null &
        until_true there
        kill -CONT $first
        wait $first || :
        there && echo done"#;
    is_done("", script);
}

/// Process 1 closes its files, and then waits for the end of a process that entered, until the
/// parent of that process, which is outside, has waited for it; pid_namespaces(7).
#[test]
fn a_runner_sleeps_until_its_container_has_ended() {
    let script = r#"
        mkfifo /run/ready
        "$STEP" --network bridge sh -c 'echo; exec sleep 1000' >/run/ready 2>/dev/null &
        runner=$!
        read -r line </run/ready
        child() { cat /proc/$1/task/$1/children; }
        init=$(child $runner)
        command=$(child ${init% })
        nsenter --pid=/proc/${command% }/ns/pid sleep 1000 &
        parent=$!
        has_entered() { entered=$(child $parent); [ "$entered" ]; }
        until_true has_entered
        kill -STOP $parent
        # Before it stops, the call that it is in can still wait for its child.
        is_stopped() { grep '^State:.T' /proc/$parent/status >/run/said; }
        until_true is_stopped
        kill -KILL $command
        is_left() { grep '^State:.Z' /proc/${entered% }/status >/run/said; }
        until_true is_left
        # The closed line has woken the runner by now. One that never sleeps can look so once.
        sleeps() { for look in 1 2 3 4 5; do grep '^State:.S' /proc/$runner/status >/run/said || return; done; }
        until_true sleeps
        kill -CONT $parent
        wait $runner || echo $?
        echo done"#;
    let Some(output) = on_host(STEP, "mkfifo", script) else { return };
    assert_eq!(stdout(&output), "137\ndone", "{}", stderr(&output));
}

#[test]
fn a_failed_start_leaves_nothing() {
    let script = r#"
        before=$(state)
        ! "$STEP" --network bridge --publish 192.0.2.1:8080:80 true || exit 1
        ! "$STEP" --network bridge no-such-command || exit 1
        # The kernel lets a bridge have 1023 devices, but not one of this name.
        ip link add containers0 type bridge
        bridge=$(state)
        ! "$STEP" --network bridge true || exit 1
        [ "$(state)" = "$bridge" ] || state
        ip link delete containers0
        # Another table, bridge and device stay.
        nft 'table ip others { chain it { ip daddr 10.219.0.9 drop; }; }'
        ip link add container-2 type bridge
        ip link add others type bridge
        others=$(state)
        "$STEP" --network bridge --publish 8080:80 true 2>/dev/null
        [ "$(state)" = "$others" ] || state
        echo done"#;
    is_done("", script);
}

#[test]
fn a_tool_that_fails_is_named_with_its_message() {
    for (tool, script, line) in [
        ("nft", "echo no rules here >&2; exit 1", "nft -f -: no rules here"),
        ("ip", "echo bad >&2; echo Command failed -:1 >&2; exit 1", "ip link add containers0 "),
        ("nsenter", "exit 3", "nsenter --net=/proc/"),
    ] {
        // The other calls of the tool succeed, also those that remove all.
        let script = format!(
            r#"before=$(state)
            mkdir /run/bin
            real=$(command -v {tool})
            printf '%s\n' '#!/bin/sh' 'case "$*" in *-f\ -|-batch\ -|*-batch\ -) [ -e /run/failed ] || {{ : >/run/failed; {script}; }};; esac' 'exec '"$real"' "$@"' >/run/bin/{tool}
            chmod +x /run/bin/{tool}
            PATH=/run/bin:$PATH "$STEP" --network bridge true || echo $?
            [ "$(state)" = "$before" ] || state"#
        );
        let Some(output) = on_host(STEP, "", &script) else { return };
        let said = stderr(&output);
        let last = said.lines().last().unwrap_or_default();
        assert_eq!(stdout(&output), "125", "{tool}: {said}");
        assert!(is_one_line(STEP, last) && last.contains(line), "{tool}: {said}");
    }
}

/// Each thing that a start makes is known from its first moment on.
#[test]
fn a_runner_killed_after_any_line_blocks_no_later_start() {
    let script = r#"
        before=$(state)
        mkdir /run/bin
        printf '%s\n' '#!/bin/sh' 'case "$*" in *-batch\ -) ;; *) exec '"$(command -v ip)"' "$@" ;; esac
            while read -r line || [ "$line" ]; do
                echo "$line" | '"$(command -v ip)"' -batch - || exit
                echo "$line" >>/run/lines
                [ "$(wc -l </run/lines)" != "$CUT" ] || kill -9 $PPID
            done' >/run/bin/ip
        chmod +x /run/bin/ip
        for CUT in 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do
            export CUT
            status=0
            : >/run/lines
            PATH=/run/bin:$PATH "$STEP" --network bridge --publish 8080:80 true 2>/dev/null || status=$?
            [ $status = 137 ] || break
            "$STEP" --network bridge --publish 8080:80 true 2>/run/said || { cat /run/said /run/lines; exit 1; }
        done
        # The last start was not killed.
        [ $status = 0 ] && [ $CUT -gt 9 ] || { echo "$CUT: $status"; exit 1; }
        is_clean() {
            "$STEP" --network bridge true 2>/dev/null
            [ "$(state)" = "$before" ]
        }
        until_true is_clean
        echo done"#;
    is_done("", script);
}

/// Also when the tools that remove all hang, too.
#[test]
fn a_signal_ends_a_start_while_a_tool_hangs() {
    let (signals, statuses) = heeded_signals();
    for (tool, hangs) in
        [("nft", "*"), ("nft", "-f*"), ("ip", "*"), ("ip", "-b*"), ("nsenter", "*")]
    {
        let script = format!(
            r#"before=$(state)
            mkdir /run/bin
            printf '%s\n' '#!/bin/sh' 'case "$*" in {hangs}) : >/run/called; exec sleep 1000;; esac' \
                "exec $(command -v {tool}) \"\$@\"" >/run/bin/{tool}
            chmod +x /run/bin/{tool}
            called() {{ [ -e /run/called ]; }}
            for signal in {signals}; do
                # In the background, a program ignores SIGINT.
                {{ until_true called; kill -$signal "$(cat /run/pid)"; }} &
                status=0
                PATH=/run/bin:$PATH sh -c 'echo $$ >/run/pid
                    exec "$STEP" --network bridge --publish 8080:80 true 2>/dev/null' || status=$?
                echo $status
                rm /run/called
            done
            [ ! -e /run/containers0.lock ] || echo locked
            "$STEP" --network bridge true 2>/dev/null
            [ "$(state)" = "$before" ] || state"#
        );
        let Some(output) = on_host(STEP, "", &script) else { return };
        assert_eq!(stdout(&output), statuses, "{tool} {hangs}: {}", stderr(&output));
    }
}

#[test]
fn a_refused_port_does_not_wait_for_the_lock_and_a_signal_ends_the_wait() {
    let script = r#"
        mkfifo /run/ready
        flock /run/containers0.lock sh -c 'echo >/run/ready; exec sleep 1000' &
        read -r line </run/ready
        "$STEP" --network bridge --publish 192.0.2.1:8080:80 true 2>/dev/null || echo $?
        "$STEP" --network bridge true 2>/run/said &
        waits() { ls -l /proc/$!/fd 2>/dev/null | grep -q signalfd && [ ! -s /run/said ]; }
        until_true waits
        kill -TERM $!
        wait $! || echo $?
        grep -c 'lock /run/containers0.lock: SIGTERM' /run/said"#;
    if let Some(output) = on_host(STEP, "flock", script) {
        assert_eq!(stdout(&output), "125\n143\n1", "{}", stderr(&output));
    }
}

/// Starts containers for a script: `inside N COMMAND...` runs a command of the host in the
/// network of the container with the address 10.219.0.N.
const CONTAINERS: &str = r#"
echo 1 >/proc/sys/net/ipv4/ip_forward
mkfifo /run/ready
# begin N OPTION...
begin() {
    number=$1
    shift
    "$STEP" --network bridge "$@" sh -c 'echo; exec sleep 1000' >/run/ready &
    read -r line </run/ready
    eval "runner_$number=$!"
}
inside() {
    eval "of=\$runner_$1"
    shift
    nsenter --net="/proc/$(cat "/proc/$of/task/$of/children" | tr -d ' ')/ns/net" "$@"
}
# watch HOOK MATCH: counts packets, also after `nft flush ruleset`.
watch() { nft "table ip watch { chain it { type filter hook $1 priority 300; $2 counter; }; }"; }
seen() { nft list table ip watch | sed -n 's/.*counter packets \([0-9]*\).*/\1/p'; }
"#;

/// First the rules of the cable drop them. Without rules, the kernel's own check does.
#[test]
fn a_packet_with_a_false_source_does_not_leave_the_cable() {
    let script = r#"
        begin 2 --publish 8080:80
        # send FROM TO
        send() {
            inside 2 sh -c "ip address add $1/32 dev eth0 2>&-; ip route replace $2 via 10.219.0.1 src $1
                echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet"
            inside 2 bash -c "echo >/dev/udp/$2/9"
        }
        inside 2 ip address delete 127.0.0.1/8 dev lo
        inside 2 ip neigh replace 10.219.0.1 lladdr 02:10:0a:db:00:01 dev eth0
        ip link add up0 up type veth peer name up1
        ip link set up1 up
        ip address add 192.0.2.1/24 dev up0
        # A neighbour that is never there: the packet would be forwarded to it.
        ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev up0
        nft 'table ip watch { chain it { type filter hook prerouting priority -400; iifname containers0 udp dport 9 counter; }; }'
        send 198.51.100.9 192.0.2.9
        send 10.219.0.7 192.0.2.9
        send 127.0.0.2 192.0.2.1
        seen
        send 10.219.0.2 192.0.2.9
        seen
        nft flush ruleset
        nft 'table ip watch
            table ip watch { chain it { type filter hook forward priority 300; udp dport 9 counter; }
            chain that { type filter hook input priority 300; udp dport 9 counter; }; }'
        send 198.51.100.9 192.0.2.9
        send 127.0.0.2 192.0.2.1
        seen
        send 10.219.0.2 192.0.2.9
        seen"#;
    if let Some(output) = on_host(STEP, "bash tr", &format!("{CONTAINERS}{script}")) {
        assert_eq!(stdout(&output), "0\n1\n0\n0\n1\n0", "{}", stderr(&output));
    }
}

#[test]
fn a_container_cannot_answer_for_another() {
    let script = r#"
        begin 2
        begin 3
        begin 4
        inside 3 ip link set eth0 down
        inside 2 ip address add 10.219.0.3/16 dev eth0
        for to in 2 3; do inside 4 bash -c "echo >/dev/udp/10.219.0.$to/9"; done
        asked() { inside 4 ip neigh show 10.219.0.3 | grep -q -e FAILED -e lladdr; }
        until_true asked
        inside 4 ip neigh show | sed -n 's/^\([0-9.]*\) .* lladdr \([^ ]*\).*/\1 \2/p'"#;
    if let Some(output) = on_host(STEP, "bash tr", &format!("{CONTAINERS}{script}")) {
        assert_eq!(stdout(&output), "10.219.0.2 02:10:0a:db:00:02", "{}", stderr(&output));
    }
}

/// Otherwise its neighbours send to the old hardware address for half a minute.
#[test]
fn a_later_container_has_the_same_hardware_address() {
    let script =
        r#"for i in 1 2; do "$STEP" --network bridge cat /sys/class/net/eth0/address; done"#;
    if let Some(output) = on_host(STEP, "", script) {
        let address = "02:10:0a:db:00:02";
        assert_eq!(stdout(&output), format!("{address}\n{address}"), "{}", stderr(&output));
    }
}

/// The kernel remembers where packets from a client's port went before.
#[test]
fn a_client_that_sent_before_the_start_reaches_the_container() {
    let script = r#"
        watch postrouting 'oifname containers0 udp dport 9'
        # The kernel remembers connections when a rule asks for them.
        nft 'table ip others { chain it { type filter hook output priority 0; ct state new accept; }; }'
        cat >/run/client <<'END'
            exec 4<>/dev/udp/127.0.0.1/8080
            while read -r line; do echo >&4 || :; echo >/run/sent; done
END
        mkfifo /run/client.in /run/sent
        bash /run/client </run/client.in 2>/dev/null &
        exec 5>/run/client.in 6<>/run/sent
        # The first packet after a refusal fails.
        send() { for i in 1 2; do echo >&5; read -r line <&6; done; }
        arrives() { [ "$(seen)" -gt 0 ] && echo arrives; }
        send
        begin 2
        begin 3 --publish 8080:9/udp
        send
        arrives
        # A restart, with another address.
        kill $runner_3
        wait $runner_3 || :
        begin 3
        begin 4 --publish 8080:9/udp
        nft flush chain ip watch it
        nft add rule ip watch it ip daddr 10.219.0.4 udp dport 9 counter
        send
        arrives"#;
    if let Some(output) = on_host(STEP, "bash tr", &format!("{CONTAINERS}{script}")) {
        assert_eq!(stdout(&output), "arrives\narrives", "{}", stderr(&output));
    }
}

/// With br_netfilter, the bridge sends the packet back by the port that it came from.
#[test]
fn a_container_reaches_its_own_published_port() {
    let script = r#"
        begin 2 --publish 0.0.0.0:8080:9
        # No program listens in the container, so it refuses the connection.
        inside 2 timeout 9 bash -c '</dev/tcp/10.219.0.1/8080' 2>/run/said || grep -q refused /run/said
        echo done"#;
    is_done("bash tr", &format!("{CONTAINERS}{script}"));
}

#[test]
fn a_range_that_the_host_routes_is_refused() {
    for (route, subnet, refused) in [
        ("10.219.7.0/24", "10.219.0.0/16", true),
        ("10.0.0.0/8", "10.219.0.0/16", true),
        ("10.219.0.0/16", "10.219.64.0/24", true),
        ("10.220.0.0/16", "10.219.0.0/16", false),
        ("0.0.0.0/1", "10.219.0.0/16", false),
        ("default", "10.219.0.0/16", false),
    ] {
        let script = format!(
            "ip link add one up type veth peer name two; ip link set two up
            ip address add 192.0.2.1/24 dev one
            ip route add {route} via 192.0.2.2
            \"$STEP\" --network bridge --subnet {subnet} true && echo started"
        );
        let Some(output) = on_host(STEP, "", &script) else { return };
        let said = stderr(&output);
        let last = said.lines().last().unwrap_or_default();
        assert_eq!(stdout(&output), if refused { "" } else { "started" }, "{route}: {said}");
        if refused {
            assert_eq!(output.status.code(), Some(125));
            assert!(is_one_line(STEP, last), "{said}");
            let route = format!("`{route} via 192.0.2.2 dev one`");
            assert!(last.contains(&route) && last.ends_with("--subnet"), "{said}");
        }
    }
}

/// No program listens in the container, so it refuses each connection that arrives.
#[test]
fn only_published_ports_can_be_reached_from_outside() {
    let script = r#"
        unshare --net sleep 1000 &
        other=/proc/$!/ns/net
        is_apart() { [ "$(readlink $other)" != "$(readlink /proc/self/ns/net)" ]; }
        until_true is_apart
        ip link add up0 up type veth peer name eth0 netns $!
        ip address add 192.0.2.1/24 dev up0
        nsenter --net=$other sh -c 'ip link set eth0 up; ip address add 192.0.2.2/24 dev eth0
            ip route add default via 192.0.2.1'
        begin 2 --publish 0.0.0.0:8080:9 --publish 8081:9
        # For a neighbour, 127.0.0.1 can be another host.
        nsenter --net=$other sh -c 'ip route add 127.0.0.1 via 192.0.2.1 src 192.0.2.2
            echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet'
        try() {
            status=0
            timeout 3 "$@" 2>/dev/null || status=$?
            case $status in 0) echo open ;; 1) echo refused ;; *) echo dropped ;; esac
        }
        try nsenter --net=$other bash -c '</dev/tcp/192.0.2.1/8080'
        try bash -c '</dev/tcp/127.0.0.1/8080'
        try bash -c '</dev/tcp/192.0.2.1/8080'
        # A packet that is dropped has no answer.
        try nsenter --net=$other bash -c '</dev/tcp/127.0.0.1/8081'
        try nsenter --net=$other bash -c '</dev/tcp/10.219.0.2/9'
        # The kernel does not know the state of these packets.
        nft 'table ip its { chain it { type filter hook prerouting priority raw; tcp dport 10 notrack; }; }'
        try nsenter --net=$other bash -c '</dev/tcp/10.219.0.2/10'
        # An answer from outside arrives.
        first=/proc/$(tr -d ' ' <"/proc/$runner_2/task/$runner_2/children")/ns/net
        try nsenter --net=$first bash -c '</dev/tcp/192.0.2.2/9'
        # No container can advertise a route to the host.
        cat /proc/sys/net/ipv6/conf/containers0/disable_ipv6 2>/dev/null || echo 1"#;
    if let Some(output) = on_host(STEP, "bash tr", &format!("{CONTAINERS}{script}")) {
        let expected = "refused\nrefused\nrefused\ndropped\ndropped\ndropped\nrefused\n1";
        assert_eq!(stdout(&output), expected, "{}", stderr(&output));
    }
}

/// A rule of nftables must refuse it: with a published port, the bridge routes 127.0.0.1.
#[test]
fn a_container_cannot_reach_the_loopback_of_the_host() {
    if !is_root() || !containers_work() {
        return;
    }
    // The network namespace of this thread, and of the programs that it starts.
    let tried = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("make a network");
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
        if !up.is_ok_and(|up| up.success()) {
            return skip("there is no ip");
        }
        let server = UdpSocket::bind("127.0.0.1:7777").expect("open a socket");
        server.set_nonblocking(true).expect("do not wait");
        // A packet from the bridge to loopback. With TCP, the container would refuse the answer.
        let script = "for it in ip nc timeout; do command -v $it >/dev/null || exit 99; done
            ip address delete 127.0.0.1/8 dev lo
            ip route add 127.0.0.1 via 10.219.0.1 src 10.219.0.2
            echo text | timeout 2 nc -u 127.0.0.1 7777 2>&1 | grep -q Usage && exit 99
            exit 0";
        let options = ["--network", "bridge", "--publish", "8080:80", "--cap-add", "NET_ADMIN"];
        let mut step = testkit::step(STEP);
        let output = step.args(options).args(["/bin/sh", "-c", script]).output().expect("start");
        if output.status.code() == Some(99) {
            return skip("the root has no ip, or no nc for UDP");
        }
        assert!(output.status.success(), "{}", stderr(&output));
        let error = server.recv(&mut [0; 9]).expect_err("the container has reached the host");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        true
    });
    tried.join().expect("the thread");
}

#[test]
fn the_files_with_names_are_the_containers_own() {
    let dir = tempdir();
    let (etc, resolv) = (dir.path().join("etc"), dir.path().join("resolv.conf"));
    fs::create_dir(&etc).expect("make a directory");
    fs::write(&resolv, "nameserver 127.0.0.53\nnameserver 192.0.2.53\nsearch a.example\n")
        .expect("write");
    symlink("/outside", etc.join("resolv.conf")).expect("make a link");
    fs::write(etc.join("hosts"), "the root's own\n").expect("write");
    let script = format!(
        r#"touch /run/outside
        mount --bind '{}' /etc/resolv.conf || exit 98
        "$STEP" --lower '{}' --lower "$CONTAINER_ROOTFS" --network bridge sh -c '
            cd /etc; cat resolv.conf hosts; [ "$(cat hostname)" = "$(uname -n)" ] && echo same'
        echo done"#,
        resolv.display(),
        dir.path().display(),
    );
    let Some(output) = on_host(STEP, "", &script) else { return };
    if output.status.code() == Some(98) {
        skip("this host has no /etc/resolv.conf");
        return;
    }
    let said = stdout(&output);
    let name = nix::unistd::gethostname().expect("a name").to_string_lossy().into_owned();
    let expected = format!(
        "search a.example\nnameserver 192.0.2.53\n127.0.0.1\tlocalhost\n::1\tlocalhost\n\
         10.219.0.2\t{name}\nsame\ndone"
    );
    assert_eq!(said, expected, "{}", stderr(&output));
    assert_eq!(fs::read_link(etc.join("resolv.conf")).expect("a link").as_os_str(), "/outside");
    assert_eq!(fs::read_to_string(etc.join("hosts")).expect("read"), "the root's own\n");
}
