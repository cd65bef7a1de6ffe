//! Sign-in: the permission of every operation, and the copy of the rights of identity-service.

use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream;
use bytes::Bytes;
use choreography::query::ask;
use choreography::{envelope, setting};
use choreography_http::auth::{
    Access, AccessTable, Authorization, Caller, Change, Limits, RateLimits, Rights, Scope, UserRights,
};
use choreography_http::code::Code;
use choreography_http::problem::{Problem, internal};
use choreography_http::stream_follower::{Follow, FollowedMessage, StreamFollower};
use contracts::CustomerId;
use contracts::identity::{
    self, IdentityEvent, ListRights, RightsChanged, RightsPage, SigningKeysChanged, UserKind,
};
use contracts::topology::{API_GATEWAY, EVENTS};

/// How long identity-service may take to reply.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The largest limit of requests per second.
const MAX_RATE: u64 = 1_000_000;

/// Whether callers sign in, and the limits of requests.
#[derive(Debug, Clone, clap::Args)]
pub struct AuthOptions {
    /// Whether every request needs an access token with the permission of its operation.
    #[arg(long, env = "AUTH", value_parser = setting::switch())]
    pub auth: bool,
    /// The maximum number of requests per user and second, with `AUTH=on`; 0 for no limit.
    #[arg(long, env = "RATE_LIMIT_USER", default_value_t = 500, value_parser = setting::number(0..=MAX_RATE))]
    pub rate_limit_user: u64,
    /// The maximum number of requests per address and second, with `AUTH=on`; 0 for no limit.
    #[arg(long, env = "RATE_LIMIT_ADDRESS", default_value_t = 2000, value_parser = setting::number(0..=MAX_RATE))]
    pub rate_limit_address: u64,
    /// The maximum number of sign-in requests per address and second, with `AUTH=on`; 0 for no limit.
    #[arg(long, env = "RATE_LIMIT_SIGN_IN", default_value_t = 10, value_parser = setting::number(0..=MAX_RATE))]
    pub rate_limit_sign_in: u64,
}

impl Default for AuthOptions {
    fn default() -> Self {
        Self { auth: false, rate_limit_user: 500, rate_limit_address: 2000, rate_limit_sign_in: 10 }
    }
}

macro_rules! table {
    ($( $method:literal $path:literal $access:expr; )+) => {
        /// The access of every operation. A path that is not here is never routed.
        pub const TABLE: AccessTable = AccessTable(&[$( ($method, $path, $access) ),+]);
    };
}

use Access::{Permission as P, Public};

table! {
    "GET" "/" Public;
    "GET" "/web/*" Public;
    "GET" "/docs" Public;
    "GET" "/docs/events" Public;
    "GET" "/docs/events.css" Public;
    "GET" "/openapi.json" Public;
    "GET" "/.well-known/jwks.json" Public;
    "POST" "/session" Access::SignIn;
    "DELETE" "/session" Access::SignIn;
    "GET" "/session" Access::SignedIn;
    "POST" "/session/refresh" Access::SignIn;
    "PUT" "/session/password" Access::SignedIn;
    "POST" "/session/api-key" Access::SignIn;
    "POST" "/users" Access::SignIn;
    "POST" "/orders" Access::Owned("orders:place");
    "GET" "/orders" Access::Owned("orders:read");
    "GET" "/orders/{id}" Access::Owned("orders:read");
    "POST" "/orders/{id}/cancel" Access::Owned("orders:cancel");
    "GET" "/orders/{id}/history" Access::Owned("orders:read");
    "GET" "/orders/{id}/payment" Access::Owned("orders:read");
    "GET" "/orders/{id}/timeline" Access::Owned("orders:read");
    "GET" "/orders/{id}/messages/{stream}/{sequence}" Access::Owned("orders:read");
    "POST" "/accounts" Access::Owned("accounts:write");
    "GET" "/accounts/{id}" Access::Owned("accounts:read");
    "PUT" "/accounts/{id}" Access::Owned("accounts:write");
    "DELETE" "/accounts/{id}" Access::Owned("accounts:write");
    "GET" "/customers/{id}/notifications" Access::Owned("notifications:read");
    "GET" "/customers/{id}/summary" Access::Owned("customers:read");
    "GET" "/products" P("products:read");
    "GET" "/products/{id}" P("products:read");
    "POST" "/products/{id}/restock" P("products:restock");
    "GET" "/reports/sales" P("reports:read");
    "GET" "/events" P("feed:read");
    "GET" "/overview" P("feed:read");
    "GET" "/invariants" P("invariants:read");
    "GET" "/operations/dead-letters" P("operations:read");
    "GET" "/operations/dead-letters/{sequence}" P("operations:read");
    "POST" "/operations/dead-letters/redrive" P("operations:write");
    "POST" "/operations/dead-letters/{sequence}/delete" P("operations:write");
    "GET" "/operations/projections" P("operations:read");
    "POST" "/operations/projections/{projection}/{action}" P("operations:write");
}

