//! A directory for one test.

use std::path::{Path, PathBuf, absolute};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, process, thread};

/// A directory for one test, in memory if there is a place in memory.
pub(crate) struct Place(PathBuf);

impl Place {
    pub(crate) fn new() -> Place {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("common.{}.{number}", process::id());
        let places = [PathBuf::from("/dev/shm"), env::temp_dir()];
        let mut dirs = places.iter().flat_map(|place| absolute(place.join(&name)));
        Place(dirs.find(|dir| fs::create_dir(dir).is_ok()).expect("make a directory"))
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let removed = fs::remove_dir_all(&self.0);
        assert!(thread::panicking() || removed.is_ok(), "{removed:?}");
    }
}
