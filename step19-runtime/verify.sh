#!/bin/sh
# shellcheck disable=SC2016 # the shell inside reads the text in ''
# shellcheck disable=SC2119 # a start without options
# shellcheck disable=SC2154 # bundles.sh sets some names
# shellcheck source=../xtask/src/verify/images.sh
. "$(dirname "$0")/../xtask/src/verify/images.sh"
# shellcheck source=../xtask/src/verify/bundles.sh
. "$(dirname "$0")/../xtask/src/verify/bundles.sh"
# shellcheck source=../xtask/src/verify/lib.sh
. "$(dirname "$0")/../xtask/src/verify/lib.sh"
begin_bundles
mkdir -m 700 state run
# A user has the containers of `run` there.
export XDG_RUNTIME_DIR="$tmp/run"

# verb WORD...: what the runtime prints for a verb. The containers are the script's own.
verb() {
    with_step out --root "$tmp/state" "$@"
}
# The exit status of a verb, and its error.
ends() {
    with_step exits --root "$tmp/state" "$@"
}
says() {
    with_step err --root "$tmp/state" "$@"
}
# value NAME: a value of the JSON that comes in.
value() {
    sed -n 's/.*"'"$1"'":[[:blank:]]*"\{0,1\}\([^",]*\)"\{0,1\}.*/\1/p' | head -n 1
}
# status NAME: the word in the state of a container.
status() {
    verb state "$1" | value status
}
# shellcheck disable=SC2317 # `wait_until` calls it
is_now() {
    [ "$(status "$1")" = "$2" ]
}
# The status after a change that takes a moment.
soon() {
    wait_until is_now "$1" "$2"
    status "$1"
}
# What a hook has written to a file.
of() {
    cat "$1" 2>&1
}
# container NAME: a bundle for the service, and `create`.
container() {
    bundle "$tmp/$1" /bin/sh -c "$service"
    verb create --bundle "$tmp/$1" --pid-file "$tmp/$1.pid" "$1"
    pid=$(cat "$1.pid" 2>/dev/null)
}
service='trap "exit 3" TERM; while :; do sleep 0.1; done'

page 'Try it' step18-bundle
start
guard_host
usual='cgroup ipc mnt net pid uts'
[ "$uid" = 0 ] || usual='cgroup ipc mnt net pid user uts'
is 'namespaces: those of the list are its own'         "$usual"         "$(own)"
is '$$ in its shell is 1'                              1                "$(ask 'echo $$')"
stop

page 'Try it'
with
container web
new is 'create makes a container that waits'           'created'        "$(status web)"
new is 'the file has the number of its process'        "$(verb state web | value pid)" "${pid:-no number}"
so is 'in the namespaces of the list'                  "$usual"         "$(own)"
page 'What the kernel did'
new is 'it is not the command yet'                     'no'             "$([ "$pid" ] && if grep -q trap "/proc/$pid/cmdline"; then echo yes; else echo no; fi)"
new is 'nothing of the runtime waits for it'           'no'             "$([ "$pid" ] && if children "$pid" | grep -q . || [ "$(readlink "/proc/$(field PPid)/exe")" = "$step" ]; then echo yes; else echo no; fi)"
page 'Try it'
new has 'create: the name is taken'                    'web'            "$(says create --bundle "$tmp/web" web)"
new is 'start begins the command'                      'running'        "$(verb start web; status web)"
so is 'which is the same process'                      'yes'            "$([ "$pid" ] && grep -q trap "/proc/$pid/cmdline" && echo yes)"
so is 'and has open only 0, 1 and 2'                   '0 1 2'          "$(open_files)"
new has 'start: only what waits can be started'        'running'        "$(says start web)"
new has 'list: the container is there'                 'web'            "$(verb list | grep running)"
new has 'delete: a container that runs stays'          'running'        "$(says delete web)"
new is 'kill sends a signal, and it stops'             'stopped'        "$(verb kill web TERM; soon web stopped)"
new is 'delete removes it'                             '0 gone'         "$(ends delete web) $([ -e state/web ] || echo gone)"
so is 'with its bundle left as it is'                  'yes'            "$([ -e web/config.json ] && echo yes)"
container lost
verb start lost
new is 'delete --force also ends it'                   '0 gone'         "$(ends delete --force lost) $(wait_until has_ended "${pid:-self}" && echo gone)"
new is 'and does so again when it is gone'             0                "$(ends delete --force lost)"

