//! The payment provider: a third party, asked over HTTP, that may be slow, away, or silent about what it did.

use std::future::Future;
use std::time::Duration;

use contracts::OrderId;
use contracts::account::CardToken;
use messaging::http;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde::{Deserialize, Serialize};

use crate::payment::{Call, Charge, Outcome};

/// Why a request to the provider had no effect that is known.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// No answer, or one that may be another one later.
    #[error("{why}")]
    Unavailable {
        /// What was answered, or why nothing was.
        why: String,
        /// How long the provider asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// An answer that stays the same however often the request is repeated.
    #[error("{0}")]
    Refused(String),
    /// An answer about another order, amount, or currency.
    #[error("{0}")]
    Mismatch(String),
}

/// The money that a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Money {
    /// The idempotency key of its capture.
    pub key: String,
    /// For which order.
    pub order_id: OrderId,
    /// How much.
    pub charge: Charge,
}

/// What the provider said to a capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Capture {
    /// It has taken the money.
    Captured {
        /// What it knows it by.
        reference: String,
    },
    /// It does not take the money.
    Declined,
}

/// What the provider knows by a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// It has taken the money.
    Captured {
        /// What it knows it by.
        reference: String,
    },
    /// It has declined to.
    Declined,
    /// It was told to take none.
    Voided,
    /// It has given it back.
    Refunded {
        /// What it knew it by.
        reference: String,
    },
}

/// A capture in the provider's ledger.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerCharge {
    /// The client's number.
    pub order_id: String,
    /// The idempotency key.
    pub key: String,
    /// What the provider knows the money by.
    pub reference: String,
    /// In minor units.
    pub amount: i64,
    /// ISO 4217.
    pub currency: String,
    /// Whether the money was given back.
    pub refunded: bool,
}

/// A page of the provider's ledger: all captures of each order that it names, in the byte order of the orders.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerPage {
    /// The captures.
    pub charges: Vec<LedgerCharge>,
    /// The order after which the next page begins; none where this is the last one.
    pub next: Option<String>,
}

/// Someone who moves money. Every operation may be repeated: the key makes it happen once.
pub trait PaymentProvider: Send + Sync + 'static {
    /// Takes money.
    fn capture(
        &self,
        money: &Money,
        token: &CardToken,
    ) -> impl Future<Output = Result<Capture, ProviderError>> + Send;

    /// Says what is known of a capture; none where nothing is.
    fn lookup(&self, money: &Money) -> impl Future<Output = Result<Option<Known>, ProviderError>> + Send;

    /// Makes sure that no money stays taken; returns the reference of what was given back, where something was.
    fn void(&self, money: &Money) -> impl Future<Output = Result<Option<String>, ProviderError>> + Send;

    /// Gives money back.
    fn refund(&self, money: &Money, reference: &str) -> impl Future<Output = Result<(), ProviderError>> + Send;

    /// Reads the ledger from behind an order; none where the provider offers no ledger.
    fn ledger(&self, after: Option<&str>)
    -> impl Future<Output = Result<Option<LedgerPage>, ProviderError>> + Send;
}

/// Asks the provider and says what came of it.
pub async fn ask<P: PaymentProvider>(provider: &P, money: &Money, call: &Call) -> Outcome {
    let outcome = match call {
        Call::Capture { token, .. } => capture(provider, money, token).await,
        Call::Lookup => lookup(provider, money).await,
        Call::Void => void(provider, money).await,
        Call::Refund { reference } => {
            let given_back = |()| Outcome::GivenBack { reference: reference.clone() };
            provider.refund(money, reference).await.map(given_back)
        }
    };
    outcome.unwrap_or_else(|error| match error {
        ProviderError::Unavailable { why, retry_after } => Outcome::Unavailable { why, retry_after },
        ProviderError::Refused(why) => Outcome::Refused { why },
        ProviderError::Mismatch(why) => Outcome::Mismatch { why },
    })
}

