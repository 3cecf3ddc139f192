#!/bin/sh
# shellcheck disable=SC2016 # the shell inside reads the text in ''
# shellcheck disable=SC2119 # a start without options
# shellcheck source=../xtask/src/verify/lib.sh
. "$(dirname "$0")/../xtask/src/verify/lib.sh"

# The sets of a process, without leading zeros: inheritable, permitted, effective,
# bounding, ambient.
sets() {
    for set in CapInh CapPrm CapEff CapBnd CapAmb; do
        field $set "$1"
    done | sed 's/^0*\(.\)/\1/' | joined
}

# shellcheck disable=SC2317 # `wait_until` calls it
# Whether a process in the container's network listens at port 80: 0A is the state.
listens() {
    [ "$pid" ] && grep -qs ':0050 [0-9A-F:]* 0A ' "/proc/$pid/net/tcp" "/proc/$pid/net/tcp6"
}

# A directory of the host. In an argument of --bind, a backslash comes before a
# backslash or a colon.
mkdir shared
echo host >shared/file
shared=$(printf %s "$tmp/shared" | sed 's/[\\:]/\\&/g')
usual='0 a80425fb a80425fb a80425fb 0'

page 'The new code'
start --bind "$shared:/read:ro"
is 'cgroup, ipc, mnt, net, pid, user and uts are its own' 'cgroup ipc mnt net pid user uts' "$(own)"
guard_host
new is 'the command has the fourteen capabilities'   "$usual"         "$(sets)"
new is 'the command has no_new_privs'                '1'              "$(field NoNewPrivs)"
[ "$why_not" ] || needs proc
new is 'process 1 has the same capabilities'         "$usual"         "$(sets "$(field PPid)")"
new is 'process 1 has no_new_privs'                  '1'              "$(field NoNewPrivs "$(field PPid)")"
needs nothing

page 'Try it'
needs_inside mount
new is 'root inside cannot mount'                    'refused'        "$(ask 'mount -t tmpfs none /tmp 2>&- || echo refused')"
needs_inside hostname
new is 'nor change the hostname'                     'refused'        "$(ask 'hostname box 2>&- || echo refused')"
needs_inside chmod cat
is 'it still reads a file without permissions'       'text'           "$(ask 'echo text >/tmp/file && chmod 0 /tmp/file && cat /tmp/file')"
needs_inside chroot
is 'and it can call chroot'                          'done'           "$(ask 'chroot / sh -c "echo done"')"
needs_inside nc
tell 'nc -l -p 80 >&- 2>&- &'
[ "$why_not$hands_off" ] || wait_until listens
is 'and it can listen at port 80'                    'listens'        "$(listens && echo listens)"

page 'Break it'
# The ways of lessons 10 and 11 to undo what the step did.
needs_inside mount umount
new is 'break out: root inside cannot make :ro writable' 'refused host' "$({ ask 'mount -o remount,bind,rw /read 2>&- && echo inside >/read/file || echo refused'; cat shared/file; } | joined)"
new is 'nor uncover /proc/sys'                       'refused'        "$(ask 'umount /proc/sys 2>&- || echo refused')"
new is 'nor make the control groups writable'        'refused'        "$(ask 'mount -o remount,bind,rw /sys/fs/cgroup 2>&- || echo refused')"
needs_inside mount umount unshare
is 'in a new user namespace it can mount'            'mounted'        "$(ask 'unshare -rm sh -c "mount -t tmpfs none /tmp && echo mounted"')"
so is 'but these three stay as they are there'       'refused refused refused' "$(ask 'unshare -rm sh -c "for at in /read /sys/fs/cgroup; do
    mount -o remount,bind,rw \$at 2>&- || echo refused
done; umount /proc/sys 2>&- || echo refused"' | joined)"
so is 'nor can it mount a proc without protected parts' 'refused'     "$(ask 'unshare -rmpf sh -c "mount -t proc proc /proc 2>&- || echo refused"')"
needs nothing
page 'The new code'
is 'the host has no new mount'                       ''               "$(new_mounts)"
stop

page 'Try it'
# The options. ALL counts first, whatever the order.
start --cap-add chown --cap-drop ALL --cap-add CAP_KILL
new is 'drop ALL and add two: these two are left'    '0 21 21 21 0'   "$(sets)"
stop
start --cap-drop SYS_ADMIN --cap-add all
# The last six digits are the capabilities 0 to 23; SYS_ADMIN is 21.
new is 'add ALL and drop one: the others are left'   'dfffff dfffff'  "$(for set in CapEff CapBnd; do field $set | sed 's/.*\(......\)$/\1/'; done | joined)"
stop
start --cap-drop DAC_OVERRIDE --cap-drop NET_BIND_SERVICE
needs_inside chmod cat
new is 'without DAC_OVERRIDE, permissions count'     'refused'        "$(ask 'echo text >/tmp/file && chmod 0 /tmp/file && { cat /tmp/file 2>&- || echo refused; }')"
needs_inside nc timeout
new has 'without NET_BIND_SERVICE, it cannot listen there' 'ermission denied' "$(ask 'timeout 5 nc -l -p 80 2>&1')"
needs nothing
stop
page 'Break it'
start --bind "$shared:/read:ro" --cap-add SYS_ADMIN
needs_inside mount
new is 'break out: with SYS_ADMIN, :ro is writable'  'inside'         "$(ask 'mount -o remount,bind,rw /read && echo inside >/read/file; cat /read/file')"
needs nothing
stop

page 'Try it'
new has 'a wrong name is refused, and the names shown' 'CHOWN DAC_OVERRIDE' "$(err --cap-add SYS_ADMINS true)"
new has 'a name in both options is refused'          'name it only once' "$(err --cap-drop KILL --cap-add KILL true)"
so is 'such a command line is an error, status 2'      '2 2'            "$({ exits --cap-add SYS_ADMINS true; exits --cap-drop KILL --cap-add KILL true; } | joined)"

page 'Try it' step01-run
is "it exits with the command's status"              42               "$(exits sh -c 'exit 42')"
page 'The new code'
is 'the host has no new mount in the end'            ''               "$(new_mounts)"
page 'What the kernel did' step06-chroot
is 'no process is left behind'                       ''               "$(running)"
finish
