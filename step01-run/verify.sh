#!/bin/sh
# shellcheck disable=SC2016 # the shell in the container expands the text in ''
# shellcheck disable=SC2119 # a start without options
# shellcheck source=../xtask/src/verify/lib.sh
. "$(dirname "$0")/../xtask/src/verify/lib.sh"

page 'Try it'
is 'echo hello-world says hello-world'               'hello-world'    "$(out echo hello-world)"
is 'sh runs the commands that you type'              'typed'          "$(echo 'echo typed' | out sh)"
is 'the arguments arrive unchanged'                  '< a  b|*||$x>'  "$(out sh -c 'printf "<%s|%s|%s|%s>" "$@"' sh ' a  b' '*' '' '$x')"

# Nothing is isolated.
is "its hostname is the host's"                      "$host_name"     "$(out uname -n)"
is 'its user is the caller'                          "$uid $gid"      "$(inside 'id -u; id -g' | joined)"
needs ps
is 'ps shows the processes of the host'              "$$"             "$(out ps -A | tidy | cut -d ' ' -f 1 | grep -x "$$")"
needs nothing

page 'What the kernel did'
start
is 'it has no namespace of its own'                  'nothing'        "$(own)"
is "its mounts are the host's"                       'same'           "$(same_mounts)"
page 'The code'
is 'process tree: runner -> command'                 'runner -> command' "$tree"
stop

page 'Try it'
# The program exits with the command's status.
so is 'status 0: the command succeeded'              0                "$(exits true)"
is 'status 42: the command exits with 42'            42               "$(exits sh -c 'exit 42')"
is 'status 143: signal 15 ended the command'         143              "$(exits sh -c 'kill -TERM $$')"
is 'status 137: signal 9 ended the command'          137              "$(exits sh -c 'kill -KILL $$')"
is 'status 127: the command does not exist'          127              "$(exits no-such-command)"
echo 'no program' >plain
is 'status 126: the file is not executable'          126              "$(exits ./plain)"
is 'status 2: the command line names no command'     2                "$(exits)"
is 'status 2: the option does not exist'             2                "$(exits --no-such-option true)"

page 'What the kernel did'
# The program passes signals to the command.
start
tell 'trap "exit 7" TERM'
[ "$runner" ] && kill -TERM "$runner"
tell 'while :; do :; done'
stop
is 'a SIGTERM to the program reaches the command'    7                "$ended"

page 'Try it'
# The command line and the messages.
is 'words after the command belong to it'            '--help'         "$(out printf %s --help)"
is 'options end at --'                               'ended'          "$(out -- echo ended)"
has '--help prints the usage'                        'usage:'         "$(out --help)"
is 'only the command writes to standard output'      'command'        "$(out; out no-such-command; out sh -c 'echo command; exit 42')"
has 'an error names the command'                     'no-such-command' "$(err no-such-command)"
is 'an error is one line'                            1                "$(err no-such-command | wc -l | tidy)"
is 'the program itself prints nothing'               'command'        "$(err sh -c 'echo command >&2')"

page 'Break it'
# The kernel ends the command when the program dies.
start
is 'the command ends when the program is killed'     'gone'           "$(after_kill)"
stop
so is 'no process is left behind'                    ''               "$(running)"
finish
