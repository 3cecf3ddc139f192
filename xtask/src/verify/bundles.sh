# shellcheck shell=sh
# shellcheck disable=SC2034,SC2154,SC2016 # as in lib.sh; the new script expands ''
# The bundles of the checks: lesson 18 reads this file before lib.sh. A bundle is a
# directory with the file config.json. `run`, `start` and the others start a command, so
# the script makes a bundle for each command.

# begin_bundles: makes a program that makes a bundle for its arguments, and becomes
# PROGRAM, which runs the bundle. The checks use it in the place of PROGRAM.
begin_bundles() {
    step=$program
    program=$tmp/in-bundle
    root=${CONTAINER_ROOTFS:?name the root of the containers}
    cat >make-bundle <<'END_OF_PROGRAM'
#!/bin/sh
here=${0%/*} bundle=$1
shift
mkdir -p "$bundle"
{
    cat "$here/before"
    comma=''
    for word; do
        printf '%s"' "$comma"
        printf '%s' "$word" | sed 's/[\\"]/\\&/g' | awk 'NR > 1 { printf "\\n" } { printf "%s", $0 }'
        printf '"'
        comma=,
    done
    cat "$here/after"
} >"$bundle/config.json"
END_OF_PROGRAM
    {
        printf '#!/bin/sh\nstep=%s name=verify-%s\n' "$(quoted "$step")" "$$"
        cat <<'END_OF_PROGRAM'
bundle=${0%/*}/bundle.$$
"${0%/*}/make-bundle" "$bundle" "$@" && exec "$step" run --bundle "$bundle" "$name-$$"
END_OF_PROGRAM
    } >in-bundle
    chmod +x make-bundle in-bundle
    with
}

# forget_groups: removes the control groups that killed and faulty programs have left.
forget_groups() {
    find /sys/fs/cgroup -depth -type d \( -name "verify-$$" -o -name "verify-$$-*" \) -exec rmdir {} + 2>/dev/null || :
}

# bundle DIR COMMAND...: a bundle for this command.
bundle() {
    ./make-bundle "$@"
}

# with_step COMMAND...: runs a command of this script with PROGRAM itself.
with_step() {
    program=$step
    "$@"
    status=$?
    program=$tmp/in-bundle
    return "$status"
}

# quoted WORD: the word for a shell.
quoted() {
    printf "'%s'" "$(printf '%s\n' "$1" | sed "s/'/'\\\\''/g")"
}

# with [FIELD=JSON...]: what the next bundles have, besides the usual.
with() {
    kinds='{"type":"pid"},{"type":"network"},{"type":"ipc"},{"type":"uts"},{"type":"mount"},{"type":"cgroup"}'
    new_user='{"type":"user"}'
    if [ "$uid" = 0 ]; then
        own_map='"hostID":0,"size":100' own_group=$own_map
        resources='"devices":[{"allow":false,"access":"rwm"}]' namespaces=$kinds
    else
        own_map="\"hostID\":$uid,\"size\":1" own_group="\"hostID\":$gid,\"size\":1"
        resources='' namespaces="$kinds,$new_user"
    fi
    own_maps='"uidMappings":[{"containerID":0,'$own_map'}],"gidMappings":[{"containerID":0,'$own_group'}],'
    maps=''
    [ "$uid" = 0 ] || maps=$own_maps
    mounts='{"destination":"/proc","type":"proc","source":"proc"},{"destination":"/dev","type":"tmpfs","source":"tmpfs","options":["nosuid","mode=755"]}'
    user='"uid":0,"gid":0' capabilities='' process='' linux='' top='' env='' cwd=/ more=''
    for field; do
        eval "${field%%=*}=\${field#*=}"
    done
    cat >before <<EOF
{"ociVersion":"1.2.0","root":{"path":"$(text_of "$root")","readonly":true}${top:+,$top},
"process":{"user":{$user},"cwd":"$cwd","env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"${env:+,$env}],
"capabilities":{$capabilities},"noNewPrivileges":true${process:+,$process},"args":[
EOF
    cat >after <<EOF
]},
"mounts":[$mounts${more:+,$more}],
"linux":{${maps}"namespaces":[$namespaces],"resources":{$resources}${linux:+,$linux}}}
EOF
}

# text_of WORD: the word in a text of JSON.
text_of() {
    printf '%s\n' "$1" | sed 's/[\\"]/\\&/g'
}

# mounted PLACE COLUMN: a column of the topmost mount at a place of the container: 4 the
# part that it shows, 6 its options, kind the kind of file system, and spread how it
# spreads; proc_pid_mountinfo(5).
mounted() {
    [ "$pid" ] && awk -v place="$1" -v column="$2" '$5 == place {
        spread = ""
        for (at = 7; $at != "-"; at++) spread = $at
        found = column == "kind" ? $(at + 1) : column == "spread" ? spread : $column
    }
    END { sub(/:[0-9]+$/, "", found); print found }' "/proc/$pid/mountinfo"
}

# limit_of CONTROLLER FILE: a file of the group of the container, in v1 or v2.
limit_of() {
    [ "$pid" ] || return 0
    path=$(sed -nE "s/^[0-9]+:([^:]*,)?$1(,[^:]*)?:(.*)/\\3/p" "/proc/$pid/cgroup")
    if [ "$path" ]; then
        cat "/sys/fs/cgroup/$1$path/$2"
    else
        cat "$(group)/$2"
    fi 2>&1
}
