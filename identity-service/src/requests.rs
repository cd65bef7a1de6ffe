//! The requests that carry secrets: sign-up, sign-in, refresh, sign-out, change of the password, API keys.
//!
//! They arrive as queries, in core NATS: no stream, no outbox, and no log has their bodies. What they change, and the
//! events of it, commit in one transaction.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use choreography::database::{self, Databases};
use choreography::envelope::unix_millis;
use choreography::query::{Query, QueryError};
use choreography::{EventSourced, HandleError, Handler, Outbox, Outgoing, clock};
use contracts::CustomerId;
use contracts::account::Email;
use contracts::identity::{
    ACCESS_TOKEN_SECONDS, AUDIENCE, ApiKeyId, CUSTOMER, ChangePassword, Claims, ExchangeApiKey, ISSUER,
    IssueApiKey, IssuedApiKey, MAX_API_KEYS, Refresh, RightsChanged, RoleName, Secret, SessionEndReason, SessionId,
    SignIn, SignInRefusal, SignInReply, SignOut, SignUp, SignedOut, Tokens, UserId, UserKind,
};
use sea_orm::ActiveValue::Set;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter,
    SqliteTransactionMode, TransactionOptions, TransactionTrait,
};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::entity::{api_key, credential, refresh_token, rights, session};
use crate::handler::{UserDecider, rights_of};
use crate::secrets::{Hasher, hash_token, random_token};
use crate::slow_down::{SlowDown, Source};
use crate::user::{IdentityMessage, RecordApiKey, RecordPassword, RegisterUser};
use crate::{keys, local, sessions};

/// The maximum length of a client's address.
const MAX_ADDRESS: usize = 64;
/// The prefix of API keys, by which scanners find leaked ones.
const API_KEY_PREFIX: &str = "shop_key_";

/// What the requests need. Clones share it.
#[derive(Clone)]
pub struct Requests {
    /// The database.
    pub db: Databases,
    /// Hashes passwords.
    pub hasher: Hasher,
    /// Slows down guesses.
    pub slow_down: Arc<SlowDown>,
    /// The rules of users.
    pub users: EventSourced<UserDecider>,
    /// The lifetime of a session.
    pub session_lifetime: Duration,
    /// Publishes events; set once the service has started.
    pub outbox: Arc<OnceLock<Outbox>>,
}

/// A new user.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// The id.
    pub user_id: UserId,
    /// The e-mail address.
    pub email: Email,
    /// The displayed name.
    pub name: contracts::account::Line,
    /// The roles.
    pub roles: Vec<RoleName>,
    /// The customers that the user acts for.
    pub customer_ids: Vec<CustomerId>,
}

/// Reads the body of a request. An error names the field, and never repeats a value: it may be a secret.
fn parse<T: DeserializeOwned>(query: &Query) -> Result<T, QueryError> {
    let body = &mut serde_json::Deserializer::from_slice(&query.body);
    serde_path_to_error::deserialize(body).map_err(|error| {
        let (field, text) = (error.path().to_string(), error.inner().to_string());
        let repeats = ["invalid type", "invalid value", "invalid length", "unknown variant"];
        let text = if repeats.iter().any(|kind| text.starts_with(kind)) { "has the wrong type" } else { &text };
        QueryError::Invalid(format!("{field}: {text}"))
    })
}

fn invalid(field: &str, error: impl std::fmt::Display) -> QueryError {
    QueryError::Invalid(format!("{field}: {error}"))
}

fn check_address(address: &str) -> Result<(), QueryError> {
    let good = (1..=MAX_ADDRESS).contains(&address.len());
    if good { Ok(()) } else { Err(invalid("address", format!("must be 1 to {MAX_ADDRESS} characters"))) }
}

fn unavailable(error: impl Into<anyhow::Error>) -> QueryError {
    QueryError::Unavailable(error.into())
}

fn handled(error: HandleError) -> QueryError {
    match error {
        HandleError::Retry(error) => QueryError::Unavailable(error),
        other => unavailable(other),
    }
}

fn refused(reason: SignInRefusal) -> SignInReply {
    SignInReply::Refused { reason, retry_after_seconds: None }
}

fn wait(delay: Duration) -> SignInReply {
    let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
    SignInReply::Refused { reason: SignInRefusal::TooManyAttempts, retry_after_seconds: Some(seconds.max(1)) }
}

/// Returns an e-mail address as it is compared.
fn normal(email: &str) -> String {
    email.trim().to_lowercase()
}

