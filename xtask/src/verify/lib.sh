# shellcheck shell=sh
# shellcheck disable=SC2034 # some names are for the lessons
# shellcheck disable=SC2119,SC2120 # some lessons call `start` with options
# The words of the lessons' checks. Every verify.sh reads this file first. To check
# a program: sh step05-pid/verify.sh PROGRAM
#
#   is CLAIM EXPECTED GOT    both must be the same
#   has CLAIM PART GOT       PART must be in GOT
#   new is, new has          the same, for a claim that is false in the lesson
#                            before; a test tries that
#   so is, so has            the same, for a claim that only counts if the check
#                            before it has passed
#   page HEADING [STEP]      names the section of the lesson's page, or of
#                            STEP's, that explains the checks below; a check
#                            that fails prints it
#
#   out ARG...     runs PROGRAM ARG... and prints its standard output,
#   err ARG...     its standard error,
#   errors ARG...  the same without the notes that it prints for every command,
#   exits ARG...   its exit status
#   inside SCRIPT  out /bin/sh -c SCRIPT
#
#   start          starts a container whose /bin/sh waits for `ask`
#   ask SCRIPT     runs SCRIPT in that shell and prints its output and errors
#   tell SCRIPT    the same for a SCRIPT without output
#   stop           ends the container; $ended is its exit status
#   $runner, $pid  the program and the shell in the container: their PIDs on the
#                  host
#   own, links, proc, field, ...    facts about $pid from the host's /proc
#   two start, two ask, two stop    the same for a second container
#
#   needs WORD...  skips the next checks unless the host has each WORD: `root`,
#                  `user` (not root), `proc` (it hides no process), `limits` (a
#                  container can have them), `ids` (the caller has subordinate
#                  IDs), `attributes` (the upper directory has them), a program,
#                  a file to write to;
#                  `needs nothing` ends it
#   needs_inside   the same for programs in the root of the container
#
#   copy_root      makes a copy of the root, which the script may change
#   plant, text    write and read a file of the copy
#
# A script waits for an event, but only for $VERIFY_LIMIT seconds: 60 by default.
# Then it decides that the event does not happen.

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
    # Not "nothing", because a check may expect that word.
    indented expected "${2:-(no output)}"
    indented got "${3:-(no output)}"
    # Without output, show the reason that the program gave.
    [ "$3" ] || ! [ -s err ] || indented said "$(cat err)"
    indented see "$see"
    failed=$((failed + 1))
    : >err
}

# If the reader has gone, as in `| head`, SIGPIPE ends the script. Any other
# failed write makes the script fail.
say() {
    printf '%s\n' "$1" 2>/dev/null || unsaid=1
}

indented() {
    say "$(printf '%s\n' "$2" | sed "s/^/                 /; 1s/^ */$(printf '       %-10s' "$1:")/")"
}

# tried CLAIM EXPECTED: whether the script can make this check. Otherwise it
# prints the reason.
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

