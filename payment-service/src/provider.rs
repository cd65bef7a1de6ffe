//! The payment provider: a third party, called over HTTP, that may be slow or unavailable, or lose responses.

use std::future::Future;
use std::time::Duration;

use choreography::http;
use contracts::OrderId;
use contracts::account::CardToken;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde::{Deserialize, Serialize};

use crate::payment::{Call, Charge, Outcome};

/// The failure of a request to the provider.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// No response, or a temporary failure.
    #[error("{why}")]
    Unavailable {
        /// The response, or the error of the connection.
        why: String,
        /// The provider's `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// A permanent refusal: repeating the request changes nothing.
    #[error("{0}")]
    Refused(String),
    /// A response with another order, amount, or currency.
    #[error("{0}")]
    Mismatch(String),
}

/// The payment that a request concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Money {
    /// The idempotency key of its capture.
    pub key: String,
    /// The order's id.
    pub order_id: OrderId,
    /// The customer, the amount, and the currency.
    pub charge: Charge,
}

/// The response to a capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Capture {
    /// The payment is captured.
    Captured {
        /// The provider's reference of the capture.
        reference: String,
    },
    /// The provider declined the payment.
    Declined,
}

/// The status of a key at the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// The payment is captured.
    Captured {
        /// The provider's reference of the capture.
        reference: String,
    },
    /// The payment is declined.
    Declined,
    /// The capture is voided.
    Voided,
    /// The payment is refunded.
    Refunded {
        /// The provider's reference of the capture.
        reference: String,
    },
}

/// A capture in the provider's ledger.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerCharge {
    /// The client's order id.
    pub order_id: String,
    /// The idempotency key.
    pub key: String,
    /// The provider's reference of the capture.
    pub reference: String,
    /// The amount in minor units.
    pub amount: i64,
    /// The ISO 4217 code.
    pub currency: String,
    /// Whether the capture was refunded.
    pub refunded: bool,
}

/// A page of the provider's ledger: all captures of each of its orders, in the byte order of the order ids.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerPage {
    /// The captures, by order.
    pub charges: Vec<LedgerCharge>,
    /// The order after which the next page begins; `None` on the last page.
    pub next: Option<String>,
}

/// A payment provider. Every operation is idempotent by its key.
pub trait PaymentProvider: Send + Sync + 'static {
    /// Captures a payment.
    fn capture(
        &self,
        money: &Money,
        token: &CardToken,
    ) -> impl Future<Output = Result<Capture, ProviderError>> + Send;

    /// Returns the status of a capture; `None` if the provider does not know it.
    fn lookup(&self, money: &Money) -> impl Future<Output = Result<Option<Known>, ProviderError>> + Send;

    /// Voids a capture; returns its reference if it had succeeded and is refunded.
    fn void(&self, money: &Money) -> impl Future<Output = Result<Option<String>, ProviderError>> + Send;

    /// Refunds a capture.
    fn refund(&self, money: &Money, reference: &str) -> impl Future<Output = Result<(), ProviderError>> + Send;

    /// Reads a page of the ledger after an order; `None` if the provider offers no ledger.
    fn ledger(&self, after: Option<&str>)
    -> impl Future<Output = Result<Option<LedgerPage>, ProviderError>> + Send;
}

/// Calls the provider and returns the outcome.
pub async fn execute<P: PaymentProvider>(provider: &P, money: &Money, call: &Call) -> Outcome {
    let outcome = match call {
        Call::Capture { token, .. } => capture(provider, money, token).await,
        Call::Lookup => lookup(provider, money).await,
        Call::Void => void(provider, money).await,
        Call::Refund { reference } => {
            let refunded = |()| Outcome::Refunded { reference: reference.clone() };
            provider.refund(money, reference).await.map(refunded)
        }
    };
    outcome.unwrap_or_else(|error| match error {
        ProviderError::Unavailable { why, retry_after } => Outcome::Unavailable { why, retry_after },
        ProviderError::Refused(why) => Outcome::Refused { why },
        ProviderError::Mismatch(why) => Outcome::Mismatch { why },
    })
}

/// Captures a payment. Looks the key up before it accepts a refusal: an earlier request may have captured the payment,
/// or the key may belong to another payment.
async fn capture<P: PaymentProvider>(
    provider: &P,
    money: &Money,
    token: &CardToken,
) -> Result<Outcome, ProviderError> {
    match provider.capture(money, token).await {
        Ok(Capture::Captured { reference }) => Ok(Outcome::Captured { reference }),
        Ok(Capture::Declined) => Ok(Outcome::Declined),
        Err(ProviderError::Refused(why)) => match lookup(provider, money).await? {
            Outcome::NotFound => Ok(Outcome::Refused { why }),
            known => Ok(known),
        },
        Err(error) => Err(error),
    }
}

