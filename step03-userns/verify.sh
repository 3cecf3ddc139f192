#!/bin/sh
# shellcheck disable=SC2016 # the shell in the container expands the text in ''
# shellcheck disable=SC2119 # a start without options
# shellcheck source=../xtask/src/verify/lib.sh
. "$(dirname "$0")/../xtask/src/verify/lib.sh"

page 'Try it'
is 'it runs, with root or without'                   'hello'          "$(out echo hello)"

page 'The new code'
start
new is 'ipc, mnt, net, user and uts are its own'     'ipc mnt net user uts' "$(own)"
new so is 'host and container see the same namespaces' "$(links)"       "$(ask "$inside_links")"

page 'Try it'
# No ID is mapped yet. So each ID reads as the overflow ID, the user nobody.
new is 'inside, the user is nobody'                  "$(cat /proc/sys/kernel/overflowuid)" "$(ask 'id -u')"
new is 'inside, the group is the overflow group'     "$(cat /proc/sys/kernel/overflowgid)" "$(ask 'id -g')"
new so is 'from the host, the user is the caller'    "$uid $uid $uid $uid" "$(field Uid)"
page 'What the kernel did'
new is 'from the host, uid_map is empty'             'nothing'        "$(proc uid_map)"
new is 'from the host, gid_map is empty'             'nothing'        "$(proc gid_map)"
new is 'from inside, uid_map is empty'               'empty'          "$(ask 'test -e /proc/self/uid_map && cat /proc/self/uid_map && echo empty')"

page 'Try it'
tell 'echo >made'
# shellcheck disable=SC2012 # the name is known
new so is 'a file that it makes belongs to the caller' "$uid $gid"      "$(ls -ln made 2>&1 | tidy | cut -d ' ' -f 3,4)"

page 'What the kernel did'
# The process had all capabilities in the namespace. It lost them with the
# execve(2) of the command, because its user is not root inside.
new is 'the command has no capability'               '0000000000000000' "$(field CapEff)"
page 'Try it'
needs hostname
new is 'so it cannot change the hostname'            'refused'        "$(within uts 'hostname box 2>/dev/null || echo refused')"
needs nothing
new is "its hostname is the host's"                  "$host_name"     "$(ask 'uname -n')"
new so is 'the hostname of the host does not change' "$host_name"     "$(uname -n)"
page 'What the kernel did'
is 'all its mounts are private'                      0                "$(tied_mounts)"
is 'the host has no new mount'                       ''               "$(new_mounts)"
stop

page 'Try it' step01-run
is "it exits with the command's status"              42               "$(exits sh -c 'exit 42')"
page 'Break it' step01-run
so is 'no process is left behind'                    ''               "$(running)"
finish
