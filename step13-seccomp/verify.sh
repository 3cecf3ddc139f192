#!/bin/sh
# shellcheck disable=SC2016 # the shell inside reads the text in ''
# shellcheck disable=SC2119 # a start without options
# shellcheck source=../xtask/src/verify/lib.sh
. "$(dirname "$0")/../xtask/src/verify/lib.sh"

# How many filters a process has more than this script.
filters() {
    [ "$pid" ] && echo $(($(field Seccomp_filters "${1:-$pid}") - $(field Seccomp_filters $$)))
}

# The program that asks the filter is a task. It runs inside, but with the host's root.
xtask=${VERIFY_XTASK:-}
needs_xtask() {
    needs_inside chroot
    [ "$why_not$xtask" ] || why_not='only `cargo xtask verify` asks the filter'
}

# answers ANSWER CALL...: prints ANSWER if each call gets it, otherwise the calls that
# get another answer. A call is a name or a number, and up to two arguments.
answers() {
    [ ! "$why_not" ] || return
    wanted=$1
    shift
    printf '%s\n' "$@" | out --bind /:/host chroot /host "$xtask" calls >answers
    awk -v wanted="$wanted" '$NF != wanted { other = other ", " $0 }
        END { print NR == '$#' && !other ? wanted : substr(other, 3) }' answers
}

# ioctl(2) requests, and a flag of clone(2) and unshare(2).
tiocsti=0x5412 tioclinux=0x541c newuser=0x10000000

page 'The new code'
start
is 'cgroup, ipc, mnt, net, pid, user and uts are its own' 'cgroup ipc mnt net pid user uts' "$(own)"
guard_host
page 'The new code' step12-capabilities
is 'it has the fourteen capabilities of lesson 12'   '00000000a80425fb' "$(field CapBnd)"
page 'Try it' step09-pivot
is 'from the host, nothing is above its root'        '/'              "$(proc_link root)"
page 'The new code'
is 'the command runs under a filter'                 '2'              "$(field Seccomp)"
new is 'it is one filter more than outside'          '1'              "$(filters)"
[ "$why_not" ] || needs proc
new is 'process 1 has the same filter'               '1'              "$(filters "$(field PPid)")"
needs nothing

page 'Try it'
needs_inside unshare
new is 'root inside cannot make a user namespace'    'refused'        "$(ask 'unshare -r true 2>&- || echo refused')"
needs_inside dmesg
is 'it cannot read the log of the kernel'            'refused'        "$(ask 'dmesg >&- 2>&- || echo refused')"
needs nothing
is 'the shell starts programs, pipes and background commands' '3 done' "$(ask 'echo 1 2 3 | tr " " "\n" | wc -l; sleep 0 & wait $! && echo done' | joined)"
needs_inside apk
is 'apk works'                                       'musl'           "$(ask 'apk info 2>&- | grep -x musl')"
needs nothing
stop

page 'The new code'
# Each call and its answer. No call is made.
needs_xtask
new is 'it refuses calls that make and move mounts'  'EPERM'          "$(answers EPERM mount umount2 mount_setattr move_mount open_tree fsopen fsconfig fsmount fspick pivot_root setns)"
new is 'it refuses the keys of the kernel'           'EPERM'          "$(answers EPERM add_key request_key keyctl)"
new is 'it refuses programs in the kernel and their like' 'EPERM'     "$(answers EPERM bpf perf_event_open io_uring_setup io_uring_enter io_uring_register userfaultfd fanotify_init)"
new is 'it refuses to reach into other processes'    'EPERM'          "$(answers EPERM pidfd_getfd kcmp move_pages migrate_pages)"
new is 'it refuses to change or replace the kernel'  'EPERM'          "$(answers EPERM init_module finit_module delete_module kexec_load kexec_file_load reboot)"
new is 'it refuses to set the clock'                 'EPERM'          "$(answers EPERM settimeofday clock_settime)"
new is 'it refuses disks, accounts and the log'      'EPERM'          "$(answers EPERM swapon swapoff quotactl quotactl_fd acct syslog)"
new is 'it refuses to open a file by a number'       'EPERM'          "$(answers EPERM open_by_handle_at)"
new is 'it refuses a new user namespace'             'EPERM'          "$(answers EPERM "clone $newuser" "unshare $newuser" 'clone 0x7e020011' 'unshare 0x7e020000')"
new is 'it refuses characters for a terminal: TIOCSTI' 'EPERM'        "$(answers EPERM "ioctl 0 $tiocsti" "ioctl 0 $tioclinux" "ioctl 0 0x1$(printf %08x $tiocsti)")"
new is 'it refuses the socket families after Bluetooth' 'EPERM'       "$(answers EPERM 'socket 32' 'socket 38' 'socket 40' 'socket 45')"
new is 'clone3 does not exist: ENOSYS'               'ENOSYS'         "$(answers ENOSYS clone3)"
new is 'nor does any call after the last in the table' 'ENOSYS'       "$(answers ENOSYS 463 464 1000 0x40000000 0x40000027)"
[ "$why_not" ] || [ "$(echo i386 | "$xtask" calls 2>&1)" = 'i386 runs' ] || why_not='this kernel has no calls of i386'
new is 'nor does a call of another architecture'     'ENOSYS'         "$(answers ENOSYS i386)"
needs_xtask
so is 'the same calls pass with other arguments'     'runs'           "$(answers runs 'clone 0x11' 'clone 0x6e020011' 'unshare 0x6e020000' 'ioctl 0 0x5413' "ioctl $tiocsti 0" 'socket 1' 'socket 2' 'socket 31')"
is 'the calls of usual programs pass'                'runs'           "$(answers runs read write openat execve wait4 futex mmap kill ptrace process_vm_readv process_vm_writev chroot mseal)"
needs nothing

page 'Break it'
# With every capability, only the filter refuses.
start --cap-add ALL
needs_inside mount
new is 'break out: with every capability, it cannot mount' 'refused'  "$(ask 'mount -t tmpfs none /tmp 2>&- || echo refused')"
needs_inside umount
new is 'nor uncover /proc/sys'                       'refused'        "$(ask 'umount /proc/sys 2>&- || echo refused')"
needs_inside hostname
is 'but it can change the hostname'                  'box'            "$(ask 'hostname box && hostname')"
needs nothing
page 'The new code'
is 'the host has no new mount'                       ''               "$(new_mounts)"
stop

page 'Try it' step01-run
is "it exits with the command's status"              42               "$(exits sh -c 'exit 42')"
page 'The new code'
is 'the host has no new mount in the end'            ''               "$(new_mounts)"
page 'What the kernel did' step06-chroot
is 'no process is left behind'                       ''               "$(running)"
finish
