#!/bin/sh
# shellcheck disable=SC2016 # the shell in the container expands the text in ''
# shellcheck disable=SC2119 # a start without options
# shellcheck source=../xtask/src/verify/lib.sh
. "$(dirname "$0")/../xtask/src/verify/lib.sh"

copy_root
root=$CONTAINER_ROOTFS
export TERM=vt100 HOME=/none SECRET=x

page 'What the kernel did'
start
new is 'from the host, its root is the rootfs'       "$root"          "$(proc_link root)"
new is 'its working directory is in the root'        "$root"          "$(proc_link cwd)"
page 'Try it'
needs_inside ls
new is 'ls / shows the files of the root'            "$(ls "$root")"  "$(ask 'ls /' | sort)"
needs nothing

page 'The new code'
# The processes of the container.
new is 'process tree: runner -> child -> command'    'runner -> child -> command' "$tree"
needs proc
new is 'the child is process 1'                      1                "$(field NSpid "$(field PPid)" 2>/dev/null | cut -d ' ' -f 2)"
needs nothing
page 'Try it'
new is 'the command is process 2'                    2                "$(ask 'echo $$')"
page 'The new code' step05-pid
is 'ipc, mnt, net, pid, user and uts are its own'    'ipc mnt net pid user uts' "$(own)"
page 'Try it' step04-uidmap
needs_inside id
is 'inside, the user is root'                        0                "$(ask 'id -u')"

page 'Try it'
# /proc of the root is an empty directory, and proc is not mounted there.
needs_inside ls
new is '/proc is empty'                              ''               "$(ask 'ls -A /proc')"
needs_inside ps
new is 'ps shows no process'                         0                "$(ask 'ps -A' | grep -c '^[0-9]')"
needs nothing
new is 'nothing is mounted in the root'              'nothing'        "$(proc mounts)"

# Almost nothing of the caller gets in.
new is 'its environment is HOME, PATH and TERM'      'HOME PATH TERM' "$(environment)"
is 'PATH has the usual directories'                  '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' "$(ask 'echo $PATH')"
new is 'HOME is /root'                               '/root'          "$(ask 'echo $HOME')"
page 'What the kernel did' step01-run
is 'it has only the open files 0, 1 and 2'           '0 1 2'          "$(open_files)"

page 'What the kernel did'
# Process 1 becomes the parent of orphans, and reaps them.
tell '(: &) 2>&-; (: &) 2>&-; (: &) 2>&-'
is 'orphans do not stay zombies'                     'nothing'        "$(orphans)"
tell 'trap "exit 7" TERM'
[ "$runner" ] && kill -TERM "$runner"
tell 'while :; do :; done'
stop
is 'a SIGTERM to the program reaches the command'    7                "$ended"

start
is 'the command ends when the program is killed'     'gone'           "$(after_kill)"
stop

# The runner exits with the status of the command.
plant plain 'no program'
is 'status 42: the command exits with 42'            42               "$(exits sh -c 'exit 42')"
new is 'status 143: signal 15 ended the command'     143              "$(exits sh -c 'kill -TERM $$')"
page 'Try it' step01-run
is 'status 127: the root has no such command'        127              "$(exits no-such-command)"
is 'status 126: the file is not executable'          126              "$(exits /plain)"
is 'an error is one line'                            1                "$(err no-such-command | wc -l | tidy)"

page 'What is still shared'
# All changes are written to the root itself.
guard_host
new is 'it writes to the root itself'                'written'        "$(inside 'rm -rf /made; echo written >/made'; text "$root/made")"
needs_inside cat
new is 'the next container finds the file'           'written'        "$(inside 'cat /made')"

page 'Try it'
# The choice of the root.
new is '--rootfs names the root'                     'written'        "$(CONTAINER_ROOTFS=/none; out --rootfs "$root" cat /made)"
needs nothing
new is 'without a root: status 125'                  125              "$(CONTAINER_ROOTFS=$tmp/none; exits true)"
new has 'the error says how to get a root'           'cargo xtask fetch-rootfs' "$(CONTAINER_ROOTFS=$tmp/none; err true)"

page 'Break it'
# Root inside can leave a chroot. It opens a directory, and makes a second chroot
# below: the open directory is then outside of the new root.
echo outside >marker
read='read -r line <"$0" && echo "$line"'
up=$(printf %s "$root" | tr -c / . | sed 's|/\.*|../|g')
needs_inside mount chroot mkdir
new is 'break out: open directory, second chroot'    'outside'        "$(out /bin/sh -c '
    mount -t proc proc /proc && mkdir /x && mount --rbind / /x && exec 9</ &&
    chroot /x /bin/sh -c "cd -P /proc/self/fd/9/\$0 && exec chroot . /bin/sh -c \"\$1\" \"\$2\"" "$@"
' sh "$up" "$read" "$tmp/marker")"
# The mount namespace still has the host's root. A process that enters the
# namespace again gets that root.
needs_inside mount nsenter
new is 'break out: enter the mount namespace again'  'outside'        "$(out /bin/sh -c '
    mount -t proc proc /proc && nsenter -m/proc/self/ns/mnt /bin/sh -c "$1" "$2"
' sh "$read" "$tmp/marker")"

page 'What the kernel did' step03-userns
needs nothing
is 'the host has no new mount'                       ''               "$(new_mounts)"
page 'What the kernel did'
is 'no process is left behind'                       ''               "$(running)"
finish
