//! The REST side of notifications: what a customer was told.

use contracts::query::{DEFAULT_PAGE, ListNotifications};
use poem_openapi::{ApiResponse, Object, OpenApi};

use crate::Tag;
use crate::accounts::AccountId;
use crate::json::{JsonOf, Nullable};
use crate::parameter::{After, Limit, Path, Query};
use crate::problem::{Code, Codes, Failure};
use crate::queries::Queries;

/// Notifications.
pub(crate) struct NotificationsApi {
    pub(crate) queries: Queries,
}

/// What a customer was told. Describes what the notification service says and the gateway relays.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct Notification {
    /// Its place among all notifications; ascending.
    sequence: i64,
    /// The id of the event it tells of.
    event_id: String,
    /// Who was told.
    customer_id: String,
    /// Which order it is about.
    order_id: String,
    /// The type of the event it tells of, such as `order.confirmed.v1`.
    r#type: String,
    /// The subject line.
    subject: String,
    /// The text.
    text: String,
    /// When it was written, RFC 3339.
    created_at: String,
    /// When it was handed to the mail server; null until then, or where there is no address.
    delivered_at: Nullable<String>,
}

/// A page of notifications.
#[derive(Object)]
pub(crate) struct NotificationPage {
    /// The notifications, oldest first.
    items: Vec<Notification>,
    /// The `after` of the page that follows; null where this is the last.
    next: Nullable<String>,
}

/// Answers to `GET /customers/{id}/notifications`.
#[derive(ApiResponse)]
pub(crate) enum ListedNotifications {
    /// A page of notifications, oldest first.
    #[oai(status = 200)]
    Page(JsonOf<NotificationPage>),
}

/// How listing may fail.
pub(crate) struct ListFailures;

impl Codes for ListFailures {
    const CODES: &'static [Code] = &[Code::InvalidParameter, Code::Unavailable];
}

#[OpenApi(tag = "Tag::Notifications")]
impl NotificationsApi {
    /// List what a customer was told
    ///
    /// Oldest first. Whoever has read some of them goes on behind the last `sequence` it has.
    #[oai(path = "/customers/:id/notifications", method = "get", operation_id = "listNotifications")]
    async fn list(
        &self,
        /// The customer's id.
        id: Path<AccountId>,
        /// Only those behind this one: a `sequence`, or the `next` of the page before.
        after: Query<After>,
        /// How many notifications a page has at most.
        limit: Query<Limit>,
    ) -> Result<ListedNotifications, Failure<ListFailures>> {
        let query = ListNotifications {
            after: after.0.map(|after| after.0),
            limit: Some(limit.0.map_or(DEFAULT_PAGE, |limit| limit.0)),
        };
        let subject = format!("notification.query.list.{}", id.0.0);
        Ok(ListedNotifications::Page(JsonOf::relayed(self.queries.list(&subject, &query).await?)))
    }
}
