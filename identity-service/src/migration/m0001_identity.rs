//! The tables of users, sessions, and keys.

use sea_orm::sea_query::{Index, IndexCreateStatement, TableCreateStatement};
use sea_orm::{DbBackend, Iden};
use sea_orm_migration::prelude::*;

use crate::entity::{
    api_key, credential, known_address, membership, organisation, refresh_token, rights, session, signing_key,
};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "identity_0001_tables"
    }
}

/// Compared byte by byte as SQLite does by default, so that both databases sort lists alike.
fn id(column: impl Iden + 'static, backend: DbBackend) -> ColumnDef {
    let mut id = ColumnDef::new(column);
    id.text().not_null();
    if backend == DbBackend::Postgres {
        id.extra("COLLATE \"C\"");
    }
    id
}

fn text(column: impl Iden + 'static) -> ColumnDef {
    ColumnDef::new(column).text().not_null().to_owned()
}

fn number(column: impl Iden + 'static) -> ColumnDef {
    ColumnDef::new(column).big_integer().not_null().to_owned()
}

fn users(backend: DbBackend) -> [TableCreateStatement; 4] {
    let rights = Table::create()
        .table(rights::Entity)
        .col(id(rights::Column::UserId, backend).primary_key())
        .col(number(rights::Column::Version))
        .col(text(rights::Column::Rights))
        .col(text(rights::Column::ApiKeyIds))
        .col(number(rights::Column::UpdatedAt))
        .to_owned();
    let organisations = Table::create()
        .table(organisation::Entity)
        .col(id(organisation::Column::OrganisationId, backend).primary_key())
        .col(text(organisation::Column::Name))
        .col(number(organisation::Column::CreatedAt))
        .to_owned();
    let memberships = Table::create()
        .table(membership::Entity)
        .col(text(membership::Column::OrganisationId))
        .col(text(membership::Column::UserId))
        .primary_key(Index::create().col(membership::Column::OrganisationId).col(membership::Column::UserId))
        .to_owned();
    let credentials = Table::create()
        .table(credential::Entity)
        .col(text(credential::Column::UserId).primary_key())
        .col(text(credential::Column::Email).unique_key())
        .col(text(credential::Column::PasswordHash))
        .col(number(credential::Column::ChangedAt))
        .to_owned();
    [rights, organisations, memberships, credentials]
}

fn sessions() -> [TableCreateStatement; 5] {
    let sessions = Table::create()
        .table(session::Entity)
        .col(text(session::Column::SessionId).primary_key())
        .col(text(session::Column::UserId))
        .col(number(session::Column::CreatedAt))
        .col(number(session::Column::ExpiresAt))
        .col(ColumnDef::new(session::Column::EndedAt).big_integer())
        .col(ColumnDef::new(session::Column::EndReason).text())
        .to_owned();
    let refresh_tokens = Table::create()
        .table(refresh_token::Entity)
        .col(text(refresh_token::Column::TokenHash).primary_key())
        .col(text(refresh_token::Column::SessionId))
        .col(ColumnDef::new(refresh_token::Column::UsedAt).big_integer())
        .to_owned();
    let api_keys = Table::create()
        .table(api_key::Entity)
        .col(text(api_key::Column::KeyHash).primary_key())
        .col(text(api_key::Column::ApiKeyId).unique_key())
        .col(text(api_key::Column::UserId))
        .col(number(api_key::Column::CreatedAt))
        .to_owned();
    let signing_keys = Table::create()
        .table(signing_key::Entity)
        // The primary key: of two instances that replace the keys at one time, one fails and repeats it.
        .col(number(signing_key::Column::Version).primary_key())
        .col(text(signing_key::Column::Kid))
        .col(ColumnDef::new(signing_key::Column::Seed).binary().not_null())
        .col(text(signing_key::Column::PublicKey))
        .col(ColumnDef::new(signing_key::Column::ValidUntil).big_integer())
        .to_owned();
    let known_addresses = Table::create()
        .table(known_address::Entity)
        .col(text(known_address::Column::UserId))
        .col(text(known_address::Column::AddressHash))
        .col(number(known_address::Column::SeenAt))
        .primary_key(Index::create().col(known_address::Column::UserId).col(known_address::Column::AddressHash))
        .to_owned();
    [sessions, refresh_tokens, api_keys, signing_keys, known_addresses]
}

fn indexes() -> [IndexCreateStatement; 6] {
    let index = |name: &str| Index::create().name(name).to_owned();
    [
        index("sessions_user").table(session::Entity).col(session::Column::UserId).to_owned(),
        index("sessions_ended").table(session::Entity).col(session::Column::EndedAt).to_owned(),
        index("sessions_expires").table(session::Entity).col(session::Column::ExpiresAt).to_owned(),
        index("refresh_tokens_session")
            .table(refresh_token::Entity)
            .col(refresh_token::Column::SessionId)
            .to_owned(),
        index("api_keys_user").table(api_key::Entity).col(api_key::Column::UserId).to_owned(),
        index("memberships_user").table(membership::Entity).col(membership::Column::UserId).to_owned(),
    ]
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in users(manager.get_database_backend()).into_iter().chain(sessions()) {
            manager.create_table(table).await?;
        }
        for index in indexes() {
            manager.create_index(index).await?;
        }
        Ok(())
    }
}
