#!/bin/sh
# shellcheck disable=SC2016 # the shell in the container expands the text in ''
# shellcheck disable=SC2119 # a start without options
# shellcheck source=../xtask/src/verify/lib.sh
. "$(dirname "$0")/../xtask/src/verify/lib.sh"

page 'The new code' step06-chroot
start
is 'process tree: runner -> child -> command'        'runner -> child -> command' "$tree"
page 'The new code' step05-pid
is 'ipc, mnt, net, pid, user and uts are its own'    'ipc mnt net pid user uts' "$(own)"
page 'What the kernel did'
needs_inside readlink
new is 'host and container see the same namespaces'  "$(links)"       "$(ask "$inside_links")"
needs nothing

page 'Try it'
# /proc shows only the container's processes.
new is '/proc has only the processes 1 and 2'        '/proc/1 /proc/2' "$(ask 'echo /proc/[0-9]*')"
needs_inside cat
new is 'process 2 is the command'                    'sh 1'           "$(ask 'cat /proc/2/status' | sed -n 's/^Name: //p; s/^PPid: //p' | joined)"
[ "$why_not" ] || needs proc
new is 'process 1 is the child'                      "$(cat "/proc/$(field PPid)/comm" 2>&1)" "$(ask 'cat /proc/1/comm')"
needs_inside ps
new is 'ps shows the processes 1 and 2'              '1 2'            "$(ask 'ps -A' | sed -n 's/^\([12]\) .*/\1/p' | joined)"
new is 'ps shows only these two and itself'          3                "$(ask 'ps -A' | grep -c '^[0-9]')"
needs_inside cat

page 'What the kernel did'
# The mount and its flags, from inside and from the host.
new is 'inside, /proc/mounts has only this mount'    'proc /proc proc rw,nosuid,nodev,noexec,relatime 0 0' "$(ask 'cat /proc/mounts')"
needs nothing
new is 'from the host, /proc/PID/mounts is the same' 'proc /proc proc rw,nosuid,nodev,noexec,relatime 0 0' "$(proc mounts)"
new so is 'from the host, /proc in the root is empty' ''               "$(ls -A "$CONTAINER_ROOTFS/proc")"
new so is 'the host has no new mount'                ''               "$(new_mounts)"
page 'Try it' step04-uidmap
needs_inside cat
new is 'from inside, uid_map maps 0 to the caller'   "0 $uid 1"       "$(ask 'cat /proc/self/uid_map')"

page 'More of the kind: /tmp, /dev, /sys'
# Root inside can mount a /tmp, but cannot make a device.
needs_inside mount cat
is 'it can mount a /tmp of its own'                  'tmpfs'          "$(inside 'mount -t tmpfs mine /tmp; cat /proc/mounts' | sed -n 's|^mine /tmp \([a-z]*\) .*|\1|p')"
needs_inside mount mknod
so is 'it cannot make a device'                      'refused'        "$(inside 'mount -t tmpfs mine /tmp && ! mknod /tmp/null c 1 3 2>&- && echo refused')"
needs nothing
stop

page 'Try it' step01-run
is "it exits with the command's status"              42               "$(exits sh -c 'exit 42')"
page 'What the kernel did'
is 'afterwards the host has no new mount'            ''               "$(new_mounts)"
page 'What the kernel did' step06-chroot
is 'no process is left behind'                       ''               "$(running)"
finish
