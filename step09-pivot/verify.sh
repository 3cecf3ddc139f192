#!/bin/sh
# shellcheck disable=SC2016 # the shell in the container expands the text in ''
# shellcheck disable=SC2119 # a start without options
# shellcheck source=../xtask/src/verify/lib.sh
. "$(dirname "$0")/../xtask/src/verify/lib.sh"

copy_root
root=$CONTAINER_ROOTFS
before=$(digest "$root")

page 'The new code' step06-chroot
start
is 'process tree: runner -> child -> command'        'runner -> child -> command' "$tree"
page 'The new code' step05-pid
is 'ipc, mnt, net, pid, user and uts are its own'    'ipc mnt net pid user uts' "$(own)"
page 'The new code' step08-overlay
is 'its root is an overlay'                          'overlay'        "$(proc mounts | sed -n 's|^[^ ]* / \([^ ]*\) .*|\1|p')"
is 'lowerdir is the root'                            "$root"          "$(overlay lowerdir)"
is 'ls / shows the files of the root'                "$(ls "$root")"  "$(ask 'ls /' | sort)"
page 'The new code'
is 'its working directory is /'                      '/'              "$(ask 'pwd -P')"
page 'Try it' step07-proc
is '/proc has only the processes 1 and 2'            '/proc/1 /proc/2' "$(ask 'echo /proc/[0-9]*')"

page 'Try it'
# The mount namespace has the container's mounts and no other.
guard_host
new is 'from the host, nothing is above its root'    '/'              "$(proc_link root)"
is 'its mounts are / and /proc'                      '/ /proc'        "$(mount_points "$pid" | joined)"
needs_inside nsenter
new is 'the mount namespace has no other mounts'     '/ /proc'        "$(ask 'nsenter -m/proc/self/ns/mnt cat /proc/self/mountinfo' | cut -d ' ' -f 5 | sort | joined)"
page 'What the kernel did'
needs_inside umount
new is 'its root cannot be unmounted'                'refused'        "$(inside 'umount -l / 2>&- || echo refused')"
needs nothing
page 'Break it'
so is 'nothing is above /'                           "$(ls "$root")"  "$(ask 'ls /..' | sort)"
is 'it has only the open files 0, 1 and 2'           '0 1 2'          "$(open_files)"
page 'Try it'
is 'the host has no new mount'                       ''               "$(new_mounts)"
stop

# The ways out of lesson 6 fail.
mkdir top
echo outside >marker
up=../../../../../../../../../../../../../../../../../../../..
needs_inside mount chroot
new is 'no way out: open directory, second chroot'   'held'           "$(inside "
    mkdir /x && mount --rbind / /x &&
    chroot /x /bin/sh -c 'cd -P /proc/self/fd/9/$up && chroot . /bin/cat \"$tmp/marker\"' 9</ 2>&- || echo held
")"
needs_inside nsenter
new is 'no way out: enter the mount namespace again' 'held'           "$(inside "
    nsenter -m/proc/self/ns/mnt cat '$tmp/marker' 2>&- || echo held
")"
needs nothing

page 'Break it'
# An open directory of the caller would be outside of the mount namespace.
is 'no way out: an open directory of the host'       '125'            "$(exits sh -c 'cd -P /proc/self/fd/0 && cat ../marker' <top)"

page 'The new code'
# /proc of this root is a link to /.., the old root, which is then unmounted.
ln -s .. top/proc
is 'no way out: /proc is a link to the old root'     '125'            "$(exits --lower top --lower "$root" true)"

page 'Try it' step08-overlay
is 'a new container starts with a fresh root'        'empty'          "$(out sh -c 'echo x >/new'; inside 'test -e /new || echo empty')"
page 'The new code' step08-overlay
is 'the root below is the same, byte for byte'       "$before"        "$(digest "$root")"
page 'Try it' step01-run
is "it exits with the command's status"              42               "$(exits sh -c 'exit 42')"
page 'Try it'
is 'the host has no new mount in the end'            ''               "$(new_mounts)"
page 'What the kernel did' step06-chroot
is 'no process is left behind'                       ''               "$(running)"
finish
