//! Users, roles, and organisations: as the gateway receives them.

use std::sync::Arc;

use choreography::{Envelope, EventSourced, Handler, Publish as _};
use contracts::CustomerId;
use contracts::account::Line;
use contracts::identity::{
    AddMember, CreateOrganisation, DisableUser, EnableUser, GrantRole, IdentityCommand, OrganisationId, RevokeRole,
    RoleName, SetCustomers, UserId,
};
use identity_service::handler::{IdentityHandler, UserDecider};
use sea_orm::TransactionTrait;
use serde_json::json;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::on_both_databases;
use crate::support::{Engine, PASSWORD, World, text};

on_both_databases!(
    a_new_user_is_a_customer_who_owns_the_customer_of_that_id,
    commands_change_the_rights_and_a_page_has_them_all,
    a_disabled_user_can_neither_sign_in_nor_refresh,
    the_configured_users_exist_and_changed_roles_are_published_again,
    a_user_is_a_member_of_an_organisation,
    a_command_that_is_redriven_after_weeks_grants_no_role_again,
);

fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

fn role(name: &str) -> RoleName {
    RoleName::parse(name).unwrap()
}

async fn a_new_user_is_a_customer_who_owns_the_customer_of_that_id(engine: Engine) {
    let world = World::start(engine).await;
    let tokens = world.sign_up("ada@example.org").await;
    let id = text(&tokens, "userId");
    let rights = world.rights(id, |_| true).await;
    assert_eq!(rights["roles"], json!(["customer"]));
    assert_eq!(rights["customerIds"], json!([id]));
    assert_eq!(
        (&rights["version"], &rights["disabled"], &rights["kind"]),
        (&json!(1), &json!(false), &json!("user"))
    );
    let grants: Vec<&str> =
        rights["grants"].as_array().unwrap().iter().map(|grant| grant.as_str().unwrap()).collect();
    assert!(grants.contains(&"orders:place:own") && grants.contains(&"products:read"), "{grants:?}");
    assert!(!grants.contains(&"orders:read"), "{grants:?}");
    let again = json!({"email": "ADA@example.org", "password": PASSWORD, "name": "Eve", "address": "192.0.2.2"});
    assert_eq!(world.ask("sign-up", &again).await["reason"], "email-in-use");
    let view = world.ask(&format!("user.{id}"), &json!({})).await;
    assert_eq!((text(&view, "email"), text(&view, "name")), ("ada@example.org", "Ada"));
    for (field, value) in [("password", "short"), ("email", "nobody"), ("name", "")] {
        let mut request =
            json!({"email": "x@example.org", "password": PASSWORD, "name": "X", "address": "192.0.2.2"});
        request[field] = json!(value);
        let refused = world.try_ask("sign-up", &request).await.unwrap_err();
        assert!(refused.starts_with(&format!("400 {field}: must ")), "{refused}");
    }
}

async fn commands_change_the_rights_and_a_page_has_them_all(engine: Engine) {
    let world = World::start(engine).await;
    let id = text(&world.sign_up("ada@example.org").await, "userId").to_owned();
    world.send(GrantRole { user_id: user(&id), role: role("clerk") }).await;
    let rights = world.rights(&id, |rights| rights["version"] == 2).await;
    assert_eq!(rights["roles"], json!(["clerk", "customer"]));
    assert!(rights["grants"].as_array().unwrap().contains(&json!("orders:read")));
    let customer_ids = vec![CustomerId::parse("CUSTOMER_001").unwrap()];
    world.send(SetCustomers { user_id: user(&id), customer_ids }).await;
    let rights = world.rights(&id, |rights| rights["version"] == 3).await;
    assert_eq!(rights["customerIds"], json!(["CUSTOMER_001"]));
    world.send(GrantRole { user_id: user(&id), role: role("king") }).await;
    let refused = world.event(&format!("identity.event.refused.{id}"), |_| true).await;
    assert_eq!(refused["reason"], "unknown-role");
    world.send(DisableUser { user_id: user("nobody") }).await;
    assert_eq!(world.event("identity.event.refused.nobody", |_| true).await["reason"], "user-not-found");

    let other = text(&world.sign_up("eve@example.org").await, "userId").to_owned();
    let first = world.ask("rights", &json!({"limit": 1})).await;
    assert_eq!(first["items"], json!([rights]));
    assert_eq!(first["signingKeys"]["keys"].as_array().unwrap().len(), 1);
    let second = world.ask("rights", &json!({"limit": 1, "after": first["next"]})).await;
    assert_eq!((&second["items"][0]["userId"], &second["next"]), (&json!(other), &json!(null)));
}

