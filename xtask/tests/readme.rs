//! The README is right about the lessons.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use testkit::{bin, skip, workspace};

/// The names and goals of the steps, as cargo reports them.
fn lessons() -> Option<Vec<(String, String)>> {
    let metadata = testkit::cargo()?
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(workspace())
        .output()
        .ok()?;
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages").iter();
    let text = |value: &serde_json::Value| value.as_str().expect("a string").to_owned();
    let mut lessons: Vec<_> = packages
        .map(|package| (text(&package["name"]), text(&package["description"])))
        .filter(|(name, _)| name.starts_with("step"))
        .collect();
    lessons.sort();
    Some(lessons)
}

#[test]
fn the_table_of_lessons_says_what_cargo_metadata_says() {
    let Some(lessons) = lessons() else {
        skip("cargo is not installed");
        return;
    };
    let readme = fs::read_to_string(workspace().join("README.md")).expect("a README");
    let told: Vec<(String, String)> = readme
        .lines()
        .filter(|line| line.starts_with("| [step"))
        .map(|line| {
            let mut cells = line.split('|').skip(1).map(str::trim);
            let link = cells.next().expect("a first cell");
            let name = link.trim_start_matches('[').split(']').next().expect("a name");
            assert_eq!(link, format!("[{name}]({name}/README.md)"));
            (name.to_owned(), cells.next().expect("a second cell").to_owned())
        })
        .collect();
    assert_eq!(told, lessons);
}

#[test]
fn the_picture_has_each_lesson() {
    let picture = fs::read_to_string(workspace().join("docs/pictures/course.svg"));
    let picture = picture.expect("a picture");
    for (at, step) in testkit::ALL.iter().enumerate() {
        let (_, name) = step.split_once('-').expect("a name");
        assert!(picture.contains(&format!(">{} {name}<", at + 1)), "{step}");
    }
    let last = format!("Lessons 16 to {}:", testkit::ALL.len());
    assert!(picture.contains(&last), "{last}");
}

/// The table of options has each option of the newest step, with the lesson that adds it.
#[test]
fn the_table_of_options_says_what_the_steps_take() {
    let readme = fs::read_to_string(workspace().join("README.md")).expect("a README");
    let mut told = BTreeMap::new();
    for line in readme.lines() {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let &["", number, options, ..] = &*cells else { continue };
        let Ok(number) = number.parse::<usize>() else { continue };
        let options = options.split('`').filter(|it| it.starts_with("--"));
        told.extend(options.map(|option| (option.to_owned(), number)));
    }
    let mut taken = BTreeMap::new();
    for (at, step) in testkit::STEPS.iter().copied().enumerate() {
        let help = Command::new(bin(step)).arg("--help").output().expect("run a step");
        let help = String::from_utf8(help.stdout).expect("UTF-8");
        for line in help.lines().map(str::trim).filter(|line| line.starts_with("--")) {
            let option = line.split("  ").next().expect("an option");
            taken.entry(option.to_owned()).or_insert(at + 1);
        }
    }
    assert_eq!(told, taken);
}

/// The README's `cargo test` builds the program of a step only if the step has a test, and
/// other tests start every program.
#[test]
fn every_step_has_a_test() {
    for step in testkit::ALL.iter() {
        let test = workspace().join(step).join("tests/lesson.rs");
        assert!(test.is_file(), "{} is missing", test.display());
    }
}

/// The end of each page names the next step, and the teacher's page has the answer.
#[test]
fn every_lesson_ends_with_the_way_on() {
    let answers = fs::read_to_string(workspace().join("docs/teachers.md")).expect("a page");
    for (at, step) in testkit::ALL.iter().copied().enumerate() {
        let number = at + 1;
        let page = fs::read_to_string(workspace().join(step).join("README.md")).expect("a page");
        let sections: Vec<_> = page.split("\n## ").filter_map(|it| it.split_once('\n')).collect();
        let &[.., (check, checks), (challenge, challenges), _, (go, way)] = &*sections else {
            panic!("{step} has few sections");
        };
        assert_eq!([check, challenge, go], ["Check yourself", "Challenges", "Go on"], "{step}");
        assert!(checks.contains(&format!("cargo xtask verify {number}\n")), "{step}");
        let count = challenges.lines().filter(|line| line.starts_with("- ")).count();
        assert!((2..=3).contains(&count), "{step} has {count} challenges");
        assert!(way.contains(&format!("`cargo xtask exercise {number}`")), "{step}");
        if let Some(next) = testkit::ALL.get(number) {
            assert!(
                way.contains(&format!("](../{next}/README.md)")),
                "{step} has no link to {next}"
            );
        }
        assert!(answers.contains(&format!("\n**Lesson {number}.** ")), "{step} has no answer");
    }
}

/// Every relative link of every page leads to a file.
#[test]
fn links_lead_somewhere() {
    let mut pages = vec![workspace().join("README.md")];
    pages.extend(testkit::ALL.iter().map(|step| workspace().join(step).join("README.md")));
    let docs = fs::read_dir(workspace().join("docs")).expect("a directory");
    let docs = docs.map(|entry| entry.expect("an entry").path());
    pages.extend(docs.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    for page in pages {
        let text = fs::read_to_string(&page).unwrap_or_else(|_| panic!("no {}", page.display()));
        for rest in text.split("](").skip(1) {
            let target = rest.split(')').next().expect("an end").split('#').next().expect("a path");
            if !target.is_empty() && !target.contains("://") {
                let path = page.parent().expect("a directory").join(target);
                assert!(path.exists(), "{} leads to {target}", page.display());
            }
        }
    }
}