impl Requests {
    /// Creates a user, and signs in.
    ///
    /// # Errors
    ///
    /// [`QueryError::Invalid`] if a field is invalid.
    pub async fn sign_up(self, query: Query) -> Result<SignInReply, QueryError> {
        let request: SignUp = parse(&query)?;
        check_address(&request.address)?;
        let password =
            Secret::new_password(request.password.expose()).map_err(|error| invalid("password", error))?;
        let from = [Source::Address(request.address.clone())];
        let delay = self.slow_down.wait(&from, Instant::now());
        if !delay.is_zero() {
            return Ok(wait(delay));
        }
        let user_id = UserId::parse(Uuid::now_v7().to_string()).map_err(unavailable)?;
        let new = NewUser {
            email: request.email,
            name: request.name,
            roles: RoleName::parse(CUSTOMER).into_iter().collect(),
            customer_ids: CustomerId::parse(user_id.as_str()).into_iter().collect(),
            user_id,
        };
        let hash = self.hasher.hash(password).await.map_err(unavailable)?;
        let tx = self.begin().await?;
        if is_taken(&tx, &new.email).await? {
            self.slow_down.failed(&from, Instant::now());
            return Ok(refused(SignInRefusal::EmailInUse));
        }
        let now = unix_millis(clock::now());
        let outgoing = self.register(&tx, &new, hash, now).await?;
        self.signed_in(tx, &new.user_id, &request.address, outgoing).await
    }

    /// Writes a new user, with credentials; returns the events.
    ///
    /// # Errors
    ///
    /// The database's error.
    pub async fn register(
        &self,
        tx: &DatabaseTransaction,
        new: &NewUser,
        password_hash: String,
        now: i64,
    ) -> Result<Vec<Outgoing>, QueryError> {
        let register = RegisterUser {
            user_id: new.user_id.clone(),
            name: new.name.clone(),
            roles: new.roles.clone(),
            customer_ids: new.customer_ids.clone(),
        };
        let outgoing = self.decide(tx, register).await?;
        let row = credential::ActiveModel {
            user_id: Set(new.user_id.to_string()),
            email: Set(normal(new.email.as_str())),
            password_hash: Set(password_hash),
            changed_at: Set(now),
        };
        row.insert(tx).await?;
        Ok(outgoing)
    }

    /// Signs in with a password.
    ///
    /// A wrong password, an unknown e-mail address, and a disabled user get the same reply, after the same time.
    ///
    /// # Errors
    ///
    /// [`QueryError::Invalid`] if a field is invalid.
    pub async fn sign_in(self, query: Query) -> Result<SignInReply, QueryError> {
        let request: SignIn = parse(&query)?;
        check_address(&request.address)?;
        let email = normal(&request.email);
        let known = credential::Entity::find()
            .filter(credential::Column::Email.eq(email.as_str()))
            .one(&self.db.reader)
            .await?;
        match self.verified(&email, known, request.password, &request.address).await? {
            Verified::Wait(delay) => Ok(wait(delay)),
            Verified::Wrong => Ok(refused(SignInRefusal::WrongCredentials)),
            Verified::User(user_id) => {
                self.signed_in(self.begin().await?, &user_id, &request.address, vec![]).await
            }
        }
    }

    /// Verifies a password, unless the attempt must wait.
    async fn verified(
        &self,
        email: &str,
        known: Option<credential::Model>,
        password: Secret,
        address: &str,
    ) -> Result<Verified, QueryError> {
        let user_id = known.as_ref().map(|row| UserId::parse(row.user_id.as_str())).transpose();
        let user_id = user_id.map_err(unavailable)?;
        let is_known = match &user_id {
            Some(user_id) => sessions::is_known(&self.db.reader, user_id, address).await?,
            None => false,
        };
        let sources = if is_known {
            vec![Source::Known(email.to_owned(), address.to_owned())]
        } else {
            vec![Source::Account(email.to_owned()), Source::Address(address.to_owned())]
        };
        let delay = self.slow_down.wait(&sources, Instant::now());
        if !delay.is_zero() {
            return Ok(Verified::Wait(delay));
        }
        // Counted before it is verified, so that many attempts at one time do not all count as the first.
        self.slow_down.failed(&sources, Instant::now());
        let hash = known.map(|row| row.password_hash);
        let is_right = self.hasher.verify(password, hash).await.map_err(unavailable)?;
        let enabled = match &user_id {
            Some(user_id) => rights(&self.db.reader, user_id).await?.is_some_and(|rights| !rights.disabled),
            None => false,
        };
        match user_id {
            Some(user_id) if is_right && enabled => {
                self.slow_down.succeeded(&sources, Instant::now());
                Ok(Verified::User(user_id))
            }
            _ => Ok(Verified::Wrong),
        }
    }

