//! Reads the lines of a script as checks, and prints the checks as text, TAP or
//! JSON.

use std::fmt;

use anyhow::{Context, Result};
use lessons::Lesson;
use serde::Serialize;
use serde_json::json;

use crate::say::print;
use crate::style::Style;

/// The format of the results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For a terminal
    Text,
    /// The Test Anything Protocol, for graders: testanything.org
    Tap,
    /// One JSON object
    Json,
}

impl Format {
    /// All results in this format. As text, only their sum.
    pub(crate) fn all(self, results: &[(&Lesson, Checks)]) -> Result<String> {
        match self {
            Format::Text => {
                let all = results.iter().flat_map(|(_, checks)| checks.0.clone());
                Ok(format!("{}\n", Checks(all.collect())))
            }
            Format::Tap => Ok(tap(results)),
            Format::Json => json(results),
        }
    }
}

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Passed,
    Failed,
    Skipped,
}

/// One check of a script.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    pub(crate) claim: String,
    pub(crate) verdict: Verdict,
    /// The reason for the skip, or the expected and the actual text.
    pub(crate) details: Vec<String>,
    /// The page and the section that explain a failed check.
    pub(crate) see: Option<String>,
}

/// The start of the line with the page. A line of the actual text that says the
/// same has a wider indent.
const SEE: &str = "       see:";

/// The checks of one lesson, in order.
#[derive(Debug, Default)]
pub(crate) struct Checks(pub(crate) Vec<Check>);

impl Checks {
    /// Reads a line of a script: a verdict, or a detail of the last verdict.
    pub(crate) fn take(&mut self, line: &str) {
        let (word, claim) = line.split_once(' ').unwrap_or((line, ""));
        let verdict = match word {
            "ok" => Verdict::Passed,
            "FAIL" => Verdict::Failed,
            "skip" => Verdict::Skipped,
            "" => {
                let last = self.0.last_mut().filter(|last| last.verdict == Verdict::Failed);
                if let Some(last) = last {
                    match line.strip_prefix(SEE) {
                        Some(see) => last.see = Some(see.trim().to_owned()),
                        None => last.details.push(claim.trim().to_owned()),
                    }
                }
                return;
            }
            // The sum at the end.
            _ => return,
        };
        let claim = claim.trim_start();
        let (claim, reason) = match claim
            .strip_suffix(')')
            .and_then(|claim| claim.rsplit_once(" ("))
        {
            Some((claim, reason)) if verdict != Verdict::Passed => (claim, Some(reason.to_owned())),
            _ => (claim, None),
        };
        let details = reason.into_iter().collect();
        self.0.push(Check { claim: claim.to_owned(), verdict, details, see: None });
    }

    /// The number of checks with this verdict.
    pub(crate) fn count(&self, verdict: Verdict) -> usize {
        self.0.iter().filter(|check| check.verdict == verdict).count()
    }
}

impl fmt::Display for Checks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [passed, failed, skipped] =
            [Verdict::Passed, Verdict::Failed, Verdict::Skipped].map(|verdict| self.count(verdict));
        write!(f, "{passed} passed, {failed} failed")?;
        if skipped > 0 { write!(f, ", {skipped} skipped") } else { Ok(()) }
    }
}

/// The end of a check that fails because there is no container. The check before it
/// gave the cause.
const NO_CONTAINER: &str = " (no container)";

/// Prints the lines of a script. For several checks without a container, one line
/// gives the number.
#[derive(Default)]
pub(super) struct Printer {
    /// The checks without a container that are not printed yet.
    lost: usize,
}

impl Printer {
    pub(super) fn print(&mut self, line: &str) -> Result<()> {
        let lines = self.lines(line);
        lines.iter().try_for_each(|line| print_line(line))
    }

    /// The lines to print when the script says `line`.
    fn lines(&mut self, line: &str) -> Vec<String> {
        if line.starts_with("FAIL ") && line.ends_with(NO_CONTAINER) {
            self.lost += 1;
            return Vec::new();
        }
        let lost = match std::mem::take(&mut self.lost) {
            0 => None,
            1 => Some(format!("FAIL 1 more check{NO_CONTAINER}")),
            lost => Some(format!("FAIL {lost} more checks{NO_CONTAINER}")),
        };
        lost.into_iter().chain([line.to_owned()]).collect()
    }
}

/// Prints a line of a script, with its verdict in colour on a terminal.
pub(crate) fn print_line(line: &str) -> Result<()> {
    let style = Style::of_stdout();
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    print(&match word {
        "ok" => format!("{} {rest}\n", style.green(word)),
        "FAIL" => format!("{} {rest}\n", style.red(word)),
        "skip" => format!("{} {rest}\n", style.blue(word)),
        _ => format!("{line}\n"),
    })
}

