#!/bin/sh
# shellcheck disable=SC2016 # what stands in '' is for the shell inside
# shellcheck disable=SC2119 # a start without options
# shellcheck source=../xtask/src/verify/lib.sh
. "$(dirname "$0")/../xtask/src/verify/lib.sh"

page 'Try it'
is 'it runs, root or not'                            'hello'          "$(out echo hello)"

page 'The new code'
start
new is 'ipc, mnt, net, user and uts are its own'     'ipc mnt net user uts' "$(own)"
new so is 'read from inside, they are the same'      "$(links)"       "$(ask "$inside_links")"

page 'Try it'
# No ID is mapped yet, so every one reads as the overflow ID: nobody.
new is 'one is nobody inside'                        "$(cat /proc/sys/kernel/overflowuid)" "$(ask 'id -u')"
new is "the group is nobody's, too"                  "$(cat /proc/sys/kernel/overflowgid)" "$(ask 'id -g')"
new so is 'from the host, it is still the caller'    "$uid $uid $uid $uid" "$(field Uid)"
page 'What the kernel did'
new is 'from the host, uid_map is empty'             'nothing'        "$(proc uid_map)"
new is 'from the host, gid_map is empty'             'nothing'        "$(proc gid_map)"
new is 'from inside, uid_map is empty'               'empty'          "$(ask 'test -e /proc/self/uid_map && cat /proc/self/uid_map && echo empty')"

page 'Try it'
tell 'echo >made'
# shellcheck disable=SC2012 # a name without surprises
new so is "a file it makes is the caller's all the same" "$uid $gid"      "$(ls -ln made 2>&1 | tidy | cut -d ' ' -f 3,4)"

page 'What the kernel did'
# The process had every capability in the namespace until it executed the
# command: an ID that is not mapped keeps none.
new is 'it has no capability left'                   '0000000000000000' "$(field CapEff)"
page 'Try it'
needs hostname
new is 'so changing the hostname is refused'         'refused'        "$(within uts 'hostname box 2>/dev/null || echo refused')"
needs nothing
new is "its hostname is the host's"                  "$host_name"     "$(ask 'uname -n')"
new so is 'the host keeps its hostname'              "$host_name"     "$(uname -n)"
page 'What the kernel did'
is "its mounts are tied to none of the host's"       0                "$(tied_mounts)"
is 'the host has no new mount'                       ''               "$(new_mounts)"
stop

page 'Try it' step01-run
is 'it exits as the command did'                     42               "$(exits sh -c 'exit 42')"
page 'Break it' step01-run
so is 'no process is left behind'                    ''               "$(running)"
finish
