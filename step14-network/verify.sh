#!/bin/sh
# shellcheck disable=SC2016 # the shell inside reads the text in ''
# shellcheck disable=SC2119 # a start without options
# shellcheck source=../xtask/src/verify/lib.sh
. "$(dirname "$0")/../xtask/src/verify/lib.sh"

# How many filters a process has more than this script.
filters() {
    echo $(($(field Seccomp_filters "${1:-$pid}") - $(field Seccomp_filters $$)))
}

page 'The new code'
start
is 'cgroup, ipc, mnt, net, pid, user and uts are its own' 'cgroup ipc mnt net pid user uts' "$(own)"
guard_host
is 'the command runs under a filter'                 '2'              "$(field Seccomp)"
new is 'it is one filter more than outside'          '1'              "$(filters)"
[ "$why_not" ] || needs proc
new is 'process 1 has the same filter'               '1'              "$(filters "$(field PPid)")"
needs nothing

page 'Try it'
needs_inside unshare
new is 'root inside cannot make a user namespace'    'refused'        "$(ask 'unshare -r true 2>&- || echo refused')"
needs_inside dmesg
is 'it cannot read the log of the kernel'            'refused'        "$(ask 'dmesg >&- 2>&- || echo refused')"
needs nothing
is 'the shell starts programs, pipes and background commands' '3 done' "$(ask 'echo 1 2 3 | tr " " "\n" | wc -l; sleep 0 & wait $! && echo done' | joined)"
needs_inside apk
is 'apk works'                                       'musl'           "$(ask 'apk info 2>&- | grep -x musl')"
needs nothing
stop

page 'Break it'
# With every capability, only the filter refuses.
start --cap-add ALL
needs_inside mount
new is 'break out: with every capability, it cannot mount' 'refused'  "$(ask 'mount -t tmpfs none /tmp 2>&- || echo refused')"
needs_inside umount
new is 'nor uncover /proc/sys'                       'refused'        "$(ask 'umount /proc/sys 2>&- || echo refused')"
needs_inside hostname
is 'but it can change the hostname'                  'box'            "$(ask 'hostname box && hostname')"
needs nothing
page 'The new code'
is 'the host has no new mount'                       ''               "$(new_mounts)"
stop

page 'Try it' step01-run
is "it exits with the command's status"              42               "$(exits sh -c 'exit 42')"
page 'The new code'
is 'the host has no new mount in the end'            ''               "$(new_mounts)"
page 'What the kernel did' step06-chroot
is 'no process is left behind'                       ''               "$(running)"
finish
