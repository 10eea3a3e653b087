//! How long a session lives: at most so long, and at most so long unused.

use std::time::SystemTime;

use time::{Duration, OffsetDateTime};

use crate::error::{BuildError, Reason};

/// The limits of a session's life, in whole seconds.
///
/// `absolute` counts from the session's creation and never moves. `idle` counts from the last request. Both are sealed
/// into the session and checked by the server; the browser's `Max-Age` is only a courtesy.
/// ([OWASP ASVS 7.3](https://owasp.org/www-project-application-security-verification-standard/) wants both.)
///
/// ```
/// use hardtack::Lifetime;
/// use time::Duration;
///
/// let lifetime = Lifetime::absolute(Duration::days(30)).idle(Duration::hours(2));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    absolute: Duration,
    idle: Option<Duration>,
    renew_after: Option<Duration>,
}

impl Lifetime {
    /// A session ends this long after its creation, whatever happens. At most 2^28 - 1 seconds, eight and a half years.
    pub const fn absolute(absolute: Duration) -> Self {
        Self { absolute, idle: None, renew_after: None }
    }

    /// A session ends when no request has used it for this long. Costs a second, small cookie.
    #[must_use]
    pub const fn idle(self, idle: Duration) -> Self {
        Self { idle: Some(idle), ..self }
    }

    /// How old the note of the last request may grow before a request renews it; a tenth of `idle` by default.
    ///
    /// Requests within this time of the last note leave no trace, so a session may end this much before its idle
    /// lifetime has passed since the very last request, never after.
    #[must_use]
    pub const fn renew_after(self, renew_after: Duration) -> Self {
        Self { renew_after: Some(renew_after), ..self }
    }

    /// These limits as seconds, if they can work.
    pub(crate) fn checked(self) -> Result<Limits, BuildError> {
        let seconds = |setting, duration: Duration| match u64::try_from(duration.whole_seconds()) {
            Ok(seconds @ 1..=Limits::LONGEST) => Ok(seconds),
            _ => Err(BuildError::new(setting, format!("{duration} is not within 1 s and 2^28 - 1 s"))),
        };
        let absolute = seconds("lifetime.absolute", self.absolute)?;
        let idle = self.idle.map(|idle| seconds("lifetime.idle", idle)).transpose()?;
        let renew_after = self.renew_after.map(|after| seconds("lifetime.renew_after", after)).transpose()?;
        let Some(idle) = idle else {
            return match renew_after {
                Some(_) => {
                    Err(BuildError::new("lifetime.renew_after", "means nothing without an idle lifetime"))
                }
                None => Ok(Limits { absolute, idle: None }),
            };
        };
        let renew_after = renew_after.unwrap_or((idle / 10).max(1));
        if idle > absolute {
            return Err(BuildError::new("lifetime.idle", "longer than the absolute lifetime"));
        }
        if renew_after >= idle && idle > 1 {
            return Err(BuildError::new("lifetime.renew_after", "must be shorter than the idle lifetime"));
        }
        Ok(Limits { absolute, idle: Some(Idle { limit: idle, renew_after }) })
    }
}

impl Default for Lifetime {
    /// 30 days, and 2 hours unused.
    fn default() -> Self {
        Self::absolute(Duration::days(30)).idle(Duration::hours(2))
    }
}

/// A checked [`Lifetime`], in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) absolute: u64,
    pub(crate) idle: Option<Idle>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Idle {
    pub(crate) limit: u64,
    pub(crate) renew_after: u64,
}

impl Limits {
    /// What the four octets of a relative time can say.
    pub(crate) const LONGEST: u64 = (1 << 28) - 1;

    /// When a session ends at the latest: what was sealed, or earlier if the limit has been lowered since.
    pub(crate) fn expires(&self, created: u64, sealed_expires: u64) -> u64 {
        sealed_expires.min(created.saturating_add(self.absolute))
    }

    /// Whether a session lives, and when it was last used. `seen` reads the time in the `seen` cookie and is asked
    /// only if it matters: when the sealed time is due for renewal, or would end the session by itself.
    pub(crate) fn check(
        &self,
        now: u64,
        sealed: u64,
        expires: u64,
        seen: impl FnOnce() -> Option<u64>,
    ) -> Result<u64, Reason> {
        if now >= expires {
            return Err(Reason::Expired);
        }
        let Some(idle) = self.idle else { return Ok(sealed) };
        if now < sealed.saturating_add(idle.renew_after) {
            return Ok(sealed);
        }
        let last_seen = seen().map_or(sealed, |seen| seen.max(sealed));
        if now >= last_seen.saturating_add(idle.limit) {
            return Err(Reason::Idle);
        }
        Ok(last_seen)
    }

