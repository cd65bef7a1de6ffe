//! A client for server-sent events.

use std::collections::HashMap;
use std::time::Duration;

use reqwest::{RequestBuilder, Response};

/// A client that reads server-sent events.
pub(crate) struct Feed {
    response: Response,
    text: String,
    /// The id of the last event.
    pub(crate) last: String,
}

impl Feed {
    pub(crate) async fn open(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new(), last: String::new() }
    }

    /// Reads the next block, a comment or an event, as its fields.
    pub(crate) async fn block(&mut self, timeout: Duration) -> HashMap<String, String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let fields = block.lines().filter_map(|line| line.split_once(':'));
                let fields = fields.map(|(name, value)| (name.to_owned(), value.trim_start().to_owned())).collect();
                self.text = rest.to_owned();
                return fields;
            }
            let chunk = tokio::time::timeout(timeout, self.response.chunk()).await.expect("nothing comes");
            self.text += std::str::from_utf8(&chunk.unwrap().expect("the feed ended")).unwrap();
        }
    }
}