async fn a_disabled_user_can_neither_sign_in_nor_refresh(engine: Engine) {
    let world = World::start(engine).await;
    let tokens = world.sign_up("ada@example.org").await;
    let id = text(&tokens, "userId");
    world.send(DisableUser { user_id: user(id) }).await;
    let rights = world.rights(id, |rights| rights["disabled"] == true).await;
    assert!(rights["validFrom"].as_i64().unwrap() > 0 && rights["validFrom"].as_i64().unwrap() % 1000 == 0);
    assert_eq!(world.sign_in("ada@example.org", PASSWORD).await["reason"], "wrong-credentials");
    assert_eq!(world.refresh(&tokens).await["reason"], "session-ended");
    world.send(EnableUser { user_id: user(id) }).await;
    world.rights(id, |rights| rights["version"] == 3).await;
    assert_eq!(world.refresh(&tokens).await["reason"], "session-ended");
    assert_eq!(world.sign_in("ada@example.org", PASSWORD).await["outcome"], "signed-in");
}

async fn the_configured_users_exist_and_changed_roles_are_published_again(engine: Engine) {
    let mut world = World::start_with(engine, &[("DEMO_USERS", "true")]).await;
    for demo in identity_service::start::DEMO_USERS {
        world.rights(demo.role, |rights| rights["roles"] == json!([demo.role])).await;
        assert_eq!(world.sign_in(demo.email, demo.password).await["userId"], demo.role);
    }
    let roles = world.folder.join("roles.json");
    std::fs::write(&roles, r#"{"clerk": ["orders:read"], "support": ["accounts:read"]}"#).unwrap();
    world.program.stop().await.unwrap();
    world.restart_with(&[("ROLES", roles.to_str().unwrap()), ("DEMO_USERS", "true")]).await;
    let rights = world.rights("clerk", |rights| rights["version"] == 2).await;
    assert_eq!(rights["grants"], json!(["orders:read"]));
    world.send(GrantRole { user_id: user("auditor"), role: role("support") }).await;
    world.rights("auditor", |rights| rights["roles"] == json!(["auditor", "support"])).await;
}

async fn a_user_is_a_member_of_an_organisation(engine: Engine) {
    let world = World::start(engine).await;
    let id = text(&world.sign_up("ada@example.org").await, "userId").to_owned();
    let organisation_id = OrganisationId::parse("ORG_1").unwrap();
    let name = Line::parse("Example Ltd").unwrap();
    world.send(CreateOrganisation { organisation_id: organisation_id.clone(), name }).await;
    world.event("identity.event.organisation-created.ORG_1", |_| true).await;
    world.send(AddMember { user_id: user(&id), organisation_id }).await;
    world.rights(&id, |rights| rights["organisationIds"] == json!(["ORG_1"])).await;
    let page = world.ask("organisations", &json!({})).await;
    assert_eq!(page["items"], json!([{"organisationId": "ORG_1", "name": "Example Ltd", "members": 1}]));
}

fn envelope(command: impl Into<IdentityCommand>) -> Envelope<IdentityCommand> {
    let (id, payload) = (Uuid::now_v7(), command.into());
    Envelope {
        id,
        message_type: payload.message_type().to_owned(),
        source: "/api-gateway".to_owned(),
        key: payload.key().to_owned(),
        time: OffsetDateTime::UNIX_EPOCH,
        correlation_id: id,
        causation_id: None,
        aggregate_version: None,
        trace_parent: None,
        auth: None,
        payload,
    }
}

/// The inbox remembers eight days, and a dead letter can be redriven after 30.
async fn a_command_that_is_redriven_after_weeks_grants_no_role_again(engine: Engine) {
    let world = World::start(engine).await;
    let id = text(&world.sign_up("ada@example.org").await, "userId").to_owned();
    let roles = Arc::new(contracts::identity::default_roles());
    let handler = IdentityHandler { users: EventSourced(UserDecider { roles }) };
    let db = world.database().await;
    let grant = envelope(GrantRole { user_id: user(&id), role: role("admin") });
    let revoke = envelope(RevokeRole { user_id: user(&id), role: role("admin") });
    for (message, events) in [(&grant, 2), (&revoke, 2), (&grant, 0)] {
        let tx = db.begin().await.unwrap();
        assert_eq!(handler.handle(&tx, &[message]).await.unwrap().len(), events);
        tx.commit().await.unwrap();
    }
}