    /// Whether a request should renew the note of when the session was last used.
    pub(crate) fn due(&self, now: u64, last_seen: u64) -> bool {
        self.idle.is_some_and(|idle| now >= last_seen.saturating_add(idle.renew_after))
    }

    /// When a stored record may be dropped: a little after the session can last be used, since a request within
    /// `renew_after` of the last note does not move it.
    pub(crate) fn record_expires(&self, now: u64, expires: u64) -> u64 {
        self.idle.map_or(expires, |idle| expires.min(now + idle.limit + idle.renew_after))
    }
}

/// Whole seconds since 1970; times before count as 1970.
pub(crate) fn seconds(time: impl Into<SystemTime>) -> u64 {
    time.into().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The time of so many seconds since 1970; what lies beyond the year 9999 counts as its end.
pub(crate) fn time(seconds: u64) -> OffsetDateTime {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .unwrap_or(time::Date::MAX.midnight().assume_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(lifetime: Lifetime) -> Limits {
        lifetime.checked().expect("these limits work")
    }

    #[track_caller]
    fn refused(lifetime: Lifetime, message: &str) {
        assert_eq!(lifetime.checked().unwrap_err().to_string(), message);
    }

    #[test]
    fn limits_that_cannot_work_are_refused_by_name() {
        let day = Duration::DAY;
        refused(Lifetime::absolute(Duration::ZERO), "lifetime.absolute: 0s is not within 1 s and 2^28 - 1 s");
        refused(Lifetime::absolute(-day), "lifetime.absolute: -1d is not within 1 s and 2^28 - 1 s");
        refused(
            Lifetime::absolute(Duration::seconds(1 << 28)),
            "lifetime.absolute: 3106d21h24m16s is not within 1 s and 2^28 - 1 s",
        );
        refused(Lifetime::absolute(day).idle(day * 2), "lifetime.idle: longer than the absolute lifetime");
        refused(
            Lifetime::absolute(day).idle(Duration::HOUR).renew_after(Duration::HOUR),
            "lifetime.renew_after: must be shorter than the idle lifetime",
        );
        refused(
            Lifetime::absolute(day).renew_after(Duration::HOUR),
            "lifetime.renew_after: means nothing without an idle lifetime",
        );
    }

    #[test]
    fn a_session_ends_at_its_expiry_to_the_second() {
        let limits = limits(Lifetime::absolute(Duration::seconds(100)));
        assert_eq!(limits.check(1099, 1000, 1100, || None), Ok(1000));
        assert_eq!(limits.check(1100, 1000, 1100, || None), Err(Reason::Expired));
    }

    #[test]
    fn the_later_of_sealed_and_seen_counts_for_the_idle_limit() {
        let limits = limits(Lifetime::absolute(Duration::seconds(1000)).idle(Duration::seconds(100)));
        let check = |now, seen: Option<u64>| limits.check(now, 1000, 9999, || seen);
        assert_eq!(check(1099, None), Ok(1000));
        assert_eq!(check(1100, None), Err(Reason::Idle));
        assert_eq!(check(1100, Some(1050)), Ok(1050));
        assert_eq!(check(1149, Some(1050)), Ok(1050));
        assert_eq!(check(1150, Some(1050)), Err(Reason::Idle));
        assert_eq!(check(1100, Some(500)), Err(Reason::Idle));
    }

    #[test]
    fn the_seen_cookie_is_not_read_before_it_matters() {
        let limits = limits(Lifetime::absolute(Duration::seconds(1000)).idle(Duration::seconds(100)));
        assert_eq!(limits.check(1009, 1000, 9999, || unreachable!("renewal is not due")), Ok(1000));
        assert!(!limits.due(1009, 1000));
        assert!(limits.due(1010, 1000));
    }

    #[test]
    fn a_clock_that_is_behind_ends_nothing() {
        let limits = limits(Lifetime::default());
        assert_eq!(limits.check(10, 1000, 2000, || None), Ok(1000));
        assert!(!limits.due(10, 1000));
    }

    #[test]
    fn a_lowered_absolute_limit_binds_older_sessions() {
        let limits = limits(Lifetime::absolute(Duration::seconds(100)));
        assert_eq!(limits.expires(1000, 5000), 1100);
        assert_eq!(limits.expires(1000, 1050), 1050);
    }
}
