//! The limits that the caller asks for.

use std::ffi::OsStr;

use anyhow::{Context, Result, ensure};

/// Limits on a container; nothing is limited by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// The memory, in bytes.
    pub memory: Option<u64>,
    /// The number of processes. Threads count, and process 1 too.
    pub pids: Option<u64>,
    /// The processor time in each 100 milliseconds, in microseconds; 100,000 is one processor.
    pub cpu: Option<u64>,
}

/// The largest number of processes, PID_MAX_LIMIT in the kernel.
const MOST_PIDS: u64 = 4 << 20;
/// The largest number of processors that a kernel is built for.
const MOST_CPUS: f64 = 8192.0;

/// Reads bytes, or a number with K, M or G.
pub(crate) fn parse_memory(word: &OsStr) -> Result<u64> {
    let text = word.to_str().unwrap_or_default();
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1 << 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 1 << 20),
        Some(b'g' | b'G') => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    let bytes = number(digits).and_then(|number| number.checked_mul(unit));
    // Less than a page would be 0, and the kernel takes 2^63 and more as no limit.
    let bytes = bytes.filter(|bytes| (4096..1 << 62).contains(bytes));
    bytes.with_context(|| {
        format!(
            "--memory {}: give bytes, or a number with K, M or G, from 4K to 4294967295G",
            word.display()
        )
    })
}

/// Reads a number of processes.
pub(crate) fn parse_pids(word: &OsStr) -> Result<u64> {
    let pids = word.to_str().and_then(number).filter(|pids| (1..=MOST_PIDS).contains(pids));
    pids.with_context(|| format!("--pids {}: give a number from 1 to {MOST_PIDS}", word.display()))
}

/// Reads a number of processors. Returns microseconds in each 100 milliseconds.
pub(crate) fn parse_cpus(word: &OsStr) -> Result<u64> {
    let text = word.to_str().unwrap_or_default();
    let cpus = text.parse().ok().filter(|cpus| (0.01..=MOST_CPUS).contains(cpus));
    let doing = || format!("--cpus {}: give a decimal from 0.01 to {MOST_CPUS}", word.display());
    ensure!(text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'), doing());
    cpus.map(|cpus: f64| (cpus * 100_000.0).round() as u64).with_context(doing)
}

/// A number of digits alone: no sign.
pub(crate) fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_read() {
        for (word, bytes) in [("4096", 4096), ("64k", 64 << 10), ("32M", 32 << 20), ("2G", 2 << 30)]
        {
            assert_eq!(parse_memory(word.as_ref()).expect(word), bytes);
        }
        assert_eq!(parse_pids("1".as_ref()).expect("a number"), 1);
        for (word, part) in [("0.01", 1000), ("0.5", 50_000), ("1", 100_000), ("2.50", 250_000)] {
            assert_eq!(parse_cpus(word.as_ref()).expect(word), part);
        }
    }

    #[test]
    fn a_limit_without_sense_is_refused() {
        for word in
            ["", "0", "1", "4095", "3K", "-1", "+5000", "1.5G", "max", "5T", "M", "9999999999G"]
        {
            assert!(parse_memory(word.as_ref()).is_err(), "{word}");
        }
        for word in ["", "0", "-1", "+1", "4194305", "1.5", "max", "99999999999999999999"] {
            assert!(parse_pids(word.as_ref()).is_err(), "{word}");
        }
        for word in ["", "0", "0.009", "-1", "+1", "1e2", "inf", "NaN", "8193", "1,5", "."] {
            assert!(parse_cpus(word.as_ref()).is_err(), "{word}");
        }
    }
}
