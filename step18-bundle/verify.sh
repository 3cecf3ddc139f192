#!/bin/sh
# shellcheck disable=SC2016 # the shell inside reads the text in ''
# shellcheck disable=SC2119 # a start without options
# shellcheck disable=SC2154 # bundles.sh sets some names
# shellcheck source=../xtask/src/verify/images.sh
. "$(dirname "$0")/../xtask/src/verify/images.sh"
# shellcheck source=../xtask/src/verify/bundles.sh
. "$(dirname "$0")/../xtask/src/verify/bundles.sh"
# shellcheck source=../xtask/src/verify/lib.sh
. "$(dirname "$0")/../xtask/src/verify/lib.sh"
begin_bundles

# The namespaces that the processes $1 and $2 share.
shared() {
    for name in uts ipc net; do
        link=$(readlink "/proc/${1:-none}/ns/$name")
        [ "$link" != "$(readlink "/proc/${2:-none}/ns/$name")" ] || [ ! "$link" ] || printf '%s ' "$name"
    done | tidy
}

# rlimit NAME: the soft and the hard limit of the command.
rlimit() {
    [ "$pid" ] && sed -n "s/^$1  *\([0-9]*\)  *\([0-9]*\) .*/\1 \2/p" "/proc/$pid/limits"
}

page 'Try it'
mkdir plain
ln -s "$root" plain/rootfs
with_step run spec --bundle plain
new has 'spec writes the configuration of a container' '"ociVersion"' "$(cat plain/config.json 2>&1)"
echo 'echo $((40 + 2)); exit 7' >typed
so is 'the container of that bundle runs'              7                "$(with_step exits run --bundle plain "verify-$$" <typed)"
so has 'on a terminal of its own'                      42               "$(cat out)"

page 'What the kernel did'
mkdir shown
echo 'of the host' >shown/file
here=$(text_of "$tmp")
with 'top="hostname":"course","domainname":"lesson"' \
    'process="rlimits":[{"type":"RLIMIT_NOFILE","soft":30,"hard":40},{"type":"RLIMIT_CORE","soft":1,"hard":2}],"oomScoreAdj":500' \
    'user="uid":0,"gid":0,"umask":63' 'env="A=b c"' 'cwd=/etc' \
    'capabilities="bounding":["CAP_CHOWN","CAP_KILL","CAP_SETUID"],"permitted":["CAP_CHOWN","CAP_KILL"],"effective":["CAP_KILL"],"inheritable":["CAP_CHOWN","CAP_KILL"],"ambient":["CAP_KILL"]' \
    'more={"destination":"/dev/memory","type":"tmpfs","source":"tmpfs","options":["nosuid","nodev","noexec","noatime","mode=700","size=64k"]},
        {"destination":"/dev/shown","type":"bind","source":"'"$here"'/shown","options":["rbind","ro","rprivate"]},
        {"destination":"/dev/hidden","type":"bind","source":"'"$here"'/shown","options":["bind","private"]},
        {"destination":"/dev/shared","type":"tmpfs","source":"tmpfs","options":["shared"]}' \
    'linux="rootfsPropagation":"rshared","maskedPaths":["/etc/passwd","/dev/hidden","/no/such"],"readonlyPaths":["/proc/sys","/no/such"],"sysctl":{"net.ipv4.ip_default_ttl":"77"},"devices":[{"path":"/dev/course","type":"p","fileMode":416}]'
