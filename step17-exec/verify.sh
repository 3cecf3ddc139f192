#!/bin/sh
# shellcheck disable=SC2016 # the shell inside reads the text in ''
# shellcheck disable=SC2119 # a start without options
# shellcheck source=../xtask/src/verify/lib.sh
. "$(dirname "$0")/../xtask/src/verify/lib.sh"

# The states are in a directory of the script's own.
mkdir -m 700 run
export XDG_RUNTIME_DIR="$tmp/run"

# The row of a container in the list: its name, its process 1, its state.
row() {
    out --list | awk -v name="$1" '$1 == name'
}
# The number of process 1 in that row.
init_of() {
    row "$1" | awk '{ print $2 }'
}
# shellcheck disable=SC2317 # `wait_until` calls it
state_is() {
    [ "$(row "$1" | awk '{ print $3 }')" = "$2" ]
}
# The state of a container, after a change that takes a moment.
state() {
    wait_until state_is "$1" "$2"
    row "$1" | awk '{ print $3 }'
}
# Field $2 after the name of the program in /proc/$1/stat: 2 is the parent, 4 the session.
stat_of() {
    sed 's/.*) //' "/proc/${1:-none}/stat" 2>/dev/null | cut -d ' ' -f "$2"
}
# What the kernel says about the process $1.
facts='for kind in user mnt pid uts ipc net cgroup; do readlink /proc/$1/ns/$kind; done
    grep -E "^(CapBnd|NoNewPrivs|Seccomp):" /proc/$1/status'
facts_of() (
    set -- "${1:-none}"
    eval "$facts" 2>/dev/null || echo 'no command'
)
# shellcheck disable=SC2317 # `wait_until` calls it
has_ended() {
    [ "$1" ] && [ ! -e "/proc/$1" ]
}
service='echo said; echo failed >&2; trap "exit 3" TERM; while :; do sleep 0.1; done'

page 'Try it' step14-network
start
is 'cgroup, ipc, mnt, net, pid, user and uts are its own' 'cgroup ipc mnt net pid user uts' "$(own)"
stop

page 'Try it'
needs_inside grep readlink
new is '--detach prints the name of the container'   'web'            "$(out --detach --name web /bin/sh -c "$service")"
so is 'the list says that it runs'                     'running'        "$(state web running)"
init=$(init_of web)
keeper=$(stat_of "$init" 2)
new is 'its keeper leads a session of its own'       "yes"            "$([ "$keeper" ] && [ "$(stat_of "$keeper" 4)" = "$keeper" ] && echo yes)"
new is 'the log has its standard output'             'said'           "$(out --logs web)"
new is 'and its standard error, apart'               'failed'         "$(errors --logs web)"
new is '--exec runs a command inside'                '42'             "$(exits --exec web /bin/sh -c 'exit 42')"
page 'What the kernel did'
command=$(children "${init:-none}" 2>/dev/null | head -n 1)
new is 'in the namespaces of the first, with its limits' "$(facts_of "$command")" "$(out --exec web /bin/sh -c "set self; $facts")"
new is 'it has a number in the PID namespace'        'yes'            "$(out --exec web /bin/sh -c '[ $$ -gt 2 ] && [ -e /proc/$$ ] && echo yes')"
new is 'no file of the host is open in it'           '0 1 2'          "$(out --exec web /bin/sh -c 'cd /proc/$$/fd && echo [0-2]* && ls -d [3-9] 2>/dev/null | grep -v "^10$"' | head -n 1)"
page 'Try it'
new has 'a second container cannot have the name'    'the name web is taken' "$(err --name web true)"
new is '--stop ends it, and --wait tells its status' '3'              "$(out --stop web; exits --wait web)"
new is 'it is on the list until --remove'            'ended'          "$(state web ended; out --remove web; row web)"
page 'Break it'
run --detach --name lost /bin/sh -c "$service"
init=$(init_of lost)
keeper=$(stat_of "$init" 2)
[ ! "$keeper" ] || kill -KILL "$keeper"
new is 'without its keeper, a container is killed'   'killed'         "$(state lost killed)"
so is 'with all of its processes'                      'gone'           "$(wait_until has_ended "$init" && echo gone)"
run --remove lost

page 'Try it' step01-run
needs nothing
is "it exits with the command's status"              42               "$(exits sh -c 'exit 42')"
page 'The new code'
is 'the host has no new mount in the end'            ''               "$(new_mounts)"
page 'What the kernel did' step06-chroot
is 'no process is left behind'                       ''               "$(running)"
finish
