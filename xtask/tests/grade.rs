//! A grader reads the results of `verify`.

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;
use testkit::{bin, containers_work, skip, stderr, stdout, tempdir};

fn verify(words: &[&str], format: &str) -> Output {
    let mut xtask = Command::new(bin("xtask"));
    xtask.arg("verify").args(words).args(["--format", format]).env_remove("CARGO");
    xtask.output().expect("start xtask")
}

/// The sums that `verify` prints: all checks, and the failed checks.
fn sums(words: &[&str]) -> (u64, u64) {
    let output = verify(words, "json");
    let found: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    let [passed, failed, skipped] =
        ["passed", "failed", "skipped"].map(|sum| found[sum].as_u64().expect("a number"));
    let lessons = found["lessons"].as_array().expect("lessons").iter();
    let checks = lessons.flat_map(|lesson| lesson["checks"].as_array().expect("checks"));
    assert_eq!(checks.count() as u64, passed + failed + skipped);
    (passed + failed + skipped, failed)
}

#[test]
fn prove_counts_what_verify_counts() {
    if Command::new("prove").arg("--version").output().is_err() {
        skip("prove is not installed; it belongs to Perl");
        return;
    }
    if !containers_work() {
        return;
    }
    let dir = tempdir();
    let file = dir.path().join("results.tap");
    for (words, passes) in [(&["1", "5"][..], true), (&["1", "--bin", "/bin/true"], false)] {
        let results = verify(words, "tap");
        assert_eq!(results.status.success(), passes, "{}", stderr(&results));
        fs::write(&file, &results.stdout).expect("write a file");
        let mut prove = Command::new("prove");
        prove.args(["--norc", "--exec", "cat"]).arg(&file).env_remove("PERL5OPT");
        let proved = prove.env("LC_ALL", "C").output().expect("start prove");
        let said = format!("{}\n{}", stdout(&proved), stderr(&proved));
        assert_eq!(proved.status.success(), passes, "{said}");
        let (all, failed) = sums(words);
        assert!(
            said.contains(&format!(", Tests={all},")) && !said.contains("Parse errors"),
            "{said}"
        );
        assert_eq!(said.contains(&format!("Failed {failed}/{all} subtests")), !passes, "{said}");
    }
}
