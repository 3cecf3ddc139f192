# shellcheck shell=sh
# shellcheck disable=SC2034 # some names are for the lessons
# shellcheck disable=SC2119,SC2120 # `start` takes options where there are any
# What the lessons' checks are written with. Every verify.sh reads this first;
# it is called with the program to check: sh step05-pid/verify.sh PROGRAM
#
#   is CLAIM EXPECTED GOT    both must be the same
#   has CLAIM PART GOT       PART must be in GOT
#   new is, new has          the same, for a claim that the lesson before does
#                            not fulfil; a test tries that
#   so is, so has            the same, for a claim that means nothing unless the
#                            check before it has passed
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
#                  `root`, `user` (not root), `proc` (it hides no process), a
#                  program, a file to write to;
#                  `needs nothing` ends it
#   needs_inside   the same for programs in the root of the container
#
#   copy_root      makes a copy of the root, for the script to spoil
#   plant, text    write and read a file of it
#
# A script waits for an event, and for $VERIFY_LIMIT seconds at most, 60 unless
# it is set. What has not happened by then is taken not to happen.

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

new() {
    "$@"
}

so() {
    if [ "$verdict" = failed ]; then fail "$2" "$3" 'not tried: the check before it failed'; else "$@"; fi
}

ok() {
    say "ok   $1"
    verdict=passed
    passed=$((passed + 1))
    : >err
}

fail() {
    say "FAIL $1"
    verdict=failed
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
        verdict=skipped
        skipped=$((skipped + 1))
    fi
    return 1
}

