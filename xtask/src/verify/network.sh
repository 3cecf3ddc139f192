# shellcheck shell=sh
# shellcheck disable=SC2016,SC2119,SC2120,SC2154 # as in lib.sh and the lessons, which use these
# The hosts and servers of the checks of networks: lessons 14 and 15 read this file before
# lib.sh, which leaves the directory.

# Why there is no such host.
no_host=''

# A host of the script's own: a process in a new network namespace, in which an ordinary user
# is root. /run is its own, too, because a bridge has a lock there. The host outlives all
# containers of the script.
make_host() {
    needs ip nft nsenter unshare
    [ ! "$why_not" ] || return
    if ! ip -Version >told 2>&1; then
        no_host='this host has no ip of iproute2'
        return
    fi
    as='--net --mount' made=$as
    [ "$uid" = 0 ] || as="--user --preserve-credentials $as" made="--map-root-user $made"
    # shellcheck disable=SC2086 # words
    unshare $made sh -c 'mount -t tmpfs none /run && ip link set lo up && echo ready && exec sleep "$0"' \
        $((10 * long)) >host 2>host.err 6>&- 7>&- 8>&- 9>&- &
    host=$!
    if wait_until grep -qs ready host; then
        off_host=$program
        be_on_host
    else
        no_host="this host makes no network for the script: $(tail -n 1 host.err)"
    fi
}

# be_on_host [COMMAND...]: the next containers start on that host, by root of it. A COMMAND
# starts the program.
be_on_host() {
    [ ! "$why_not$no_host" ] || return
    printf '#!/bin/sh\nexec nsenter --target %s %s %s "%s" "$@"\n' "$host" "$as" "$*" \
        "$(printf %s "$off_host" | sed 's/[\\"$`]/\\&/g')" >on-host
    chmod +x on-host
    program=$tmp/on-host
}

# on_host COMMAND...
on_host() {
    # shellcheck disable=SC2086 # words
    [ "$why_not" ] || nsenter --target "$host" $as "$@"
}

# As needs and needs_inside, for checks on the script's own host.
needs_host() {
    needs ip nft nsenter unshare "$@"
    [ "$why_not" ] || why_not=$no_host
}
needs_host_and_inside() {
    needs_host
    [ "$why_not" ] || needs_inside "$@"
}

# The network devices of a container, as the kernel lists them.
devices() {
    proc net/dev | sed -n 's/^\([^ :]*\):.*/\1/p' | sort | joined
}

# Whether the container has an address: the kernel's table of routes lists each as LOCAL.
has_address() {
    [ "$pid" ] && grep -A 1 -F -- "-- $1" "/proc/$pid/net/fib_trie" | grep -q 'host LOCAL' && echo yes
}

# shellcheck disable=SC2317 # `wait_until` calls it
# Whether a process in the network of process $1 listens at port 80, or at the port with
# the hexadecimal number $2: 0A is the state.
listens() {
    grep -qs ":${2:-0050} [0-9A-F:]* 0A " "/proc/$1/net/tcp" "/proc/$1/net/tcp6"
}

# Runs a server at port 80 of the container, which answers each client with a word.
serve() {
    tell "while nc -l -p 80 -e echo $1; do :; done >&- 2>&- &"
}

# when_ready N COMMAND...: waits for the server of container N, and asks it.
when_ready() {
    [ "$why_not$hands_off" ] || ! [ -s "pid.$1" ] || wait_until listens "$(cat "pid.$1")"
    shift
    "$@"
}

# shellcheck disable=SC2317 # `when_ready` calls it
# from_host ADDRESS PORT: what a server answers to the host.
from_host() {
    on_host timeout "$limit" bash -c 'read -r line <>"/dev/tcp/$0/$1"; echo "$line"' "$1" "$2" 2>&1
}

# How many packets over UDP came to a port of the container where no program listens.
udp_packets() {
    proc net/snmp | sed -n 's/^Udp: [0-9]* \([0-9]*\) .*/\1/p'
}

# shellcheck disable=SC2317 # `wait_until` calls it
# udp_arrives ADDRESS PORT BEFORE: sends a packet to a port of the host.
udp_arrives() {
    on_host bash -c 'echo >"/dev/udp/$0/$1"' "$1" "$2" 2>/dev/null
    [ "$(udp_packets)" -gt "${3:-0}" ]
}

# udp_from_host ADDRESS PORT: whether a packet to a port of the host arrives in the container.
udp_from_host() {
    [ ! "$why_not" ] && [ "$pid" ] && wait_until udp_arrives "$@" "$(udp_packets)" && echo yes
}

# Makes the second container another host, by a cable: it is 198.51.100.2, and this host 198.51.100.1.
other_host() {
    two=$(cat pid.2) && [ "$two" ] || return
    on_host ip -batch - <<END
link add up0 type veth peer name eth0 netns $two
address add 198.51.100.1/24 dev up0
link set up0 up
route add default via 198.51.100.2
END
    on_host nsenter --net="/proc/$two/ns/net" ip -batch - <<END
address add 198.51.100.2/24 dev eth0
link set eth0 up
END
}
