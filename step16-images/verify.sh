#!/bin/sh
# shellcheck disable=SC2016 # the shell inside reads the text in ''
# shellcheck source=../xtask/src/verify/images.sh
. "$(dirname "$0")/../xtask/src/verify/images.sh"
# shellcheck source=../xtask/src/verify/lib.sh
. "$(dirname "$0")/../xtask/src/verify/lib.sh"

# The layers of the images: the root, a layer with changes, another such layer, and two files
# that only their owners can read: user 1000 and root.
copy_root
plant play/
plant play/change bottom
plant play/gone bottom
plant play/opaque/
plant play/opaque/old bottom
mkdir -p changes/etc changes/play/opaque other/play
printf '%s\n' root:x:0:0::/root:/bin/sh course:x:1000:1000::/play:/bin/sh >changes/etc/passwd
printf '%s\n' root:x:0: course:x:1000: more:x:1001:course >changes/etc/group
echo top >changes/play/change
: >changes/play/.wh.gone
: >changes/play/opaque/.wh..wh..opq
: >changes/play/opaque/new
echo other >other/play/change
[ "$why_not" ] || {
    archive root >root.tar
    archive changes | gzip >changes.tar.gz
    archive other >other.tar
    entry play/theirs 1000 secret >theirs.tar
    entry play/ours 0 secret >ours.tar
    begin_images
    image plain '"Cmd":["/bin/sh","-c","echo cmd"]' root.tar changes.tar.gz
    image other '"Cmd":["/bin/sh"]' root.tar other.tar
    image full '"Entrypoint":["/bin/sh","-c","echo entry $*","sh"],"Cmd":["cmd"],"Env":["PATH=/usr/bin:/bin","GREETING=hello"],"WorkingDir":"/play"' root.tar
    image users '"User":"course","Env":["PATH=/usr/bin:/bin"]' root.tar changes.tar.gz theirs.tar ours.tar
    # The layer ours.tar has another byte.
    image changed '"Cmd":["/bin/sh"]' root.tar other.tar ours.tar
    cp -r images broken
    printf X | dd of="broken/blobs/sha256/$(sum ours.tar)" bs=1 seek=600 conv=notrunc 2>/dev/null
}
# The place of the layers needs attributes, too.
store=$tmp/store
has_attributes "$tmp" || store=$mem/store
mkdir -m 700 "$store"

# from IMAGE ARG...: the output of a container from this image.
from() {
    named=$1
    shift
    out --store "$store" --image "$named" "$@"
}

# start_from IMAGE OPTION...
start_from() {
    named=$1
    shift
    start --store "$store" --image "$named" "$@"
}

# The lowest layer of the container: the last in the list.
lowest() {
    layers=$(overlay lowerdir)
    [ "$layers" ] && echo "$store"/*/"${layers##*/}"
}

# The names of all that is in the store.
stored() {
    find "$store" 2>&1 | sort
}

# outside ID [FILE]: the ID of the host for an ID of the container, with the caller's range in
# /etc/subuid or FILE.
outside() {
    echo $(($(first_id "${2:-subuid}") + $1 - 1))
}

page 'Try it'
new is "without a command, the image's runs"         'cmd'            "$(from images:plain)"
new is 'your command takes its place'                'own'            "$(from images:plain /bin/sh -c 'echo own')"
new is "an entrypoint gets the image's command as arguments" 'entry cmd' "$(from images:full)"
new is 'or your command'                             'entry own'      "$(from images:full own)"
new is '--entrypoint takes its place'                'own'            "$(from images:full --entrypoint /bin/sh -- -c 'echo own')"
new is "the image's variables are set"               '/usr/bin:/bin hello' "$(from images:full --entrypoint /bin/sh -- -c 'echo $PATH $GREETING')"
new is "the command starts in the image's directory" '/play'          "$(from images:full --entrypoint /bin/sh -- -c pwd)"
new is '--env and --workdir take their place'        'own /etc'       "$(from images:full --env GREETING=own --workdir /etc --entrypoint /bin/sh -- -c 'echo $GREETING $(pwd)')"
new is 'with a root, --env and --workdir count, too' 'own /etc'       "$(out --env GREETING=own --workdir /etc /bin/sh -c 'echo $GREETING $(pwd)')"
start --hostname box --read-only --tmpfs /srv:size=1M
new is '--hostname gives it a name'                  'box'            "$(within uts 'cat /proc/sys/kernel/hostname')"
new is '--read-only protects its root'               'ro'             "$(proc mounts | sed -n 's|^[^ ]* / [^ ]* \(r[ow]\)[, ].*|\1|p')"
new is '--tmpfs gives it a directory in memory'      'tmpfs size=1024k' "$(proc mounts | sed -n 's|^[^ ]* /srv \([^ ]*\) .*,\(size=[^, ]*\).*|\1 \2|p')"
stop

