//! The payment provider: a third party, asked over HTTP, that may be slow, away, or silent about what it did.

use std::future::Future;
use std::time::Duration;

use anyhow::Context;
use contracts::OrderId;
use contracts::account::CardToken;
use reqwest::{Client, Response, StatusCode};
use serde::{Deserialize, Serialize};

use crate::payment::{Call, Charge, Outcome};

/// Why nothing is known: no answer, or one that says nothing.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

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

/// Someone who moves money. Every operation may be repeated: the key makes it happen once.
pub trait PaymentProvider: Send + Sync + 'static {
    /// Takes money.
    fn capture(
        &self,
        order_id: &OrderId,
        token: &CardToken,
        charge: &Charge,
    ) -> impl Future<Output = Result<Capture, Unavailable>> + Send;

    /// Says what is known of a capture; none where nothing is.
    fn lookup(&self, order_id: &OrderId) -> impl Future<Output = Result<Option<Known>, Unavailable>> + Send;

    /// Makes sure that no money stays taken; returns the reference of what was given back, where something was.
    fn void(&self, order_id: &OrderId) -> impl Future<Output = Result<Option<String>, Unavailable>> + Send;

    /// Gives money back.
    fn refund(&self, order_id: &OrderId, reference: &str) -> impl Future<Output = Result<(), Unavailable>> + Send;
}

/// Asks the provider and says what came of it.
pub async fn ask<P: PaymentProvider>(provider: &P, order_id: &OrderId, call: &Call) -> Outcome {
    let outcome = match call {
        Call::Capture { order_id, token, charge } => {
            provider.capture(order_id, token, charge).await.map(|capture| match capture {
                Capture::Captured { reference } => Outcome::Captured { reference },
                Capture::Declined => Outcome::Declined,
            })
        }
        Call::Lookup => provider.lookup(order_id).await.map(|known| match known {
            Some(Known::Captured { reference }) => Outcome::Captured { reference },
            Some(Known::Declined) => Outcome::Declined,
            Some(Known::Voided) => Outcome::Voided,
            Some(Known::Refunded { reference }) => Outcome::GivenBack { reference },
            None => Outcome::Unheard,
        }),
        Call::Void => provider
            .void(order_id)
            .await
            .map(|given_back| given_back.map_or(Outcome::Voided, |reference| Outcome::GivenBack { reference })),
        Call::Refund { reference } => {
            let given_back = |()| Outcome::GivenBack { reference: reference.clone() };
            provider.refund(order_id, reference).await.map(given_back)
        }
    };
    outcome.unwrap_or_else(|error| {
        tracing::warn!(order.id = %order_id, %error, "the payment provider did not say; will ask again");
        Outcome::Unavailable
    })
}

/// The provider over HTTP. The key of a capture is the order's id, that of its refund `<order id>/refund`.
#[derive(Debug, Clone)]
pub struct HttpProvider {
    http: Client,
    url: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CaptureRequest<'a> {
    order_id: &'a str,
    token: &'a str,
    amount: i64,
    currency: &'a str,
}

#[derive(Deserialize)]
struct Answer {
    status: String,
    reference: Option<String>,
}

impl HttpProvider {
    /// Makes a client of the provider at `url`; an answer that takes longer than `timeout` is none.
    ///
    /// # Errors
    ///
    /// Where the client cannot be made.
    pub fn new(url: &str, timeout: Duration) -> anyhow::Result<Self> {
        let http = Client::builder().timeout(timeout).no_proxy().build().context("making the HTTP client")?;
        Ok(Self { http, url: url.trim_end_matches('/').to_owned() })
    }

    fn capture_url(&self, order_id: &OrderId) -> String {
        format!("{}/captures/{order_id}", self.url)
    }
}

impl PaymentProvider for HttpProvider {
    async fn capture(
        &self,
        order_id: &OrderId,
        token: &CardToken,
        charge: &Charge,
    ) -> Result<Capture, Unavailable> {
        let request = CaptureRequest {
            order_id: order_id.as_str(),
            token: token.as_str(),
            amount: charge.amount.minor_units(),
            currency: charge.currency.code(),
        };
        let url = format!("{}/captures", self.url);
        let key = format!("\"{order_id}\"");
        let response = self.http.post(url).header("Idempotency-Key", key).json(&request).send().await?;
        match response.status() {
            StatusCode::CREATED => Ok(Capture::Captured { reference: reference(answer(response).await?)? }),
            StatusCode::PAYMENT_REQUIRED => Ok(Capture::Declined),
            status => Err(unexpected(status)),
        }
    }

    async fn lookup(&self, order_id: &OrderId) -> Result<Option<Known>, Unavailable> {
        let response = self.http.get(self.capture_url(order_id)).send().await?;
        match response.status() {
            StatusCode::NOT_FOUND => return Ok(None),
            StatusCode::OK => {}
            status => return Err(unexpected(status)),
        }
        let answer = answer(response).await?;
        match answer.status.as_str() {
            "captured" => Ok(Some(Known::Captured { reference: reference(answer)? })),
            "declined" => Ok(Some(Known::Declined)),
            "voided" => Ok(Some(Known::Voided)),
            "refunded" => Ok(Some(Known::Refunded { reference: reference(answer)? })),
            other => Err(Unavailable(format!("it calls the capture {other:?}"))),
        }
    }

    async fn void(&self, order_id: &OrderId) -> Result<Option<String>, Unavailable> {
        let response = self.http.post(format!("{}/void", self.capture_url(order_id))).send().await?;
        if response.status() != StatusCode::OK {
            return Err(unexpected(response.status()));
        }
        let answer = answer(response).await?;
        match answer.status.as_str() {
            "voided" => Ok(None),
            "refunded" => Ok(Some(reference(answer)?)),
            other => Err(Unavailable(format!("it calls the voided capture {other:?}"))),
        }
    }

    async fn refund(&self, order_id: &OrderId, reference: &str) -> Result<(), Unavailable> {
        let url = format!("{}/refunds", self.url);
        let key = format!("\"{order_id}/refund\"");
        let request = serde_json::json!({ "reference": reference });
        let response = self.http.post(url).header("Idempotency-Key", key).json(&request).send().await?;
        if response.status() == StatusCode::CREATED { Ok(()) } else { Err(unexpected(response.status())) }
    }
}

impl From<reqwest::Error> for Unavailable {
    fn from(error: reqwest::Error) -> Self {
        // The error's own text names the address only; why is in its sources.
        Self(format!("{:#}", anyhow::Error::new(error)))
    }
}

async fn answer(response: Response) -> Result<Answer, Unavailable> {
    Ok(response.json().await?)
}

fn reference(answer: Answer) -> Result<String, Unavailable> {
    answer.reference.ok_or_else(|| Unavailable(format!("it says {:?} without a reference", answer.status)))
}

fn unexpected(status: StatusCode) -> Unavailable {
    Unavailable(format!("it answered {status}"))
}
