#!/bin/sh
# shellcheck disable=SC2016 # the shell in the container expands the text in ''
# shellcheck disable=SC2119 # a start without options
# shellcheck source=../xtask/src/verify/lib.sh
. "$(dirname "$0")/../xtask/src/verify/lib.sh"

page 'The new code' step03-userns
start
is 'ipc, mnt, net, user and uts are its own'         'ipc mnt net user uts' "$(own)"
is 'host and container see the same namespaces'      "$(links)"       "$(ask "$inside_links")"

page 'Try it'
# Root inside is the caller outside.
new is 'inside, the user is root'                    0                "$(ask 'id -u')"
new is 'inside, the group is root'                   0                "$(ask 'id -g')"
new so is 'from the host, the user is the caller'    "$uid $uid $uid $uid" "$(field Uid)"
page 'The new code'
new is 'from the host, uid_map maps 0 to the caller' "0 $uid 1"       "$(proc uid_map)"
new is 'from the host, gid_map maps 0 to the caller' "0 $gid 1"       "$(proc gid_map)"
new is 'from inside, uid_map is the same'            "0 $uid 1"       "$(ask 'cat /proc/$$/uid_map')"
new is 'from inside, gid_map is the same'            "0 $gid 1"       "$(ask 'cat /proc/$$/gid_map')"
page 'What the kernel did'
new is 'setgroups is deny: it cannot drop groups'    'deny'           "$(proc setgroups)"
page 'Break it'
new so is 'a map cannot be written a second time'    'refused'        "$(ask '{ echo 0 0 1 >/proc/self/uid_map; } 2>/dev/null || echo refused')"
page 'Check yourself'
tell 'echo >made'
# shellcheck disable=SC2012 # the name is known
new so is 'a file that it makes belongs to the caller' "$uid $gid"      "$(ls -ln made 2>&1 | tidy | cut -d ' ' -f 3,4)"

page 'What the kernel did'
# Root inside keeps all capabilities in the namespace.
new is 'it has all capabilities'                     "$(field CapBnd)" "$(field CapEff)"
page 'Try it'
needs hostname
new is 'so it can change its hostname'               'box'            "$(within uts 'hostname box; uname -n')"
new so is 'the hostname of the host does not change' "$host_name"     "$(uname -n)"
page 'What the kernel did'
needs mount
mkdir mnt
new is 'so it can mount a file system'               'mounted'        "$(within user 'mount -t tmpfs verify mnt && echo mounted')"
new so is 'the host does not have the mount'         ''               "$(new_mounts)"

page 'Try it'
# Root inside is not root outside.
needs user
is "it cannot read the host's /etc/shadow"           'refused'        "$(ask 'cat /etc/shadow >/dev/null 2>&1 || echo refused')"
needs nothing
stop

page 'Try it' step01-run
is "it exits with the command's status"              42               "$(exits sh -c 'exit 42')"
page 'Break it' step01-run
is 'no process is left behind'                       ''               "$(running)"
finish
