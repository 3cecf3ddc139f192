#!/bin/sh
# shellcheck disable=SC2016 # the shell inside reads the text in ''
# shellcheck disable=SC2119 # a start without options
# shellcheck source=../xtask/src/verify/network.sh
. "$(dirname "$0")/../xtask/src/verify/network.sh"
# shellcheck source=../xtask/src/verify/lib.sh
. "$(dirname "$0")/../xtask/src/verify/lib.sh"

# What a container could change on that host.
state() {
    on_host sh -c 'ip -d link; ip route show table all; nft list ruleset' | sha256sum
}

# shellcheck disable=SC2317 # `wait_until` calls it
# Whether the second container has a connection to this host's 198.51.100.1, as the kernel
# writes it; 01 is the state.
sees_host() {
    two=$(cat pid.2) && [ "$two" ] &&
        grep -qs ' [0-9A-F]*016433C6:[0-9A-F]* 01 ' "/proc/$two/net/tcp" "/proc/$two/net/tcp6"
}

# answers_at ADDRESS: what the server of a container answers to the host at once.
answers_at() {
    on_host timeout 3 bash -c 'read -r line <>"/dev/tcp/$0/80"; echo "$line"' "$1" 2>/dev/null
}

page 'Try it' step14-network
start
is 'cgroup, ipc, mnt, net, pid, user and uts are its own' 'cgroup ipc mnt net pid user uts' "$(own)"
guard_host
is 'without an option, it has no device but lo'      'lo'             "$(devices)"
is 'lo is up, with its address'                      'yes'            "$(has_address 127.0.0.1)"
page 'The new code' step14-network
is 'root inside cannot get CAP_NET_RAW, number 13'   0              "$([ ! "$pid" ] || echo $((0x$(field CapBnd) >> 13 & 1)))"
is 'but it may use ping'                             '0 0'            "$(ask 'cat /proc/sys/net/ipv4/ping_group_range' | tr '\t' ' ')"
stop

page 'Break it'
new has 'a range begins at its first address'        '--subnet 10.0.0.1/8: ' "$(err --subnet 10.0.0.1/8 true)"
so is 'such a command line is an error, status 2'      '2'              "$(exits --subnet 10.0.0.1/8 true)"
needs user
new has 'only root can make a bridge'                'only root can make a bridge' "$(err --network bridge true)"

# From here on, all happens on a host of the script's own.
make_host
page 'Try it'
needs_host
before=$(state)
on_host sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
# The other host has a server at the last port, too.
start --network bridge --publish 8080:80 --publish 0.0.0.0:8082:80 --publish 0.0.0.0:80:80
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
page 'What the kernel did'
# With CAP_NET_ADMIN, root inside could take another address.
on_host nsenter --net="/proc/${pid:-none}/ns/net" ip address add 10.219.0.99/32 dev eth0 2>/dev/null
so is 'it cannot answer for another address'           ''               "$(answers_at 10.219.0.99)"
on_host ip neighbour replace 10.219.0.99 lladdr 02:10:0a:db:00:02 dev containers0 2>/dev/null
so is 'nor send packets from it'                       ''               "$(answers_at 10.219.0.99)"
page 'Try it'
needs_host
new has 'another container cannot publish that port' 'Address already in use' "$(err --network bridge --publish 8080:80 true)"
two stop
needs_host_and_inside nc
two start
other_host
two serve far
new is 'it reaches a host beyond this one'           'far'            "$(when_ready 2 ask 'nc -w 20 198.51.100.2 80 </dev/null')"
so is 'which reaches it by the port that is published at 0.0.0.0' 'web' "$(when_ready 1 two ask 'nc -w 20 198.51.100.1 8082 </dev/null')"
two tell 'sleep 1000 | nc -l -p 81 >&- 2>&- &'
[ "$why_not$hands_off" ] || ! [ -s pid.2 ] || wait_until listens "$(cat pid.2)" 0051
tell 'sleep 1000 | nc 198.51.100.2 81 >&- 2>&- &'
so is 'and which sees the address of this host'        'yes'            "$([ "$why_not$hands_off" ] || wait_until sees_host && echo yes)"
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

page 'Try it' step01-run
needs nothing
is "it exits with the command's status"              42               "$(exits sh -c 'exit 42')"
page 'The new code'
is 'the host has no new mount in the end'            ''               "$(new_mounts)"
page 'What the kernel did' step06-chroot
is 'no process is left behind'                       ''               "$(running)"
finish
