#!/bin/sh
# shellcheck disable=SC2016 # the shell in the container expands the text in ''
# shellcheck disable=SC2119 # a start without options
# shellcheck source=../xtask/src/verify/lib.sh
. "$(dirname "$0")/../xtask/src/verify/lib.sh"

copy_root
root=$CONTAINER_ROOTFS
before=$(digest "$root")
# Two directories of the host.
mkdir -p "$tmp/shared/below" "$tmp/outside"
echo host >"$tmp/shared/file"
# In an argument of --bind, a backslash comes before a backslash or a colon.
shared=$(printf %s "$tmp/shared" | sed 's/[\\:]/\\&/g')

# lacks PLACE OPTION...: the options that the mount at PLACE does not have.
lacks() {
    at=$1
    options=,$(proc mounts | awk -v at="$at" '$2 == at { last = $4 } END { print last }'),
    shift
    for option in "$@"; do
        case $options in *",$option,"*) ;; *) echo "$at: $option" ;; esac
    done
}

# Which of these files the host has, and which of them are read-only in the container.
of_host() {
    for at in "$@"; do [ ! -e "$at" ] || echo "$at"; done | joined
}
read_only() {
    for at in "$@"; do [ "$(lacks "$at" ro)" ] || echo "$at"; done | joined
}

page 'The new code' step05-pid
start
is 'ipc, mnt, net, pid, user and uts are its own'    'ipc mnt net pid user uts' "$(own)"
guard_host

page 'Try it'
# /dev
new is 'ls /dev shows only the usual names'          'console fd full null ptmx pts random shm stderr stdin stdout tty urandom zero' "$(ask 'ls /dev; echo console' | sort -u | joined)"
new is '/dev/null stays a device'                    'device'         "$(ask 'echo x >/dev/null; test -c /dev/null && echo device')"
new is '/dev/zero, /dev/urandom and /dev/full work'  '3 3 full'       "$(ask 'for name in zero urandom; do head -c 3 /dev/$name | wc -c; done; echo x 2>&- >/dev/full || echo full' | joined)"
new so is 'a command in the background works'        '0'              "$(ask 'sh -c "sleep 0 & wait \$!; echo \$?" 2>&-')"
page 'What the kernel did'
is "root inside cannot change a device of the host"  'refused'        "$(ask 'chmod 666 /dev/full 2>&- || echo refused')"
page 'The new code'
new is '/dev/fd/1 is standard output'                'written'        "$(ask 'sh -c "echo written >/dev/fd/1"')"
new is '/dev/shm and /tmp are in memory, mode 1777'  'tmpfs 1777 tmpfs 1777' "$(
    for at in /dev/shm /tmp; do proc mounts | awk -v at="$at" '$2 == at { print $3 }'; ask "stat -c %a $at"; done | joined
)"
new is 'each new mount has its flags and options'    ''               "$({
    lacks /dev nosuid noexec size=64k mode=755
    lacks /dev/pts nosuid noexec ptmxmode=666 mode=620
    lacks /dev/shm nosuid nodev noexec
    lacks /tmp nosuid nodev
    lacks /sys ro nosuid nodev noexec
} | joined)"
is 'a program in /tmp can be executed'               'runs'           "$(ask 'printf "#!/bin/sh\necho runs\n" >/tmp/program && chmod +x /tmp/program && /tmp/program; rm -f /tmp/program')"
page 'What the kernel did'
new is 'it has its own pseudoterminals'              'ptmx'           "$(ask 'ls /dev/pts')"

page 'The new code'
# Files that could harm the host.
new is 'sysfs is there, read-only'                   'there refused'  "$(ask 'test -d /sys/class && echo there; mkdir /sys/x 2>&- || echo refused' | joined)"
new so is '/sys/firmware is empty'                   ''               "$(ask 'test ! -e /sys/firmware || ls -A /sys/firmware')"
new is '/proc/sys cannot be written'                 'refused'        "$(ask '(cat /proc/sys/net/ipv4/ip_forward >/proc/sys/net/ipv4/ip_forward) 2>&- || echo refused')"
set -- /proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger
new is 'all files that change the host are read-only' "$(of_host "$@")" "$(read_only "$@")"
set -- /proc/acpi /proc/asound /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug /proc/scsi /proc/timer_list /proc/timer_stats /sys/firmware
new is 'all files that describe it are hidden'       "$(of_host "$@")" "$(read_only "$@")"
[ -e /proc/kcore ] || why_not='this kernel has no /proc/kcore'
new is '/proc/kcore is empty'                        ''               "$(ask 'test ! -e /proc/kcore || head -c 1 /proc/kcore')"
needs nothing

page 'Break it'
# Only root of the host may write there, and needs no capability.
needs_inside umount
[ "$why_not" ] || needs root /proc/sys/kernel/core_pattern
new is 'break out: started by root, uncover /proc/sys' 'open' "$(ask 'umount /proc/sys && (: >>/proc/sys/kernel/core_pattern) && echo open')"
needs nothing

