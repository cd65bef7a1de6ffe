//! `/docs/events`: every message of the shop, to read, from the same declarations as the code.
//!
//! Plain HTML: no script, and no request to another host.

use std::fmt::Write as _;

use choreography::MessageInfo;
use choreography::catalogue::{CatalogueEntry, catalogue};
use contracts::EXAMPLES;
use contracts::declaration::declarations;
use poem::http::header;
use poem::{Endpoint, Response, endpoint::make_sync};
use serde_json::{Map, Value};

/// The Content-Security-Policy of the page: only its style.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// The style of the page, light and dark.
const STYLE: &str = include_str!("docs/events.css");

/// Builds the page.
///
/// # Errors
///
/// If the examples cannot be read.
pub(crate) fn events_page() -> anyhow::Result<impl Endpoint + 'static> {
    let html = events_html()?;
    Ok(make_sync(move |_| {
        Response::builder()
            .header(header::CONTENT_TYPE, "text/html; charset=utf-8")
            .header(header::CONTENT_SECURITY_POLICY, POLICY)
            .body(html.clone())
    }))
}

/// Returns the endpoint of the page's style.
pub(crate) fn events_style() -> impl Endpoint + 'static {
    make_sync(|_| Response::builder().header(header::CONTENT_TYPE, "text/css; charset=utf-8").body(STYLE))
}

fn events_html() -> anyhow::Result<String> {
    let examples: Map<String, Value> = serde_json::from_str(EXAMPLES)?;
    let (mut rows, mut sections) = (String::new(), String::new());
    for CatalogueEntry { message, consumers, projections, .. } in &catalogue(&declarations()) {
        let projections = projections.iter().map(|(_, projection)| projection.as_str());
        let consumers: Vec<&str> = consumers.iter().copied().chain(projections).collect();
        row(&mut rows, message, &consumers)?;
        section(&mut sections, message, &consumers, examples.get(message.message_type))?;
    }
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>Messages of the shop</title>\n\
         <link rel=\"stylesheet\" href=\"/docs/events.css\">\n</head>\n<body>\n<main>\n<h1>Messages of the shop</h1>\n\
         <p>The messages between the services, with producers and consumers (services and projections). Every message \
         arrives at least once and in any order; a consumer drops repetitions by their <code>ce-id</code>. The attributes of CloudEvents 1.0 are \
         headers, the body is JSON. For programs: <code>asyncapi.yaml</code> and <code>docs/schemas/</code> in the \
         repository. For requests: <a href=\"/docs\">the API</a>.</p>\n\
         <div class=\"wide\"><table>\n<thead><tr><th>Type</th><th>Kind</th><th>Producer</th><th>Consumers</th></tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table></div>\n{sections}</main>\n</body>\n</html>\n"
    ))
}

fn row(text: &mut String, message: &MessageInfo, consumers: &[&str]) -> std::fmt::Result {
    let MessageInfo { message_type, kind, producer, .. } = message;
    writeln!(
        text,
        "<tr><td><a href=\"#{message_type}\">{message_type}</a></td><td>{kind}</td><td>{producer}</td><td>{}</td></tr>",
        names(consumers)
    )
}

fn section(
    text: &mut String,
    message: &MessageInfo,
    consumers: &[&str],
    example: Option<&Value>,
) -> anyhow::Result<()> {
    let MessageInfo { message_type, filter, producer, description, .. } = message;
    writeln!(text, "<section id=\"{message_type}\">\n<h2>{message_type}</h2>\n<p>{}</p>", prose(description))?;
    writeln!(
        text,
        "<dl><dt>Subject</dt><dd><code>{filter}</code></dd><dt>Producer</dt><dd>{producer}</dd><dt>Consumers</dt><dd>{}</dd></dl>",
        names(consumers)
    )?;
    if let Some(example) = example {
        writeln!(text, "<pre>{}</pre>", escaped(&serde_json::to_string_pretty(example)?))?;
    }
    let schema = serde_json::to_string_pretty(&message.json_schema())?;
    writeln!(text, "<details><summary>JSON Schema</summary><pre>{}</pre></details>\n</section>", escaped(&schema))?;
    Ok(())
}

fn names(services: &[&str]) -> String {
    if services.is_empty() { "none".to_owned() } else { services.join(", ") }
}

/// Converts text with code between backticks to HTML.
fn prose(text: &str) -> String {
    let parts = text.split('`').enumerate().map(|(index, part)| match index % 2 {
        0 => escaped(part),
        _ => format!("<code>{}</code>", escaped(part)),
    });
    parts.collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