start
guard_host
usual='cgroup ipc mnt net pid uts'
[ "$uid" = 0 ] || usual='cgroup ipc mnt net pid user uts'
new is 'namespaces: those of the list are its own'     "$usual"         "$(own)"
new is 'process tree: runner -> command'               'runner -> command' "$tree"
new is '$$ in its shell is 1'                          1                "$(ask 'echo $$')"
new is 'it has a root of its own'                      1                "$apart"
new is 'root: nobody may write to it'                  'ro'             "$(mounted / 6 | cut -d , -f 1)"
new is 'hostname, domainname: its names'               'course lesson'  "$(ask 'read host </proc/sys/kernel/hostname; read domain </proc/sys/kernel/domainname; echo $host $domain')"
new is 'env, cwd: its variables and its directory'     'b c /etc'       "$(ask 'echo "$A $(pwd)"')"
new is 'mounts: a tmpfs has the options of the list'   'tmpfs rw,nosuid,nodev,noexec,noatime' "$(mounted /dev/memory kind) $(mounted /dev/memory 6)"
new is 'mounts: a bind shows a directory of the host'  'of the host'    "$(ask 'read line </dev/shown/file; echo "$line"')"
new is 'mounts: nobody may write to a bind with ro'    'ro'             "$(mounted /dev/shown 6 | cut -d , -f 1)"
new is 'mounts: a mount is shared on demand'           'shared'         "$(mounted /dev/shared spread)"
new is 'rootfsPropagation: the root is shared'         'shared'         "$(mounted / spread)"
new is 'maskedPaths: the device null hides a file'     '/null'          "$(mounted /etc/passwd 4)"
new is 'maskedPaths: an empty tmpfs hides a directory' 'tmpfs ro'       "$(mounted /dev/hidden kind) $(mounted /dev/hidden 6 | cut -d , -f 1)"
new is 'readonlyPaths: a part of proc is read-only'    '/sys ro'        "$(mounted /proc/sys 4) $(mounted /proc/sys 6 | cut -d , -f 1)"
new is 'sysctl: a value of its network'                77               "$(ask 'cat /proc/sys/net/ipv4/ip_default_ttl')"
new is 'devices: a pipe of the list is there'          'yes'            "$(ask '[ -p /dev/course ] && echo yes')"
new is 'devices: the usual ones are there, too'        'ok'             "$(ask 'echo >/dev/null && echo ok')"
new is 'user: the umask'                               '0077'           "$(field Umask)"
new is 'capabilities: inheritable'                     '0000000000000021' "$(field CapInh)"
new is 'capabilities: bounding'                        '00000000000000a1' "$(field CapBnd)"
new is 'capabilities: ambient'                         '0000000000000020' "$(field CapAmb)"
new is 'capabilities: permitted'                       '0000000000000021' "$(field CapPrm)"
new is 'noNewPrivileges: the flag is set'              1                "$(field NoNewPrivs)"
new is 'rlimits: the number of open files'             '30 40'          "$(rlimit 'Max open files')"
new is 'rlimits: the size of a core'                   '1 2'            "$(rlimit 'Max core file size')"
new is 'oomScoreAdj: how soon the kernel kills it'     500              "$(proc oom_score_adj)"
new is 'its open files are 0, 1 and 2'                 '0 1 2'          "$(open_files)"

# A second container in three namespaces of the first. A user also needs the user
# namespace that owns them.
other=$pid
paths="{\"type\":\"uts\",\"path\":\"/proc/$other/ns/uts\"},{\"type\":\"ipc\",\"path\":\"/proc/$other/ns/ipc\"},{\"type\":\"network\",\"path\":\"/proc/$other/ns/net\"}"
[ "$uid" = 0 ] || paths="$paths,{\"type\":\"user\",\"path\":\"/proc/$other/ns/user\"}"
with "namespaces={\"type\":\"mount\"},{\"type\":\"pid\"},$paths" maps=
two start
new is 'namespaces: those of another container'        'uts ipc net'    "$(shared "$other" "$(cat pid.2)")"
two stop
stop

with "namespaces=$kinds,$new_user" "maps=$own_maps" resources=
start
new is 'uidMappings: the map of its user namespace'    "$([ "$uid" = 0 ] && echo 0 0 100 || echo "0 $uid 1")" "$(proc uid_map)"
new is 'gidMappings: the map of its user namespace'    "$([ "$uid" = 0 ] && echo 0 0 100 || echo "0 $gid 1")" "$(proc gid_map)"
stop