/// All results in TAP: a line for each check, and the plan at the end.
fn tap(results: &[(&Lesson, Checks)]) -> String {
    let mut out = String::from("TAP version 13\n");
    let mut number = 0;
    for (lesson, checks) in results {
        out += &format!("# {}: {}\n", lesson.name, lesson.goal);
        for check in &checks.0 {
            number += 1;
            let claim = format!("{number} - {}: {}", lesson.name, check.claim).replace('#', "\\#");
            match check.verdict {
                Verdict::Passed => out += &format!("ok {claim}\n"),
                Verdict::Skipped => {
                    out += &format!("ok {claim} # SKIP {}\n", check.details.join("; "))
                }
                Verdict::Failed => {
                    out += &format!("not ok {claim}\n");
                    check.details.iter().for_each(|detail| out += &format!("# {detail}\n"));
                    check.see.iter().for_each(|see| out += &format!("# see: {see}\n"));
                }
            }
        }
    }
    out + &format!("1..{number}\n")
}

/// All results as one JSON object, with the sums.
fn json(results: &[(&Lesson, Checks)]) -> Result<String> {
    let count = |verdict| results.iter().map(|(_, checks)| checks.count(verdict)).sum::<usize>();
    let lessons = results.iter().map(
        |(lesson, checks)| json!({ "name": lesson.name, "goal": lesson.goal, "checks": checks.0 }),
    );
    let object = json!({
        "lessons": lessons.collect::<Vec<_>>(),
        "passed": count(Verdict::Passed),
        "failed": count(Verdict::Failed),
        "skipped": count(Verdict::Skipped),
    });
    Ok(serde_json::to_string_pretty(&object).context("write JSON")? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks() -> Checks {
        let mut checks = Checks::default();
        for line in [
            "ok   $$ in its shell is 1 (or so)",
            "FAIL it has a root of its own",
            "       expected: a",
            "       got:      b #1",
            "                 see:      c",
            "       see:      step05-pid/README.md, \"Try it\"",
            "FAIL a second one (no container)",
            "skip it is opaque (there is no getfattr here)",
            "1 passed, 2 failed, 1 skipped",
        ] {
            checks.take(line);
        }
        checks
    }

    #[test]
    fn lines_of_a_script_become_checks() {
        let checks = checks();
        let found = |index: usize| {
            let check: &Check = &checks.0[index];
            (&*check.claim, check.verdict, check.details.join("|"))
        };
        assert_eq!(found(0), ("$$ in its shell is 1 (or so)", Verdict::Passed, String::new()));
        let details = "expected: a|got:      b #1|see:      c".to_owned();
        assert_eq!(found(1), ("it has a root of its own", Verdict::Failed, details));
        assert_eq!(found(2), ("a second one", Verdict::Failed, "no container".to_owned()));
        let see = |index: usize| checks.0[index].see.as_deref();
        assert_eq!((see(1), see(2)), (Some("step05-pid/README.md, \"Try it\""), None));
        let reason = "there is no getfattr here".to_owned();
        assert_eq!(found(3), ("it is opaque", Verdict::Skipped, reason));
        assert_eq!(checks.to_string(), "1 passed, 2 failed, 1 skipped");
    }

    #[test]
    fn checks_without_a_container_share_a_line() {
        let mut printer = Printer::default();
        let said = [
            "FAIL a",
            "       got:      no container: it ended",
            "FAIL b (no container)",
            "ok   c",
            "FAIL d (no container)",
            "FAIL e (no container)",
            "1 passed, 4 failed",
        ];
        let printed: Vec<_> = said.iter().flat_map(|line| printer.lines(line)).collect();
        let wanted = [
            said[0],
            said[1],
            "FAIL 1 more check (no container)",
            said[3],
            "FAIL 2 more checks (no container)",
            said[6],
        ];
        assert_eq!(printed, wanted);
    }

    #[test]
    fn tap_and_json_have_every_check() {
        let lesson = lessons::find("5").expect("lesson 5");
        let checks = checks();
        let results = [(&lesson, checks)];
        let tap = tap(&results);
        assert!(tap.starts_with("TAP version 13\n") && tap.ends_with("\n1..4\n"), "{tap}");
        assert!(
            tap.contains("\nnot ok 2 - step05-pid: it has a root of its own\n# expected: a\n"),
            "{tap}"
        );
        assert!(tap.contains("\n# see: step05-pid/README.md, \"Try it\"\nnot ok 3"), "{tap}");
        assert!(tap.contains(" # SKIP there is no getfattr here\n"), "{tap}");
        let json = json(&results).expect("JSON");
        let read: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!((&read["failed"], &read["skipped"]), (&2.into(), &1.into()));
        let checks = &read["lessons"][0]["checks"];
        assert_eq!(checks[1]["details"][0], "expected: a");
        assert_eq!(checks[1]["see"], "step05-pid/README.md, \"Try it\"");
        assert!(checks[0]["see"].is_null(), "{json}");
    }
}
