# shellcheck shell=sh
# shellcheck disable=SC2034,SC2154 # lib.sh sets some names, and the lessons read some
# The containers of a check: lib.sh reads this file.

# --- A container that runs one command -------------------------------------

run() {
    hold_off && return 125
    clock
    started=$now
    # Only the program has `err` as standard error, because `running_now` looks
    # for it. timeout and this shell, which reports a killed process, have `told`.
    # shellcheck disable=SC2016 # the shell that becomes the program expands this
    { timeout -s KILL "$limit" sh -c 'exec "$@" 2>err' sh "$program" "$@"; } \
        >out 2>told 6>&- 7>&- 8>&- 9>&-
    status=$?
    clock
    [ $((now - started)) -lt "$limit" ] || : >hung
    return "$status"
}

# Succeeds if the script must start no container; writes the reason to out.
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

errors() {
    err true >notes
    err "$@" | awk 'FILENAME == "notes" { note[$0]; next } !($0 in note)' notes -
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
    runner='' pid='' tree='' ended='' apart=''
    : >"pid.$n"
    : >"err.$n"
    rm -f "lost.$n"
    hold_off && return
    clock
    started=$now
    to=$((5 + 2 * n)) from=$((4 + 2 * n))
    rm -f "to.$n" "from.$n"
    mkfifo "to.$n" "from.$n"
    # The container ends when these descriptors close, however this script ends.
    # The script opens both ends of each FIFO, so that no open(2) waits. 3 and 4
    # are the container's ends.
    eval "exec 3<>to.$n $to>to.$n 3<to.$n 4<>from.$n $from<from.$n 4>from.$n"
    # Descriptor 5 stands for any open file of the caller.
    # shellcheck disable=SC2016 # the shell that becomes the program expands this
    {
        timeout -s KILL "$long" sh -c 'echo $$ >"runner.$0"; exec "$@" 2>"err.$0"' "$n" "$program" "$@" /bin/sh \
            <&3 >&4 3<&- 4>&- 5</
        status=$?
        exec 3<&- 4>&-
        end_all "$n"
        exit "$status"
    } 2>told 6>&- 7>&- 8>&- 9>&- &
    echo $! >"job.$n"
    exec 3<&- 4>&-
    if [ "$(talk 'echo ready' | tail -n 1)" != ready ]; then
        clock
        [ $((now - started)) -lt "$long" ] || : >hung
        stop
        why="the program ended with status $ended"
        [ ! -e hung ] || why="the program did not answer within $long seconds"
        {
            echo "no container: $why"
            cat "err.$n"
        } >"lost.$n"
        return 0
    fi
    runner=$(cat "runner.$n")
    pid=$runner tree=runner
    # The runner may have a second child, which connects the first.
    while child=$(children "$pid" | head -n 1) && [ "$child" ]; do
        pid=$child
        tree="$tree -> child"
    done
    tree=${tree% -> child}
    tree="$tree -> command"
    # Compare device and inode: after pivot_root(2), both paths are `/`.
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

# Runs in a subshell: a write to a container that has ended kills the process.
talk() (
    printf '{ %s\n} <&- 2>&1; echo; echo end-of-answer\n' "$1" >&$((5 + 2 * n))
    while IFS= read -r line && [ "$line" != end-of-answer ]; do
        printf '%s\n' "$line"
    done <&$((4 + 2 * n)) | sed -e "$tidy" -e '${/^$/d;}'
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

# Ends the processes that remain of container $1 after its program has ended.
# A command that gets no signal may never end, and `talk` would wait for ever.
end_all() {
    until wait_until none_runs "$1"; do
        left=$(running_now "$1")
        echo "$left" >>outlived
        # shellcheck disable=SC2086 # one word a process
        kill -KILL $left
    done
}

# Kills the program, and prints whether its command ends.
after_kill() {
    [ "$runner" ] || return
    kill -KILL "$runner"
    if wait_until has_ended "$pid"; then echo gone; else echo 'still there'; fi
}

# has_ended PID: true for a zombie, too, which its new parent has not reaped yet.
has_ended() {
    ! grep -qs '^State:[[:blank:]]*[^Z[:blank:]]' "/proc/$1/status"
}

# Runs a command for a second container. $runner and $pid stay the first's.
two() {
    first="$runner $pid"
    n=2
    "$@"
    n=1
    runner=${first% *} pid=${first#* }
}

# within NAME SCRIPT: asks only if the container has its own namespace NAME, so
# that the script does not change the host.
within() {
    case " $(own) " in
    *" $1 "*) ask "$2" ;;
    *) echo "not tried: the $1 namespace is the host's" ;;
    esac
}

# Prevents the checks that follow if the container shares the root or the mounts
# of the host: they would change the host.
guard_host() {
    [ "$why_not$apart" ] || hands_off="not tried: the root or the mounts are the host's"
}