/// Voids a capture. If the provider refuses, looks the key up: if it belongs to another payment, there is nothing to
/// refund, and repeating the void would never end.
async fn void<P: PaymentProvider>(provider: &P, money: &Money) -> Result<Outcome, ProviderError> {
    match provider.void(money).await {
        Ok(None) => Ok(Outcome::Voided),
        Ok(Some(reference)) => Ok(Outcome::Refunded { reference }),
        Err(ProviderError::Refused(why)) => match lookup(provider, money).await? {
            known @ (Outcome::Voided | Outcome::Refunded { .. }) => Ok(known),
            _ => Ok(Outcome::Refused { why }),
        },
        Err(error) => Err(error),
    }
}

async fn lookup<P: PaymentProvider>(provider: &P, money: &Money) -> Result<Outcome, ProviderError> {
    Ok(match provider.lookup(money).await? {
        Some(Known::Captured { reference }) => Outcome::Captured { reference },
        Some(Known::Declined) => Outcome::Declined,
        Some(Known::Voided) => Outcome::Voided,
        Some(Known::Refunded { reference }) => Outcome::Refunded { reference },
        None => Outcome::NotFound,
    })
}

/// The provider over HTTP. The key of a refund is that of its capture, followed by `/refund`.
#[derive(Debug, Clone)]
pub struct HttpProvider {
    http: Client,
    url: String,
}

/// The body of a request, which the provider compares with the content of the key.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Content<'a> {
    order_id: &'a str,
    amount: i64,
    currency: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    status: String,
    reference: Option<String>,
    order_id: Option<String>,
    amount: Option<i64>,
    currency: Option<String>,
}

impl Body {
    /// Refuses a response whose body contradicts its HTTP status.
    fn expect_status(self, expected: &str) -> Result<Self, ProviderError> {
        if self.status == expected {
            return Ok(self);
        }
        Err(unclear(format!("the provider responded 201 with status {:?} instead of {expected:?}", self.status)))
    }

    /// Returns the reference if the response is about this payment.
    fn reference_of(self, money: &Money) -> Result<String, ProviderError> {
        let Self { status, reference, order_id, amount, currency } = self;
        let reference = reference.filter(|reference| is_reference(reference));
        let (Some(reference), Some(order_id), Some(amount), Some(currency)) =
            (reference, order_id, amount, currency)
        else {
            return Err(unclear(format!(
                "the provider responded {status:?} without reference, order, amount, and currency"
            )));
        };
        let Money { order_id: own, charge, key } = money;
        if order_id == own.as_str() && amount == charge.amount.minor_units() && currency == charge.currency.code() {
            return Ok(reference);
        }
        let (own_amount, own_currency) = (charge.amount.minor_units(), charge.currency.code());
        Err(ProviderError::Mismatch(format!(
            "the provider has {amount} {currency} {status:?} for order {order_id} under the key {key} ({reference}); \
             the payment is {own_amount} {own_currency} for order {own}"
        )))
    }
}

/// Returns whether a reference can be stored and published: 1 to [`MAX_REFERENCE`] bytes without control characters.
fn is_reference(text: &str) -> bool {
    (1..=MAX_REFERENCE).contains(&text.trim().len()) && !text.contains(char::is_control)
}

/// The longest reference in bytes. The computation of the largest payment event uses it.
const MAX_REFERENCE: usize = 200;

impl HttpProvider {
    /// Makes a client of the provider at `url`; `timeout` is the time limit for a response.
    ///
    /// # Errors
    ///
    /// If the client cannot be made.
    pub fn new(url: &str, timeout: Duration) -> anyhow::Result<Self> {
        let http = http::client(timeout)?;
        Ok(Self { http, url: url.trim_end_matches('/').to_owned() })
    }

    fn capture_url(&self, money: &Money) -> String {
        format!("{}/captures/{}", self.url, money.key)
    }
}

impl PaymentProvider for HttpProvider {
    async fn capture(&self, money: &Money, token: &CardToken) -> Result<Capture, ProviderError> {
        let request = self.http.post(format!("{}/captures", self.url)).json(&content(money, Some(token), None));
        let response = send(request.header("Idempotency-Key", format!("\"{}\"", money.key))).await?;
        match response.status() {
            StatusCode::CREATED => {
                let body = body(response).await?.expect_status("captured")?;
                Ok(Capture::Captured { reference: body.reference_of(money)? })
            }
            StatusCode::PAYMENT_REQUIRED => Ok(Capture::Declined),
            // A capture refers to no resource that could be missing: the URL is wrong, and the capture succeeds once it
            // is right.
            status @ (StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) => Err(unclear(format!(
                "the provider responded {status} to a capture: is PAYMENT_PROVIDER_URL right?"
            ))),
            _ => Err(failure(response).await),
        }
    }