/// Asks for the money. Before a refusal is believed, the provider is asked what it knows by the key: an earlier request
/// may have taken the money, or the key may stand for money of somebody else.
async fn capture<P: PaymentProvider>(
    provider: &P,
    money: &Money,
    token: &CardToken,
) -> Result<Outcome, ProviderError> {
    match provider.capture(money, token).await {
        Ok(Capture::Captured { reference }) => Ok(Outcome::Captured { reference }),
        Ok(Capture::Declined) => Ok(Outcome::Declined),
        Err(ProviderError::Refused(why)) => match lookup(provider, money).await? {
            Outcome::Unheard => Ok(Outcome::Refused { why }),
            known => Ok(known),
        },
        Err(error) => Err(error),
    }
}

/// Takes a capture back. If the provider refuses that, it is asked what it knows by the key: money of somebody else is none
/// that could be given back, and repeating the void would never end.
async fn void<P: PaymentProvider>(provider: &P, money: &Money) -> Result<Outcome, ProviderError> {
    match provider.void(money).await {
        Ok(None) => Ok(Outcome::Voided),
        Ok(Some(reference)) => Ok(Outcome::GivenBack { reference }),
        Err(ProviderError::Refused(why)) => match lookup(provider, money).await? {
            known @ (Outcome::Voided | Outcome::GivenBack { .. }) => Ok(known),
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
        Some(Known::Refunded { reference }) => Outcome::GivenBack { reference },
        None => Outcome::Unheard,
    })
}

/// The provider over HTTP. The key of a refund is that of its capture and `/refund`.
#[derive(Debug, Clone)]
pub struct HttpProvider {
    http: Client,
    url: String,
}

/// What a request is about, for the provider to compare; and, with a reference or a status, what it answers.
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
struct Answer {
    status: String,
    reference: Option<String>,
    order_id: Option<String>,
    amount: Option<i64>,
    currency: Option<String>,
}

impl Answer {
    /// Refuses an answer whose words contradict its HTTP status.
    fn expect_status(self, expected: &str) -> Result<Self, ProviderError> {
        if self.status == expected {
            return Ok(self);
        }
        Err(unclear(format!("it answers 201 and says {:?} instead of {expected:?}", self.status)))
    }

    /// Returns the reference of money that is this payment's.
    fn reference_of(self, money: &Money) -> Result<String, ProviderError> {
        let Self { status, reference, order_id, amount, currency } = self;
        let reference = reference.filter(|reference| is_reference(reference));
        let (Some(reference), Some(order_id), Some(amount), Some(currency)) =
            (reference, order_id, amount, currency)
        else {
            return Err(unclear(format!("it says {status:?} without reference, order, amount, and currency")));
        };
        let Money { order_id: own, charge, key } = money;
        if order_id == own.as_str() && amount == charge.amount.minor_units() && currency == charge.currency.code() {
            return Ok(reference);
        }
        let (own_amount, own_currency) = (charge.amount.minor_units(), charge.currency.code());
        Err(ProviderError::Mismatch(format!(
            "the provider says {status:?} of {amount} {currency} for order {order_id} by the key {key} ({reference}); \
             the payment is {own_amount} {own_currency} for order {own}"
        )))
    }
}

/// Returns whether a reference can be stored and published: 1 to [`MAX_REFERENCE`] bytes without control characters.
fn is_reference(text: &str) -> bool {
    (1..=MAX_REFERENCE).contains(&text.trim().len()) && !text.contains(char::is_control)
}

/// The bytes of a reference, at most. The largest event of a payment is computed with as many.
const MAX_REFERENCE: usize = 200;