page 'What the kernel did'
bundle wrong no-such-command
new has 'create: a command that is missing is an error' 'executable file not found' "$(says create --bundle wrong wrong)"
so is 'and no container stays'                         ''               "$(verb list --quiet)"
with "top=\"hooks\":{\"createRuntime\":[{\"path\":\"/bin/sh\",\"args\":[\"sh\",\"-c\",\"cat >$(text_of "$tmp")/hook; echo runtime >>$(text_of "$tmp")/order\"]}],\"poststart\":[{\"path\":\"/bin/sh\",\"args\":[\"sh\",\"-c\",\"echo poststart >>$(text_of "$tmp")/order\"]}],\"poststop\":[{\"path\":\"/bin/sh\",\"args\":[\"sh\",\"-c\",\"echo poststop >>$(text_of "$tmp")/order\"]}]}"
container hooked
new is 'hooks: one gets the state, with the process'   "${pid:-no number}" "$(of hook | value pid)"
verb start hooked
verb delete --force hooked
new is 'hooks: each at its time'                       'runtime poststart poststop' "$(of order | joined)"

page 'Try it'
# In v2, a group that has processes gives no controllers to the groups in it.
with
[ "$uid" != 0 ] || with 'linux="cgroupsPath":"/verify-'$$'"'
container two
verb start two
new is 'exec: its exit status is that of the command'  42               "$(ends exec two /bin/sh -c 'exit 42')"
needs_inside readlink
new is 'exec: in the namespaces of the container'      "$(proc_link ns/mnt || echo none) $(proc_link ns/net)" "$(verb exec two /bin/sh -c 'readlink /proc/self/ns/mnt; readlink /proc/self/ns/net' | joined)"
needs nothing
printf '{"args":["/bin/sh","-c","echo $A"],"env":["PATH=/usr/bin:/bin","A=b"],"cwd":"/","user":{"uid":0,"gid":0}}' >process.json
new is 'exec: a file describes the process'            b                "$(verb exec --process process.json two)"
new is 'exec --detach: a file has its number'          'yes'            "$(verb exec --detach --pid-file "$tmp/second" two /bin/sh -c "$service"; kill -0 "$(cat second 2>&1)" 2>/dev/null && echo yes)"
needs root
new is 'ps: the numbers of its processes'              "${pid:-no number}"           "$(verb ps --format json two | tr -cs 0-9 '\n' | grep -x "${pid:-none}")"
new is 'update: another limit for its group'           55               "$(verb update --pids-limit 55 two; limit_of pids pids.max)"
new is 'pause: it stands still'                        'paused'         "$(verb pause two; status two)"
new is 'resume: it goes on'                            'running'        "$(verb resume two; status two)"
needs nothing
verb delete --force two

page 'Break it'
with
container killed
verb start killed
[ ! "$pid" ] || kill -KILL "$pid"
new is 'a container that was killed from outside is stopped' 'stopped'  "$(soon killed stopped)"
verb delete killed
with 'top="no-such-field":1'
bundle wrong true
has 'a field that is not done is an error'             'no-such-field'  "$(says run --bundle wrong wrong)"

page 'Try it' step01-run
with
needs nothing
is "run exits with the command's status"               42               "$(exits /bin/sh -c 'exit 42')"
page 'The new code'
is 'the host has no new mount in the end'              ''               "$(new_mounts)"
page 'What the kernel did' step06-chroot
is 'no process is left behind'                         ''               "$(running)"
finish
