#!/bin/sh
# shellcheck disable=SC2016 # the shell in the container expands the text in ''
# shellcheck disable=SC2119 # a start without options
# shellcheck source=../xtask/src/verify/lib.sh
. "$(dirname "$0")/../xtask/src/verify/lib.sh"

# A copy of the root, with files that the checks change.
copy_root
root=$CONTAINER_ROOTFS
plant play/
plant play/change old
plant play/delete old
plant play/directory/
plant play/directory/file old
before=$(digest "$root")

page 'The new code'
start
upper=$(overlay upperdir)
new is 'its root is an overlay'                      'overlay'        "$(proc mounts | sed -n 's|^[^ ]* / \([^ ]*\) .*|\1|p')"
new is 'lowerdir is the root'                        "$root"          "$(overlay lowerdir)"
new is 'upperdir is a directory of the host'         'there'          "$(test -d "$upper" && echo there)"
new is 'workdir is another directory of the host'    'there'          "$(test -d "$(overlay workdir)" && test "$(overlay workdir)" != "$upper" && echo there)"
new is 'userxattr is set, to delete without root'    'userxattr'      "$(overlay userxattr)"
page 'Try it'
needs_inside ls
is 'ls / shows the files of the root'                "$(ls "$root")"  "$(ask 'ls /' | sort)"
needs nothing
new is 'at first, the upper directory is empty'      ''               "$(ls -A "$upper" 2>&1)"

# The host sees every change in the upper directory.
guard_host
needs_inside cat rm mkdir
is 'it can make a file'                              'new'            "$(ask 'echo new >/play/new; cat /play/new')"
new is 'the upper directory has the new file'        'new'            "$(text "$upper/play/new")"
new is 'the root below does not have the new file'   'not there'      "$(test -e "$root/play/new" || echo not there)"
is 'it can change a file'                            'changed'        "$(ask 'echo changed >/play/change; cat /play/change')"
new is 'the upper directory has the changed copy'    'changed'        "$(text "$upper/play/change")"
new is 'the root below still has the old text'       'old'            "$(cat "$root/play/change" 2>&1)"
is 'it can delete a file'                            'gone'           "$(ask 'rm /play/delete; test -e /play/delete || echo gone')"
# shellcheck disable=SC2012 # the name is known
new is 'a whiteout hides it: character device 0/0'   'c 0, 0'         "$(cd "$upper/play" 2>&1 && ls -ln delete 2>&1 | tidy | sed 's/^\(.\)[^ ]* [^ ]* [^ ]* [^ ]* \([0-9]*, *[0-9]*\) .*/\1 \2/')"
new is 'the root below still has the deleted file'   'old'            "$(cat "$root/play/delete" 2>&1)"
page 'What the kernel did'
[ "$why_not" ] || needs attributes
is 'it can replace a directory'                      'empty'          "$(ask 'rm -r /play/directory && mkdir /play/directory && ls -A /play/directory && echo empty')"
[ "$why_not" ] || needs getfattr
new is 'the new directory is opaque: it hides the old' 'y' "$(getfattr --absolute-names -n user.overlay.opaque --only-values "$upper/play/directory" 2>&1)"
needs nothing

page 'The new code' step06-chroot
# The rest is the same as in lesson 7.
is 'process tree: runner -> child -> command'        'runner -> child -> command' "$tree"
page 'The new code' step05-pid
is 'ipc, mnt, net, pid, user and uts are its own'    'ipc mnt net pid user uts' "$(own)"
page 'Try it' step07-proc
is '/proc has only the processes 1 and 2'            '/proc/1 /proc/2' "$(ask 'echo /proc/[0-9]*')"

page 'Try it'
# Two containers at the same time.
two start
needs_inside ls cat
new is 'a second container starts with a fresh root' 'change delete directory' "$(two ask 'ls /play' | joined)"
new is 'the second container has the old text'       'old'            "$(two ask 'cat /play/change')"
two tell 'echo two >/play/two'
new is "the first does not see the second's file"    'change directory new' "$(ask 'ls /play' | joined)"
new is "the second does not see the first's file"    'change delete directory two' "$(two ask 'ls /play' | joined)"
needs nothing
two stop
so is 'the host has no new mount'                    ''               "$(new_mounts)"
stop

# After both containers.
new is 'the scratch directory is gone'               'gone'           "$(test -n "$upper" && ! test -e "$upper" && ls -A "$mem" && echo gone)"
needs_inside cat
new is 'a new container starts with a fresh root'    'old old'        "$(inside 'cat /play/change /play/delete' | joined)"
needs nothing
new is 'the root below is the same, byte for byte'   "$before"        "$(digest "$root")"

page 'Several layers'
# Several layers, as in a Docker image: the top layer wins.
mkdir -p top/play middle/play
echo top >top/play/change
echo middle | tee middle/play/change >middle/play/delete
needs_inside cat rm ls
new is 'of several layers, the top layer wins'       'top middle old' "$(
    out --lower top --lower middle --lower "$root" cat /play/change /play/delete /play/directory/file | joined
)"
new is 'the layers do not change'                    'top middle old' "$(
    out --lower top --lower middle --lower "$root" sh -c 'rm -r /play'
    cat top/play/change middle/play/delete "$root/play/directory/file" 2>&1 | joined
)"

page 'Try it'
# A scratch directory that the program does not remove.
kept=$mem/kept
new is 'the directory of --scratch stays'            'kept'           "$(out --scratch "$kept" sh -c 'echo kept >/play/kept; rm /play/delete'; text "$kept/upper/play/kept")"
new is 'it has upper, work and an empty merged'      'merged upper work' "$({ cd "$kept" && echo * && ls -A merged; } 2>&1 | joined)"
new is 'a second run has the changes of the first'   'change directory kept' "$(out --scratch "$kept" ls /play | joined)"
page 'Break it'
needs nothing
start --scratch "$kept"
new is 'while it is in use, a second run is refused' 125              "$(exits --scratch "$kept" true)"
stop

page 'Try it' step01-run
is "it exits with the command's status"              42               "$(exits sh -c 'exit 42')"
page 'The new code'
new is 'in the end, the root has not changed'        "$before"        "$(digest "$root")"
page 'Try it'
is 'the host has no new mount in the end'            ''               "$(new_mounts)"
page 'What the kernel did' step06-chroot
is 'no process is left behind'                       ''               "$(running)"
finish