impl HttpProvider {
    /// Makes a client of the provider at `url`; an answer that takes longer than `timeout` is none.
    ///
    /// # Errors
    ///
    /// Where the client cannot be made.
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
                let answer = answer(response).await?.expect_status("captured")?;
                Ok(Capture::Captured { reference: answer.reference_of(money)? })
            }
            StatusCode::PAYMENT_REQUIRED => Ok(Capture::Declined),
            // A capture names nothing that could be missing: the URL is wrong, and the capture succeeds once it is corrected.
            status @ (StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) => {
                Err(unclear(format!("the provider answered {status} to a capture: is PAYMENT_PROVIDER_URL right?")))
            }
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
        let answer = answer(response).await?;
        match answer.status.as_str() {
            "captured" => Ok(Some(Known::Captured { reference: answer.reference_of(money)? })),
            "declined" => Ok(Some(Known::Declined)),
            "voided" => Ok(Some(Known::Voided)),
            "refunded" => Ok(Some(Known::Refunded { reference: answer.reference_of(money)? })),
            other => Err(unclear(format!("it calls the capture {other:?}"))),
        }
    }

    async fn void(&self, money: &Money) -> Result<Option<String>, ProviderError> {
        let url = format!("{}/void", self.capture_url(money));
        let response = send(self.http.post(url).json(&content(money, None, None))).await?;
        if response.status() != StatusCode::OK {
            return Err(failure(response).await);
        }
        let answer = answer(response).await?;
        match answer.status.as_str() {
            "voided" => Ok(None),
            "refunded" => Ok(Some(answer.reference_of(money)?)),
            other => Err(unclear(format!("it calls the voided capture {other:?}"))),
        }
    }

    async fn refund(&self, money: &Money, reference: &str) -> Result<(), ProviderError> {
        let url = format!("{}/refunds", self.url);
        let request = self.http.post(url).json(&content(money, None, Some(reference)));
        let response = send(request.header("Idempotency-Key", format!("\"{}/refund\"", money.key))).await?;
        if response.status() != StatusCode::CREATED {
            return Err(failure(response).await);
        }
        let given_back = answer(response).await?.expect_status("refunded")?.reference_of(money)?;
        if given_back == reference {
            return Ok(());
        }
        Err(ProviderError::Mismatch(format!("the provider gave back {given_back}; the payment is {reference}")))
    }

    async fn ledger(&self, after: Option<&str>) -> Result<Option<LedgerPage>, ProviderError> {
        let mut url = format!("{}/ledger/charges?limit={LEDGER_PAGE}", self.url);
        if let Some(after) = after {
            url += &format!("&after={after}");
        }
        let response = send(self.http.get(url)).await?;
        match response.status() {
            StatusCode::OK => Ok(Some(response.json().await.map_err(no_answer)?)),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => Ok(None),
            _ => Err(failure(response).await),
        }
    }
}

/// The charges in a page of the ledger, unless one order has more.
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
    request.send().await.map_err(no_answer)
}

async fn answer(response: Response) -> Result<Answer, ProviderError> {
    response.json().await.map_err(no_answer)
}

fn no_answer(error: reqwest::Error) -> ProviderError {
    // The error's own text names the address only; why is in its sources.
    unclear(format!("{:#}", anyhow::Error::new(error.without_url())))
}

fn unclear(why: String) -> ProviderError {
    ProviderError::Unavailable { why, retry_after: None }
}

/// Tells an answer that stays from one that may be another one later: every 4xx stays, but 401 and 403 (the credentials
/// are corrected), 402 (which is no failure), 408, 409, 425, and 429.
async fn failure(response: Response) -> ProviderError {
    let status = response.status();
    let passes = !status.is_client_error() || matches!(status.as_u16(), 401..=403 | 408 | 409 | 425 | 429);
    let seconds = response.headers().get(reqwest::header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = seconds.and_then(|seconds| seconds.trim().parse().ok()).map(Duration::from_secs);
    if passes {
        return ProviderError::Unavailable { why: format!("the provider answered {status}"), retry_after };
    }
    let detail = response.json::<Problem>().await.ok().and_then(|problem| problem.detail).unwrap_or_default();
    let detail: String = detail.chars().filter(|char| !char.is_control()).take(MAX_DETAIL).collect();
    ProviderError::Refused(format!("the provider refused: {status} {detail}").trim_end().to_owned())
}

/// The characters of a provider's explanation that are kept.
const MAX_DETAIL: usize = 200;

#[derive(Deserialize)]
struct Problem {
    detail: Option<String>,
}

#[cfg(test)]
mod tests;
