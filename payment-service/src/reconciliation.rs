//! The reconciliation totals of the payments: exposures, captured, and unfinished payments.

use std::time::Duration;

use choreography::clock;
use choreography::envelope::{from_unix_millis, rfc3339, unix_millis};
use choreography::query::QueryError;
use contracts::CustomerId;
use contracts::query::{
    CustomerTotal, ExposureReconciliation, LedgerCheck, MAX_NAMED, MAX_TOTALS, OpenPayment, PaymentIssue,
    PaymentReconciliation,
};
use sea_orm::sea_query::ExprTrait;
use sea_orm::{
    ColumnTrait, DatabaseConnection, DbErr, EntityTrait, FromQueryResult, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect, Statement,
};

use crate::entity::payment::{Column, Entity, Model, Status, due};

/// The statuses that need a call to the provider.
const CALLING: [Status; 3] = [Status::Capturing, Status::Voiding, Status::Refunding];

/// The age at which an unfinished capture, void, or refund is overdue.
#[derive(Debug, Clone, Copy)]
pub struct Overdue(pub Duration);

/// The numbers of payments that are overdue at the provider, and that have an alarm.
#[derive(Debug, Clone, Copy)]
pub struct Issues {
    /// Overdue payments; the service continues its attempts.
    pub overdue: u64,
    /// Payments that need an operator.
    pub alarms: u64,
}

impl Overdue {
    fn late(self) -> sea_orm::Select<Entity> {
        let since = unix_millis(clock::now() - self.0);
        Entity::find()
            .filter(Column::Status.is_in(CALLING))
            .filter(due().is_not_null())
            .filter(Column::UpdatedAt.lt(since))
    }

    /// Counts overdue payments and alarms.
    ///
    /// # Errors
    ///
    /// The database's error.
    pub async fn count(self, db: &DatabaseConnection) -> Result<Issues, DbErr> {
        Ok(Issues { overdue: self.late().count(db).await?, alarms: alarms().count(db).await? })
    }

    /// Returns some alarms, followed by some overdue payments.
    async fn oldest(self, db: &DatabaseConnection) -> Result<Vec<Model>, DbErr> {
        let mut rows = alarms().order_by_asc(Column::AlarmSince).limit(MAX_NAMED).all(db).await?;
        rows.extend(self.late().order_by_asc(Column::UpdatedAt).limit(MAX_NAMED).all(db).await?);
        Ok(rows)
    }
}

fn alarms() -> sea_orm::Select<Entity> {
    Entity::find().filter(Column::AlarmSince.is_not_null())
}

fn issue(row: Model) -> anyhow::Result<PaymentIssue> {
    let status = row.public_status();
    Ok(PaymentIssue {
        order_id: row.order_id.try_into()?,
        status,
        alarm: row.alarm_since.is_some(),
        since: rfc3339(from_unix_millis(row.updated_at)),
        attempts: row.attempts,
        answer: row.provider_answer,
    })
}

/// The statuses of unfinished payments.
const UNFINISHED: [Status; 4] = [Status::AwaitingAccount, Status::Capturing, Status::Voiding, Status::Refunding];

/// The exposures, and the payments that count against limits, as one table of entries; one statement, so that both are
/// read at the same moment.
const ENTRIES: &str = "SELECT customer_id, currency, amount AS exposure, 0 AS counted, 0 AS captured, 0 AS payments \
    FROM exposures UNION ALL SELECT customer_id, currency, 0, amount, \
    CASE WHEN status = 'captured' THEN amount ELSE 0 END, CASE WHEN status = 'captured' THEN 1 ELSE 0 END \
    FROM payments WHERE status IN ('capturing', 'voiding', 'captured', 'refunding')";

#[derive(FromQueryResult)]
struct Account {
    customer_id: String,
    currency: String,
    exposure: i64,
    counted: i64,
    captured: i64,
    payments: i64,
    wrong_total: i64,
}

/// Returns the reconciliation totals.
///
/// # Errors
///
/// The database's error.
pub async fn reconciliation(
    db: DatabaseConnection,
    overdue: Overdue,
    ledger: LedgerCheck,
) -> Result<PaymentReconciliation, QueryError> {
    let sums = ["exposure", "counted", "captured", "payments"]
        .map(|column| format!("CAST(SUM({column}) AS BIGINT) AS {column}"))
        .join(", ");
    let accounts =
        format!("SELECT customer_id, currency, {sums} FROM ({ENTRIES}) AS entries GROUP BY customer_id, currency");
    // Differences come first, so that the limit never cuts them off.
    let sql = format!(
        "SELECT *, COUNT(CASE WHEN exposure <> counted THEN 1 END) OVER () AS wrong_total \
         FROM ({accounts}) AS accounts ORDER BY exposure <> counted DESC, customer_id, currency LIMIT {}",
        MAX_TOTALS + 1
    );
    let rows = Account::find_by_statement(Statement::from_string(db.get_database_backend(), sql)).all(&db).await?;
    let (accounts, more) = (rows.len() as u64, rows.len() as u64 > MAX_TOTALS);
    let wrong_total = rows.first().map_or(0, |row| row.wrong_total.unsigned_abs());
    let wrong =
        rows.iter().filter(|row| row.exposure != row.counted).take(MAX_NAMED.try_into().unwrap_or(usize::MAX));
    let wrong = wrong.map(exposure).collect();
    let captured = rows.into_iter().filter(|row| row.payments > 0).map(total);
    let mut captured: Vec<CustomerTotal> = captured.collect::<Result<_, _>>().map_err(QueryError::Unavailable)?;
    captured.sort_by(|a, b| {
        (a.customer_id.as_str(), a.currency.code()).cmp(&(b.customer_id.as_str(), b.currency.code()))
    });
    let unfinished = Entity::find().filter(Column::Status.is_in(UNFINISHED)).filter(due().is_not_null());
    let count = unfinished.clone().count(&db).await?;
    let oldest = unfinished.order_by_asc(Column::UpdatedAt).limit(MAX_NAMED).all(&db).await?;
    let open = |row: Model| -> anyhow::Result<OpenPayment> {
        let since = rfc3339(from_unix_millis(row.updated_at));
        let status = row.public_status();
        Ok(OpenPayment { order_id: row.order_id.try_into()?, status, since })
    };
    let oldest = oldest.into_iter().map(open).collect::<Result<_, _>>().map_err(QueryError::Unavailable)?;
    let Issues { overdue: late, alarms } = overdue.count(&db).await?;
    let issues = overdue.oldest(&db).await?.into_iter().map(issue);
    let issues = issues.collect::<Result<_, _>>().map_err(QueryError::Unavailable)?;
    let ledger = Some(ledger);
    Ok(PaymentReconciliation {
        accounts,
        wrong,
        wrong_total,
        captured,
        more,
        unfinished: count,
        oldest,
        overdue: late,
        alarms,
        issues,
        ledger,
    })
}

fn exposure(row: &Account) -> ExposureReconciliation {
    let Account { customer_id, currency, exposure, counted, .. } = row;
    ExposureReconciliation {
        customer_id: customer_id.clone(),
        currency: currency.clone(),
        exposure: *exposure,
        counted: *counted,
    }
}

fn total(row: Account) -> anyhow::Result<CustomerTotal> {
    Ok(CustomerTotal {
        customer_id: CustomerId::parse(row.customer_id)?,
        currency: serde_json::from_value(row.currency.into())?,
        count: row.payments.unsigned_abs(),
        amount: row.captured,
    })
}
