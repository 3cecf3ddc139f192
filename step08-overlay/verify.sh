#!/bin/sh
# shellcheck disable=SC2016 # what stands in '' is for the shell inside
# shellcheck disable=SC2119 # a start without options
# shellcheck source=../xtask/src/verify/lib.sh
. "$(dirname "$0")/../xtask/src/verify/lib.sh"

# A copy of the root, with a few files to play with.
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
new is "upperdir is a directory of the host's"       'there'          "$(test -d "$upper" && echo there)"
new is 'workdir is another, on the same mount'       'there'          "$(test -d "$(overlay workdir)" && test "$(overlay workdir)" != "$upper" && echo there)"
new is 'userxattr lets it delete without real root'  'userxattr'      "$(overlay userxattr)"
page 'Try it'
needs_inside ls
is 'ls / shows the files of the root'                "$(ls "$root")"  "$(ask 'ls /' | sort)"
needs nothing
new is 'the upper directory is empty at first'       ''               "$(ls -A "$upper" 2>&1)"

# Every change lands in the upper directory, and can be looked at there.
guard_host
needs_inside cat rm mkdir
is 'a new file is there'                             'new'            "$(ask 'echo new >/play/new; cat /play/new')"
new is 'it lies in the upper directory'              'new'            "$(text "$upper/play/new")"
new is 'not in the root below'                       'not there'      "$(test -e "$root/play/new" || echo not there)"
is 'a changed file is changed'                       'changed'        "$(ask 'echo changed >/play/change; cat /play/change')"
new is 'it was copied up and changed there'          'changed'        "$(text "$upper/play/change")"
new is 'below, it is as it was'                      'old'            "$(cat "$root/play/change" 2>&1)"
is 'a deleted file is gone'                          'gone'           "$(ask 'rm /play/delete; test -e /play/delete || echo gone')"
# shellcheck disable=SC2012 # a name without surprises
new is 'a whiteout stands for it: character device 0/0' 'c 0, 0'         "$(cd "$upper/play" 2>&1 && ls -ln delete 2>&1 | tidy | sed 's/^\(.\)[^ ]* [^ ]* [^ ]* [^ ]* \([0-9]*, *[0-9]*\) .*/\1 \2/')"
new is 'below, it is still there'                    'old'            "$(cat "$root/play/delete" 2>&1)"
page 'What the kernel did'
is 'a directory made anew is empty'                  'empty'          "$(ask 'rm -r /play/directory && mkdir /play/directory && ls -A /play/directory && echo empty')"
[ "$why_not" ] || needs getfattr
new is 'it is opaque: what lies below is hidden'     'y'              "$(getfattr --absolute-names -n user.overlay.opaque --only-values "$upper/play/directory" 2>&1)"
needs nothing

page 'The new code' step06-chroot
# All of the rest is as in the lessons before.
is 'process tree: runner -> child -> command'        'runner -> child -> command' "$tree"
page 'The new code' step05-pid
is 'ipc, mnt, net, pid, user and uts are its own'    'ipc mnt net pid user uts' "$(own)"
page 'Try it' step07-proc
is '/proc has process 1 and 2, no other'             '/proc/1 /proc/2' "$(ask 'echo /proc/[0-9]*')"

page 'Try it'
# Two at once.
two start
needs_inside ls cat
new is 'a second container starts from the root'     'change delete directory' "$(two ask 'ls /play' | joined)"
new is 'nothing in it is changed'                    'old'            "$(two ask 'cat /play/change')"
two tell 'echo two >/play/two'
new is "the first does not see the second's files"   'change directory new' "$(ask 'ls /play' | joined)"
new is "nor the second the first's"                  'change delete directory two' "$(two ask 'ls /play' | joined)"
needs nothing
two stop
so is 'the host has no new mount'                    ''               "$(new_mounts)"
stop

# Afterwards.
new is 'the scratch directory is gone'               'gone'           "$(test -n "$upper" && ! test -e "$upper" && ls -A "$mem" && echo gone)"
needs_inside cat
new is 'a new container starts from scratch'         'old old'        "$(inside 'cat /play/change /play/delete' | joined)"
needs nothing
new is 'the root below is the same, byte for byte'   "$before"        "$(digest "$root")"

page 'Several layers'
# Several layers, as those of a Docker image: the topmost wins.
mkdir -p top/play middle/play
echo top >top/play/change
echo middle | tee middle/play/change >middle/play/delete
needs_inside cat rm ls
new is 'of several layers the topmost wins'          'top middle old' "$(
    out --lower top --lower middle --lower "$root" cat /play/change /play/delete /play/directory/file | joined
)"
new is 'the layers stay as they are'                 'top middle old' "$(
    out --lower top --lower middle --lower "$root" sh -c 'rm -r /play'
    cat top/play/change middle/play/delete "$root/play/directory/file" 2>&1 | joined
)"

page 'Try it'
# A scratch directory that stays.
kept=$mem/kept
new is '--scratch stays, to be looked into'          'kept'           "$(out --scratch "$kept" sh -c 'echo kept >/play/kept; rm /play/delete'; text "$kept/upper/play/kept")"
new is 'upper and work are in it, and merged is empty' 'merged upper work' "$({ cd "$kept" && echo * && ls -A merged; } 2>&1 | joined)"
new is 'a second run goes on where it ended'         'change directory kept' "$(out --scratch "$kept" ls /play | joined)"
page 'Break it'
needs nothing
start --scratch "$kept"
new is 'while one uses it, another is refused'       125              "$(exits --scratch "$kept" true)"
stop

page 'Try it' step01-run
is 'it exits as the command did'                     42               "$(exits sh -c 'exit 42')"
page 'The new code'
new is 'in the end the root is the same as before'   "$before"        "$(digest "$root")"
page 'Try it'
is 'the host has no new mount in the end'            ''               "$(new_mounts)"
page 'What the kernel did' step06-chroot
is 'no process is left behind'                       ''               "$(running)"
finish
