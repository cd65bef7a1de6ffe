//! The page of the messages.

use choreography::catalogue::catalogue;
use contracts::declaration::declarations;

use crate::support::{HttpResponse, Shop};

#[tokio::test]
async fn the_page_of_messages_is_complete_and_loads_nothing_from_other_hosts() {
    let shop = Shop::start().await;
    let page = HttpResponse::of(shop.get("/docs/events")).await;
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'self';"), "{policy}");
    let html = page.body.as_str().unwrap();
    for entry in catalogue(&declarations()) {
        let heading = format!("<h2>{}</h2>", entry.message.message_type);
        assert!(html.contains(&heading), "{heading}");
    }
    assert!(html.contains("account-service, ") || html.contains("inventory-service, payment-service"), "{html}");
    assert!(!html.contains("<script") && !html.contains("http://") && !html.contains("style="), "{html}");
    let style = HttpResponse::of(shop.get("/docs/events.css")).await;
    assert_eq!((style.status.as_u16(), style.header("content-type")), (200, Some("text/css; charset=utf-8")));
    assert_eq!(HttpResponse::of(shop.get("/docs")).await.status, 200);
}
