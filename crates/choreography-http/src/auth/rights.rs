//! The local copy of the rights of all users: from a snapshot, then by events, applied by version.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use choreography::{clock, envelope::unix_millis};
use tokio::sync::watch;

use super::token::{Claims, LEEWAY, TokenError, Verifier};
use crate::stream_follower::{Followed, FollowedMessage, StreamFollower};

/// The maximum number of ended sessions that are remembered; beyond, all tokens from before the oldest one's end are
/// refused instead.
const MAX_ENDED: usize = 500_000;
/// How long an ended session is remembered: the lifetime of an access token, and more.
const REMEMBERED: i64 = 3_600_000;
/// The maximum number of tokens whose signature is known to be valid.
const MAX_VERIFIED: usize = 10_000;
/// How long a request waits for an event about its user or key, which may be under way.
const WAIT: Duration = Duration::from_millis(500);
/// How long to wait before the snapshot is requested again.
const RETRY: Duration = Duration::from_millis(250);

/// How far a grant reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// What belongs to the user.
    Own,
    /// Everything.
    All,
}

/// The rights of one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRights {
    /// The user.
    pub user: String,
    /// The number of changes; an older version never replaces a newer one.
    pub version: i64,
    /// The displayed name.
    pub name: String,
    /// Whether it is a program.
    pub is_service: bool,
    /// Whether no token is accepted.
    pub disabled: bool,
    /// The roles, for display.
    pub roles: Vec<String>,
    /// The permissions, each with its reach.
    pub grants: HashMap<String, Scope>,
    /// The ids of the objects that are the user's own.
    pub own: Vec<String>,
    /// Tokens issued earlier are refused, in milliseconds since 1970.
    pub valid_from: i64,
}

/// A change of the rights.
#[derive(Debug, Clone)]
pub enum Change {
    /// The rights of a user.
    User(UserRights),
    /// A session ended.
    SessionEnded(String),
    /// Tokens issued earlier are refused, in milliseconds since 1970: not all sessions that ended before are known.
    RefusedBefore(i64),
    /// All signing keys: version, and per key the id, the key in base64url, and its end.
    Keys(i64, Vec<(String, String, Option<i64>)>),
}

/// Why a caller is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The session has ended.
    #[error("the session has ended: sign in again")]
    SessionEnded,
    /// The rights were reset after the token was issued.
    #[error("the access token was revoked: sign in again")]
    Revoked,
    /// The user is disabled.
    #[error("the user is disabled")]
    Disabled,
    /// The user is not known.
    #[error("the user is unknown")]
    UnknownUser,
    /// No snapshot was read yet, or the events lag.
    #[error("the rights are not known yet")]
    NotReady,
}

/// The local copy; clones share it.
#[derive(Debug, Clone)]
pub struct Rights(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: RwLock<State>,
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    verifier: Verifier,
    keys_version: i64,
    users: HashMap<String, Arc<UserRights>>,
    ended: HashMap<String, i64>,
    ended_order: VecDeque<String>,
    /// Tokens issued earlier are refused, in milliseconds since 1970.
    refused_before: i64,
    /// The claims of tokens whose signature was valid with the current keys.
    verified: HashMap<[u8; 32], Claims>,
    ready: bool,
}

impl Rights {
    /// Creates an empty copy, for the tokens of an issuer and audience.
    #[must_use]
    pub fn new(issuer: &'static str, audience: &'static str) -> Self {
        let state = State {
            verifier: Verifier::new(issuer, audience),
            keys_version: i64::MIN,
            users: HashMap::new(),
            ended: HashMap::new(),
            ended_order: VecDeque::new(),
            refused_before: i64::MIN,
            verified: HashMap::new(),
            ready: false,
        };
        Self(Arc::new(Shared { state: RwLock::new(state), changes: watch::Sender::new(0) }))
    }

