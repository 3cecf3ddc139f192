# shellcheck shell=sh
# shellcheck disable=SC2034,SC2154 # lib.sh sets some names, and the lessons read some
# The evidence that the checks look at: lib.sh reads this file.

# --- The evidence in the host's /proc --------------------------------------

# The namespaces that the container does not share with the host.
own() {
    list=''
    [ "$pid" ] || {
        echo 'no container'
        return
    }
    for name in cgroup ipc mnt net pid user uts; do
        # shellcheck disable=SC3013 # each shell has -ef; readlink(1) would be 14 processes
        [ "/proc/$pid/ns/$name" -ef "/proc/self/ns/$name" ] || list="$list $name"
    done
    echo "${list# }" | or_nothing
}

# All namespaces of the container, as the host reads them; then a script that
# reads them inside.
links() {
    for name in cgroup ipc mnt net pid user uts; do
        proc_link "ns/$name"
    done
}
# shellcheck disable=SC2016 # the shell in the container expands this
inside_links='for name in cgroup ipc mnt net pid user uts; do readlink /proc/self/ns/$name; done'

# proc FILE: the text of /proc/PID/FILE.
proc() {
    [ "$pid" ] && tidy <"/proc/$pid/$1" | or_nothing
}

# proc_link FILE: where /proc/PID/FILE points to.
proc_link() {
    [ "$pid" ] && readlink "/proc/$pid/$1"
}

# field NAME [PID]: a line of /proc/PID/status.
field() {
    [ "$pid" ] && sed -n "s/^$1:[[:blank:]]*//p" "/proc/${2:-$pid}/status" | tidy
}

# environment: the variables that the command had at its start.
environment() {
    [ "$pid" ] && tr '\0' '\n' <"/proc/$pid/environ" | cut -d = -f 1 | sort | joined
}

# open_files: the descriptors of the command.
open_files() {
    # shellcheck disable=SC2012 # names in /proc/PID/fd are numbers
    [ "$pid" ] && ls "/proc/$pid/fd" | joined
}

# group: the directory of its control group, v2.
group() {
    [ "$pid" ] && echo "/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$pid/cgroup")"
}

# Why a container cannot have limits here.
no_limits() {
    if ! grep -q '^[^ ]* /sys/fs/cgroup cgroup2 ' /proc/self/mounts; then
        echo 'this host does not use control groups v2 alone'
    elif ! [ -w "/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)/cgroup.procs" ]; then
        echo 'this user owns no control group here'
    fi
}

# mount_points PID
mount_points() {
    [ "$1" ] && cut -d ' ' -f 5 "/proc/$1/mountinfo" | sort
}

# Whether the container has the mounts of the host. Otherwise prints its mounts. If
# other programs can mount here, only the places count that stay mounted.
same_mounts() {
    theirs=$(mount_points "$pid")
    host=$(lasting_mounts | sort)
    if ! [ "$own_mounts" ]; then
        host=$(printf '%s\n' "$host" | uniq)
        theirs=$(printf '%s\n' "$theirs" | grep -xF -e "$host" | uniq)
    fi
    if [ "$theirs" = "$host" ]; then echo same; else printf '%s\n' "$theirs" | or_nothing; fi
}

# lasting_mounts [!]: the mounts of the host that existed when the script began; with !,
# the others. The first field is the ID of the mount.
lasting_mounts() {
    awk 'NR == FNR { old[$1]; next } '"${1:-}"'($1 in old) { print $5 }' "$tmp/host-mounts" /proc/self/mountinfo
}

# The number of the container's own mounts that pass new mounts to other namespaces,
# or receive them.
tied_mounts() {
    case " $(own) " in
    *' mnt '*) grep -cE ' (shared|master):' "/proc/$pid/mountinfo" ;;
    *) echo "the mounts are the host's" ;;
    esac
}

# overlay OPTION: the value of a mount option of the overlay at the container's /.
overlay() {
    [ "$pid" ] && awk -v option="$1" '$5 == "/" && / - overlay / {
        count = split($NF, options, ",")
        for (i = 1; i <= count; i++)
            if (options[i] == option || index(options[i], option "=") == 1) {
                sub(/^[^=]*=/, "", options[i])
                print options[i]
            }
    }' "/proc/$pid/mountinfo" | as_it_is | sed 's/\\\(.\)/\1/g'
}

