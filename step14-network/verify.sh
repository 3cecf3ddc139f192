#!/bin/sh
# shellcheck disable=SC2016 # the shell inside reads the text in ''
# shellcheck disable=SC2119 # a start without options
# shellcheck source=../xtask/src/verify/lib.sh
. "$(dirname "$0")/../xtask/src/verify/lib.sh"

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

# What a container could change there.
state() {
    on_host sh -c 'ip -d link; ip route show table all; nft list ruleset' | sha256sum
}

# The network devices of a container, as the kernel lists them.
devices() {
    proc net/dev | sed -n 's/^\([^ :]*\):.*/\1/p' | sort | joined
}

# Some programs of busybox only know packets of CAP_NET_RAW.
needs_ping() {
    needs_host_and_inside ping
    [ "$why_not$hands_off" ] || [ "$(ask 'ping -c 1 127.0.0.1 >/dev/null 2>&1 && echo yes')" ] ||
        why_not='ping in the root does not work without CAP_NET_RAW'
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

# shellcheck disable=SC2317 # `wait_until` calls it
# Whether the second container has a connection to this host's 198.51.100.1, as the kernel
# writes it; 01 is the state.
sees_host() {
    two=$(cat pid.2) && [ "$two" ] &&
        grep -qs ' [0-9A-F]*016433C6:[0-9A-F]* 01 ' "/proc/$two/net/tcp" "/proc/$two/net/tcp6"
}

# shellcheck disable=SC2317 # `when_ready` calls it
# from_host ADDRESS PORT: what a server answers to the host.
from_host() {
    on_host timeout "$limit" bash -c 'read -r line <>"/dev/tcp/$0/$1"; echo "$line"' "$1" "$2" 2>&1
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

page 'Try it'
start
is 'cgroup, ipc, mnt, net, pid, user and uts are its own' 'cgroup ipc mnt net pid user uts' "$(own)"
guard_host
is 'without an option, it has no device but lo'      'lo'             "$(devices)"
new is 'lo is up, with its address'                  'yes'            "$(has_address 127.0.0.1)"
page 'The new code'
new is 'root inside cannot get CAP_NET_RAW, number 13' 0              "$([ ! "$pid" ] || echo $((0x$(field CapBnd) >> 13 & 1)))"
new is 'but it may use ping'                         '0 0'            "$(ask 'cat /proc/sys/net/ipv4/ping_group_range' | tr '\t' ' ')"
stop

page 'Break it'
new has 'ports need a network'                       '--publish needs' "$(err --publish 8080:80 true)"
new has 'a range begins at its first address'        '--subnet 10.0.0.1/8: ' "$(err --subnet 10.0.0.1/8 true)"
so is 'such a command line is an error, status 2'      '2 2'            "$({ exits --publish 8080:80 true; exits --subnet 10.0.0.1/8 true; } | joined)"
needs user
new has 'only root can make a bridge'                '--network pasta' "$(err --network bridge true)"

# From here on, all happens on a host of the script's own.
no_host=''
make_host
page 'Try it'
needs_host
before=$(state)
on_host sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
start --network bridge --publish 8080:80
new is 'with --network bridge, eth0 is inside'       'eth0 lo'        "$(devices)"
new is 'it has the first address'                    'yes'            "$(has_address 10.219.0.2)"
new is 'its hardware address says so, too'           '02:10:0a:db:00:02' "$(ask 'cat /sys/class/net/eth0/address')"
so is 'the bridge has no IPv6, by which a container could advertise a route' '1' "$(on_host cat /proc/sys/net/ipv6/conf/containers0/disable_ipv6 2>&1)"
so has 'the other end is on the bridge'                ' master containers0 ' "$(on_host ip -o link show container-2 2>&1)"
so is '/etc/hosts has the address'                     '10.219.0.2'     "$(ask 'while read -r address name; do [ "$name" = localhost ] || echo $address; done </etc/hosts')"
needs_host_and_inside nc
serve web
two start --network bridge
new is 'another container reaches it by its address' 'web'            "$(when_ready 1 two ask 'nc -w 20 10.219.0.2 80 </dev/null')"
needs_host_and_inside nc
[ "$why_not" ] || needs bash
new is 'the host reaches it by the published port'   'web'            "$(when_ready 1 from_host 127.0.0.1 8080)"
so has 'but not by another address of the host'        'refused'        "$(when_ready 1 from_host 10.219.0.1 8080)"
needs_host
new has 'another container cannot publish that port' 'Address already in use' "$(err --network bridge --publish 8080:80 true)"
two stop
needs_host_and_inside nc
two start
other_host
two serve far
new is 'it reaches a host beyond this one'           'far'            "$(when_ready 2 ask 'nc -w 20 198.51.100.2 80 </dev/null')"
two tell 'sleep 1000 | nc -l -p 81 >&- 2>&- &'
[ "$why_not$hands_off" ] || ! [ -s pid.2 ] || wait_until listens "$(cat pid.2)" 0051
tell 'sleep 1000 | nc 198.51.100.2 81 >&- 2>&- &'
so is 'which sees the address of this host'            'yes'            "$([ "$why_not$hands_off" ] || wait_until sees_host && echo yes)"
two=$(cat pid.2)
# For a neighbour, 127.0.0.1 can be another host.
on_host nsenter --net="/proc/${two:-none}/ns/net" sh -c 'ip route add 10.219.0.0/16 via 198.51.100.1
    ip address delete 127.0.0.1/8 dev lo
    ip route add 127.0.0.1 via 198.51.100.1 src 198.51.100.2
    echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet' 2>/dev/null
needs_host_and_inside nc timeout
so is 'but the other host cannot begin a connection'   ''               "$(two ask 'timeout 3 nc 10.219.0.2 80 </dev/null 2>&-')"
so is 'nor by the port that is published at 127.0.0.1' ''               "$(two ask 'timeout 3 nc 127.0.0.1 8080 </dev/null 2>&-')"
needs_host_and_inside nc
on_host nsenter --net="/proc/${pid:-none}/ns/net" ip route delete default 2>/dev/null
so is 'but not without a default route'                ''               "$(ask 'nc -w 20 198.51.100.2 80 </dev/null 2>&-')"
needs_host
on_host ip link delete up0 2>/dev/null
two stop
stop
so is 'after the end, the host is as before'           "$before"        "$(state)"

# An ordinary user of that host is not its root.
page 'Try it'
needs_host
be_on_host unshare --user --map-user=1000 --map-group=1000
needs_host pasta /dev/net/tun
two start
other_host
start --network pasta --publish 8080:80
new is 'with --network pasta, it has the address of the host' 'yes'   "$(has_address 198.51.100.1)"
needs_host_and_inside nc
[ "$why_not" ] || needs bash pasta /dev/net/tun
serve web
new is 'with pasta, the host reaches it by a port' 'web'                 "$(when_ready 1 from_host 127.0.0.1 8080)"
page 'What the kernel did'
needs_ping
[ "$why_not" ] || needs pasta /dev/net/tun
new has 'no packet for loopback leaves the container' 'not permitted'  "$(ask 'ping -c 1 -w 1 -I up0 127.0.0.1')"
page 'Try it'
needs_host pasta /dev/net/tun
new has 'nor can a container with pasta publish that port' '8080:80/tcp: Address already in use' "$(err --network pasta --publish 8080:80 true)"
stop
on_host ip link delete up0 2>/dev/null
two stop
needs_host slirp4netns /dev/net/tun
start --network pasta --publish 8080:80
new is 'without a route, slirp4netns gives it an address' 'yes'       "$(has_address 10.0.2.100)"
needs_host_and_inside nc
[ "$why_not" ] || needs bash slirp4netns /dev/net/tun
serve web
new is 'the host reaches it there, too'              'web'            "$(when_ready 1 from_host 127.0.0.1 8080)"
page 'What the kernel did'
needs_ping
[ "$why_not" ] || needs slirp4netns /dev/net/tun
new has 'there, no packet for loopback leaves it either' 'not permitted' "$(ask 'ping -c 1 -w 1 -I tap0 127.0.0.1')"
page 'Try it'
needs_host slirp4netns /dev/net/tun
new has 'nor can a container with slirp4netns publish it' '8080:80/tcp: Address already in use' "$(err --network pasta --publish 8080:80 true)"
stop

page 'Try it' step01-run
needs nothing
is "it exits with the command's status"              42               "$(exits sh -c 'exit 42')"
page 'The new code'
is 'the host has no new mount in the end'            ''               "$(new_mounts)"
page 'What the kernel did' step06-chroot
is 'no process is left behind'                       ''               "$(running)"
finish
