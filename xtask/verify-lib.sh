# shellcheck shell=sh
# shellcheck disable=SC2034 # some names are for the lessons
# shellcheck disable=SC2119,SC2120 # `start` takes options where there are any
# What the lessons' checks are written with. Every verify.sh reads this first;
# it is called with the program to check: sh step05-pid/verify.sh PROGRAM
#
#   is CLAIM EXPECTED GOT    both must be the same
#   has CLAIM PART GOT       PART must be in GOT
#
#   out ARG...     runs PROGRAM ARG... and prints its standard output,
#   err ARG...     its standard error,
#   exits ARG...   its exit status
#   inside SCRIPT  out /bin/sh -c SCRIPT
#
#   start          starts a container that stays; its /bin/sh waits for `ask`
#   ask SCRIPT     lets that shell run SCRIPT and prints all that it says
#   tell SCRIPT    the same for one that has nothing to say
#   stop           ends the container; $ended is its exit status
#   $main, $pid    the program and the shell in the container, as the host
#                  numbers them
#   own, links, proc, field, ...    what the host's /proc says about $pid
#   two start, two ask, two stop    the same for a second container
#
#   needs WORD...  the checks that follow are skipped unless WORD is here:
#                  `root`, `user` (not root), a program; `needs nothing` ends it

# --- The verdict -----------------------------------------------------------

is() {
    tried "$1" "$2" || return 0
    if [ "$3" = "$2" ]; then ok "$1"; else fail "$1" "$2" "$3"; fi
}

has() {
    tried "$1" "... $2 ..." || return 0
    case $3 in
    *"$2"*) ok "$1" ;;
    *) fail "$1" "... $2 ..." "$3" ;;
    esac
}

ok() {
    say "ok   $1"
    passed=$((passed + 1))
    : >err
}

fail() {
    say "FAIL $1"
    # "nothing" is a word that a check may wait for.
    indented expected "${2:-(no output)}"
    indented got "${3:-(no output)}"
    # Why there was none, if the program said so.
    [ "$3" ] || ! [ -s err ] || indented said "$(cat err)"
    failed=$((failed + 1))
    : >err
}

# A reader that has left, as in `| head`, ends the script; a line that cannot be
# written makes it fail.
say() {
    printf '%s\n' "$1" 2>/dev/null || unsaid=1
}

indented() {
    say "$(printf '%s\n' "$2" | sed "s/^/                 /; 1s/^ */$(printf '       %-10s' "$1:")/")"
}

# Whether a check, of which this is expected, can be made; otherwise says why
# not.
tried() {
    if ! [ "$why_not" ]; then
        [ -s lost.1 ] || [ -s lost.2 ] || return 0
        lost "$1" "$2" "$(cat lost.*)"
    elif [ "$refused" ] && [ "${CONTAINERS_MUST_WORK:-}" = 1 ]; then
        lost "$1" "$2" "no container: $refused"
    else
        say "skip $1 ($why_not)"
        skipped=$((skipped + 1))
    fi
    return 1
}

# The check of a container that could not be started. Why, is said once.
lost() {
    if [ "$3" = "$lost" ]; then
        say "FAIL $1 (no container)"
        failed=$((failed + 1))
    else
        lost=$3
        fail "$1" "$2" "$3"
    fi
}

needs() {
    why_not=$refused
    for word in "$@"; do
        [ "$why_not" ] && return
        case $word in
        root) [ "$uid" = 0 ] || why_not='only root can do this' ;;
        user) [ "$uid" != 0 ] || why_not='root is not refused' ;;
        nothing) ;;
        getfattr) command -v getfattr >/dev/null || why_not='there is no getfattr here; the package attr brings it' ;;
        *) command -v "$word" >/dev/null || why_not="there is no $word here" ;;
        esac
    done
}

# As needs, but the programs must be in the root of the container.
needs_inside() {
    needs nothing
    for word in "$@"; do
        [ "$why_not$hands_off" ] && return
        [ "$(inside "command -v $word >&2 || echo none")" != none ] || why_not="there is no $word in the root"
    done
}

# The last word of every script.
finish() {
    total="$passed passed, $failed failed"
    [ "$skipped" = 0 ] || total="$total, $skipped skipped"
    say "$total"
    [ ! "$unsaid" ] || echo "$0: write to standard output: not all lines could be written; the file system it goes to is likely full; free some room" >&2
    [ "$failed$unsaid" = 0 ]
    exit
}

# --- A container that runs one command -------------------------------------

run() {
    hold_off && return 125
    started=$(date +%s)
    # timeout's own process is none of the program's: it has another standard
    # error, to which this shell says, too, that something was killed.
    # shellcheck disable=SC2016 # for the shell that becomes the program
    { timeout -s KILL "$limit" sh -c 'exec "$@" 2>err' sh "$program" "$@"; } \
        >out 2>told 6>&- 7>&- 8>&- 9>&-
    status=$?
    [ $(($(date +%s) - started)) -lt "$limit" ] || : >hung
    return "$status"
}