needs user ids
users=$(first_id subuid) groups=$(first_id subgid)
with "maps=\"uidMappings\":[{\"containerID\":0,\"hostID\":$uid,\"size\":1},{\"containerID\":1,\"hostID\":${users:-0},\"size\":9}],\"gidMappings\":[{\"containerID\":0,\"hostID\":$gid,\"size\":1},{\"containerID\":1,\"hostID\":${groups:-0},\"size\":9}]," \
    'user="uid":5,"gid":6,"additionalGids":[7,8]'
start
new is 'uidMappings: newuidmap(1) maps other users'    "0 $uid 1 1 ${users:-0} 9" "$(proc uid_map | joined)"
new is 'user: its ID inside is one of them'            "$((${users:-0} + 4))" "$(field Uid | cut -d ' ' -f 1)"
stop

needs root
with 'user="uid":5,"gid":6,"additionalGids":[7,8]' \
    'capabilities="bounding":["CAP_CHOWN","CAP_KILL"],"permitted":["CAP_CHOWN"],"inheritable":["CAP_CHOWN"],"effective":[],"ambient":["CAP_CHOWN"]' \
    'linux="devices":[{"path":"/dev/course","type":"c","major":1,"minor":3,"fileMode":416,"uid":3,"gid":4},{"path":"/dev/none","type":"c","major":1,"minor":14,"fileMode":438}],"cgroupsPath":"/verify-'$$'"' \
    'resources="devices":[{"allow":false,"access":"rwm"}],"pids":{"limit":77}'
start
new is 'user: its ID, its group and other groups'      '5 6 7 8'        "$(field Uid | cut -d ' ' -f 1) $(field Gid | cut -d ' ' -f 1) $(field Groups)"
new is 'capabilities: to others, only the ambient ones' '0000000000000001' "$(field CapEff)"
new is 'devices: type, owner, mode and numbers'        'character special file 3:4 640 1:3' "$(stat -c '%F %u:%g %a %t:%T' "/proc/${pid:-none}/root/dev/course" 2>&1)"
new has 'resources: a device without a rule is refused' 'Operation not permitted' "$(ask 'read x </dev/none')"
new is 'resources: a limit is in its control group'    77               "$(limit_of pids pids.max)"
new has 'cgroupsPath: the group that the path names'   ":/verify-$$"    "$(proc cgroup)"
stop
with 'linux="devices":[{"path":"/dev/none","type":"c","major":1,"minor":14}]' \
    'resources="devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":14,"access":"rw"}]'
start
# The rule lets pass, and then the kernel says that it has no such device.
new has 'resources: a device with a rule is not'       'No such device or address' "$(ask 'read x </dev/none')"
stop
needs nothing

with 'linux="seccomp":{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28},{"names":["kill"],"action":"SCMP_ACT_ERRNO","args":[{"index":1,"value":10,"op":"SCMP_CMP_EQ"}]},{"names":["sethostname"],"action":"SCMP_ACT_KILL_PROCESS"}]}'
start
new is 'seccomp: the filter is there'                  2                "$(field Seccomp)"
new is 'seccomp: an answer can look at an argument'    'refused passed' "$(ask 'kill -10 $$ 2>/dev/null || printf "refused "; kill -0 $$ && echo passed')"
needs_inside mkdir hostname
new has 'seccomp: an answer is an error of its own'    'No space left'  "$(ask 'mkdir /dev/new')"
new is 'seccomp: an answer kills the process'          159              "$(ask 'hostname new; echo $?' | tail -n 1)"
needs nothing
stop

page 'Break it'
with 'top="no-such-field":1'
new has 'a field that is not done is an error'         'no-such-field'  "$(err /bin/sh -c 'exit 42')"
so is 'and nothing runs'                               125              "$(exits /bin/sh -c 'exit 42')"

with
page 'Try it' step01-run
new is "it exits with the command's status"            42               "$(exits /bin/sh -c 'exit 42')"
page 'What the kernel did' step01-run
start
new is 'the command ends when the program is killed'   'gone'           "$(after_kill)"
stop
page 'The new code'
is 'the host has no new mount in the end'              ''               "$(new_mounts)"
page 'What the kernel did' step06-chroot
is 'no process is left behind'                         ''               "$(running)"
finish
