#!/bin/sh
# shellcheck disable=SC2016 # what stands in '' is for the shell inside
# shellcheck disable=SC2119 # a start without options
# shellcheck source=../xtask/src/verify/lib.sh
. "$(dirname "$0")/../xtask/src/verify/lib.sh"

page 'The new code'
start
new is 'ipc, mnt, net, pid, user and uts are its own' 'ipc mnt net pid user uts' "$(own)"
new so is 'read from inside, they are the same'      "$(links)"       "$(ask "$inside_links")"

page 'Try it'
new is '$$ in its shell is 1'                        1                "$(ask 'echo $$')"
page 'Check yourself'
new is 'its parent is out of sight: $PPID is 0'      0                "$(ask 'echo $PPID')"
page 'What the kernel did'
new is 'the host has another number for it'          "$pid 1"         "$(field NSpid)"
page 'The code' step01-run
is 'process tree: runner -> command'                 'runner -> command' "$tree"
page 'Try it' step04-uidmap
is 'one is still root inside'                        0                "$(ask 'id -u')"

page 'Try it'
# Nothing has been mounted yet: /proc is the host's, and ps reads /proc.
is "its mounts are still the host's"                 "$(mount_points self)" "$(mount_points "$pid")"
needs proc
is '/proc still shows the host: this script, too'    "/proc/$$"       "$(ask "ls -d /proc/$$")"
needs proc ps
is 'so does ps'                                      "$$"             "$(ask 'ps -A' | cut -d ' ' -f 1 | grep -x "$$")"
needs nothing
stop

page 'Break it'
# Process 1 is special.
new is 'process 1 is safe from signals of its own'   'still here'     "$(inside 'kill -TERM $$; kill -KILL $$; echo still here')"
page 'What the kernel did'
new is 'its end is the end of all others'            ''               "$(inside 'sleep 1000 & sleep 1000 &'; running_now)"
start
[ "$pid" ] && kill -KILL "$pid"
stop
new so is 'SIGKILL from outside ends it: status 137' 137              "$ended"

page 'Try it' step01-run
is 'it exits as the command did'                     42               "$(exits sh -c 'exit 42')"
page 'Try it'
is 'the host has no new mount'                       ''               "$(new_mounts)"
page 'What the kernel did'
new is 'no process is left behind'                   ''               "$(running)"
finish