page 'What the kernel did'
start_from images:plain
is 'cgroup, ipc, mnt, net, pid, user and uts are its own' 'cgroup ipc mnt net pid user uts' "$(own)"
guard_host
bottom=$(lowest)
inode=$(stat -c %i "$bottom" 2>&1)
needs_inside ls cat
new is 'the file of the upper layer counts'          'top'            "$(ask 'cat /play/change')"
new is 'a whiteout hides a file of the lower layer'  'change opaque'  "$(ask 'ls /play' | joined)"
so is 'the lower layer still has the file'           'bottom'         "$(cat "$bottom/play/gone" 2>&1)"
new is 'an opaque directory hides all files below'   'new'            "$(ask 'ls /play/opaque')"
two start_from images:other
new is 'another image has the file'                  'other bottom'   "$(two ask 'cat /play/change /play/gone' | joined)"
needs nothing
new is 'two images share the directory of a layer'   "$bottom"        "$(two lowest)"
so is 'which was unpacked only once'                 "$inode"         "$(stat -c %i "$bottom" 2>&1)"
two stop
stop

page 'Break it'
before=$(stored)
new has 'a layer with another byte is refused'       ': its digest is ' "$(errors --store "$store" --image broken:changed true)"
so is 'and nothing of it stays'                      "$before"        "$(stored)"
chmod 777 "$store"
new has 'a store that others can write to is refused' 'other users can '      "$(errors --store "$store" --image images:plain true)"
chmod 700 "$store"

page 'Users'
needs ids
start_from images:users
guard_host
new is 'the map has the caller and 65,536 other IDs' "0 $uid 1 1 $(first_id subuid) 65536" "$(proc uid_map | joined)"
new is 'so has the map of the groups'                "0 $gid 1 1 $(first_id subgid) 65536" "$(proc gid_map | joined)"
is 'inside, the map is the same'                     "$(proc uid_map)" "$(ask 'cat /proc/self/uid_map')"
new is "the command is the image's user"             "$(outside 1000) $(outside 1000 subgid)" "$({ field Uid; field Gid; } | cut -d ' ' -f 1 | joined)"
new is 'with the groups of this user'                "$(outside 1000 subgid) $(outside 1001 subgid)" "$(field Groups | tr ' ' '\n' | sort -n | joined)"
new is 'it has no capability'                        '0 0'            "$(for set in CapPrm CapEff; do field $set | sed 's/^0*\(.\)/\1/'; done | joined)"
new is 'it reads a file of mode 600 that is its own' 'secret'         "$(ask 'cat /play/theirs')"
new is 'but not the file of root'                    'refused'        "$(ask 'cat /play/ours 2>&- || echo refused')"
stop
start_from images:users --user 0
guard_host
[ "$why_not" ] || needs_inside chown mkdir touch
upper=$(overlay upperdir)
tell 'mkdir -p /new/below && touch /new/file && chown 1000:1001 /new /new/below /new/file'
new is 'a file that root gives to user 1000 has another owner outside' "$(outside 1000) $(outside 1001 subgid)" "$(stat -c '%u %g' "$upper/new/file" 2>&1)"
page 'Take all of it away'
is 'after a SIGKILL to the program, the command ends' 'gone'          "$(after_kill)"
stop
run --store "$store" --image images:users true
new is 'and the next start removes all of it'        'gone'           "$(test -n "$upper" && ! test -e "$upper" && echo gone)"
needs nothing
page 'Users'
new is 'with --ids one, only the caller is mapped'   "0 $uid 1"       "$(from images:plain --ids one cat /proc/self/uid_map | tidy)"

page 'Try it' step01-run
is "it exits with the command's status"              42               "$(exits sh -c 'exit 42')"
page 'The new code'
is 'the host has no new mount in the end'            ''               "$(new_mounts)"
page 'What the kernel did' step06-chroot
is 'no process is left behind'                       ''               "$(running)"
finish