    /// Applies a change; an older version of the same thing has no effect.
    pub fn apply(&self, change: Change) {
        let mut state = self.0.state.write().unwrap_or_else(PoisonError::into_inner);
        match change {
            Change::User(rights) => {
                let known = state.users.get(&rights.user).map_or(i64::MIN, |known| known.version);
                if rights.version <= known {
                    return;
                }
                state.users.insert(rights.user.clone(), Arc::new(rights));
            }
            Change::SessionEnded(session) => state.end(session, unix_millis(clock::now())),
            Change::RefusedBefore(time) => state.refused_before = state.refused_before.max(time),
            Change::Keys(version, keys) => {
                if version <= state.keys_version {
                    return;
                }
                state.keys_version = version;
                state.verified.clear();
                let keys = keys.iter().map(|(kid, x, until)| (kid.as_str(), x.as_str(), *until));
                state.verifier.set_keys(keys);
            }
        }
        drop(state);
        self.0.changes.send_modify(|changes| *changes += 1);
    }

    /// Declares that a complete snapshot was applied.
    pub fn ready(&self) {
        self.0.state.write().unwrap_or_else(PoisonError::into_inner).ready = true;
        self.0.changes.send_modify(|changes| *changes += 1);
    }

    /// Verifies a token, and returns its claims with the current rights of its user.
    ///
    /// # Errors
    ///
    /// [`Refused`].
    pub fn check(&self, token: &str) -> Result<(Claims, Arc<UserRights>), Refused> {
        use sha2::{Digest, Sha256};
        let now = unix_millis(clock::now());
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let state = self.0.state.read().unwrap_or_else(PoisonError::into_inner);
        if !state.ready {
            return Err(Refused::NotReady);
        }
        if let Some(claims) = state.verified.get(&hash) {
            let claims = claims.clone();
            return state.rights(&claims, now).map(|rights| (claims, rights));
        }
        let (claims, keys) = (state.verifier.verify(token, now)?, state.keys_version);
        let rights = state.rights(&claims, now)?;
        drop(state);
        let mut state = self.0.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.keys_version == keys {
            if state.verified.len() >= MAX_VERIFIED {
                state.verified.clear();
            }
            state.verified.insert(hash, claims.clone());
        }
        Ok((claims, rights))
    }

    /// As [`Rights::check`]; waits a moment for the event about a new user or key, which may be under way.
    ///
    /// # Errors
    ///
    /// [`Refused`].
    pub async fn admit(&self, token: &str) -> Result<(Claims, Arc<UserRights>), Refused> {
        let mut changes = self.0.changes.subscribe();
        let deadline = tokio::time::Instant::now() + WAIT;
        loop {
            let checked = self.check(token);
            let may_follow = matches!(checked, Err(Refused::UnknownUser | Refused::Token(TokenError::UnknownKey)));
            if !may_follow || !matches!(tokio::time::timeout_at(deadline, changes.changed()).await, Ok(Ok(()))) {
                return checked;
            }
        }
    }

    /// Returns when a caller no longer has the rights that a response was begun with: the token has expired, the session
    /// ended, or the grants or own objects changed.
    pub async fn ended(self, claims: Claims, begun: Arc<UserRights>) {
        let mut changes = self.0.changes.subscribe();
        loop {
            let now = unix_millis(clock::now());
            let current = self.0.state.read().unwrap_or_else(PoisonError::into_inner).rights(&claims, now);
            if !current.is_ok_and(|now| now.grants == begun.grants && now.own == begun.own) {
                return;
            }
            let left = claims.expires.saturating_add(LEEWAY).saturating_mul(1000).saturating_sub(now).max(1);
            let left = Duration::from_millis(left.unsigned_abs());
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(left) => {}
            }
        }
    }

    /// Follows the changes: reads a snapshot, then applies events. `read` returns the change of a message; its error, or a
    /// gap of the stream, leads to another snapshot. Never ends.
    pub async fn follow<S: Future<Output = Result<Vec<Change>, String>>>(
        &self,
        mut follower: StreamFollower,
        snapshot: impl Fn() -> S,
        read: impl Fn(&FollowedMessage) -> Result<Option<Change>, String>,
    ) {
        loop {
            // The consumer exists before the snapshot is requested, so no event in between is missed.
            while let Err(error) = follower.open().await {
                tracing::debug!(%error, "the rights cannot be followed; trying again");
                tokio::time::sleep(RETRY).await;
            }
            let changes = loop {
                match snapshot().await {
                    Ok(changes) => break changes,
                    Err(error) => tracing::debug!(error, "no snapshot of the rights; trying again"),
                }
                tokio::time::sleep(RETRY).await;
            };
            changes.into_iter().for_each(|change| self.apply(change));
            self.ready();
            loop {
                let change = match follower.next().await {
                    Followed::Message(message) => read(&message),
                    Followed::Reset(..) => Err("the stream has a gap".to_owned()),
                };
                match change {
                    Ok(Some(change)) => self.apply(change),
                    Ok(None) => {}
                    Err(error) => {
                        tracing::warn!(error, "an event about rights is missing; the snapshot is read again");
                        break;
                    }
                }
            }
        }
    }
}

