//! Three restaurants and 200 reservations of two weeks, through the REST API. Repeating it on the same date changes nothing.

use std::time::Duration;

use anyhow::{Context, bail};
use futures::{StreamExt, TryStreamExt, stream};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use time::Date;

/// The restaurants, each with the seats of its tables.
const RESTAURANTS: [(&str, &str, &[u32]); 3] = [
    ("OLIVE", "The Olive Tree", &[2, 2, 2, 2, 4, 4, 4, 4, 6, 6]),
    ("HARBOUR", "Harbour View", &[2, 2, 4, 4, 4, 4, 8]),
    ("GARDEN", "Garden Table", &[2, 4, 4, 10]),
];
const SITTINGS: [&str; 3] = ["17:30", "19:30", "21:30"];
/// The number of reservations, and of those of the first restaurant on the first day.
const RESERVATIONS: [usize; 2] = [200, 80];

pub(crate) struct Seed {
    pub(crate) http: Client,
    /// The URL of the gateway.
    pub(crate) url: String,
}

impl Seed {
    /// Fills the restaurants, from a date on.
    pub(crate) async fn load(&self, from: Date) -> anyhow::Result<()> {
        for (id, name, seats) in RESTAURANTS {
            let table = |(n, seats): (u32, &u32)| json!({"tableId": format!("T{n}"), "seats": seats});
            let tables: Vec<Value> = (1..).zip(seats).map(table).collect();
            let body = json!({"name": name, "tables": tables, "sittings": SITTINGS});
            self.send(Method::PUT, &format!("restaurants/{id}"), Some(body)).await?;
            self.until_found(&format!("restaurants/{id}/days/{from}")).await?;
        }
        stream::iter(0..RESERVATIONS[0]).map(|n| self.reserve(n, from)).buffer_unordered(16).try_collect().await
    }

    /// Requests the reservation of a number; most guests confirm, some cancel.
    async fn reserve(&self, n: usize, from: Date) -> anyhow::Result<()> {
        let late = n.saturating_sub(RESERVATIONS[1]);
        let (restaurant, date) = (RESTAURANTS[late % 3].0, from + time::Duration::days((late % 14) as i64));
        let (id, sitting) = (format!("R{:03}", n + 1), SITTINGS[n / 2 % 3]);
        let body = json!({
            "reservationId": id, "restaurantId": restaurant, "date": date.to_string(), "sitting": sitting,
            "guestId": format!("GUEST_{}", n % 40 + 1), "party": n % 5 + 1,
        });
        let reservation = self.send(Method::POST, "reservations", Some(body)).await?;
        let action = match (reservation["status"].as_str(), n % 10) {
            (Some("held"), 0..7) => "confirm",
            (Some("held" | "waiting"), 7) => "cancel",
            _ => return Ok(()),
        };
        self.send(Method::POST, &format!("reservations/{restaurant}_{date}/{id}/{action}"), None).await.map(drop)
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let request = self.http.request(method, format!("{}/{path}", self.url)).header("Prefer", "wait=20");
        let request = if let Some(body) = body { request.json(&body) } else { request };
        let response = request.send().await.with_context(|| format!("requesting {path}"))?;
        let status = response.status();
        let json: Value = response.json().await.with_context(|| format!("reading the response of {path}"))?;
        // A repeated request may find that its reservation has changed since.
        if status.is_success() || status == StatusCode::CONFLICT {
            Ok(json)
        } else {
            bail!("{path}: {status}: {json}")
        }
    }

    /// Waits until a path responds with success.
    pub(crate) async fn until_found(&self, path: &str) -> anyhow::Result<()> {
        let url = format!("{}/{path}", self.url);
        let found = async {
            while !self.http.get(&url).send().await.is_ok_and(|response| response.status().is_success()) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), found)
            .await
            .with_context(|| format!("{url} is not available"))
    }
}