    /// Opens a session in a transaction, commits it with the events, and returns the tokens.
    async fn signed_in(
        &self,
        tx: DatabaseTransaction,
        user_id: &UserId,
        address: &str,
        outgoing: Vec<Outgoing>,
    ) -> Result<SignInReply, QueryError> {
        let now = unix_millis(clock::now());
        let opened = sessions::open(&tx, user_id, self.session_lifetime, now).await;
        let (session_id, refresh_token) = opened.map_err(unavailable)?;
        sessions::know(&tx, user_id, address, now).await?;
        let Some(rights) = rights(&tx, user_id).await? else {
            return Ok(refused(SignInRefusal::WrongCredentials));
        };
        let tokens = tokens(&tx, &rights, &session_id, Some(refresh_token)).await?;
        self.commit(tx, outgoing).await?;
        Ok(SignInReply::SignedIn(tokens))
    }

    /// Exchanges a refresh token. One that was used before ends the session: somebody has copied it.
    ///
    /// # Errors
    ///
    /// [`QueryError::Invalid`] if a field is invalid.
    pub async fn refresh(self, query: Query) -> Result<SignInReply, QueryError> {
        let request: Refresh = parse(&query)?;
        check_address(&request.address)?;
        let from = [Source::Address(request.address.clone())];
        let hash = hash_token(&request.refresh_token);
        if session_of(&self.db.reader, &hash).await?.is_none() {
            return Ok(self.guessed(&from, SignInRefusal::SessionEnded));
        }
        let tx = self.begin().await?;
        let now = unix_millis(clock::now());
        let Some(session) = session_of(&tx, &hash).await? else {
            return Ok(refused(SignInRefusal::SessionEnded));
        };
        let user_id = UserId::parse(session.user_id).map_err(unavailable)?;
        let session_id = SessionId::parse(session.session_id).map_err(unavailable)?;
        if session.ended_at.is_some() || session.expires_at <= now {
            return Ok(refused(SignInRefusal::SessionEnded));
        }
        if !sessions::use_token(&tx, &hash, now).await? {
            let reason = SessionEndReason::ReuseDetected;
            let mut outgoing = Vec::new();
            if sessions::end(&tx, session_id.as_str(), reason, now).await? {
                outgoing.push(sessions::ended(&user_id, session_id, reason).map_err(unavailable)?);
            }
            self.commit(tx, outgoing).await?;
            return Ok(refused(SignInRefusal::TokenReused));
        }
        let Some(rights) = rights(&tx, &user_id).await?.filter(|rights| !rights.disabled) else {
            return Ok(refused(SignInRefusal::SessionEnded));
        };
        let next = sessions::next_token(&tx, &session_id).await.map_err(unavailable)?;
        let tokens = tokens(&tx, &rights, &session_id, Some(next)).await?;
        self.commit(tx, vec![]).await?;
        Ok(SignInReply::SignedIn(tokens))
    }

    /// Ends a session.
    ///
    /// # Errors
    ///
    /// [`QueryError::Invalid`] if a field is invalid.
    pub async fn sign_out(self, query: Query) -> Result<SignedOut, QueryError> {
        let request: SignOut = parse(&query)?;
        let Some(session) = session_of(&self.db.reader, &hash_token(&request.refresh_token)).await? else {
            return Ok(SignedOut::default());
        };
        let tx = self.begin().await?;
        let now = unix_millis(clock::now());
        let user_id = UserId::parse(session.user_id).map_err(unavailable)?;
        let reason = SessionEndReason::SignedOut;
        if sessions::end(&tx, &session.session_id, reason, now).await? {
            let session_id = SessionId::parse(session.session_id).map_err(unavailable)?;
            let ended = sessions::ended(&user_id, session_id, reason).map_err(unavailable)?;
            self.commit(tx, vec![ended]).await?;
        }
        Ok(SignedOut::default())
    }

