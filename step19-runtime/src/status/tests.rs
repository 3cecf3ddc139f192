//! Tests of the status of a container.

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
    let start_time = start_time(id).expect("a time");
    let state = State { pid: Some(id), start_time, ..State::default() };
    assert!(state.pidfd().expect("look").is_some());
    child.kill().expect("kill");
    // The number is free only after this.
    let open = pidfd_open(Pid::from_raw(id)).expect("open");
    assert!(pidfd_wait(open, nix::poll::PollTimeout::NONE).expect("wait"));
    assert!(state.pidfd().expect("look").is_none());
    child.wait().expect("wait");
}

/// A process gives itself its name; PR_SET_NAME(2const).
#[test]
fn a_process_of_any_name_has_a_start() {
    nix::sys::prctl::set_name(c"\xff").expect("set the name");
    assert!(start_time(nix::unistd::gettid().as_raw()).is_some());
}
