//! Times as text.

use std::time::{SystemTime, UNIX_EPOCH};

/// A time as `2026-01-31T23:59:59.000000001Z`, RFC 3339. A time before 1970 counts as 1970.
pub fn utc(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, nanos) = (since.as_secs() as _, since.subsec_nanos());
    #[allow(unsafe_code, reason = "std has no calendar")]
    // SAFETY: gmtime_r(3) reads one value and writes the other, for which zeros are valid.
    let at = unsafe {
        let mut at = std::mem::zeroed();
        libc::gmtime_r(&raw const seconds, &raw mut at);
        at
    };
    let (year, month) = (1900 + at.tm_year, 1 + at.tm_mon);
    let (day, hour, minute, second) = (at.tm_mday, at.tm_hour, at.tm_min, at.tm_sec);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_as_date_prints_them() {
        // date -u -d @N +%FT%T
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00"),
            (68_169_599, "1972-02-28T23:59:59"),
            (68_169_600, "1972-02-29T00:00:00"),
            (951_782_400, "2000-02-29T00:00:00"),
            (1_230_767_999, "2008-12-31T23:59:59"),
            (4_107_542_400, "2100-03-01T00:00:00"),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_nanos(5);
            assert_eq!(utc(time), format!("{text}.000000005Z"));
        }
    }
}