impl State {
    fn end(&mut self, session: String, now: i64) {
        while let Some(oldest) = self.ended_order.front().cloned() {
            let at = self.ended.get(&oldest).copied().unwrap_or(i64::MIN);
            if now - REMEMBERED <= at {
                if self.ended.len() < MAX_ENDED {
                    break;
                }
                // Its tokens were issued before it ended.
                self.refused_before = self.refused_before.max(at + 1);
            }
            self.ended_order.pop_front();
            self.ended.remove(&oldest);
        }
        if self.ended.insert(session.clone(), now).is_none() {
            self.ended_order.push_back(session);
        }
    }

    fn rights(&self, claims: &Claims, now: i64) -> Result<Arc<UserRights>, Refused> {
        claims.check_time(now)?;
        if self.ended.contains_key(&claims.session) {
            return Err(Refused::SessionEnded);
        }
        let rights = self.users.get(&claims.user).ok_or(Refused::UnknownUser)?;
        if rights.disabled {
            return Err(Refused::Disabled);
        }
        if claims.issued.saturating_mul(1000) < rights.valid_from.max(self.refused_before) {
            return Err(Refused::Revoked);
        }
        Ok(rights.clone())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn user() -> UserRights {
        UserRights {
            user: "U1".to_owned(),
            version: 1,
            name: String::new(),
            is_service: false,
            disabled: false,
            roles: Vec::new(),
            grants: HashMap::new(),
            own: Vec::new(),
            valid_from: 0,
        }
    }

    fn claims(session: &str, issued: i64) -> Claims {
        Claims { user: "U1".to_owned(), session: session.to_owned(), issued, expires: issued + 600 }
    }

    #[test]
    fn a_session_that_is_forgotten_early_is_not_accepted_again() {
        let rights = Rights::new("shop", "shop");
        rights.apply(Change::User(user()));
        let mut state = rights.0.state.write().unwrap();
        // One per millisecond, from second 1000 on.
        for n in 0..=MAX_ENDED {
            state.end(n.to_string(), 1_000_000 + i64::try_from(n).unwrap());
        }
        assert_eq!(state.ended.len(), MAX_ENDED);
        let now = 1_000_000 + i64::try_from(MAX_ENDED).unwrap();
        assert_eq!(state.rights(&claims("0", 1000), now).unwrap_err(), Refused::Revoked);
        assert_eq!(state.rights(&claims("1", 1000), now).unwrap_err(), Refused::SessionEnded);
        assert!(state.rights(&claims("open", 1001), now).is_ok());
    }

    #[test]
    fn tokens_from_before_the_known_sessions_are_refused() {
        let rights = Rights::new("shop", "shop");
        rights.apply(Change::User(user()));
        for time in [2_000_001, 1_000_000] {
            rights.apply(Change::RefusedBefore(time));
        }
        let state = rights.0.state.read().unwrap();
        assert_eq!(state.rights(&claims("S", 2000), 2_100_000).unwrap_err(), Refused::Revoked);
        assert!(state.rights(&claims("S", 2001), 2_100_000).is_ok());
    }
}
