//! How long certificates are good for: the server's, and ours.

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use hashmesh::client::Client;
use hashmesh_runtime::{
    telemetry::chain,
    tls::{Certificate, look},
};

use super::check::Check;

const DAY: Duration = Duration::from_secs(86_400);
/// What is left should be more.
const ENOUGH: Duration = Duration::from_secs(14 * 86_400);
const PATIENCE: Duration = Duration::from_secs(10);
/// Names that are shown.
const SHOWN: usize = 6;

/// Of what answers at the server's address. Looked at only: the calls verify.
pub(super) async fn of_server(client: &Client) -> Check {
    const NAME: &str = "tls";
    if !client.encrypted() {
        return Check::skipped(NAME, "the server is an http:// one: plain text");
    }
    match look(client.host(), client.port(), PATIENCE).await {
        Ok(shown) => judge(NAME, &shown, SystemTime::now()),
        Err(error) => Check::fail(NAME, chain(&error), "does it speak TLS at that port?"),
    }
}

/// Of the file that we show.
pub(super) fn of_file(path: &Path) -> Check {
    const NAME: &str = "tls, ours";
    let read = fs::read(path).map_err(|error| error.to_string());
    match read.and_then(|pem| Certificate::in_pem(&pem).map_err(|error| error.to_string())) {
        Ok(found) => judge(NAME, &found, SystemTime::now()),
        Err(error) => Check::fail(NAME, format!("{}: {error}", path.display()), "name a certificate in PEM"),
    }
}

/// The first is the one of whoever shows them; one behind it that expires earlier counts as much.
fn judge(name: &'static str, shown: &[Certificate], now: SystemTime) -> Check {
    let Some((own, next)) = shown.first().zip(shown.iter().min_by_key(|shown| shown.not_after)) else {
        return Check::fail(name, "no certificate", "name one");
    };
    let date = |time: SystemTime| humantime::format_rfc3339_seconds(time).to_string();
    let mut names = own.names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if own.names.len() > SHOWN {
        names.push_str(", …");
    }
    let which = if own == next { String::new() } else { format!(", because of {}", next.subject) };
    let of = format!("for {names}, by {}", own.issuer);
    let left = signed_days(next.not_after, now);
    let until = date(next.not_after);
    let not_yet = shown.iter().find(|shown| shown.not_before > now);
    let check = if let Some(early) = not_yet {
        let found = format!("not valid before {}: {of}", date(early.not_before));
        Check::fail(name, found, "look at the clocks, else have it made again")
    } else if left < 0.0 {
        let found = format!("expired {} ago, at {until}{which}: {of}", span(-left));
        Check::fail(name, found, "renew it; our processes take a new file within seconds, proxies when they are told")
    } else if left * DAY.as_secs_f64() < enough(next).as_secs_f64() {
        let found = format!("{} left, until {until}{which}: {of}", span(left));
        Check::warn(name, found, "renew it; whoever does that by itself should have by now")
    } else {
        Check::ok(name, format!("{} left, until {until}{which}: {of}", span(left)))
    };
    check.with("days_left", left).with("not_after", until).with("names", own.names.clone()).with("issuer", &*own.issuer)
}

/// Two weeks, and of certificates that live for days or hours the last third.
fn enough(certificate: &Certificate) -> Duration {
    let life = certificate.not_after.duration_since(certificate.not_before).unwrap_or_default();
    ENOUGH.min(life / 3)
}

fn signed_days(not_after: SystemTime, now: SystemTime) -> f64 {
    let seconds = match not_after.duration_since(now) {
        Ok(left) => left.as_secs_f64(),
        Err(ago) => -ago.duration().as_secs_f64(),
    };
    seconds / DAY.as_secs_f64()
}

/// Days, or hours where there are few.
fn span(days: f64) -> String {
    if days >= 2.0 { format!("{} days", days.floor()) } else { format!("{:.1} hours", days * 24.0) }
}

#[cfg(test)]
mod tests {
    use super::{super::check::State, *};

    fn at(days: f64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs_f64((1_000.0 + days) * 86_400.0)
    }

    fn certificate(from: f64, until: f64) -> Certificate {
        let names = vec!["mesh.example".to_owned()];
        let (subject, issuer) = ("CN=somebody".to_owned(), "CN=an authority".to_owned());
        Certificate { subject, issuer, names, not_before: at(from), not_after: at(until) }
    }

    #[test]
    fn two_weeks_are_enough_and_of_short_lives_a_third() {
        for (from, until, state) in [
            (-60.0, 30.0, State::Ok),
            (-80.0, 13.5, State::Warn),
            (-0.1, 0.9, State::Ok),
            (-0.8, 0.2, State::Warn),
            (-90.0, -0.1, State::Fail),
            (0.1, 90.0, State::Fail),
        ] {
            let check = judge("tls", &[certificate(from, until)], at(0.0));
            assert_eq!(check.state, state, "{from} {until}: {check:?}");
        }
    }

    #[test]
    fn days_names_and_issuer_are_told() {
        let check = judge("tls", &[certificate(-60.0, 30.5)], at(0.0));
        assert!(check.found.starts_with("30 days left, until 19"), "{check:?}");
        assert!(check.found.ends_with("for mesh.example, by CN=an authority"), "{check:?}");
    }

    #[test]
    fn an_authority_in_between_that_expires_earlier_counts() {
        let check = judge("tls", &[certificate(-60.0, 30.0), certificate(-300.0, -1.0)], at(0.0));
        assert_eq!(check.state, State::Fail);
        assert!(check.found.contains("because of CN=somebody"), "{check:?}");
    }
}
