//! The routes of sign-in: bodies are forwarded to identity-service in core NATS, and never logged.
//!
//! The refresh token is a cookie that scripts cannot read; the access token is in the body, for the memory of the page.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use bytes::Bytes;
use choreography::query::{AskError, ask};
use choreography_http::auth::Caller;
use choreography_http::auth::limits::address;
use choreography_http::code::Code;
use choreography_http::problem::{Problem, internal, unavailable};
use contracts::identity::{SignInRefusal, SignInReply};
use poem::endpoint::make;
use poem::http::{StatusCode, header};
use poem::{Endpoint, FromRequest, IntoResponse, Request, RequestBody, Response, Route, RouteMethod, get, post};
use serde_json::{Map, Value, json};

/// How long identity-service may take; argon2 takes a while.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The cookie of the refresh token: with TLS the prefix `__Host-`, which needs `Path=/`.
const COOKIE: &str = "__Host-session";
/// The maximum size of a body, in bytes.
const MAX_BODY: usize = 8192;

/// Adds the routes.
pub(crate) fn routes(routes: Route, client: &Client) -> Route {
    let on = |name: &'static str| sign_in(client.clone(), name);
    let jwks = client.clone();
    let session: RouteMethod = post(on("sign-in")).delete(on("sign-out")).get(make(whoami));
    routes
        .at("/session", session)
        .at("/session/refresh", post(on("refresh")))
        .at("/session/password", poem::put(on("change-password")))
        .at("/session/api-key", post(on("exchange-api-key")))
        .at("/users", post(on("sign-up")))
        .at(
            "/.well-known/jwks.json",
            get(make(move |_| {
                let client = jwks.clone();
                async move { or_problem(query(&client, "jwks", &Value::Null).await.map(json_response)) }
            })),
        )
}

fn sign_in(client: Client, name: &'static str) -> impl Endpoint<Output = Response> + 'static {
    let client = Arc::new(client);
    make(move |request| {
        let client = client.clone();
        async move { or_problem(forward(&client, name, request).await) }
    })
}

fn or_problem(result: Result<Response, Problem>) -> Response {
    result.unwrap_or_else(IntoResponse::into_response)
}

fn json_response(body: Bytes) -> Response {
    Response::builder().content_type("application/json").body(body)
}

async fn whoami(request: Request) -> poem::Result<Response> {
    let caller = Caller::from_request(&request, &mut RequestBody::default()).await?;
    let Some(rights) = caller.rights() else { return Ok(Problem::new(Code::UNAUTHENTICATED).into_response()) };
    let grants = rights.grants.iter().map(|(name, scope)| match scope {
        choreography_http::auth::Scope::Own => format!("{name}:own"),
        choreography_http::auth::Scope::All => name.clone(),
    });
    let mut grants: Vec<String> = grants.collect();
    grants.sort_unstable();
    let body = json!({"userId": rights.user, "name": rights.name, "roles": rights.roles, "grants": grants,
        "customerIds": rights.own});
    Ok(json_response(body.to_string().into()))
}

/// Asks identity-service, with the client's address and, where it is needed, the user and the cookie's token.
async fn forward(client: &Client, name: &str, mut request: Request) -> Result<Response, Problem> {
    let address = address(&request);
    let user =
        request.extensions().get::<Caller>().and_then(|caller| caller.rights()).map(|rights| rights.user.clone());
    let cookie = cookie(&request);
    let secure = request.header("host").is_none_or(|host| !choreography::listener::guard::is_loopback_host(host));
    let mut body = match name {
        "refresh" | "sign-out" => {
            let token = cookie.ok_or_else(|| refused(SignInRefusal::SessionEnded, None))?;
            Map::from_iter([("refreshToken".to_owned(), Value::String(token))])
        }
        _ => read(&mut request).await?,
    };
    if name == "change-password" {
        let user = user.ok_or_else(|| Problem::new(Code::UNAUTHENTICATED))?;
        body.insert("userId".to_owned(), Value::String(user));
    }
    body.insert("address".to_owned(), Value::String(address));
    let reply = query(client, name, &Value::Object(body)).await?;
    if name == "sign-out" {
        let removed = set_cookie("", 0, secure);
        return Ok(Response::builder().status(StatusCode::NO_CONTENT).header(header::SET_COOKIE, removed).finish());
    }
    let reply: SignInReply = serde_json::from_slice(&reply)
        .map_err(|_| internal(&name, "a reply of identity-service cannot be decoded"))?;
    let tokens = match reply {
        SignInReply::SignedIn(tokens) => tokens,
        SignInReply::Refused { reason, retry_after_seconds } => return Err(refused(reason, retry_after_seconds)),
    };
    let body = json!({"accessToken": tokens.access_token.expose(), "expiresIn": tokens.expires_in,
        "userId": tokens.user_id});
    let mut response = json_response(body.to_string().into());
    if let Some(token) = tokens.refresh_token
        && let Ok(value) = set_cookie(token.expose(), 30 * 24 * 3600, secure).parse()
    {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    Ok(response)
}

async fn read(request: &mut Request) -> Result<Map<String, Value>, Problem> {
    let is_json = request.content_type().is_some_and(|kind| kind.starts_with("application/json"));
    if !is_json {
        return Err(Problem::new(Code::UNSUPPORTED_MEDIA_TYPE));
    }
    let bytes =
        request.take_body().into_bytes_limit(MAX_BODY).await.map_err(|_| Problem::new(Code::BODY_TOO_LARGE))?;
    // The error text of the parser could quote the password.
    serde_json::from_slice(&bytes)
        .map_err(|_| Problem::with_detail(Code::MALFORMED_JSON, "The body must be a JSON object."))
}

async fn query(client: &Client, name: &str, body: &Value) -> Result<Bytes, Problem> {
    let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
    ask(client, format!("identity.query.{name}"), body, TIMEOUT).await.map_err(|error| match error {
        AskError::Invalid(why) => Problem::with_detail(Code::VALIDATION, why),
        _ => unavailable("identity-service does not reply"),
    })
}

fn refused(reason: SignInRefusal, seconds: Option<u64>) -> Problem {
    match reason {
        SignInRefusal::TooManyAttempts => {
            Problem::with_detail(Code::TOO_MANY_REQUESTS, reason.text()).retry_after(seconds.unwrap_or(1))
        }
        SignInRefusal::EmailInUse => Problem::with_detail(Code::VALIDATION, reason.text()),
        _ => Problem::with_detail(Code::UNAUTHENTICATED, reason.text())
            .header(header::WWW_AUTHENTICATE, "Bearer".to_owned()),
    }
}

fn cookie(request: &Request) -> Option<String> {
    let pairs = request.headers().get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = pairs.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE || *name == "session").map(|(_, value)| value.to_owned())
}

/// A browser accepts `__Host-` with `Secure` and `Path=/` only; plain HTTP on loopback has another name.
fn set_cookie(token: &str, seconds: u64, secure: bool) -> String {
    match secure {
        true => format!("{COOKIE}={token}; Max-Age={seconds}; Path=/; HttpOnly; SameSite=Strict; Secure"),
        false => format!("session={token}; Max-Age={seconds}; Path=/session; HttpOnly; SameSite=Strict"),
    }
}
