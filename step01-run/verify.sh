#!/bin/sh
# shellcheck disable=SC2016 # what stands in '' is for the shell inside
# shellcheck disable=SC2119 # a start without options
# shellcheck source=../xtask/src/verify/lib.sh
. "$(dirname "$0")/../xtask/src/verify/lib.sh"

page 'Try it'
is 'echo hello-world says hello-world'               'hello-world'    "$(out echo hello-world)"
is 'sh does what one types'                          'typed'          "$(echo 'echo typed' | out sh)"
is 'the arguments arrive as they are'                '< a  b|*||$x>'  "$(out sh -c 'printf "<%s|%s|%s|%s>" "$@"' sh ' a  b' '*' '' '$x')"

# Nothing is isolated.
is "its hostname is the host's"                      "$host_name"     "$(out uname -n)"
is 'its user is the caller'                          "$uid $gid"      "$(inside 'id -u; id -g' | joined)"
needs ps
is 'ps shows the host: this script, too'             "$$"             "$(out ps -A | tidy | cut -d ' ' -f 1 | grep -x "$$")"
needs nothing

page 'What the kernel did'
start
is 'it has no namespace of its own'                  'nothing'        "$(own)"
is "its mounts are the host's"                       "$(mount_points self)" "$(mount_points "$pid")"
page 'The code'
is 'process tree: runner -> command'                 'runner -> command' "$tree"
stop

page 'Try it'
# It exits as the command did.
so is 'status 0: the command succeeded'              0                "$(exits true)"
is 'status 42: the command said so'                  42               "$(exits sh -c 'exit 42')"
is 'status 143: signal 15 ended the command'         143              "$(exits sh -c 'kill -TERM $$')"
is 'status 137: signal 9 ended the command'          137              "$(exits sh -c 'kill -KILL $$')"
is 'status 127: there is no such command'            127              "$(exits no-such-command)"
echo 'no program' >plain
is 'status 126: it cannot be executed'               126              "$(exits ./plain)"
is 'status 2: no command was named'                  2                "$(exits)"
is 'status 2: there is no such option'               2                "$(exits --no-such-option true)"

page 'What the kernel did'
# A signal to the program is meant for the command.
start
tell 'trap "exit 7" TERM'
[ "$runner" ] && kill -TERM "$runner"
tell 'while :; do :; done'
stop
is 'the command is told of a SIGTERM'                7                "$ended"

page 'Try it'
# The command line, and who says what where.
is 'what follows the command is its own'             '--help'         "$(out printf %s --help)"
is 'options end at --'                               'ended'          "$(out -- echo ended)"
has '--help says how it is used'                     'usage:'         "$(out --help)"
is "standard output is the command's alone"          'command'        "$(out; out no-such-command; out sh -c 'echo command; exit 42')"
has 'an error names the command'                     'no-such-command' "$(err no-such-command)"
is 'an error is one line'                            1                "$(err no-such-command | wc -l | tidy)"
is 'the program itself has nothing to say'           'command'        "$(err sh -c 'echo command >&2')"

page 'Break it'
# Whatever ends the program, the kernel ends the command.
start
is 'the command does not outlive the program'        'gone'           "$(after_kill)"
stop
so is 'no process is left behind'                    ''               "$(running)"
finish
