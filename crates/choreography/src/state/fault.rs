//! Classifies database errors: the fault of the message, or of the database.
//!
//! Only a data error is the fault of the message that brought the data. Every other error is an outage: a missing
//! table, a revoked permission, or a full disk would fail every message, and none is dead-lettered for it.

use std::error::Error;
use std::time::Duration;

use sea_orm::{ConnAcquireErr, DbErr, RuntimeErr, SqlxError};

/// The cause of a database error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The data of a message: it fails again, whatever the state of the database.
    Message,
    /// Another transaction: a deadlock or a serialization failure, which a retry resolves.
    Contention,
    /// The database: it is down, full, locked, read-only, or misconfigured.
    Outage,
}

/// SQLSTATE codes and classes of PostgreSQL for data errors: cardinality violation, data exception, integrity
/// constraint violation, triggered data change violation, a view's check option, limits on one row, and an exception
/// raised by a trigger. 25P02 follows one of them: the handler continued after a statement had failed.
const OF_DATA: [&str; 8] = ["21", "22", "23", "27", "44", "54", "P0", "25P02"];
/// Serialization failure, deadlock detected.
const OF_CONTENTION: [&str; 2] = ["40001", "40P01"];

/// Classifies a database error.
pub(crate) fn of(error: &DbErr) -> Fault {
    match error {
        DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => Fault::Outage,
        DbErr::Exec(error) | DbErr::Query(error) => of_runtime(error),
        // A row that could not be decoded or encoded.
        _ => Fault::Message,
    }
}

/// Classifies an error of a handler; `None` if none of its causes is a database error, however wrapped.
pub(crate) fn of_any(error: &anyhow::Error) -> Option<Fault> {
    error.chain().find_map(of_cause)
}

fn of_cause(cause: &(dyn Error + 'static)) -> Option<Fault> {
    // A transparent wrapper reports the cause of the wrapped error, and not that error itself.
    (cause.downcast_ref().map(of))
        .or_else(|| cause.downcast_ref().map(of_runtime))
        .or_else(|| cause.downcast_ref().map(of_sqlx))
        .or_else(|| cause.downcast_ref::<ConnAcquireErr>().map(|_| Fault::Outage))
}

fn of_runtime(error: &RuntimeErr) -> Fault {
    match error {
        RuntimeErr::SqlxError(error) => of_sqlx(error),
        _ => Fault::Outage,
    }
}

fn of_sqlx(error: &SqlxError) -> Fault {
    match error {
        SqlxError::Database(error) => error.code().map_or(Fault::Outage, |code| of_code(&code)),
        SqlxError::RowNotFound
        | SqlxError::ColumnIndexOutOfBounds { .. }
        | SqlxError::ColumnNotFound(_)
        | SqlxError::ColumnDecode { .. }
        | SqlxError::Decode(_)
        | SqlxError::Encode(_)
        | SqlxError::InvalidArgument(_) => Fault::Message,
        _ => Fault::Outage,
    }
}

/// Classifies a SQLSTATE of PostgreSQL, which has five characters, or a result code of SQLite, which has at most four.
fn of_code(code: &str) -> Fault {
    if code.len() == 5 {
        return if OF_DATA.iter().any(|prefix| code.starts_with(prefix)) {
            Fault::Message
        } else if OF_CONTENTION.contains(&code) {
            Fault::Contention
        } else {
            Fault::Outage
        };
    }
    // The low byte of an extended result code is the primary one: TOOBIG, CONSTRAINT, MISMATCH.
    match code.parse::<u32>() {
        Ok(code) if matches!(code & 0xff, 18..=20) => Fault::Message,
        // BUSY_SNAPSHOT: another writer has committed since this transaction first read.
        Ok(517) => Fault::Contention,
        _ => Fault::Outage,
    }
}

/// Returns the text of an error and its causes, without repetitions: wrappers of database errors repeat their cause.
pub(crate) fn text(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |text, cause| match text.is_empty() {
        true => cause,
        false if text.contains(&cause) => text,
        false => format!("{text}: {cause}"),
    })
}

/// Returns the error for a database that does not respond in time.
pub(crate) fn no_answer(limit: Duration) -> DbErr {
    DbErr::Conn(RuntimeErr::Internal(format!("the database has not answered for {} s", limit.as_secs())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn outage() -> DbErr {
        DbErr::Conn(RuntimeErr::Internal("unavailable".to_owned()))
    }

    #[derive(Debug, thiserror::Error)]
    enum Wrapped {
        #[error("saving")]
        Named(#[from] DbErr),
        #[error(transparent)]
        Transparent(DbErr),
    }

    #[test]
    fn only_data_errors_are_the_fault_of_a_message() {
        for code in
            ["22021", "22P02", "23505", "23503", "21000", "44000", "54000", "P0001", "25P02", "2067", "1811", "18"]
        {
            assert_eq!(of_code(code), Fault::Message, "{code}");
        }
        for code in ["40001", "40P01", "517"] {
            assert_eq!(of_code(code), Fault::Contention, "{code}");
        }
        for code in [
            "55P03",
            "57014",
            "57P01",
            "25006",
            "25P03",
            "42P01",
            "42501",
            "42601",
            "0A000",
            "53100",
            "XX000",
            "08006",
            "40003",
            "1",
            "5",
            "8",
            "10",
            "11",
            "13",
            "",
            "elsewhere",
        ] {
            assert_eq!(of_code(code), Fault::Outage, "{code}");
        }
    }

    #[test]
    fn the_text_of_a_wrapped_database_error_is_not_repeated() {
        let error = anyhow::Error::from(outage()).context("loading");
        assert_eq!(format!("{error:#}"), "loading: Connection Error: unavailable: unavailable");
        assert_eq!(text(&error), "loading: Connection Error: unavailable");
        assert_eq!(text(&anyhow::anyhow!("a rule").context("deciding")), "deciding: a rule");
    }

    #[test]
    fn a_database_error_is_recognised_however_it_is_wrapped() {
        let locked = DbErr::Query(RuntimeErr::Internal("locked".to_owned()));
        let errors = [
            anyhow::Error::from(outage()),
            anyhow::Error::from(outage()).context("loading").context("handling"),
            Wrapped::Named(outage()).into(),
            Wrapped::Transparent(locked).into(),
            Wrapped::Transparent(DbErr::ConnectionAcquire(ConnAcquireErr::Timeout)).into(),
            anyhow::Error::from(SqlxError::PoolTimedOut).context("outside the library"),
        ];
        for error in errors {
            assert_eq!(of_any(&error), Some(Fault::Outage), "{error:?}");
        }
        assert_eq!(of_any(&anyhow::anyhow!("a rule of the service")), None);
        assert_eq!(of_any(&Wrapped::Named(DbErr::Custom("not a row".to_owned())).into()), Some(Fault::Message));
    }
}
