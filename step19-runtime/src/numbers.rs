//! Lesson 18: numbers of the configuration that may not be too great.

use anyhow::{Result, ensure};
use serde::Deserialize;

/// A number from 0 to `MOST`.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(try_from = "u32")]
pub(crate) struct UpTo<const MOST: u32>(pub(crate) u32);

/// The number of a user or group. The greatest number is none: it stands for no change,
/// and root would stay root; setresuid(2).
pub(crate) type Id = UpTo<{ u32::MAX - 1 }>;

impl<const MOST: u32> TryFrom<u32> for UpTo<MOST> {
    type Error = anyhow::Error;

    fn try_from(number: u32) -> Result<Self> {
        ensure!(number <= MOST, "the number {number} is too great; give 0 to {MOST}");
        Ok(UpTo(number))
    }
}
