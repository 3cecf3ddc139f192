#!/bin/sh
# shellcheck disable=SC2016 # the shell in the container expands the text in ''
# shellcheck disable=SC2119 # a start without options
# shellcheck source=../xtask/src/verify/lib.sh
. "$(dirname "$0")/../xtask/src/verify/lib.sh"

page 'Try it'
needs root
start
new is 'ipc, mnt, net and uts are its own'           'ipc mnt net uts' "$(own)"
new so is 'host and container see the same namespaces' "$(links)"       "$(ask "$inside_links")"

# UTS: a hostname of its own.
page 'What the kernel did'
new so is "at first, its hostname is the host's"     "$host_name"     "$(ask 'uname -n')"
page 'Try it'
needs root hostname
new is 'it can change its hostname'                  'box'            "$(within uts 'hostname box; uname -n')"
new so is 'the hostname of the host does not change' "$host_name"     "$(uname -n)"
needs root

page 'The new code'
# IPC: limits and queues of its own.
msgmni=/proc/sys/kernel/msgmni
before=$(cat $msgmni)
needs root $msgmni
new is 'it can change a limit of its own IPC'        '4321'           "$(within ipc "echo 4321 >$msgmni; cat $msgmni")"
new so is "the host's limit does not change"         "$before"        "$(cat $msgmni)"

needs root

page 'Try it'
# Network: only a loopback, which is down.
is 'its network has no address'                      'nothing'        "$(proc net/fib_trie)"

page 'What the kernel did'
# Mounts: a copy of the host's mounts, which the container can change.
mkdir mnt
new is 'all its mounts are private'                  0                "$(tied_mounts)"
new so is "at first, its mounts are the host's"      'same'           "$(same_mounts)"
page 'Break it'
new is 'it can mount a file system'                  'mounted'        "$(within mnt 'mount -t tmpfs verify mnt && echo mounted')"
new has 'the mount is in its /proc/PID/mounts'       '/mnt tmpfs'     "$(proc mounts)"
new so is 'the host does not have the mount'         ''               "$(new_mounts)"
stop

page 'Try it'
# Without root, the kernel refuses. Lesson 3 needs no root.
needs user
new is 'without root: status 125'                    125              "$(exits true)"
new has 'the error gives the reason'                 'Operation not permitted' "$(err true)"
grep -q '^Seccomp:.*2' /proc/self/status && why_not='a seccomp filter may refuse it first'
new has 'the error gives the remedy: step 3'         'step 3'         "$(err true)"
needs user
new is 'the error is one line'                       1                "$(err true | wc -l | tidy)"

page 'Break it' step01-run
needs nothing
is 'no process is left behind'                       ''               "$(running)"
finish
