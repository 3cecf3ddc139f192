# shellcheck shell=sh
# shellcheck disable=SC2034,SC2154 # lib.sh sets some names, and the lessons read some
# What the checks look at: lib.sh reads this.

# --- What the host's /proc says --------------------------------------------

# The namespaces that the container does not share with the host.
own() {
    list=''
    [ "$pid" ] || {
        echo 'no container'
        return
    }
    for name in ipc mnt net pid user uts; do
        [ "$(proc_link "ns/$name")" = "$(readlink "/proc/self/ns/$name")" ] || list="$list $name"
    done
    echo "${list# }" | or_nothing
}

# All its namespaces, as the host and as the container itself read them.
links() {
    for name in ipc mnt net pid user uts; do
        proc_link "ns/$name"
    done
}
# shellcheck disable=SC2016 # for the shell inside
inside_links='for name in ipc mnt net pid user uts; do readlink /proc/self/ns/$name; done'

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

# environment: the names in it when the command began.
environment() {
    [ "$pid" ] && tr '\0' '\n' <"/proc/$pid/environ" | cut -d = -f 1 | sort | joined
}

# open_files: the numbers of its descriptors.
open_files() {
    # shellcheck disable=SC2012 # names in /proc/PID/fd are numbers
    [ "$pid" ] && ls "/proc/$pid/fd" | joined
}

# mount_points PID
mount_points() {
    [ "$1" ] && cut -d ' ' -f 5 "/proc/$1/mountinfo" | sort
}

# How many of its own mounts hand on what is mounted below them, or are handed it.
tied_mounts() {
    case " $(own) " in
    *' mnt '*) grep -cE ' (shared|master):' "/proc/$pid/mountinfo" ;;
    *) echo "the mounts are the host's" ;;
    esac
}

# overlay OPTION: what the overlay at the container's / was mounted with.
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

# children PID
children() {
    grep -ls "^PPid:[[:blank:]]*$1\$" /proc/[0-9]*/status | cut -d / -f 3
}

# orphans: the children of process 1 besides the command.
orphans() {
    init=$(field PPid)
    wait_until only_child "$pid" "$init"
    children "$init" | grep -vx "$pid" | or_nothing
}

# only_child PID PARENT
only_child() {
    [ "$(children "$2")" = "$1" ]
}

# Processes of containers that are left, or had to be killed.
running() {
    wait_until none_runs
    cat outlived
    running_now
}

# running_now [N]: those of all containers or one. They have a file of ours as
# standard error, or answer to us: then it is the same as standard output.
running_now() {
    holding "err${1:+.$1}" "from${1:+.$1}"
}

none_runs() {
    [ -z "$(running_now "$@")" ]
}

# holding NAME...: the processes whose standard output or error is a file of
# ours whose name begins so. The list is for a first look: somebody else can
# choose a name that reads like ours, and ours may have a newline.
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

# What is mounted on the host and was not when the script began.
new_mounts() {
    grep -vxF -f "$tmp/host-mounts" /proc/self/mountinfo | cut -d ' ' -f 5
}

# --- Small things ----------------------------------------------------------

# Names that the kernel has written in a list: \040 stands for a blank.
as_it_is() {
    printf '%b\n' "$(sed 's/\\\([0-7][0-7][0-7]\)/\\0\1/g')"
}

# One blank where there are several, none at the ends.
tidy() {
    sed 's/[[:blank:]][[:blank:]]*/ /g; s/^ //; s/ $//'
}

# All lines in one.
joined() {
    tr '\n' ' ' | tidy
}

or_nothing() {
    text=$(cat)
    printf '%s\n' "${text:-nothing}"
}

# A copy of the root, for the script to spoil. Nothing is written to the root
# itself, not where no container runs either.
copy_root() {
    mkdir root
    # What another user keeps to itself is not needed. The root may be a link.
    [ "$why_not" ] || cp -a -- "$CONTAINER_ROOTFS/." root 2>/dev/null
    # Root inside may not change what is another user's outside.
    chown -hR "$uid:$gid" root
    CONTAINER_ROOTFS=$tmp/root
}

# plant FILE WORD...: writes a file of the copy, in a directory that was planted
# or is the root itself. What is there goes first, and a link with it, which may
# lead out. `plant FILE/` makes a directory.
plant() (
    cd root && rm -rf "./${1%/}" || exit
    case $1 in
    */) mkdir "./$1" ;;
    *) set -C && file=$1 && shift && echo "$@" >"./$file" ;;
    esac
)

# text FILE: what a container has written to it. It may have made a link, or a
# FIFO in which nobody writes.
text() {
    if [ -f "$1" ] && ! [ -h "$1" ]; then cat "$1"; else echo "no file is $1"; fi
}

# A number that stands for all that a directory holds.
digest() {
    (cd "$1" && find . -exec ls -dln {} + && find . -type f -exec cksum {} +) 2>/dev/null | sort | cksum
}
