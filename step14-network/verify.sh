#!/bin/sh
# shellcheck disable=SC2016 # the shell inside reads the text in ''
# shellcheck disable=SC2119 # a start without options
# shellcheck source=../xtask/src/verify/network.sh
. "$(dirname "$0")/../xtask/src/verify/network.sh"
# shellcheck source=../xtask/src/verify/lib.sh
. "$(dirname "$0")/../xtask/src/verify/lib.sh"

# Some programs of busybox only know packets of CAP_NET_RAW.
needs_ping() {
    needs_host_and_inside ping
    [ "$why_not$hands_off" ] || [ "$(ask 'ping -c 1 127.0.0.1 >/dev/null 2>&1 && echo yes')" ] ||
        why_not='ping in the root does not work without CAP_NET_RAW'
}

# shellcheck disable=SC2317 # `when_ready` calls it
# hears ADDRESS: what a server at an address says in the container. Without an answer, not
# every nc ends.
hears() {
    ask "nc $1 8080 </dev/null 2>&- & sleep 3; kill \$! 2>&-"
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
so is 'such a command line is an error, status 2'      '2'              "$(exits --publish 8080:80 true)"

# From here on, all happens on a host of the script's own. An ordinary user is not its root.
make_host
page 'Try it'
needs_host
be_on_host unshare --user --map-user=1000 --map-group=1000
needs_host pasta /dev/net/tun
two start
other_host
start --network pasta --publish 8080:80 --publish 8080:80/udp
new is 'with --network pasta, it has the address of the host' 'yes'   "$(has_address 198.51.100.1)"
so is '/etc/hosts has the address'                   '198.51.100.1'   "$(ask 'while read -r address name; do [ "$name" = localhost ] || echo $address; done </etc/hosts')"
needs_host_and_inside nc
[ "$why_not" ] || needs bash pasta /dev/net/tun
serve web
new is 'with pasta, the host reaches it by a port'   'web'            "$(when_ready 1 from_host 127.0.0.1 8080)"
so has 'but not by another address of the host'      'refused'        "$(when_ready 1 from_host 198.51.100.1 8080)"
page 'What the kernel did'
so is 'it reaches no port at the loopback of the host' ''             "$(when_ready 1 hears 198.51.100.2)"
page 'Try it'
needs_host bash pasta /dev/net/tun
new is 'and sends it a packet over UDP'              'yes'            "$(udp_from_host 127.0.0.1 8080)"
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
on_host ip address add 198.51.100.1/32 dev lo 2>/dev/null
start --network pasta --publish 8080:80 --publish 198.51.100.1:8080:80/udp
new is 'without a route, slirp4netns gives it an address' 'yes'       "$(has_address 10.0.2.100)"
needs_host_and_inside nc
[ "$why_not" ] || needs bash slirp4netns /dev/net/tun
serve web
new is 'the host reaches it there, too'              'web'            "$(when_ready 1 from_host 127.0.0.1 8080)"
page 'What the kernel did'
so is 'nor does it reach the loopback of the host'   ''               "$(when_ready 1 hears 10.0.2.2)"
page 'Try it'
needs_host bash slirp4netns /dev/net/tun
new is 'and sends it a packet over UDP, too'         'yes'            "$(udp_from_host 198.51.100.1 8080)"
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