    /// Changes the password, ends all sessions of the user, and signs in again.
    ///
    /// # Errors
    ///
    /// [`QueryError::Invalid`] if a field is invalid.
    pub async fn change_password(self, query: Query) -> Result<SignInReply, QueryError> {
        let request: ChangePassword = parse(&query)?;
        check_address(&request.address)?;
        let new = request.new_password.expose();
        let new = Secret::new_password(new).map_err(|error| invalid("newPassword", error))?;
        let known = credential::Entity::find_by_id(request.user_id.as_str()).one(&self.db.reader).await?;
        let email = known.as_ref().map(|row| row.email.clone()).unwrap_or_default();
        match self.verified(&email, known, request.current_password, &request.address).await? {
            Verified::Wait(delay) => return Ok(wait(delay)),
            Verified::Wrong => return Ok(refused(SignInRefusal::WrongCredentials)),
            Verified::User(_) => {}
        }
        let user_id = request.user_id;
        let hash = self.hasher.hash(new).await.map_err(unavailable)?;
        let tx = self.begin().await?;
        let now = unix_millis(clock::now());
        let mut outgoing = self.decide(&tx, RecordPassword { user_id: user_id.clone() }).await?;
        let row = credential::ActiveModel {
            user_id: Set(user_id.to_string()),
            password_hash: Set(hash),
            changed_at: Set(now),
            ..Default::default()
        };
        row.update(&tx).await?;
        let reason = SessionEndReason::PasswordChanged;
        for session in sessions::end_all(&tx, &user_id, reason, now).await? {
            let session = SessionId::parse(session).map_err(unavailable)?;
            outgoing.push(sessions::ended(&user_id, session, reason).map_err(unavailable)?);
        }
        self.signed_in(tx, &user_id, &request.address, outgoing).await
    }

    /// Issues an API key for a service account; the reply is the only place that ever has it.
    ///
    /// # Errors
    ///
    /// [`QueryError::NotFound`] if there is no such service account; [`QueryError::Invalid`] if it has too many keys.
    pub async fn issue_api_key(self, query: Query) -> Result<IssuedApiKey, QueryError> {
        let IssueApiKey { user_id } = parse(&query)?;
        let tx = self.begin().await?;
        let row = rights::Entity::find_by_id(user_id.as_str()).one(&tx).await?.map(rights_of).transpose()?;
        let service = row.filter(|(rights, _)| rights.kind == UserKind::Service);
        let Some((_, issued)) = service else {
            return Err(QueryError::NotFound(format!("there is no service account {user_id}")));
        };
        if issued.len() >= MAX_API_KEYS {
            let text = format!("{user_id} has {MAX_API_KEYS} API keys, the maximum: revoke one of them first");
            return Err(QueryError::Invalid(text));
        }
        let api_key_id = ApiKeyId::parse(Uuid::now_v7().to_string()).map_err(unavailable)?;
        let api_key = random_token(API_KEY_PREFIX).map_err(unavailable)?;
        // Before the decision, which deletes the rows of keys that the user does not have.
        let record = RecordApiKey { user_id: user_id.clone(), api_key_id: api_key_id.clone() };
        let outgoing = self.decide(&tx, record).await?;
        let row = api_key::ActiveModel {
            key_hash: Set(hash_token(&api_key)),
            api_key_id: Set(api_key_id.to_string()),
            user_id: Set(user_id.to_string()),
            created_at: Set(unix_millis(clock::now())),
        };
        row.insert(&tx).await?;
        self.commit(tx, outgoing).await?;
        Ok(IssuedApiKey { api_key_id, api_key })
    }

    /// Exchanges an API key for an access token.
    ///
    /// # Errors
    ///
    /// [`QueryError::Invalid`] if a field is invalid.
    pub async fn exchange_api_key(self, query: Query) -> Result<SignInReply, QueryError> {
        let request: ExchangeApiKey = parse(&query)?;
        check_address(&request.address)?;
        let from = [Source::Address(request.address.clone())];
        let hash = hash_token(&request.api_key);
        if api_key::Entity::find_by_id(hash.as_str()).one(&self.db.reader).await?.is_none() {
            return Ok(self.guessed(&from, SignInRefusal::WrongCredentials));
        }
        let tx = self.begin().await?;
        let row = api_key::Entity::find_by_id(hash).one(&tx).await?;
        let user_id =
            row.as_ref().map(|row| UserId::parse(row.user_id.as_str())).transpose().map_err(unavailable)?;
        let rights = match &user_id {
            Some(user_id) => rights(&tx, user_id).await?.filter(|rights| !rights.disabled),
            None => None,
        };
        let Some((key, rights)) = row.zip(rights) else {
            return Ok(self.guessed(&from, SignInRefusal::WrongCredentials));
        };
        let session_id = SessionId::parse(key.api_key_id).map_err(unavailable)?;
        let now = unix_millis(clock::now());
        // Keeps the session in the snapshot of ended sessions once the key is revoked.
        let row = session::ActiveModel {
            session_id: Set(session_id.to_string()),
            user_id: Set(key.user_id),
            created_at: Set(now),
            expires_at: Set(i64::MAX),
            ended_at: Set(None),
            end_reason: Set(None),
        };
        let known =
            choreography::statement::overwrite(&[session::Column::SessionId], &[session::Column::CreatedAt]);
        choreography::statement::insert(&tx, vec![row], Some(known)).await?;
        let tokens = tokens(&tx, &rights, &session_id, None).await?;
        self.commit(tx, vec![]).await?;
        Ok(SignInReply::SignedIn(tokens))
    }

