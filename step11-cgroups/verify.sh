#!/bin/sh
# shellcheck disable=SC2016 # the shell inside reads the text in ''
# shellcheck disable=SC2119 # a start without options
# shellcheck source=../xtask/src/verify/lib.sh
. "$(dirname "$0")/../xtask/src/verify/lib.sh"

# shellcheck disable=SC2317 # `wait_until` calls the next two
# Two loops have been active in 20 periods of 100 milliseconds.
throttled() {
    awk '$1 == "nr_periods" && $2 >= 20 { found = 1 } END { exit !found }' "$1/cpu.stat"
}

# shellcheck disable=SC2317
unpopulated() {
    ! grep -qs 'populated 1' "$1/cgroup.events"
}

page 'The new code'
start
new is 'cgroup, ipc, mnt, net, pid, user and uts are its own' 'cgroup ipc mnt net pid user uts' "$(own)"
guard_host
page 'Try it'
new is 'a cgroup2 is on /sys/fs/cgroup, read-only'   'cgroup2 ro'     "$(proc mounts | awk '$2 == "/sys/fs/cgroup" { print $3, substr($4, 1, 2) }')"
new so is 'root inside cannot write there'           'refused'        "$(ask '(echo 0 >/sys/fs/cgroup/cgroup.procs) 2>&- || echo refused')"
needs_inside grep
is 'each line of /proc/self/cgroup ends with /'      '0'              "$(ask 'grep -vc ":/\$" /proc/self/cgroup')"
needs nothing
page 'The new code' step07-proc
is 'the host has none of these mounts'               ''               "$(new_mounts)"
stop

page 'The new code'
# The limits, from both sides.
needs limits
start --memory 32M --pids 12 --cpus 0.5
group=$(group)
new is 'on the host, the group has the limits'       '33554432 0 12 50000 100000' "$(cd "$group" && cat memory.max memory.swap.max pids.max cpu.max 2>&1 | joined)"
new is 'process 1 and the command are in the group'  "$(printf '%s\n' "$(field PPid)" "$pid" | sort -n | joined)" "$(sort -n "$group/cgroup.procs" 2>&1 | joined)"
page 'Try it'
needs_inside cat
[ "$why_not" ] || needs limits
new is 'inside, the group is the root of all groups' '0::/'           "$(ask 'cat /proc/self/cgroup')"
new is 'inside, its files show the limits'           '33554432 0 12 50000 100000' "$(ask 'cd /sys/fs/cgroup && cat memory.max memory.swap.max pids.max cpu.max' | joined)"
needs limits

# The kernel counts the time and the refused forks.
tell 'for loop in 1 2; do (while :; do :; done) & done'
[ ! "$group" ] || wait_until throttled "$group"
new is 'two busy loops together use half of a processor' 'half'       "$(awk '
    { value[$1] = $2 }
    END { if (value["usage_usec"] < 75000 * value["nr_periods"]) print "half" }' "$group/cpu.stat" 2>&1)"
tell 'sh -c "while :; do sleep 1000 & done" 2>&-'
new is 'a fork bomb stops at the limit'              'stopped'        "$(awk '$1 == "max" && $2 > 0 { print "stopped" }' "$group/pids.events" 2>&1)"
new so is 'it had at most 12 processes'              'yes'            "$(awk '$1 <= 12 { print "yes" }' "$group/pids.current" 2>&1)"
stop
page 'What the kernel did'
new is 'afterwards the group is gone'                'gone'           "$([ -z "$group" ] || [ -e "$group" ] || echo gone)"

page 'Try it'
hog='x=x; while :; do x=$x$x; done'
new is 'a command that takes too much memory is killed' 137           "$(exits --memory 32M sh -c "$hog")"
new has 'a line says why'                            'raise --memory' "$(err --memory 32M sh -c "$hog")"
new is 'a shell that started such a program goes on' 137              "$(out --memory 32M sh -c "sh -c '$hog'; echo \$?" | tail -n 1)"

page 'Break it'
# Root inside can make the mount writable again.
needs_inside mount mkdir
[ "$why_not" ] || needs limits
start --pids 9
group=$(group)
new is 'break out: root inside makes more groups'    'made'           "$(ask 'mount -o remount,bind,rw /sys/fs/cgroup && mkdir -p /sys/fs/cgroup/a/b && echo made')"
# The kernel then treats a cgroup namespace as a boundary.
grep -q '^[^ ]* /sys/fs/cgroup cgroup2 [^ ]*nsdelegate' /proc/self/mounts || why_not='cgroup2 is mounted without nsdelegate here'
new so is 'but it cannot raise the limit'            'refused'        "$(ask '(echo max >/sys/fs/cgroup/pids.max) 2>&- || echo refused')"
[ "$why_not" ] || needs limits
stop
new is 'these groups are gone, too'                  'gone'           "$([ -z "$group" ] || [ -e "$group" ] || echo gone)"
needs limits

page 'What the kernel did'
# A runner that is killed leaves the group to the next runner.
start --pids 12
group=$(group)
new is 'a killed runner takes the command with it'   'gone'           "$(after_kill)"
stop
[ ! "$group" ] || wait_until unpopulated "$group"
new is 'the next runner removes its group'           '0 gone'         "$({ exits --pids 12 true; [ -z "$group" ] || [ -e "$group" ] || echo gone; } | joined)"
needs nothing

page 'Try it'
# A limit is never ignored.
for words in '--memory 0' '--memory -1' '--memory x' '--memory 99999999999G' '--pids 0' '--pids 4194305' '--cpus 0' '--cpus 1e3' '--cpus 9999'; do
    # shellcheck disable=SC2086 # two words
    new has "a limit without sense is refused: $words" ': give '      "$(err $words true)"
done
[ "$why_not$(no_limits)" ] || why_not='this host can set limits'
new is 'where no limit can be set, a limit is an error' 125           "$(exits --pids 12 true)"
needs nothing

page 'Try it' step01-run
is "it exits with the command's status"              42               "$(exits sh -c 'exit 42')"
page 'The new code' step07-proc
is 'the host has no new mount in the end'            ''               "$(new_mounts)"
page 'What the kernel did' step06-chroot
is 'no process is left behind'                       ''               "$(running)"
finish
