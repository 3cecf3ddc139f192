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
#   page HEADING [STEP]      names the section of the lesson's page, or of
#                            STEP's, that explains the checks below; a check
#                            that fails prints it
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
#   $runner, $pid  the program and the shell in the container, as the host
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

page() {
    see="${2:-$lesson}/README.md, \"$1\""
}

so() {
    case $verdict in
    failed) ! tried "$2" "$3" || fail "$2" "$3" 'not tried: the check before it failed' ;;
    *) "$@" ;;
    esac
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
    indented see "$see"
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

# As needs, but the programs must be files in the root of the container, which may
# have no /dev/null. A busybox names its applets, but needs /proc to run them.
needs_inside() {
    needs nothing
    [ "$why_not$hands_off" ] && return
    word=$(inside "IFS=:; for word in $*; do
        for dir in \$PATH; do [ ! -x \$dir/\$word ] || continue 2; done
        echo no \$word
    done" | sed -n 's/^no //p;' | head -n 1)
    [ -z "$word" ] || why_not="there is no $word in the root"
    : >err
}

# The last word of every script.
finish() {
    total="$passed passed, $failed failed"
    [ "$skipped" = 0 ] || total="$total, $skipped skipped"
    say "$total"
    [ ! "$unsaid" ] || printf '%s\n' "$0: write to standard output: not all lines could be written; the file system it goes to is likely full; free some space" >&2
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

# --- Containers, and what the host's /proc says ----------------------------

# shellcheck source=../xtask/src/verify/containers.sh
. "$(dirname "$0")/../xtask/src/verify/containers.sh"
# shellcheck source=../xtask/src/verify/proc.sh
. "$(dirname "$0")/../xtask/src/verify/proc.sh"

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
n=1 see='' runner='' pid='' tree='' ended='' apart='' hands_off='' lost=''

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
lesson=$(cd -- "$(dirname -- "$0")" && pwd -P) || exit
lesson=${lesson##*/}
cd "$tmp" && inside_tmp=1 || exit
# The options of a mount may take a page. What does not fit goes by a descriptor
# of the program's, and the kernel's list would not say where it led.
[ ${#tmp} -lt 400 ] || TMPDIR=scratch
exec </dev/null
: >outlived
cat /proc/self/mountinfo >host-mounts
host_name=$(uname -n)
