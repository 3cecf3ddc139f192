//! The networks of an ordinary user, by pasta and by slirp4netns, on hosts that the tests make.

use std::env;
use std::ffi::OsString;
use std::fmt::Display;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixListener;
use std::thread;
use std::time::Duration;

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::sockopt::BindToDevice;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, setsockopt, socket};
use testkit::{skip, stderr, stdout};

use crate::network::{heeded_signals, on_host};

const STEP: &str = "step14-network";

/// The tools, and a host for each: slirp4netns needs no route.
const KINDS: [(&str, &str); 2] = [
    (
        "pasta",
        "ip link add one up type veth peer name two; ip link set two up
        ip address add 192.0.2.1/24 dev one; ip route add default via 192.0.2.2
        ! ip address add 2001:db8::1/64 dev one nodad 2>/run/said ||
            ip route add default via 2001:db8::2",
    ),
    ("slirp4netns", "ip address add 192.0.2.1/32 dev lo"),
];

/// Runs a script on the host for a tool, and returns its output.
fn on_user_host(step: &str, tool: &str, setup: &str, script: &str) -> Option<(String, String)> {
    let script = format!("[ -w /dev/net/tun ] || exit 98\n{setup}\n{script}");
    let output = on_host(step, tool, &script)?;
    if output.status.code() == Some(98) {
        skip("this user cannot open /dev/net/tun");
        return None;
    }
    Some((stdout(&output), stderr(&output)))
}

/// Runs this test again, with the variable INSIDE, in a container or on its host.
fn again(inside: &str, test: &str) -> String {
    format!("INSIDE='{inside}' exec \"$TEST\" --exact user_network::{test} --nocapture")
}

/// The lines that `tell` wrote.
fn told(output: &str) -> String {
    output.lines().filter_map(|line| line.strip_prefix("it: ")).collect::<Vec<_>>().join("\n")
}

fn tell(name: impl Display, is: bool) {
    let line = format!("it: {name} {}\n", if is { "yes" } else { "no" });
    io::stdout().write_all(line.as_bytes()).expect("write to standard output");
}

/// The mounts of a host are often shared: what a program unmounts in a copy is unmounted there.
#[test]
fn the_mounts_of_a_host_stay() {
    let script = r#"
        mount --make-rshared /
        before=$(cat /proc/self/mountinfo)
        for kind in none bridge pasta; do
            "$STEP" --network $kind true
            [ "$(cat /proc/self/mountinfo)" = "$before" ] || { echo $kind; cat /proc/self/mountinfo; exit; }
        done
        echo done"#;
    for (tool, setup) in KINDS {
        let Some((said, error)) = on_user_host("step15-bridge", tool, setup, script) else {
            return;
        };
        assert_eq!(said, "done", "{tool}: {error}");
    }
}

#[test]
fn the_tool_ends_with_the_container() {
    let script = r#"
        there() { cat /proc/[0-9]*/comm 2>/dev/null | grep "^$NAME" >/run/said; }
        gone() { ! there; }
        $AS "$STEP" --network pasta sh -c 'cat /etc/resolv.conf; grep -v localhost /etc/hosts'
        until_true gone
        mkfifo /run/ready
        $AS "$STEP" --network pasta --publish 8080:80 sh -c 'echo; exec sleep 1000' >/run/ready &
        read -r line </run/ready
        there
        $AS "$STEP" --network pasta --publish 8080:80 true 2>&1 || echo refused
        # It ends with a runner that is killed, without a later start.
        kill -9 $!
        until_true gone
        again() { $AS "$STEP" --network pasta --publish 8080:80 true 2>/run/said; }
        until_true again
        until_true gone
        echo done"#;
    // As root of the host, and as a user of it.
    for user in ["", "unshare --user --map-user=1000 --map-group=1000"] {
        for ((tool, setup), name, address) in
            [(KINDS[0], "pas", "192.0.2.1"), (KINDS[1], "slirp", "10.0.2.100")]
        {
            let script = format!("NAME={name} AS='{user}'\n{script}");
            let Some((said, error)) = on_user_host(STEP, tool, setup, &script) else { return };
            let lines: Vec<&str> = said.lines().collect();
            assert_eq!(lines.last(), Some(&"done"), "{said}\n{error}");
            assert!(lines.iter().any(|line| line.starts_with(&format!("{address}\t"))), "{said}");
            let in_use = format!("{STEP}: publish 127.0.0.1:8080:80/tcp: Address already in use");
            assert!(lines.contains(&&*in_use) && lines.contains(&"refused"), "{said}");
        }
    }
}