page 'The new code'
so is 'the host has none of these mounts'            ''               "$(new_mounts)"
stop

page 'Try it'
needs script
[ "$why_not" ] || needs_inside tty
# shellcheck disable=SC2030,SC2031 # only for script
new is 'on a terminal, there is a /dev/console'      '/dev/console'   "$(export PROGRAM="$program" SHELL=/bin/sh
    [ "$why_not$hands_off" ] || timeout -s KILL "$limit" script -q -c 'exec "$PROGRAM" tty 2>&1' /dev/null 6>&- 7>&- | tr -d '\r' | tail -n 1)"
needs nothing

# Binds.
start --bind "$shared:/made/here" --bind "$shared:/read:ro" --bind "$shared/file:/etc/one"
new is 'a bound directory shows the files of the host' 'host'           "$(ask 'cat /made/here/file')"
new is 'the host has a file that it writes there'    'inside'         "$(ask 'echo inside >/made/here/new'; cat "$tmp/shared/new" 2>&1)"
new is 'with :ro a write is refused'                 'refused'        "$(ask 'echo x 2>&- >/read/file || echo refused')"
new is 'it can bind a single file'                   'host'           "$(ask 'cat /etc/one')"
page 'What the kernel did'
is 'no mount receives later mounts of the host'      '0'              "$(tied_mounts)"
page 'Try it'
is 'upper has the mount points, which are empty'     '0'              "$(find "$(overlay upperdir)/etc/one" "$(overlay upperdir)/made/here" ! -type d -size +0 2>&1 | wc -l | tidy)"
page 'The new code'
new is 'a bind is on top of /dev, /tmp and /sys'     'host host host' "$(
    out --bind "$shared:/dev/own" --bind "$shared:/tmp/own" --bind "$shared:/sys/fs" cat /dev/own/file /tmp/own/file /sys/fs/file 2>&1 | joined
)"
[ -e /dev/pts/ptmx ] || why_not='this host has no mount in /dev'
new is 'a bind has the mounts below it, too'         'there'          "$(out --bind /dev:/x sh -c 'test -e /x/pts/ptmx && echo there')"
page 'What the kernel did'
new is 'with :ro, they are read-only, too'           'read-only'      "$(out --bind /dev:/x:ro cat /proc/mounts | awk '
    $2 ~ "^/x" { found = 1; if ($4 !~ /^ro,/) print $2 }
    $2 ~ "^/x/" { below = 1 }
    END { if (found && below) print "read-only" }')"
page 'Break it'
needs_inside mount
new is 'break out: root inside makes :ro writable'   'written'        "$(ask 'mount -o remount,bind,rw /read && echo written >/read/file && cat /made/here/file')"
needs nothing
page 'The new code'
is 'the host has no new mount'                       ''               "$(new_mounts)"
stop

page 'What the kernel did'
# A link in the root leads to another place in the root, never out of it.
echo host >"$tmp/shared/file"
mkdir -p top/elsewhere
ln -s ../../../elsewhere top/inside
ln -s ../../../../../../../../../../../../../../../.."$tmp/outside" top/relative
ln -s "$tmp/outside" top/absolute
ln -s /proc/self/cwd top/magic
new is 'a link leads to another place in the root'   'host'           "$(out --lower top --lower "$root" --bind "$shared:/inside/a" cat /elsewhere/a/file)"
for link in relative absolute magic; do
    is "a link never leads out of the root: $link"   '0'              "$(exits --lower top --lower "$root" --bind "$shared:/$link/a" true; ls -A "$tmp/outside"; ls -d a 2>&-)"
done
ln -s "$tmp/shared" top/link
new is 'a link at the source is refused'             125              "$(exits --bind "${shared%/shared}/top/link:/x" true)"
new so is 'a path inside with .. is refused'         2                "$(exits --bind "$shared:/../x" true)"
page 'Try it'
new is 'a colon in a name is written \:'             'host'           "$(mkdir 'a:b' && echo host >'a:b/file' && out --bind 'a\:b:/x' cat /x/file)"
new is 'it cannot bind a path that does not exist'   125              "$(exits --bind "$shared/none:/x" true)"
new is 'the error is one line'                       1                "$(errors --bind "$shared/none:/x" true | wc -l | tidy)"

page 'The new code' step08-overlay
is 'the root below is the same, byte for byte'       "$before"        "$(digest "$root")"
page 'Try it' step01-run
is "it exits with the command's status"              42               "$(exits sh -c 'exit 42')"
page 'The new code'
is 'the host has no new mount in the end'            ''               "$(new_mounts)"
page 'What the kernel did' step06-chroot
is 'no process is left behind'                       ''               "$(running)"
finish
