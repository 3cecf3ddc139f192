#!/bin/sh
# shellcheck disable=SC2016 # what stands in '' is for the shell inside
# shellcheck disable=SC2119 # a start without options
# shellcheck source=../xtask/src/verify/lib.sh
. "$(dirname "$0")/../xtask/src/verify/lib.sh"

page 'Try it'
needs root
start
new is 'ipc, mnt, net and uts are its own'           'ipc mnt net uts' "$(own)"
new so is 'read from inside, they are the same'      "$(links)"       "$(ask "$inside_links")"

# UTS: a hostname of its own.
page 'What the kernel did'
new so is "its hostname is the host's at first"      "$host_name"     "$(ask 'uname -n')"
page 'Try it'
needs root hostname
new is 'it can change its hostname'                  'box'            "$(within uts 'hostname box; uname -n')"
new so is 'the host keeps its own'                   "$host_name"     "$(uname -n)"
needs root

page 'The new code'
# IPC: limits and queues of its own.
msgmni=/proc/sys/kernel/msgmni
before=$(cat $msgmni)
needs root $msgmni
new is 'it can change a limit of its IPC'            '4321'           "$(within ipc "echo 4321 >$msgmni; cat $msgmni")"
new so is "the host's limit is as before"            "$before"        "$(cat $msgmni)"

needs root

page 'Try it'
# Network: none, not even a loopback that is up.
is 'its network has no address'                      'nothing'        "$(proc net/fib_trie)"

page 'What the kernel did'
# Mounts: a copy of the host's, to change at will.
mkdir mnt
new is "its mounts are tied to none of the host's"   0                "$(tied_mounts)"
new so is "its mounts are the host's at first"       "$(mount_points self)" "$(mount_points "$pid")"
page 'Break it'
new is 'it can mount'                                'mounted'        "$(within mnt 'mount -t tmpfs verify mnt && echo mounted')"
new has 'the mount is in its /proc/PID/mounts'       '/mnt tmpfs'     "$(proc mounts)"
new so is 'the host does not have it'                ''               "$(new_mounts)"
stop

# As real root, mounts leak unless made private first: a host for the occasion
# has its mounts shared, as systemd makes them.
needs root unshare
# shellcheck disable=SC2016 # for the shell that plays the host
new is 'nor does a host that shares its mounts'      'private'        "$(unshare --mount sh -c '
    mount --make-rshared / || exit
    timeout -s KILL "$1" "$2" mount -t tmpfs leaked "$3" 2>&1
    grep -q " - tmpfs leaked " /proc/self/mountinfo && echo leaked || echo private
' sh "$limit" "$program" "$tmp/mnt" 2>err)"

page 'Try it'
# Without root the kernel refuses, and lesson 3 knows the way.
needs user
new is 'without root: status 125'                    125              "$(exits true)"
new has 'it says why'                                'Operation not permitted' "$(err true)"
grep -q '^Seccomp:.*2' /proc/self/status && why_not='a seccomp filter refuses, too'
new has 'it says what to do: go on to step 3'        'step 3'         "$(err true)"
needs user
new is 'it says so in one line'                      1                "$(err true | wc -l | tidy)"

page 'Break it' step01-run
needs nothing
is 'no process is left behind'                       ''               "$(running)"
finish