# children PID: with hidepid, /proc has no status of process 1, which nobody may
# trace, but still names it as a child.
children() {
    {
        grep -ls "^PPid:[[:blank:]]*$1\$" /proc/[0-9]*/status | cut -d / -f 3
        sed 's/ /\n/g' "/proc/$1/task/$1/children" 2>/dev/null
    } | sort -nu | grep .
}

# orphans: the children of process 1 without the command.
orphans() {
    init=$(field PPid)
    wait_until only_child "$pid" "$init"
    children "$init" | grep -vx "$pid" | or_nothing
}

# only_child PID PARENT
only_child() {
    [ "$(children "$2")" = "$1" ]
}

# Processes of containers that still run, or that the script had to kill.
running() {
    wait_until none_runs
    cat outlived
    running_now
}

# running_now [N]: the processes of container N, or of all. Their standard error
# is a file of ours, or their standard output is our FIFO for the answers.
running_now() {
    holding "err${1:+.$1}" "from${1:+.$1}"
}

none_runs() {
    [ -z "$(running_now "$@")" ]
}

# holding NAME...: the processes whose standard output or error is a file of ours
# with a name that begins with NAME. `ls` gives candidates; readlink(1) decides,
# because another user can choose a similar name, and ours may have a newline.
holding() {
    # shellcheck disable=SC2012 # names in /proc are numbers
    ls -l /proc/[0-9]*/fd/[12] 2>/dev/null | awk -v ours="/${tmp##*/}/" '
        match($0, / \/proc\/[0-9]+\/fd\/[12] /) { file = substr($0, RSTART + 1, RLENGTH - 2) }
        index($0, ours) { print file }' | sort -u | while read -r file; do
        link=$(readlink "$file")
        for name in "$@"; do
            case $link in
            "$tmp/$name"*) echo "$file" | cut -d / -f 3 ;;
            esac
        done
    done | grep -vx "$$" | sort -u
}

# The mounts of the host that did not exist when the script began. Without root, the
# program cannot mount there, but other programs can.
new_mounts() {
    if [ "$own_mounts" ]; then lasting_mounts !; else lasting_mounts ! | in_ours; fi
}

# Copies the mount points that are in our directories.
in_ours() {
    while read -r mount; do
        place=$mount
        # Few names need this. A host may have hundreds of mounts.
        case $mount in *\\*) place=$(printf '%s\n' "$mount" | as_it_is) ;; esac
        case $place in
        "$tmp/"* | "$mem/"*) printf '%s\n' "$mount" ;;
        esac
    done
}

# --- Small things ----------------------------------------------------------

# Decodes names from a list of the kernel: \040 stands for a blank.
as_it_is() {
    printf '%b\n' "$(sed 's/\\\([0-7][0-7][0-7]\)/\\0\1/g')"
}

# Makes each run of blanks a single blank, and removes blanks at the ends.
tidy='s/[[:blank:]][[:blank:]]*/ /g; s/^ //; s/ $//'
tidy() {
    sed "$tidy"
}

# Joins all lines into one line.
joined() {
    tr '\n' ' ' | tidy
}

or_nothing() {
    text=$(cat)
    printf '%s\n' "${text:-nothing}"
}

# Makes a copy of the root that the script can change. Nothing writes to the root
# itself, even if no container can run.
copy_root() {
    mkdir root
    # The copy may lack files that this user cannot read. The root may be a link.
    [ "$why_not" ] || cp -a -- "$CONTAINER_ROOTFS/." root 2>/dev/null
    # Root inside can change only the caller's files.
    chown -hR "$uid:$gid" root
    CONTAINER_ROOTFS=$tmp/root
}

# plant FILE WORD...: writes a file of the copy, in the root or in a planted
# directory. It first removes FILE, which may be a link that leads out of the
# copy. `plant FILE/` makes a directory.
plant() (
    cd root && rm -rf "./${1%/}" || exit
    case $1 in
    */) mkdir "./$1" ;;
    *) set -C && file=$1 && shift && echo "$@" >"./$file" ;;
    esac
)

# text FILE: the text of a file from a container, which may have put a link there,
# or a FIFO that would block.
text() {
    if [ -f "$1" ] && ! [ -h "$1" ]; then cat "$1"; else echo "not a regular file: $1"; fi
}

# digest DIR: a checksum of everything in the directory.
digest() {
    (cd "$1" && find . -exec ls -dln {} + && find . -type f -exec sha256sum {} +) 2>/dev/null | sort | sha256sum
}