# Whether nothing is to be run, and why.
hold_off() {
    [ -e hung ] && hands_off="not tried: an earlier container did not end within $limit seconds"
    echo "$hands_off" >out
    : >err
    [ "$why_not$hands_off" ]
}

out() {
    run "$@"
    cat out
}

err() {
    run "$@"
    cat err
}

exits() {
    run "$@"
    status=$?
    echo "${hands_off:-$status}"
}

inside() {
    out /bin/sh -c "$1"
}

# --- A container that stays ------------------------------------------------

# start [OPTION...]
start() {
    main='' pid='' tree='' ended='' apart=''
    : >"pid.$n"
    : >"err.$n"
    rm -f "lost.$n"
    hold_off && return
    started=$(date +%s)
    to=$((5 + 2 * n)) from=$((4 + 2 * n))
    rm -f "to.$n" "from.$n"
    mkfifo "to.$n" "from.$n"
    # Descriptor 5 is one that the caller happens to have open.
    # shellcheck disable=SC2016 # for the shell that becomes the program
    {
        timeout -s KILL "$limit" sh -c 'echo $$ >"main.$0"; exec "$@" 2>"err.$0"' "$n" "$program" "$@" /bin/sh \
            <"to.$n" >"from.$n" 5</
        status=$?
        end_all "$n"
        exit "$status"
    } 2>told 6>&- 7>&- 8>&- 9>&- &
    echo $! >"job.$n"
    # The container ends when these close, whatever has become of this script.
    eval "exec $to>to.$n $from<from.$n"
    if [ "$(talk 'echo ready' | tail -n 1)" != ready ]; then
        [ $(($(date +%s) - started)) -lt "$limit" ] || : >hung
        stop
        why="the program ended with status $ended"
        [ ! -e hung ] || why="the program did not answer within $limit seconds"
        {
            echo "no container: $why"
            cat "err.$n"
        } >"lost.$n"
        return 0
    fi
    main=$(cat "main.$n")
    pid=$main tree=main
    while child=$(children "$pid" | tail -n 1) && [ "$child" ]; do
        pid=$child
        tree="$tree -> child"
    done
    tree=${tree% -> child}
    tree="$tree -> run"
    # By device and inode: after pivot_root(2) its path is `/`, too.
    case " $(own) " in
    *' mnt '*) [ "$(stat -L -c %d:%i "/proc/$pid/root" 2>&1)" = "$(stat -L -c %d:%i /)" ] || apart=1 ;;
    esac
    echo "$pid" >"pid.$n"
}

ask() {
    if [ "$why_not" ]; then
        return
    elif [ "$hands_off" ]; then
        echo "$hands_off"
    elif [ -s "pid.$n" ]; then
        talk "$1"
    fi
}

tell() {
    ask "$1" >told
}

# In a process of its own: writing to a container that has ended is fatal.
talk() (
    printf '{ %s\n} <&- 2>&1; echo; echo end-of-answer\n' "$1" >&$((5 + 2 * n))
    while IFS= read -r line && [ "$line" != end-of-answer ]; do
        printf '%s\n' "$line"
    done <&$((4 + 2 * n)) | tidy | sed '${/^$/d;}'
)

stop() {
    rm -f "lost.$n"
    [ -e "job.$n" ] || return
    eval "exec $((5 + 2 * n))>&-"
    wait "$(cat "job.$n")"
    ended=$?
    eval "exec $((4 + 2 * n))<&-"
    rm -f "job.$n" "pid.$n"
}

# Ends what a program that has ended leaves of its container: a command that
# nobody hands a signal on to may never stop by itself, and the answer that is
# waited for would never come.
end_all() {
    tries=30
    while left=$(running_now "$1") && [ "$left" ]; do
        [ "$((tries -= 1))" -gt 0 ] || {
            echo "$left" >>outlived
            # shellcheck disable=SC2086 # one word a process
            kill -KILL $left
        }
        sleep 0.1
    done
}

# Kills the program, and says what becomes of its command.
after_kill() {
    [ "$main" ] && kill -KILL "$main"
    for _ in 1 2 3 4 5 6 7 8 9; do
        # A zombie has ended; whoever inherited it has not noticed yet.
        if [ "$pid" ] && ! grep -qs '^State:[[:blank:]]*[^Z[:blank:]]' "/proc/$pid/status"; then
            echo gone
            return
        fi
        sleep 0.1
    done
    echo 'still there'
}

# The same for a second container; $main and $pid stay those of the first.
two() {
    first="$main $pid"
    n=2
    "$@"
    n=1
    main=${first% *} pid=${first#* }
}

# Asks only where the container has this namespace to itself: a script that
# would change the host is not run there.
within() {
    case " $(own) " in
    *" $1 "*) ask "$2" ;;
    *) echo "not tried: the $1 namespace is the host's" ;;
    esac
}

