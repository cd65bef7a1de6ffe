//! The demo with sign-in, and without.

use choreography_test::free_port;
use demo::Component;
use serde_json::json;

use crate::support::{Demo, config};

fn log(demo: &Demo) -> String {
    std::fs::read_to_string(demo.config.data.join("demo.log")).unwrap()
}

#[tokio::test]
async fn with_sign_in_identity_service_is_one_more_component_and_the_users_are_shown() {
    let demo = Demo::of(config().with_sign_in(free_port())).await;
    assert_eq!(demo.component(Component::IdentityService).await["ready"], json!(true));
    let log = log(&demo);
    for user in identity_service::start::DEMO_USERS {
        assert!(log.contains(user.email) && log.contains(user.password), "{log}");
    }
    assert!(!log.contains("Sign-in is off"), "{log}");
    assert!(demo.act(Component::IdentityService, "kill").await.starts_with("killed identity-service"));
    assert!(demo.act(Component::IdentityService, "start").await.starts_with("started identity-service"));
    demo.shut_down().await;
}

#[tokio::test]
async fn without_sign_in_the_demo_says_so_and_has_no_identity_service() {
    let demo = Demo::start().await;
    assert!(log(&demo).contains("Sign-in is off: everyone who reaches 127.0.0.1 may do everything."));
    let rejected = demo.rejected_control_request(409, "/components/identity-service/kill", &json!({})).await;
    assert!(rejected.contains("start the demo with --auth"), "{rejected}");
    // nats-server, which is not addressed, runs on.
    assert_eq!(demo.component(Component::NatsServer).await["ready"], json!(true));
    demo.shut_down().await;
}
