//! The manual pages and the completions have what `--help` has, and their readers take them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use testkit::{ALL, bin, stderr, stdout, tempdir};

fn xtask(words: &[&str]) -> Output {
    let output = Command::new(bin("xtask")).args(words).env_remove("CARGO").output();
    let output = output.expect("start xtask");
    assert!(output.status.success(), "{}", stderr(&output));
    output
}

#[test]
fn each_option_of_a_help_is_in_the_manual() {
    let dir = tempdir();
    xtask(&["man", dir.path().to_str().expect("UTF-8")]);
    let mut man = Command::new("man");
    man.args(["--warnings", "-l"]).env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
    let mut texts = Vec::new();
    for page in fs::read_dir(dir.path()).expect("the pages") {
        let page = page.expect("a page").path();
        man.arg(&page);
        let name = page.file_stem().expect("a name").to_str().expect("UTF-8").to_owned();
        let text = fs::read_to_string(&page).expect("read a page").replace("\\-", "-");
        texts.push((name, text.replace("\\fR", "").replace("\\fB", "")));
    }
    // Without man(1), only the words are checked.
    assert_eq!(man.output().map(|it| stderr(&it)).unwrap_or_default(), "");
    let of = |program: &str| -> Vec<&str> {
        let is_of = |name: &str| name == program || name.starts_with(&format!("{program}-"));
        texts.iter().filter(|(name, _)| is_of(name)).map(|(_, text)| &**text).collect()
    };
    for step in ALL.iter().copied() {
        let help = Command::new(bin(step)).arg("--help").output().expect("start a step");
        let help = stdout(&help);
        let mut lines = help.lines().map(str::trim).filter(|line| line.starts_with('-'));
        assert!(lines.all(|line| line.contains("  ")), "an option of {step} has no words: {help}");
        let options = help.split([' ', ',', '\n', '[', ']']).filter(|it| it.starts_with('-'));
        let options: Vec<_> = options.collect();
        assert!(options.contains(&"--help"), "{help}");
        for option in options {
            let has = of(step).iter().any(|page| page.contains(option));
            assert!(has, "{option} is not in the manual of {step}");
        }
    }
    assert!(of("cargo-xtask-dist")[0].contains("--arch"));
    assert!(of("cargo-xtask-calls").is_empty(), "a hidden task");
}

/// What bash offers for the last of the words.
fn offered(script: &Path, words: &[&str]) -> String {
    let ask = r#"source "$1"; shift; COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        f=$(complete -p "$1"); f=${f#*-F }; "${f%% *}" "$1" "${@: -1}" "${@: -2:1}"
        echo "${COMPREPLY[@]}""#;
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", ask, "bash"]).arg(script).args(words).stdin(Stdio::null());
    stdout(&bash.output().expect("start bash"))
}

#[test]
fn a_shell_completes_the_words_of_the_tasks_and_the_steps() {
    let dir = tempdir();
    let file = |shell: &str| dir.path().join(shell);
    for shell in ["bash", "fish", "zsh"] {
        fs::write(file(shell), xtask(&["completions", shell]).stdout).expect("write");
        let checked = Command::new(shell).arg("-n").arg(file(shell)).output();
        assert!(checked.is_err() || checked.is_ok_and(|it| it.status.success()), "{shell}");
    }
    for (words, offer) in [
        (&["xtask", "fetch"][..], "fetch-rootfs"),
        (&["xtask", "dist", "--arch", "a"], "aarch64"),
        (&["step08-overlay", "--low"], "--lower"),
        (&["step17-exec", "--f"], "--format --follow"),
        (&["step18-bundle", "s"], "spec"),
        (&["step18-bundle", "run", "--b"], "--bundle"),
        (&["step19-runtime", "--cg"], "--cgroup-manager"),
        (&["step19-runtime", "update", "--pi"], "--pids-limit"),
    ] {
        assert_eq!(offered(&file("bash"), words), offer, "{words:?}");
    }
}