/// Begins to follow the rights if callers sign in.
pub(crate) fn authorization(options: &AuthOptions, client: &Client, js: &jetstream::Context) -> Authorization {
    if !options.auth {
        return Authorization::Off;
    }
    let rights = Rights::new(identity::ISSUER, identity::AUDIENCE);
    let follow = Follow {
        program: API_GATEWAY,
        stream: EVENTS,
        filter: vec!["identity.event.>".to_owned()],
        headers_only: false,
        batch: 256,
    };
    let follower = StreamFollower::new(client.clone(), js.clone(), follow, None);
    let (copy, client) = (rights.clone(), client.clone());
    // It ends with the process.
    tokio::spawn(async move { copy.follow(follower, || snapshot(&client), read).await });
    let rate = |limit: u64| u32::try_from(limit).unwrap_or(u32::MAX);
    let limits = Limits {
        user: rate(options.rate_limit_user),
        address: rate(options.rate_limit_address),
        sign_in: rate(options.rate_limit_sign_in),
    };
    Authorization::On { table: TABLE, rights, limits: RateLimits::new(limits) }
}

/// Reads the rights of all users, page by page.
async fn snapshot(client: &Client) -> Result<Vec<Change>, String> {
    let (mut changes, mut after) = (Vec::new(), None);
    loop {
        let request = serde_json::to_vec(&ListRights { after, limit: None }).map_err(|error| error.to_string())?;
        let reply = ask(client, "identity.query.rights".to_owned(), Bytes::from(request), TIMEOUT).await;
        let page: RightsPage = serde_json::from_slice(&reply.map_err(|error| error.to_string())?)
            .map_err(|error| error.to_string())?;
        changes.extend(page.items.into_iter().map(user));
        changes.extend(page.ended_sessions.iter().map(|ended| Change::SessionEnded(ended.session_id.to_string())));
        changes.extend(page.refused_before.map(Change::RefusedBefore));
        changes.extend(page.signing_keys.as_ref().map(keys));
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(changes),
        }
    }
}

/// Reads the change of an event of identity-service, whose source is checked.
fn read(followed: &FollowedMessage) -> Result<Option<Change>, String> {
    let message = &followed.message;
    let decoded = envelope::decode::<IdentityEvent>(&message.subject, message.headers.as_ref(), &message.payload);
    Ok(match decoded.map_err(|error| error.to_string())?.payload {
        IdentityEvent::RightsChanged(rights) => Some(user(rights)),
        IdentityEvent::SessionEnded(ended) => Some(Change::SessionEnded(ended.session_id.to_string())),
        IdentityEvent::SigningKeysChanged(changed) => Some(keys(&changed)),
        _ => None,
    })
}

fn keys(changed: &SigningKeysChanged) -> Change {
    let keys = changed.keys.iter().map(|key| (key.kid.to_string(), key.x.clone(), key.valid_until));
    Change::Keys(changed.version, keys.collect())
}

fn user(rights: RightsChanged) -> Change {
    // All comes after own, and replaces it.
    let mut grants: Vec<_> = rights.grants.iter().collect();
    grants.sort_by_key(|grant| grant.scope);
    let scope = |scope| match scope {
        identity::Scope::Own => Scope::Own,
        identity::Scope::All => Scope::All,
    };
    Change::User(UserRights {
        user: rights.user_id.to_string(),
        version: rights.version,
        name: rights.name.to_string(),
        is_service: rights.kind == UserKind::Service,
        disabled: rights.disabled,
        roles: rights.roles.iter().map(ToString::to_string).collect(),
        grants: grants.iter().map(|grant| (grant.permission.as_str().to_owned(), scope(grant.scope))).collect(),
        own: rights.customer_ids.iter().map(ToString::to_string).collect(),
        valid_from: rights.valid_from,
    })
}

/// The owner in the reply about an object.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Owned {
    pub(crate) customer_id: String,
}

/// Returns the problem of a request for another's customer id. It does not depend on whether the customer exists.
pub(crate) fn foreign_customer() -> Problem {
    Problem::with_detail(Code::FORBIDDEN, "`customerId` must be one of your own customer ids.")
}

/// Returns the customer whose orders are searched: a restricted caller searches those of one own customer.
pub(crate) fn searched(caller: &Caller, given: Option<CustomerId>) -> Result<Option<CustomerId>, Problem> {
    let Some(own) = caller.restricted_to() else { return Ok(given) };
    match given {
        Some(id) if caller.may_reach(id.as_str()) => Ok(Some(id)),
        Some(_) => Err(Problem::new(crate::problems::CUSTOMER_HAS_NO_ORDERS)),
        None => match own {
            [one] => {
                CustomerId::parse(one.as_str()).map(Some).map_err(|error| internal(&error, "an own customer id"))
            }
            _ => Err(foreign_customer()),
        },
    }
}
