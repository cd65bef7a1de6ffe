//! The permissions of all operations, and their enforcement before the router.

use std::sync::{Arc, LazyLock};

use choreography::metrics::{self, Counters};
use choreography::{Auth, AuthType};
use futures::StreamExt;
use poem::http::{Method, header};
use poem::{Body, Endpoint, FromRequest, IntoResponse, Request, RequestBody, Response};
use serde_json::{Value, json};

use super::limits::RateLimits;
use super::rights::{Refused, Rights, Scope, UserRights};
use super::token::Claims;
use crate::code::Code;
use crate::problem::Problem;

static REFUSED: LazyLock<Counters> =
    LazyLock::new(|| metrics::counters("http_auth_refused", "Requests refused with 401 or 403, by status"));

/// What a caller of an operation needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    Public,
    /// Nothing; the limit of sign-in requests applies.
    SignIn,
    /// A valid access token.
    SignedIn,
    /// A permission, for everything.
    Permission(&'static str),
    /// A permission, for everything or for the user's own objects: the operation checks which one it is.
    Owned(&'static str),
}

/// An operation: its method, its path (`{name}` is any segment, a final `*` any rest), and its access.
pub type Entry = (&'static str, &'static str, Access);

/// The access of every operation.
#[derive(Debug, Clone, Copy)]
pub struct AccessTable(pub &'static [Entry]);

impl AccessTable {
    /// Returns the access of a request.
    ///
    /// # Errors
    ///
    /// The problem of a path or method that the table does not have.
    pub fn access(&self, method: &Method, path: &str) -> Result<Access, Problem> {
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        let at = || self.0.iter().filter(|(_, template, _)| matches(template, path));
        let found = at().filter(|(known, ..)| *known == method.as_str());
        // The router takes the one with the fewest parameters.
        if let Some((_, _, access)) = found.min_by_key(|(_, template, _)| template.matches(['{', '*']).count()) {
            return Ok(*access);
        }
        let mut allowed: Vec<&str> = at().map(|(method, ..)| *method).collect();
        allowed.sort_unstable();
        match allowed.is_empty() {
            true => Err(Problem::new(Code::ROUTE_NOT_FOUND)),
            false => Err(Problem::method_not_allowed(&allowed.join(", "))),
        }
    }

    /// Adds the security scheme, `security`, `x-permission`, and the additional responses to an OpenAPI document.
    #[must_use]
    pub fn describe(&self, document: &str) -> String {
        let Ok(mut document) = serde_json::from_str::<Value>(document) else { return document.to_owned() };
        let mut paths = document.get_mut("paths").and_then(Value::as_object_mut);
        for (method, path, access) in self.0 {
            let item = paths.as_mut().and_then(|paths| paths.get_mut(*path));
            let Some(operation) = item.and_then(|item| item.get_mut(method.to_ascii_lowercase())) else { continue };
            let statuses: &[&str] = match access {
                Access::Public => continue,
                Access::SignIn => &["401", "429"],
                Access::SignedIn => &["401", "429", "503"],
                Access::Permission(_) | Access::Owned(_) => &["401", "403", "404", "429", "503"],
            };
            if let Access::Permission(name) | Access::Owned(name) = access {
                operation["x-permission"] = json!(name);
            }
            if *access != Access::SignIn {
                operation["security"] = json!([{"bearer": []}]);
            }
            for status in statuses {
                let response = &mut operation["responses"][*status];
                if response.is_null() {
                    *response = json!({"description": "A problem.", "content": {
                        "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
                    }});
                }
            }
        }
        document["components"]["securitySchemes"]["bearer"] =
            json!({"type": "http", "scheme": "bearer", "bearerFormat": "JWT"});
        format!("{document:#}")
    }
}

fn matches(template: &str, path: &str) -> bool {
    let (mut known, mut given) = (template.split('/'), path.trim_end_matches('/').split('/'));
    loop {
        match (known.next(), given.next()) {
            (Some("*"), Some(_)) | (None, None) => return true,
            (Some(known), Some(given)) if known.starts_with('{') || known == given => {}
            _ => return false,
        }
    }
}

/// The caller of an operation, with the reach of the operation's permission.
#[derive(Debug, Clone)]
pub struct Caller(Option<Arc<SignedIn>>);

#[derive(Debug)]
struct SignedIn {
    claims: Claims,
    rights: Arc<UserRights>,
    scope: Scope,
}

impl Caller {
    /// Returns the principal of commands; `None` without sign-in.
    #[must_use]
    pub fn auth(&self) -> Option<Auth> {
        let rights = &self.0.as_ref()?.rights;
        let kind = if rights.is_service { AuthType::ServiceAccount } else { AuthType::User };
        Some(Auth::new(kind, Some(&rights.user)))
    }

    /// Returns the rights; `None` without sign-in.
    #[must_use]
    pub fn rights(&self) -> Option<&UserRights> {
        Some(&self.0.as_ref()?.rights)
    }

    /// Returns the ids of the objects that the operation is restricted to; `None` if it is not restricted.
    #[must_use]
    pub fn restricted_to(&self) -> Option<&[String]> {
        let signed_in = self.0.as_ref()?;
        (signed_in.scope == Scope::Own).then_some(signed_in.rights.own.as_slice())
    }

    /// Returns whether the operation may reach an object of this owner.
    #[must_use]
    pub fn may_reach(&self, owner: &str) -> bool {
        self.restricted_to().is_none_or(|own| own.iter().any(|id| id == owner))
    }
}

impl<'a> FromRequest<'a> for Caller {
    /// A request that no [`Authorization`] has seen is refused: a forgotten one must not grant everything.
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        request.extensions().get::<Self>().cloned().ok_or_else(|| {
            crate::problem::internal(&request.uri().path(), "a request was routed without authorization").into()
        })
    }
}

/// Enforces the permissions before the router.
#[allow(clippy::large_enum_variant, reason = "one per process")]
pub enum Authorization {
    /// Nobody signs in; every operation is allowed.
    Off,
    /// By a table.
    On {
        /// The operations.
        table: AccessTable,
        /// The rights.
        rights: Rights,
        /// The limits.
        limits: RateLimits,
    },
}

impl Authorization {
    /// Responds to a request, or refuses it.
    ///
    /// # Errors
    ///
    /// Those of the endpoint.
    pub async fn respond<E: Endpoint>(
        self: Arc<Self>,
        endpoint: Arc<E>,
        mut request: Request,
    ) -> poem::Result<Response> {
        let Self::On { table, rights, limits } = &*self else {
            request.extensions_mut().insert(Caller(None));
            return endpoint.call(request).await.map(IntoResponse::into_response);
        };
        let caller = match authorize(table, rights, limits, &request).await {
            Ok(caller) => caller,
            Err(problem) => {
                let status = problem.code().status.as_u16();
                if matches!(status, 401 | 403) {
                    REFUSED.get_or_create(&vec![("status", status.to_string())]).inc();
                }
                return Ok(problem.into_response());
            }
        };
        request.extensions_mut().insert(caller.clone());
        let response = match endpoint.call(request).await {
            Ok(response) => response.into_response(),
            Err(error) => error.into_response(),
        };
        Ok(while_permitted(response, &caller, rights))
    }
}

async fn authorize(
    table: &AccessTable,
    rights: &Rights,
    limits: &RateLimits,
    request: &Request,
) -> Result<Caller, Problem> {
    let access = table.access(request.method(), request.uri().path())?;
    if access == Access::Public {
        return Ok(Caller(None));
    }
    limits.address(request)?;
    if access == Access::SignIn {
        return limits.sign_in(request).map(|()| Caller(None));
    }
    let (claims, user) = rights.admit(bearer(request)?).await.map_err(refused)?;
    limits.user(&user.user)?;
    let scope = match access {
        Access::Permission(permission) | Access::Owned(permission) => {
            let granted = user.grants.get(permission).copied();
            let enough = granted.filter(|scope| *scope == Scope::All || matches!(access, Access::Owned(_)));
            enough.ok_or_else(|| {
                Problem::with_detail(Code::FORBIDDEN, format!("The permission {permission} is missing."))
            })?
        }
        // The caller's own session.
        Access::Public | Access::SignIn | Access::SignedIn => Scope::Own,
    };
    Ok(Caller(Some(Arc::new(SignedIn { claims, rights: user, scope }))))
}

fn bearer(request: &Request) -> Result<&str, Problem> {
    let mut values = request.headers().get_all(header::AUTHORIZATION).iter();
    let missing = || {
        Problem::with_detail(Code::UNAUTHENTICATED, "The request needs an access token in `Authorization: Bearer`.")
            .header(header::WWW_AUTHENTICATE, "Bearer".to_owned())
    };
    let (Some(value), None) = (values.next(), values.next()) else { return Err(missing()) };
    let (scheme, token) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(missing)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(token) } else { Err(missing()) }
}

fn refused(why: Refused) -> Problem {
    match why {
        Refused::NotReady => crate::problem::unavailable("the rights of the users are not known yet"),
        why => Problem::with_detail(Code::UNAUTHENTICATED, format!("{why}."))
            .header(header::WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"".to_owned()),
    }
}

/// Ends an event stream when the rights end that it was begun with.
fn while_permitted(mut response: Response, caller: &Caller, rights: &Rights) -> Response {
    let is_stream = response.content_type().is_some_and(|kind| kind.starts_with("text/event-stream"));
    let Some(signed_in) = caller.0.as_ref().filter(|_| is_stream) else { return response };
    let ended = rights.clone().ended(signed_in.claims.clone(), signed_in.rights.clone());
    let body = response.take_body().into_bytes_stream();
    response.set_body(Body::from_bytes_stream(body.take_until(Box::pin(ended))));
    response
}
