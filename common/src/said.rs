//! What a step says: errors in one line, and their remedies.

pub(crate) mod doing;
pub(crate) mod error;
pub(crate) mod hint;
pub(crate) mod host;
pub(crate) mod time;
