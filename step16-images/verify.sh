#!/bin/sh
# shellcheck disable=SC2016 # the shell inside reads the text in ''
# shellcheck disable=SC2119 # a start without options
# shellcheck source=../xtask/src/verify/lib.sh
. "$(dirname "$0")/../xtask/src/verify/lib.sh"
# shellcheck source=../xtask/src/verify/images.sh
. "$(dirname "$0")/../xtask/src/verify/images.sh"

# The layers of the images: the root of the tests, a layer with changes, another such layer,
# and two files that belong to user 1000 and to root.
copy_root
plant play/
plant play/change bottom
plant play/gone bottom
plant play/opaque/
plant play/opaque/old bottom
mkdir -p changes/etc changes/play/opaque other/play
printf '%s\n' root:x:0:0::/root:/bin/sh course:x:1000:1000::/srv:/bin/sh >changes/etc/passwd
printf '%s\n' root:x:0: course:x:1000: more:x:1001:course >changes/etc/group
echo top >changes/play/change
: >changes/play/.wh.gone
: >changes/play/opaque/.wh..wh..opq
: >changes/play/opaque/new
echo other >other/play/change
begin_images
[ "$why_not" ] || {
    archive root >root.tar
    archive changes | gzip >changes.tar.gz
    archive other >other.tar
    entry play/theirs 1000 secret >theirs.tar
    entry play/ours 0 secret >ours.tar
}
image plain '"Cmd":["/bin/sh","-c","echo cmd"]' root.tar changes.tar.gz
image other '"Cmd":["/bin/sh"]' root.tar other.tar
image full '"Entrypoint":["/bin/sh","-c","echo entry $*","sh"],"Cmd":["cmd"],"Env":["PATH=/usr/bin:/bin","GREETING=hello"],"WorkingDir":"/play"' root.tar
image users '"User":"course","Env":["PATH=/usr/bin:/bin"]' root.tar changes.tar.gz theirs.tar ours.tar
# A blob with another byte.
image broken '"Cmd":["/bin/sh"]' root.tar other.tar ours.tar
broken=images/blobs/sha256/$(sum ours.tar)
cp -r images changed
printf X | dd of="changed/${broken#*/}" bs=1 seek=600 conv=notrunc 2>/dev/null

# The place of the layers.
mkdir -m 700 store
store="--store $tmp/store"

# with TAG [OPTION...] [COMMAND...]: the output of a container.
with() {
    tag=$1
    shift
    # shellcheck disable=SC2086 # words
    out --image "images:$tag" $store "$@"
}

# The lowest layer of the container, and the inode of its directory.
lowest() {
    overlay 'lowerdir' | tr : '\n' | tail -n 1
}

page 'Try it'
new is "without a command, the image's runs"         'cmd'            "$(with plain)"
new is 'a command takes its place'                   'own'            "$(with plain /bin/sh -c 'echo own')"
new is 'an entrypoint gets the command of the image' 'entry cmd'      "$(with full)"
new is 'or your command, as arguments'               'entry own'      "$(with full own)"
new is '--entrypoint takes its place'                'own'            "$(with full --entrypoint /bin/sh -c 'echo own')"
is_in() {
    with full --entrypoint /bin/sh "$@"
}
new is 'the image sets variables'                    '/usr/bin:/bin hello' "$(is_in -c 'echo $PATH $GREETING')"
new is 'and the working directory'                   '/play'          "$(is_in -c pwd)"
new is '--env and --workdir take their place'        'own /etc'       "$(with full --env GREETING=own --workdir /etc --entrypoint /bin/sh -c 'echo $GREETING $(pwd)')"

page 'The new code'
# shellcheck disable=SC2086 # words
start --image images:plain $store --hostname box --read-only --tmpfs /srv:size=1m
bottom=$(lowest)
inode=$(stat -c %i "$bottom" 2>&1)
is 'cgroup, ipc, mnt, net, pid, user and uts are its own' 'cgroup ipc mnt net pid user uts' "$(own)"
guard_host
needs_inside ls cat
new is 'of two layers, the top layer wins'           'top'            "$(ask 'cat /play/change')"
new is 'a whiteout hides a file of the lower layer'  'change opaque'  "$(ask 'ls /play' | joined)"
so is 'the lower layer still has it'                 'bottom'         "$(cat "$bottom/play/gone" 2>&1)"
new is 'an opaque directory hides all files below'   'new'            "$(ask 'ls /play/opaque')"
needs nothing
page 'Try it'
new is '--hostname gives it a name'                  'box'            "$(ask 'cat /proc/sys/kernel/hostname')"
new is '--read-only protects its root'               'ro'             "$(proc mounts | sed -n 's|^[^ ]* / [^ ]* \(r[ow]\)[, ].*|\1|p')"
new is '--tmpfs gives it a directory in memory'      'tmpfs size=1024k' "$(proc mounts | sed -n 's|^[^ ]* /srv \([^ ]*\) .*,\(size=[^, ]*\).*|\1 \2|p')"
stop

