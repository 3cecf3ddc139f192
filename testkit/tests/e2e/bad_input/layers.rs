//! Layers of an overlay.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use testkit::{containers_work, is_root, stderr, stdout};

use super::*;

#[test]
fn layers_that_cannot_lie_on_each_other_are_refused_in_one_line() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    fs::create_dir(place.path().join("empty/below")).expect("make a directory");
    let twice = "Too many symbolic links encountered; you named a layer twice, or a layer is inside \
        another layer or the scratch directory; name each layer once, and a scratch directory \
        outside of all layers";
    let mounts = NO_LAYER;
    let rows: [(&[&str], &str); 5] = [
        (&["empty", "empty"], twice),
        (&["empty", "m/../empty/"], twice),
        (&["empty/below", "empty"], twice),
        (&["/"], mounts),
        (&["/proc"], mounts),
    ];
    for (layers, why) in rows {
        let mut command = place.step(OVERLAY);
        command.args(layers.iter().flat_map(|layer| ["--lower", layer]));
        command.args(["--lower", "root", "--scratch", "s", "true"]);
        let output = command.output().expect("start a step");
        let said = format!("mount the overlay on s/merged: {why}");
        let told = output.status.code() == Some(125) && stderr(&output).ends_with(&said);
        assert!(told, "{layers:?}: {}", stderr(&output));
        // / and /proc of the host belong to another user, so the step prints a
        // warning first.
        let lines = if layers[0].starts_with('/') && !is_root() { 2 } else { 1 };
        assert_eq!(stderr(&output).lines().count(), lines, "{layers:?}: {}", stderr(&output));
        assert!(stderr(&output).lines().all(|line| is_one_line(OVERLAY, line)), "{layers:?}");
        let _ = common::remove_tree(&place.path().join("s"));
    }
}

#[test]
fn sixty_layers_are_read_whatever_their_names_are() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let names: [(&str, usize); 3] = [("n", 60), (&"n".repeat(240), 60), ("odd, \\:name", 60)];
    for (name, count) in names {
        let dir = |number: usize| format!("{name}-{number}");
        let mut command = place.step(OVERLAY);
        for number in 1..=count {
            let layer = place.path().join(dir(number));
            fs::create_dir(&layer).expect("make a directory");
            fs::write(layer.join(format!("layer-{number}")), "").expect("write a file");
            fs::write(layer.join("top"), dir(number)).expect("write a file");
            command.arg("--lower").arg(dir(number));
        }
        command.args(["--lower", "root", "/bin/sh", "-c", "cat /top; ls / | grep -c layer"]);
        let output = command.output().expect("start a step");
        ends(&output, OVERLAY, name, 0, "");
        assert_eq!(stdout(&output), format!("{}{count}", dir(1)));
    }
    // More names than mount(2) takes.
    let mut command = place.step(OVERLAY);
    command.args((0..500).flat_map(|_| ["--lower", "root"])).arg("true");
    let said =
        "mount an overlay: the names of 500 layers are too long for mount(2); name fewer layers";
    ends(&command.output().expect("start a step"), OVERLAY, "500 layers", 125, said);
}

#[test]
fn a_layer_of_another_user_is_told_beforehand() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let layer = place.path().join("theirs");
    if is_root() {
        fs::create_dir(&layer).expect("make a directory");
        fs::write(layer.join("theirs"), "").expect("write a file");
        for file in [layer.join("theirs"), layer.clone()] {
            std::os::unix::fs::chown(file, Some(65534), Some(65534)).expect("give it away");
        }
    } else {
        // This directory belongs to root on every host.
        symlink("/usr/share", &layer).expect("make a link");
    }
    let of = |layer: &Path| {
        let found = fs::metadata(layer).expect("look at it");
        (found.uid(), found.gid())
    };
    let (uid, gid) = of(&layer);
    let said = &format!(
        "theirs belongs to user {uid} and group {gid}, and the container does not have both: it \
         can read the files, but cannot change them (\"Permission denied\" or \"Value too large\"); unpack the layer as the user and group that run the \
         container"
    );
    let run = |script: &str| {
        let mut command = place.step(OVERLAY);
        command.args(["--lower", "theirs", "--lower", "root", "/bin/sh", "-c", script]);
        command.output().expect("start a step")
    };
    ends(&run(":"), OVERLAY, "theirs", 0, said);
    if is_root() {
        for (mode, why) in [(0o644, "Permission denied"), (0o666, "Value too large")] {
            let mode = Permissions::from_mode(mode);
            fs::set_permissions(layer.join("theirs"), mode).expect("set the mode");
            let output = run("cat /theirs && echo x >>/theirs");
            let error = stderr(&output);
            assert!(!output.status.success(), "{error}");
            let (first, second) = error.split_once('\n').expect("two lines");
            assert_eq!(first, format!("{OVERLAY}: {said}"));
            assert!(second.contains(why), "{second}");
        }
    }
}
