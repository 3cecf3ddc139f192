//! Tests of the process of a container.

use std::fs;
use std::process::{Command, Stdio};

use super::*;

/// Its number is on the list as that of a zombie, until the others have ended.
#[test]
fn a_process_whose_first_thread_has_ended_lives() {
    let script = "import ctypes, platform, threading, time
threading.Thread(target=time.sleep, args=(1000,)).start()
ctypes.CDLL(None).syscall(60 if platform.machine() == 'x86_64' else 93, 0)";
    let child = Command::new("python3").args(["-c", script]).stdin(Stdio::null()).spawn();
    let Ok(mut child) = child else {
        testkit::skip("there is no python3");
        return;
    };
    let id = i32::try_from(child.id()).expect("a number");
    testkit::procs::wait_until("its first thread has ended", || {
        let stat = fs::read_to_string(format!("/proc/{id}/stat"));
        stat.is_ok_and(|stat| stat.contains(") Z "))
    });
    let mut state = State::default();
    state.set_process(Pid::from_raw(id)).expect("look");
    assert!(state.pidfd().expect("look").is_some());
    child.kill().expect("kill");
    // The number is free only after this.
    let open = pidfd_open(Pid::from_raw(id)).expect("open");
    assert!(pidfd_wait(open, nix::poll::PollTimeout::NONE).expect("wait"));
    assert!(state.pidfd().expect("look").is_none());
    child.wait().expect("wait");
}

#[test]
fn a_process_is_known_by_what_no_later_one_has() {
    let mut state = State::default();
    state.set_process(Pid::this()).expect("look");
    let is_found = |state: &State| state.pidfd().expect("look").is_some();
    assert!(is_found(&state));
    let later = State { start_time: state.start_time + 1, ..state.clone() };
    assert!(!is_found(&later));
    assert!(!is_found(&State { inode: None, ..later }));
    if let Some(inode) = &mut state.inode {
        *inode += 1;
        assert!(!is_found(&state));
    }
}
