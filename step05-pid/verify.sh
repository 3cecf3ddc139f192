#!/bin/sh
# shellcheck disable=SC2016 # the shell in the container expands the text in ''
# shellcheck disable=SC2119 # a start without options
# shellcheck source=../xtask/src/verify/lib.sh
. "$(dirname "$0")/../xtask/src/verify/lib.sh"

page 'The new code'
start
new is 'ipc, mnt, net, pid, user and uts are its own' 'ipc mnt net pid user uts' "$(own)"
new so is 'host and container see the same namespaces' "$(links)"       "$(ask "$inside_links")"

page 'Try it'
new is '$$ in its shell is 1'                        1                "$(ask 'echo $$')"
page 'Check yourself'
new is 'it cannot see its parent: $PPID is 0'        0                "$(ask 'echo $PPID')"
page 'What the kernel did'
new is 'on the host, it has another PID'             "$pid 1"         "$(field NSpid)"
page 'The code' step01-run
is 'process tree: runner -> command'                 'runner -> command' "$tree"
page 'Try it' step04-uidmap
is 'inside, the user is still root'                  0                "$(ask 'id -u')"

page 'Try it'
# The container has not mounted proc yet. ps reads /proc, which is the host's.
is "its mounts are still the host's"                 'same'           "$(same_mounts)"
needs proc
is '/proc still shows the processes of the host'     "/proc/$$"       "$(ask "ls -d /proc/$$")"
needs proc ps
# Some versions of ps look up their own PID in /proc. The host may have no process
# with that number; the next ps has another number.
is 'ps still shows the processes of the host'        "$$"             "$(ask 'for i in 1 2 3 4 5 6 7 8 9; do ps -A && break; done' | cut -d ' ' -f 1 | grep -x "$$")"
needs nothing
stop

page 'Break it'
# Process 1 is special.
new is 'process 1 cannot end itself with a signal'   'still here'     "$(inside 'kill -TERM $$; kill -KILL $$; echo still here')"
page 'What the kernel did'
new is 'when process 1 ends, all others end'         ''               "$(inside 'sleep 1000 & sleep 1000 &'; running_now)"
start
[ "$pid" ] && kill -KILL "$pid"
stop
new so is 'SIGKILL from the host ends it: status 137' 137              "$ended"

page 'Try it' step01-run
is "it exits with the command's status"              42               "$(exits sh -c 'exit 42')"
page 'Try it'
is 'the host has no new mount'                       ''               "$(new_mounts)"
page 'What the kernel did'
new is 'no process is left behind'                   ''               "$(running)"
finish
