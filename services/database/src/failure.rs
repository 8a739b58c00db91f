//! What an error says about the statement that got it.

use tokio_postgres::error::{DbError, Severity, SqlState};

/// What is known after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The server refused the statement: it did nothing, and would do nothing again.
    Definite,
    /// The server refused the statement: it did nothing, and may do it when it is sent again.
    Transient,
    /// Nobody knows whether the statement, or the COMMIT, took effect. Look, by a key; never guess.
    Unknown,
}

/// What is known after `error`.
///
/// An error that ended the session may have come after the commit and before its acknowledgement: a crash of another
/// backend (57P02) and a termination (57P01) during the wait for a replica are reported like that. So these are
/// [`Failure::Unknown`] though they are worth a retry, and so is everything that the server did not say itself.
#[must_use]
pub fn classify(error: &tokio_postgres::Error) -> Failure {
    error.as_db_error().map_or(Failure::Unknown, classify_answer)
}

fn classify_answer(error: &DbError) -> Failure {
    let ends_session = !matches!(error.parsed_severity(), Some(Severity::Error) | None);
    classify_code(error.code(), ends_session)
}

fn classify_code(code: &SqlState, ends_session: bool) -> Failure {
    let class = code.code().get(..2).unwrap_or_default();
    match *code {
        // Said instead of starting a session, so before any statement.
        SqlState::CANNOT_CONNECT_NOW | SqlState::TOO_MANY_CONNECTIONS => Failure::Transient,
        // Likewise, and no wait helps: wrong password, no such database, no such role.
        _ if matches!(class, "28" | "3D") => Failure::Definite,
        SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN => Failure::Unknown,
        _ if ends_session || class == "08" => Failure::Unknown,
        SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED | SqlState::LOCK_NOT_AVAILABLE => {
            Failure::Transient
        }
        // Disk or memory is short.
        _ if class == "53" => Failure::Transient,
        _ => Failure::Definite,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_as_certain_as_the_moment_it_came_from() {
        let cases = [
            ("23505", false, Failure::Definite),
            ("57014", false, Failure::Definite),
            ("28P01", true, Failure::Definite),
            ("3D000", true, Failure::Definite),
            ("40001", false, Failure::Transient),
            ("40P01", false, Failure::Transient),
            ("55P03", false, Failure::Transient),
            ("53100", false, Failure::Transient),
            ("53300", true, Failure::Transient),
            ("57P03", true, Failure::Transient),
            ("57P01", true, Failure::Unknown),
            ("57P02", true, Failure::Unknown),
            ("25P03", true, Failure::Unknown),
            ("40003", false, Failure::Unknown),
            ("08006", false, Failure::Unknown),
            ("53100", true, Failure::Unknown),
        ];
        for (code, ends_session, expected) in cases {
            assert_eq!(classify_code(&SqlState::from_code(code), ends_session), expected, "{code}");
        }
    }
}