page 'What the kernel did'
# Two images with one layer in common, at the same time.
# shellcheck disable=SC2086 # words
start --image images:other $store
new is 'two images share the directory of a layer'   "$bottom"        "$(lowest)"
so is 'which was unpacked once'                      "$inode"         "$(stat -c %i "$bottom" 2>&1)"
needs_inside cat
new is 'the second has the file that the first hides' 'other bottom'  "$(ask 'cat /play/change /play/gone' | joined)"
needs nothing
stop

page 'Break it'
before=$(find store | sort)
# shellcheck disable=SC2086 # words
new has 'a blob with a changed byte is refused'      'digest'         "$(err --image changed:broken $store true)"
so is 'and nothing of it stays'                      "$before"        "$(find store | sort)"
chmod 777 store
# shellcheck disable=SC2086 # words
new has 'a store that others can write to is refused' "$tmp/store"    "$(err --image images:plain $store true)"
chmod 700 store

page 'Users'
needs ids
# shellcheck disable=SC2086 # words
start --image images:users $store
map=$(proc uid_map)
guard_host
new is 'the map has the caller and 65,536 other IDs' "0 $uid 1|1 $(first_id subuid) 65536" "$(echo "$map" | paste -s -d '|')"
new is 'so has the map of the groups'                "0 $gid 1|1 $(first_id subgid) 65536" "$(proc gid_map | paste -s -d '|')"
new is 'inside, the map is the same'                 "$map"           "$(ask 'cat /proc/self/uid_map')"
new is "the command runs as the image's user"        "$(outside 1000) $(outside 1000)" "$(field Uid | cut -d ' ' -f 1,2)"
new is 'with the groups of that user'                '1000 1001'      "$(ask 'while read -r name ids; do [ $name != Groups: ] || echo $ids; done </proc/self/status' | tr ' ' '\n' | sort -n | joined)"
new is 'which has no capability'                     '0 0'            "$(for set in CapPrm CapEff; do field $set | sed 's/^0*\(.\)/\1/'; done | joined)"
needs_ids_inside cat
new is 'it reads its own file of mode 600'           'secret'         "$(ask 'cat /play/theirs')"
new is "but not root's"                              'refused'        "$(ask 'cat /play/ours 2>&- || echo refused')"
needs ids
stop
# shellcheck disable=SC2086 # words
start --image images:users $store --user 0
guard_host
upper=$(overlay upperdir)
needs_ids_inside chown mkdir touch
tell 'mkdir -p /new/below && touch /new/file && chown 1000:1001 /new /new/below /new/file'
new is 'a file that root gives to user 1000 has a subordinate owner' "$(outside 1000) $(outside 1001 subgid)" "$(stat -c '%u %g' "$upper/new/file" 2>&1)"
needs ids
page 'Try it' step08-overlay
new is 'after SIGKILL, the command ends'             'gone'           "$(after_kill)"
stop
# shellcheck disable=SC2086 # words
err --image images:users $store --user 0 true >told
so is 'and the next start removes its directories'   'gone'           "$([ -d "$upper" ] && ls "$upper" || echo gone)"
page 'Users'
# shellcheck disable=SC2086 # words
new is 'with --ids one, only the caller is mapped'   "0 $uid 1"       "$(out --image images:plain $store --ids one cat /proc/self/uid_map | tidy)"
needs nothing
new is 'a root has the users, too'                   "$(is_mapped)"   "$(out cat /proc/self/uid_map | tidy)"

page 'Try it'
new is 'these options work with a root, too'         'own /etc'       "$(out --env GREETING=own --workdir /etc /bin/sh -c 'echo $GREETING $(pwd)')"

page 'Try it' step01-run
is "it exits with the command's status"              42               "$(exits sh -c 'exit 42')"
page 'The new code'
is 'the host has no new mount in the end'            ''               "$(new_mounts)"
page 'What the kernel did' step06-chroot
is 'no process is left behind'                       ''               "$(running)"
finish