# The check of a container that could not be started. Why, is said once.
lost() {
    if [ "$3" = "$lost" ]; then
        say "FAIL $1 (no container)"
        verdict=failed
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
        proc)
            ! grep -q '^[^ ]* /proc proc [^ ]*hidepid=' /proc/self/mounts ||
                why_not='/proc is mounted with hidepid here, and hides the processes of others'
            ;;
        /*) [ -w "$word" ] || why_not="$word cannot be written to here" ;;
        getfattr) command -v getfattr >/dev/null || why_not='there is no getfattr here; the package attr brings it' ;;
        *) command -v "$word" >/dev/null || why_not="there is no $word here" ;;
        esac
    done
}

# As needs, but the programs must be in the root of the container, which may
# have no /dev/null.
needs_inside() {
    needs nothing
    [ "$why_not$hands_off" ] && return
    word=$(inside "for word in $*; do command -v \$word >&2 || echo no \$word; done" | sed -n 's/^no //p;' | head -n 1)
    [ -z "$word" ] || why_not="there is no $word in the root"
    : >err
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

# --- Waiting ---------------------------------------------------------------

# wait_until COMMAND...: waits for it to succeed, for $limit seconds at most.
# After one wait in vain it is no slow machine, and the next are short.
wait_until() {
    patience=$limit
    [ ! -e "$tmp/in-vain" ] || patience=2
    begun=$(date +%s)
    until "$@"; do
        [ $(($(date +%s) - begun)) -lt "$patience" ] || {
            : >"$tmp/in-vain"
            return 1
        }
        sleep 0.1
    done
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
    [ -e hung ] && hands_off="not tried: an earlier container did not end in time"
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
    # The container ends when these close, whatever has become of this script.
    # With both ends here nobody waits for another to open one: 3 and 4 are the
    # container's.
    eval "exec 3<>to.$n $to>to.$n 3<to.$n 4<>from.$n $from<from.$n 4>from.$n"
    # Descriptor 5 is one that the caller happens to have open.
    # shellcheck disable=SC2016 # for the shell that becomes the program
    {
        timeout -s KILL "$long" sh -c 'echo $$ >"main.$0"; exec "$@" 2>"err.$0"' "$n" "$program" "$@" /bin/sh \
            <&3 >&4 3<&- 4>&- 5</
        status=$?
        exec 3<&- 4>&-
        end_all "$n"
        exit "$status"
    } 2>told 6>&- 7>&- 8>&- 9>&- &
    echo $! >"job.$n"
    exec 3<&- 4>&-
    if [ "$(talk 'echo ready' | tail -n 1)" != ready ]; then
        [ $(($(date +%s) - started)) -lt "$long" ] || : >hung
        stop
        why="the program ended with status $ended"
        [ ! -e hung ] || why="the program did not answer within $long seconds"
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
    until wait_until none_runs "$1"; do
        left=$(running_now "$1")
        echo "$left" >>outlived
        # shellcheck disable=SC2086 # one word a process
        kill -KILL $left
    done
}

# Kills the program, and says what becomes of its command.
after_kill() {
    [ "$main" ] || return
    kill -KILL "$main"
    if wait_until has_ended "$pid"; then echo gone; else echo 'still there'; fi
}

# has_ended PID: a zombie has; whoever inherited it has not noticed yet.
has_ended() {
    ! grep -qs '^State:[[:blank:]]*[^Z[:blank:]]' "/proc/$1/status"
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

# --- The stage -------------------------------------------------------------

# Kills whatever uses a file of ours; says whether there was nothing.
none_holds() {
    left=$(holding '')
    # shellcheck disable=SC2086 # one word a process
    [ -z "$left" ] || ! kill -KILL $left 2>/dev/null
}

# Those of the new mounts that lie in our directories, the last one first.
ours_mounted() {
    new_mounts | sort -r | while read -r mount; do
        case $(printf '%s\n' "$mount" | as_it_is) in
        "$tmp/"* | "$mem/"*) printf '%s\n' "$mount" ;;
        esac
    done
}

# Ends what still runs, unmounts, removes. Called however the script ends.
clean() {
    trap '' HUP INT PIPE TERM
    [ "$tmp" ] || return
    [ "$inside_tmp" ] || {
        rmdir "$mem" "$tmp" 2>/dev/null
        return
    }
    exec 3<&- 4>&- 6>&- 7>&- 8>&- 9>&-
    wait_until none_holds
    ours_mounted | while read -r mount; do
        umount "$(printf '%s\n' "$mount" | as_it_is)"
    done
    # Never through a mount that could not be undone.
    [ -z "$(ours_mounted)" ] || return
    # Root needs no chmod, which takes names for what they were.
    [ "$uid" = 0 ] || chmod -R u+rwX . "$mem" 2>/dev/null
    # From inside: where others may rename $tmp, its name leads where they like.
    rm -rf ./* ./.[!.]* ./..?* "$mem"
    cd / && rmdir "$tmp"
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
export LC_ALL=C
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin
for tool in awk timeout; do
    command -v $tool >/dev/null || {
        echo "$0: find $tool: there is none in PATH; busybox brings it" >&2
        exit 1
    }
done
uid=$(id -u)
gid=$(id -g)

# No container may take longer, and nothing is waited for longer, in seconds.
limit=${VERIFY_LIMIT:-60}
# One that stays may have to stay while something is waited for in vain.
long=$((2 * limit))
# Why no container can run here: told by `cargo xtask verify`, which has tried.
refused=${VERIFY_REFUSED:-}
why_not=$refused
passed=0 failed=0 skipped=0 verdict='' unsaid=''
n=1 main='' pid='' tree='' ended='' apart='' hands_off='' lost=''

tmp='' mem='' inside_tmp=''
trap clean EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 141' PIPE
trap 'exit 143' TERM
# A signal must not come between making a directory and knowing its name.
make_dir() (
    trap '' HUP INT PIPE TERM
    mktemp -d -- "$1/verify.XXXXXX"
)
unset CDPATH
tmp=$(make_dir "${TMPDIR:-/tmp}") && tmp=$(cd -- "$tmp" && pwd -P) || exit
# Where overlays write: /tmp may be an overlay itself, and a file system in
# memory can take what they write since Linux 6.6.
mem=$tmp/scratch
if [ -z "${TMPDIR:-}" ] && [ -w /dev/shm ] && uname -r | awk -F. '{ exit !($1 * 100 + $2 >= 606) }'; then
    mem=$(make_dir /dev/shm) || exit
else
    mkdir "$mem" || exit
fi
export TMPDIR="$mem"
cd "$tmp" && inside_tmp=1 || exit
# The options of a mount may take a page. What does not fit goes by a descriptor
# of the program's, and the kernel's list would not say where it led.
[ ${#tmp} -lt 400 ] || TMPDIR=scratch
exec </dev/null
: >outlived
cat /proc/self/mountinfo >host-mounts
host_name=$(uname -n)