    async fn lookup(&self, money: &Money) -> Result<Option<Known>, ProviderError> {
        let response = send(self.http.get(self.capture_url(money))).await?;
        match response.status() {
            StatusCode::NOT_FOUND => return Ok(None),
            StatusCode::OK => {}
            _ => return Err(failure(response).await),
        }
        let body = body(response).await?;
        match body.status.as_str() {
            "captured" => Ok(Some(Known::Captured { reference: body.reference_of(money)? })),
            "declined" => Ok(Some(Known::Declined)),
            "voided" => Ok(Some(Known::Voided)),
            "refunded" => Ok(Some(Known::Refunded { reference: body.reference_of(money)? })),
            other => Err(unclear(format!("the provider responded an unknown status {other:?} of a capture"))),
        }
    }

    async fn void(&self, money: &Money) -> Result<Option<String>, ProviderError> {
        let url = format!("{}/void", self.capture_url(money));
        let response = send(self.http.post(url).json(&content(money, None, None))).await?;
        if response.status() != StatusCode::OK {
            return Err(failure(response).await);
        }
        let body = body(response).await?;
        match body.status.as_str() {
            "voided" => Ok(None),
            "refunded" => Ok(Some(body.reference_of(money)?)),
            other => Err(unclear(format!("the provider responded an unknown status {other:?} of a void"))),
        }
    }

    async fn refund(&self, money: &Money, reference: &str) -> Result<(), ProviderError> {
        let url = format!("{}/refunds", self.url);
        let request = self.http.post(url).json(&content(money, None, Some(reference)));
        let response = send(request.header("Idempotency-Key", format!("\"{}/refund\"", money.key))).await?;
        if response.status() != StatusCode::CREATED {
            return Err(failure(response).await);
        }
        let refunded = body(response).await?.expect_status("refunded")?.reference_of(money)?;
        if refunded == reference {
            return Ok(());
        }
        Err(ProviderError::Mismatch(format!("the provider refunded {refunded}; the payment is {reference}")))
    }

    async fn ledger(&self, after: Option<&str>) -> Result<Option<LedgerPage>, ProviderError> {
        let mut url = format!("{}/ledger/charges?limit={LEDGER_PAGE}", self.url);
        if let Some(after) = after {
            url += &format!("&after={after}");
        }
        let response = send(self.http.get(url)).await?;
        match response.status() {
            StatusCode::OK => Ok(Some(response.json().await.map_err(no_response)?)),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => Ok(None),
            _ => Err(failure(response).await),
        }
    }
}

/// The number of charges in a page of the ledger, unless one order has more.
const LEDGER_PAGE: usize = 500;

fn content<'a>(money: &'a Money, token: Option<&'a CardToken>, reference: Option<&'a str>) -> Content<'a> {
    Content {
        order_id: money.order_id.as_str(),
        amount: money.charge.amount.minor_units(),
        currency: money.charge.currency.code(),
        token: token.map(CardToken::as_str),
        reference,
    }
}

async fn send(request: RequestBuilder) -> Result<Response, ProviderError> {
    request.send().await.map_err(no_response)
}

async fn body(response: Response) -> Result<Body, ProviderError> {
    response.json().await.map_err(no_response)
}

fn no_response(error: reqwest::Error) -> ProviderError {
    // The error's own text has the address only; the cause is in its sources.
    unclear(format!("{:#}", anyhow::Error::new(error.without_url())))
}

fn unclear(why: String) -> ProviderError {
    ProviderError::Unavailable { why, retry_after: None }
}

/// Classifies a failure as permanent or temporary. Every 4xx is permanent, except 401 and 403 (an operator corrects the
/// credentials), 402 (not a failure), 408, 409, 425, and 429.
async fn failure(response: Response) -> ProviderError {
    let status = response.status();
    let temporary = !status.is_client_error() || matches!(status.as_u16(), 401..=403 | 408 | 409 | 425 | 429);
    let seconds = response.headers().get(reqwest::header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = seconds.and_then(|seconds| seconds.trim().parse().ok()).map(Duration::from_secs);
    if temporary {
        return ProviderError::Unavailable { why: format!("the provider responded {status}"), retry_after };
    }
    let detail = response.json::<Problem>().await.ok().and_then(|problem| problem.detail).unwrap_or_default();
    let detail: String = detail.chars().filter(|char| !char.is_control()).take(MAX_DETAIL).collect();
    ProviderError::Refused(format!("the provider refused: {status} {detail}").trim_end().to_owned())
}

/// The longest explanation of a provider that is kept, in characters.
const MAX_DETAIL: usize = 200;

#[derive(Deserialize)]
struct Problem {
    detail: Option<String>,
}

#[cfg(test)]
mod tests;