# Fails a check because its container did not start. Prints each reason once.
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
        root) [ "$uid" = 0 ] || why_not='this check needs root' ;;
        user) [ "$uid" != 0 ] || why_not='this check needs an ordinary user' ;;
        nothing) ;;
        attributes) has_attributes "$mem" || why_not='the scratch directory is in memory, where Linux before 6.6 has no user attributes; name a directory on a disk with TMPDIR' ;;
        proc)
            ! grep -q '^[^ ]* /proc proc [^ ]*hidepid=' /proc/self/mounts ||
                why_not='/proc is mounted with hidepid, which hides the processes of other users'
            ;;
        /*) [ -w "$word" ] || why_not="this user cannot write to $word" ;;
        limits) why_not=$(no_limits) ;;
        ids) why_not=$(no_ids) ;;
        getfattr) command -v getfattr >/dev/null || why_not='this host has no getfattr; install the package attr' ;;
        *) command -v "$word" >/dev/null || why_not="this host has no $word" ;;
        esac
    done
}

# As needs, for programs in the root of the container. It looks for files: the
# shell of busybox knows more applets than it can run without /proc. The root may
# have no /dev/null.
needs_inside() {
    needs nothing
    [ "$why_not$hands_off" ] && return
    word=$(inside "IFS=:; for word in $*; do
        for dir in \$PATH; do [ ! -x \$dir/\$word ] || continue 2; done
        echo no \$word
    done" | sed -n 's/^no //p;' | head -n 1)
    [ -z "$word" ] || why_not="the root has no $word"
    : >err
}

# Prints the total, and ends the script.
finish() {
    total="$passed passed, $failed failed"
    [ "$skipped" = 0 ] || total="$total, $skipped skipped"
    say "$total"
    [ ! "$unsaid" ] || printf '%s\n' "$0: write to standard output: not all lines could be written; the file system is likely full; free some space" >&2
    [ "$failed$unsaid" = 0 ]
    exit
}

# --- Waiting ---------------------------------------------------------------

# Sets $now to the seconds since the host started. With date(1), each sixth process of a
# script would be for this.
clock() {
    IFS=. read -r now _ </proc/uptime
}

# wait_until COMMAND...: waits until it succeeds, for $limit seconds at most. If
# one wait fails, the reason is not a slow machine: the next waits are short.
wait_until() {
    patience=$limit
    [ ! -e "$tmp/in-vain" ] || patience=2
    clock
    begun=$now
    until "$@"; do
        clock
        [ $((now - begun)) -lt "$patience" ] || {
            : >"$tmp/in-vain"
            return 1
        }
        sleep 0.1
    done
}

# --- Containers, and the evidence in the host's /proc ----------------------

# shellcheck source=../xtask/src/verify/containers.sh
. "$(dirname "$0")/../xtask/src/verify/containers.sh"
# shellcheck source=../xtask/src/verify/proc.sh
. "$(dirname "$0")/../xtask/src/verify/proc.sh"

# --- Start and end of the script -------------------------------------------

# Kills the processes that use a file of ours. Succeeds if there were none.
none_holds() {
    left=$(holding '')
    # shellcheck disable=SC2086 # one word a process
    [ -z "$left" ] || ! kill -KILL $left 2>/dev/null
}

# The mounts in our directories. A mount comes after the mounts in it.
ours_mounted() {
    mount_points self | sort -r | in_ours
}

# Ends processes, unmounts, and removes files, however the script ends.
clean() {
    trap '' HUP INT PIPE TERM
    [ "$tmp" ] || return
    [ "$inside_tmp" ] || {
        rmdir "$mem" "$tmp" 2>/dev/null
        return
    }
    exec 3<&- 4>&- 6>&- 7>&- 8>&- 9>&-
    wait_until none_holds
    ! command -v forget_groups >/dev/null || forget_groups
    ours_mounted | while read -r mount; do
        umount "$(printf '%s\n' "$mount" | as_it_is)"
    done
    # Do not delete through a mount that umount could not remove.
    [ -z "$(ours_mounted)" ] || return
    # Root needs no chmod, which can follow a name that was replaced by a link.
    [ "$uid" = 0 ] || chmod -R u+rwX . "$mem" 2>/dev/null
    # By relative names: another user may rename $tmp, and replace it. Only root of the
    # same map can remove the files of subordinate IDs.
    rm -rf ./* ./.[!.]* ./..?* "$mem" 2>/dev/null ||
        unshare --map-root-user --map-auto rm -rf ./* ./.[!.]* ./..?* "$mem"
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
for tool in awk sha256sum timeout; do
    command -v $tool >/dev/null || {
        echo "$0: find $tool: it is not in PATH; install busybox" >&2
        exit 1
    }
done
uid=$(id -u)
gid=$(id -g)

# As root, the script is a host of its own: other programs may mount meanwhile, and a
# faulty program does not change the real host. The mounts are shared, as systemd makes
# them: so a container that does not make them private changes this host.
own_mounts=${VERIFY_OWN_MOUNTS:-}
unset VERIFY_OWN_MOUNTS
if [ "$uid$own_mounts" = 0 ] && unshare --mount true 2>/dev/null; then
    # shellcheck disable=SC2016 # the new shell expands this
    exec unshare --mount sh -c 'mount --make-rshared / && VERIFY_OWN_MOUNTS=1 exec sh "$0" "$@"' "$0" "$@"
fi

# The limit for a container, and for each wait, in seconds.
limit=${VERIFY_LIMIT:-60}
# A container of `start` must live longer than a wait that fails.
long=$((2 * limit))
# The reason why no container runs here. `cargo xtask verify` has tried.
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
# No signal may come before the script knows the name of a new directory.
make_dir() (
    trap '' HUP INT PIPE TERM
    mktemp -d -- "$1/verify.XXXXXX"
)
# A file system in memory has user attributes since Linux 6.6.
has_attributes() {
    [ "$(stat -f -c %T -- "$1")" != tmpfs ] || uname -r | awk -F. '{ exit !($1 * 100 + $2 >= 606) }'
}
unset CDPATH
tmp=$(make_dir "${TMPDIR:-/tmp}") && tmp=$(cd -- "$tmp" && pwd -P) || exit
# The place for upper directories: /tmp may be an overlay itself, or without
# attributes.
for place in /dev/shm "$tmp" /var/tmp; do
    [ -z "${TMPDIR:-}$mem" ] || break
    ! [ -w "$place" ] || ! has_attributes "$place" || mem=$(make_dir "$place") || exit
done
[ "$mem" ] || { mem=$tmp/scratch && mkdir "$mem"; } || exit
export TMPDIR="$mem"
lesson=$(cd -- "$(dirname -- "$0")" && pwd -P) || exit
lesson=${lesson##*/}
cd "$tmp" && inside_tmp=1 || exit
# The options of a mount have the size of a page. For a longer path, the program
# would use a descriptor, and /proc/PID/mountinfo would not show the path.
[ ${#tmp} -lt 400 ] || TMPDIR=scratch
exec </dev/null
: >outlived
cat /proc/self/mountinfo >host-mounts
host_name=$(uname -n)