    /// Counts a token that does not exist, and returns the refusal, or the wait after many of them. No transaction is open
    /// for it: guesses must not hold up others.
    fn guessed(&self, from: &[Source], reason: SignInRefusal) -> SignInReply {
        let delay = self.slow_down.wait(from, Instant::now());
        self.slow_down.failed(from, Instant::now());
        if delay.is_zero() { refused(reason) } else { wait(delay) }
    }

    /// Decides a request in a transaction.
    ///
    /// # Errors
    ///
    /// The database's error.
    pub async fn decide(
        &self,
        tx: &DatabaseTransaction,
        message: impl Into<IdentityMessage>,
    ) -> Result<Vec<Outgoing>, QueryError> {
        let message = local::request(message.into());
        self.users.handle(tx, &[&message]).await.map_err(handled)
    }

    /// Begins a transaction that writes.
    ///
    /// # Errors
    ///
    /// The database's error.
    pub async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        database::answered(self.db.writer.begin_with_options(options)).await
    }

    /// Commits a transaction with its events.
    ///
    /// # Errors
    ///
    /// The database's error, or that the service is not started yet.
    pub async fn commit(&self, tx: DatabaseTransaction, outgoing: Vec<Outgoing>) -> Result<(), QueryError> {
        let Some(outbox) = self.outbox.get() else {
            return Err(QueryError::Unavailable(anyhow::anyhow!("the service is starting")));
        };
        Ok(outbox.commit(tx, outgoing).await?)
    }
}

/// The result of a verified password.
enum Verified {
    /// It is right.
    User(UserId),
    /// It is wrong, or the user is unknown or disabled.
    Wrong,
    /// The attempt came too early.
    Wait(Duration),
}

async fn is_taken(connection: &impl ConnectionTrait, email: &Email) -> Result<bool, DbErr> {
    let taken = credential::Column::Email.eq(normal(email.as_str()));
    Ok(credential::Entity::find().filter(taken).one(connection).await?.is_some())
}

/// Returns the session of a refresh token, used or not.
async fn session_of(connection: &impl ConnectionTrait, hash: &str) -> Result<Option<session::Model>, DbErr> {
    match refresh_token::Entity::find_by_id(hash).one(connection).await? {
        Some(token) => session::Entity::find_by_id(token.session_id).one(connection).await,
        None => Ok(None),
    }
}

/// Returns the rights of a user.
///
/// # Errors
///
/// The database's error.
pub(crate) async fn rights(
    connection: &impl ConnectionTrait,
    user_id: &UserId,
) -> Result<Option<RightsChanged>, DbErr> {
    let row = rights::Entity::find_by_id(user_id.as_str()).one(connection).await?;
    Ok(row.map(rights_of).transpose()?.map(|(rights, _)| rights))
}

/// Signs an access token. Its `iat` is never before the user's `validFrom`.
async fn tokens(
    connection: &impl ConnectionTrait,
    rights: &RightsChanged,
    session_id: &SessionId,
    refresh_token: Option<Secret>,
) -> Result<Tokens, QueryError> {
    let iat = clock::now().unix_timestamp().max(rights.valid_from.div_euclid(1000));
    let lifetime = i64::try_from(ACCESS_TOKEN_SECONDS).unwrap_or(i64::MAX);
    let claims = Claims {
        iss: ISSUER.to_owned(),
        aud: AUDIENCE.to_owned(),
        sub: rights.user_id.clone(),
        sid: session_id.clone(),
        iat,
        exp: iat.saturating_add(lifetime),
    };
    let access_token = keys::sign(connection, &claims).await.map_err(unavailable)?;
    Ok(Tokens { access_token, expires_in: ACCESS_TOKEN_SECONDS, refresh_token, user_id: rights.user_id.clone() })
}
