//! The REST operation on notifications: the messages sent to a customer.

use choreography_http::auth::Caller;
use choreography_http::code::Code;
use choreography_http::json::{JsonOf, Nullable};
use choreography_http::parameter::{After, Path, Query};
use choreography_http::problem::{Failure, Problem};
use choreography_http::queries::Queries;
use choreography_http::{failures, replies};
use contracts::query::ListNotifications;
use poem_openapi::{Object, OpenApi};

use crate::Tag;
use crate::accounts::AccountId;
use crate::fields::PageLimit;

/// The operation on notifications.
pub(crate) struct NotificationsApi {
    pub(crate) queries: Queries,
}

/// A message sent to a customer. It describes the JSON of the notification service, which the gateway relays.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
pub(crate) struct Notification {
    /// Its position among all notifications; ascending.
    sequence: i64,
    /// The id of the event that it reports.
    event_id: String,
    /// The id of the customer.
    customer_id: String,
    /// The id of the order.
    order_id: String,
    /// The type of the event that it reports, such as `order.confirmed.v1`.
    r#type: String,
    /// The subject line.
    subject: String,
    /// The text.
    text: String,
    /// When it was written, RFC 3339.
    created_at: String,
    /// When the mail server accepted it; null until then, or if there is no address.
    delivered_at: Nullable<String>,
}

/// A page of notifications.
#[derive(Object)]
pub(crate) struct NotificationPage {
    /// The notifications, oldest first.
    items: Vec<Notification>,
    /// The `after` of the next page; null on the last page.
    next: Nullable<String>,
}

replies! {
    /// A page of notifications, oldest first.
    ListedNotifications: NotificationPage;
}

failures! {
    /// The errors of listing notifications.
    ListFailures = Code::OF_QUERY;
}

#[OpenApi(tag = "Tag::Notifications")]
impl NotificationsApi {
    /// List a customer's notifications
    ///
    /// Oldest first. A client that has read some of them continues after its last `sequence`.
    #[oai(path = "/customers/:id/notifications", method = "get", operation_id = "listNotifications")]
    async fn list(
        &self,
        caller: Caller,
        /// The customer's id.
        id: Path<AccountId>,
        /// Only notifications after this one: a `sequence`, or the `next` of the previous page.
        after: Query<After>,
        /// How many notifications a page has at most.
        limit: Query<PageLimit>,
    ) -> Result<ListedNotifications, Failure<ListFailures>> {
        if !caller.may_reach(id.0.0.as_str()) {
            return Err(Problem::new(crate::problems::ACCOUNT_NOT_FOUND).into());
        }
        let query =
            ListNotifications { after: after.0.map(|after| after.0), limit: Some(limit.0.unwrap_or_default().0) };
        let subject = format!("notification.query.list.{}", id.0.0);
        Ok(ListedNotifications::Found(JsonOf::relayed(self.queries.list(&subject, &query).await?)))
    }
}