# Lets nothing more be run where the container that was started shares the
# host's root or mounts: what follows would change them.
guard_host() {
    [ "$why_not$apart" ] || hands_off="not tried: the root or the mounts are the host's"
}

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

# How many mounts hand on what is mounted below them, or are handed it.
tied_mounts() {
    [ "$pid" ] && grep -cE ' (shared|master):' "/proc/$pid/mountinfo"
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
    }' "/proc/$pid/mountinfo" | sed 's/\\040/ /g'
}

# children PID
children() {
    grep -ls "^PPid:[[:blank:]]*$1\$" /proc/[0-9]*/status | cut -d / -f 3
}

# zombies PID: its children that have ended and were not waited for.
zombies() {
    for child in $(children "$1"); do
        grep -ls '^State:[[:blank:]]*Z' "/proc/$child/status"
    done | or_nothing
}

# Processes of containers that are left, or had to be killed. A busy machine
# takes a moment to end them.
running() {
    tries=30
    while [ -n "$(running_now)" ] && [ "$tries" -gt 0 ]; do
        tries=$((tries - 1))
        sleep 0.1
    done
    cat outlived
    running_now
}

# running_now [N]: those of all containers or one. They have a file of ours as
# standard error, or answer to us: then it is the same as standard output.
running_now() {
    # shellcheck disable=SC2010,SC2012 # names in /proc are numbers
    ls -l /proc/[0-9]*/fd/[12] 2>/dev/null | grep -F -e "-> $tmp/err${1:+.$1}" -e "-> $tmp/from${1:+.$1}" |
        sed 's|.* /proc/\([0-9]*\)/.*|\1|' | sort -u
}

# What is mounted on the host and was not when the script began.
new_mounts() {
    grep -vxF -f "$tmp/host-mounts" /proc/self/mountinfo | cut -d ' ' -f 5 | sed 's/\\040/ /g'
}

# --- Small things ----------------------------------------------------------

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
    echo "${text:-nothing}"
}

# A copy of the root, for the script to spoil.
copy_root() {
    [ "$why_not" ] && return
    # What another user keeps to itself is not needed.
    cp -a "$CONTAINER_ROOTFS" "$tmp/root" 2>/dev/null
    CONTAINER_ROOTFS=$tmp/root
}

# A number that stands for all that a directory holds.
digest() {
    (cd "$1" && find . -exec ls -dln {} + && find . -type f -exec cksum {} +) 2>/dev/null | sort | cksum
}

# --- The stage -------------------------------------------------------------

# Ends what still runs, unmounts, removes. Called however the script ends.
clean() {
    trap '' HUP INT PIPE TERM
    [ "$tmp" ] || return
    exec 6>&- 7>&- 8>&- 9>&-
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        left=$(running_now)
        [ "$left" ] || break
        # shellcheck disable=SC2086 # one word a process
        kill -KILL $left 2>/dev/null
        sleep 0.1
    done
    cd /
    new_mounts | grep -F -e "$tmp/" -e "$mem/" | sort -r | while read -r mount; do
        umount "$mount"
    done
    # Never through a mount that could not be undone.
    new_mounts | grep -qF -e "$tmp/" -e "$mem/" && return
    chmod -R u+rwX "$tmp" "$mem" 2>/dev/null
    rm -rf "$tmp" "$mem"
}

[ $# = 1 ] || {
    echo "usage: $0 PROGRAM" >&2
    exit 2
}
[ -e "/proc/$$/fd/1" ] || {
    echo "$0: write to standard output: it is closed" >&2
    exit 1
}
case $1 in
/*) program=$1 ;;
*) program=$PWD/$1 ;;
esac
command -v timeout >/dev/null || {
    echo "$0: find timeout: there is none in PATH; it comes with coreutils and with busybox" >&2
    exit 1
}

export LC_ALL=C
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin
uid=$(id -u)
gid=$(id -g)

# No container may take longer, in seconds.
limit=10
# Why no container can run here: told by `cargo xtask verify`, which has tried.
refused=${VERIFY_REFUSED:-}
why_not=$refused
passed=0 failed=0 skipped=0 unsaid=''
n=1 main='' pid='' tree='' ended='' apart='' hands_off='' lost=''

tmp='' mem=''
trap clean EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 141' PIPE
trap 'exit 143' TERM
tmp=$(mktemp -d "${TMPDIR:-/tmp}/verify.XXXXXX") && tmp=$(cd "$tmp" && pwd -P) || exit
# Where overlays write: /tmp may be an overlay itself, and a file system in
# memory can take what they write since Linux 6.6.
mem=$tmp/scratch
if [ -z "${TMPDIR:-}" ] && [ -w /dev/shm ] && uname -r | awk -F. '{ exit !($1 * 100 + $2 >= 606) }'; then
    mem=$(mktemp -d /dev/shm/verify.XXXXXX) || exit
else
    mkdir "$mem" || exit
fi
export TMPDIR="$mem"
cd "$tmp" || exit
exec </dev/null
: >outlived
cat /proc/self/mountinfo >host-mounts
host_name=$(uname -n)