/// pasta reads several removals at once, and looks only at the first. The next start of a user
/// removes the directory of a killed runner.
#[test]
fn pasta_ends_however_late_it_looks() {
    let script = r#"
        export TMPDIR=/run
        there() { cat /proc/[0-9]*/comm 2>/dev/null | grep ^pas >/run/said; }
        gone() { ! there; }
        mkfifo /run/ready
        "$STEP" --network pasta sh -c 'echo; exec sleep 1000' >/run/ready &
        read -r line </run/ready
        pasta=$(grep -l ^pas /proc/[0-9]*/comm | head -n 1)
        pasta=${pasta#/proc/}; pasta=${pasta%/comm}
        killed=$(echo /run/containers-*/*)
        # A directory lists the newest names first, or sorts them.
        mkdir $killed/0 $killed/z
        # Its other process removes the link, unless somebody kills that process, too.
        kill -STOP $pasta $!
        kill -9 $(cat /proc/$!/task/$!/children)
        kill -9 $!
        removed() { "$STEP" true; ! ls -d $killed >/run/said 2>&1; }
        until_true removed
        kill -CONT $pasta
        until_true gone
        echo done"#;
    let (tool, setup) = KINDS[0];
    let Some((said, error)) = on_user_host(STEP, tool, setup, script) else { return };
    assert_eq!(said, "done", "{error}");
}

/// Another program has the name slirp4netns. It hangs before its network is ready, before its
/// socket is there, before its answer, and after the end of the container.
#[test]
fn a_signal_ends_a_runner_while_slirp4netns_hangs() {
    const TEST: &str = "a_signal_ends_a_runner_while_slirp4netns_hangs";
    if let Ok(place) = env::var("INSIDE") {
        let _listener = UnixListener::bind(place).expect("listen");
        fs::write("/run/called", "").expect("write a file");
        loop {
            thread::park();
        }
    }
    let ready = "echo >/proc/self/fd/$ready";
    let hang = ": >/run/called; exec sleep 1000";
    let (signals, statuses) = heeded_signals();
    // The status of the command.
    let own = signals.split(' ').map(|_| "7").collect::<Vec<_>>().join("\n");
    for (script, status) in [
        (hang, &statuses),
        (&*format!("{ready}; {hang}"), &statuses),
        (&*format!("{ready}; {}", again("$socket", TEST).replace('\'', "\"")), &statuses),
        (&*format!("{ready}; read -r line; {hang}"), &own),
    ] {
        let publish = if script.contains("read -r") { "" } else { "--publish 8080:80" };
        let script = format!(
            r#"mkdir /run/bin
            cat >/run/bin/slirp4netns <<'END'
#!/bin/sh
while [ $# -gt 0 ]; do
    case $1 in --ready-fd=*) ready=${{1#*=}};; --api-socket) socket=$2;; esac
    shift
done
echo $$ >/run/slirp
{script}
END
            chmod +x /run/bin/slirp4netns
            called() {{ [ -e /run/called ]; }}
            for signal in {signals}; do
                # In the background, a program ignores SIGINT.
                {{ until_true called; kill -$signal "$(cat /run/pid)"; }} &
                status=0
                PATH=/run/bin:$PATH sh -c 'echo $$ >/run/pid
                    exec "$STEP" --network pasta {publish} sh -c "exit 7" 2>>/run/said' || status=$?
                echo $status
                rm /run/called
                ! kill -0 "$(cat /run/slirp)" 2>/dev/null || echo alive
            done
            cat /run/said >&2"#
        );
        let Some(output) = on_host(STEP, "", &script) else { return };
        assert_eq!(stdout(&output), *status, "{script}: {}", stderr(&output));
    }
}

/// Without these options, pasta connects ports that the container did not publish, and the
/// address of the router leads to the host's loopback.
#[test]
fn pasta_connects_only_the_published_ports() {
    let script = r#"
        mkdir /run/bin
        printf '%s\n' '#!/bin/sh' 'echo " $*" >/run/words' >/run/bin/pasta
        chmod +x /run/bin/pasta
        for publish in '' '--publish 8080:80' '--publish 8080:80/udp'; do
            PATH=/run/bin:$PATH "$STEP" --network pasta $publish true
            for words in '-T none -U none' --no-map-gw "-t none" "-u none" \
                '-t 127.0.0.1/8080:80' '-u 127.0.0.1/8080:80'; do
                ! grep -q -e " $words " /run/words || echo "it: $words"
            done
        done"#;
    let (tool, setup) = KINDS[0];
    let Some((said, error)) = on_user_host(STEP, tool, setup, script) else { return };
    let all = "-T none -U none\n--no-map-gw\n";
    let expected = [
        "-t none\n-u none\n",
        "-u none\n-t 127.0.0.1/8080:80\n",
        "-t none\n-u 127.0.0.1/8080:80\n",
    ];
    let expected = expected.map(|ports| format!("{all}{ports}")).concat();
    assert_eq!(told(&said), expected.trim_end(), "{said}\n{error}");
}

/// pasta needs a device with a hardware address.
#[test]
fn a_route_by_a_tunnel_is_no_route_for_pasta() {
    let setup = "ip tuntap add dev tunnel mode tun; ip link set tunnel up
        ip address add 192.0.2.1/24 dev tunnel; ip route add default via 192.0.2.2";
    let script = "\"$STEP\" --network pasta grep -c 10.0.2.100 /etc/hosts";
    let Some((said, error)) = on_user_host(STEP, "pasta slirp4netns", setup, script) else {
        return;
    };
    assert_eq!(said, "1", "{error}");
}

/// The tools would carry such a packet to the loopback of the host.
#[test]
fn no_packet_for_loopback_leaves_the_container() {
    if env::var_os("INSIDE").is_some() {
        return try_to_leave();
    }
    let test = again("it", "no_packet_for_loopback_leaves_the_container");
    for (tool, setup) in KINDS {
        for (options, frames) in [
            ("", "no"),
            ("--cap-drop ALL --cap-add SYS_CHROOT", "no"),
            ("--cap-add NET_RAW", "yes"),
        ] {
            let script = format!(
                "\"$STEP\" --network pasta {options} --bind /:/host \
                 chroot /host /usr/bin/env TEST=\"$TEST\" sh -c '{}'",
                test.replace('\'', "")
            );
            let Some((said, error)) = on_user_host(STEP, tool, setup, &script) else { return };
            let expected = format!(
                "127.0.0.1 no\n127.0.0.5 no\n::1 no\nbeyond yes\nping yes\nframes {frames}"
            );
            assert_eq!(told(&said), expected, "{tool} {options}: {said}\n{error}");
        }
    }
}

/// Sends packets by the device that is not lo.
fn try_to_leave() {
    let mut all = getifaddrs().expect("list the addresses");
    let device = all.find(|it| it.interface_name != "lo").expect("a device").interface_name;
    let is_sent = |to: SocketAddr| {
        let from: SocketAddr = match to {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let Ok(socket) = UdpSocket::bind(from) else { return false };
        setsockopt(&socket, BindToDevice, &OsString::from(&device)).expect("bind to the device");
        socket.send_to(b"text", to).is_ok()
    };
    for address in ["127.0.0.1:9", "127.0.0.5:9", "[::1]:9"] {
        let address: SocketAddr = address.parse().expect("an address");
        tell(address.ip(), is_sent(address));
    }
    tell("beyond", is_sent((Ipv4Addr::new(198, 51, 100, 1), 9).into()));
    let flags = SockFlag::SOCK_CLOEXEC;
    let ping = socket(AddressFamily::Inet, SockType::Datagram, flags, SockProtocol::Icmp);
    tell("ping", ping.is_ok());
    let frames = socket(AddressFamily::Packet, SockType::Raw, flags, None);
    tell("frames", frames.is_ok());
}

/// A server at the ports from 9000 on is published with a smaller, the same and a greater port.
#[test]
fn published_ports_give_answers() {
    const TEST: &str = "published_ports_give_answers";
    match env::var("INSIDE").as_deref() {
        Ok("serve") => return serve(),
        Ok(ports) => return ask(ports),
        Err(_) => {}
    }
    for ((tool, setup), ports) in [
        (
            KINDS[0],
            "127.0.0.1:8999:9000 127.0.0.1:9001:9001 127.0.0.1:9003:9002 \
             127.0.0.1:8999:9000/udp 127.0.0.1:9001:9001/udp",
        ),
        (
            KINDS[1],
            "127.0.0.1:8999:9000 127.0.0.1:9001:9001 127.0.0.1:9003:9002 \
             192.0.2.1:8999:9000/udp 192.0.2.1:9001:9001/udp 192.0.2.1:9003:9002/udp",
        ),
    ] {
        let script = format!(
            "mkfifo /run/out
            set --; for port in {ports}; do set -- \"$@\" --publish $port; done
            \"$STEP\" --network pasta \"$@\" --bind /:/host \
                chroot /host /usr/bin/env TEST=\"$TEST\" sh -c '{}' >/run/out &
            sed '/it: ready/q' </run/out >/run/said
            ( {} )
            kill $!",
            again("serve", TEST).replace('\'', ""),
            again(ports, TEST)
        );
        let Some((said, error)) = on_user_host(STEP, tool, setup, &script) else { return };
        let expected: Vec<String> = ports.split(' ').map(|port| format!("{port} yes")).collect();
        assert_eq!(told(&said), expected.join("\n"), "{tool}: {said}\n{error}");
    }
}

/// Answers until a signal ends it.
fn serve() {
    for port in 9000..9003 {
        let tcp = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).expect("listen");
        let udp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).expect("open a socket");
        thread::spawn(move || {
            for stream in tcp.incoming() {
                let mut stream = stream.expect("a client");
                // The pasta of Debian 12 loses what a server says first.
                let _ = stream.read(&mut [0]).and_then(|_| stream.write(b"answer"));
            }
        });
        thread::spawn(move || {
            while let Ok((_, from)) = udp.recv_from(&mut [0; 9]) {
                let _ = udp.send_to(b"answer", from);
            }
        });
    }
    tell("ready", true);
    loop {
        thread::park();
    }
}

/// Asks at the host's end of published ports, and tells which of them answers.
fn ask(ports: &str) {
    let limit = Some(Duration::from_secs(20));
    for port in ports.split(' ') {
        let (place, _) = port.rsplit_once(':').expect("a port");
        let answers = || {
            let mut answer = [0; 6];
            if port.ends_with("/udp") {
                let socket = UdpSocket::bind("0.0.0.0:0")?;
                socket.connect(place)?;
                socket.set_read_timeout(limit)?;
                socket.send(b"?")?;
                socket.recv(&mut answer)?;
            } else {
                let mut stream = TcpStream::connect(place)?;
                stream.set_read_timeout(limit)?;
                stream.write_all(b"?")?;
                stream.read_exact(&mut answer)?;
            }
            io::Result::Ok(answer == *b"answer")
        };
        tell(port, answers().unwrap_or_default());
    }
}
