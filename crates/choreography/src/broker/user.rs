//! The users of services at nats-server, with the permissions that follow from their declarations.

use std::collections::HashSet;
use std::fmt;

use crate::broker::declaration::{Declaration, DeclarationError, history_subject};
use crate::broker::topology::{ConsumerSpec, DEAD_LETTERS, Topology};
use crate::wire::message::Kind;

/// The user of a service, with its permissions.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NatsUser {
    /// The name, that of the service.
    pub name: &'static str,
    /// The subjects that it may publish on.
    pub publish: Vec<String>,
    /// The subjects that it may subscribe to.
    pub subscribe: Vec<String>,
}

impl fmt::Display for NatsUser {
    /// Formats a user in the `users` of `nats.conf`. The password comes from an environment variable of nats-server, such
    /// as `$ORDER_SERVICE_PASSWORD`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, name: &str, subjects: &[String]| {
            writeln!(f, "    {name}: {{ allow: [")?;
            subjects.iter().try_for_each(|subject| writeln!(f, "      \"{subject}\","))?;
            writeln!(f, "    ] }}")
        };
        let password = self.name.to_uppercase().replace('-', "_");
        writeln!(f, "{{\n  user: {}, password: ${password}_PASSWORD\n  permissions: {{", self.name)?;
        list(f, "publish", &self.publish)?;
        list(f, "subscribe", &self.subscribe)?;
        // A responder may reply on the reply subject of a request that it received, and only there.
        write!(f, "    allow_responses: true\n  }}\n}}")
    }
}

impl Declaration {
    /// Returns the user of the service at nats-server, with the permissions that it needs, and no more. It prints as a
    /// user of `nats.conf`.
    ///
    /// # Errors
    ///
    /// [`DeclarationError`].
    pub fn user(&self, topology: &Topology) -> Result<NatsUser, DeclarationError> {
        let service = self.service();
        let mut publish = Vec::new();
        for info in self.published() {
            let subject = match info.kind {
                Kind::Event => format!("{}.event.>", info.context),
                Kind::Timer => format!("{}.schedule.>", info.context),
                Kind::Command => info.filter.to_owned(),
            };
            if !publish.contains(&subject) {
                publish.push(subject);
            }
        }
        publish.extend([format!("dead-letter.{service}.>"), format!("$JS.API.DIRECT.GET.{DEAD_LETTERS}")]);
        let consumers = self.consumers(topology)?;
        for ConsumerSpec { stream, .. } in &consumers {
            publish.extend([
                format!("$JS.API.CONSUMER.INFO.{stream}.{service}"),
                format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{service}"),
                format!("$JS.ACK.{stream}.{service}.>"),
                format!("$JS.ACK.*.*.{stream}.{service}.>"),
            ]);
        }
        // At start it checks the streams that it consumes, and those that store what it publishes.
        let mut streams: Vec<&str> = consumers.iter().map(|consumer| consumer.stream.as_str()).collect();
        streams.extend(self.published_streams(topology)?.keys());
        let mut projected = Vec::new();
        for projection in self.projections() {
            let stream = self.projection_stream(projection, topology)?;
            let verbs = ["CREATE", "DELETE", "INFO", "MSG.NEXT"];
            publish.extend(verbs.map(|verb| format!("$JS.API.CONSUMER.{verb}.{stream}.{}", projection.consumer)));
            let histories = projection.event_stores.iter().map(|context| history_subject(context));
            publish.extend(histories.filter(|subject| !publish.contains(subject)).collect::<Vec<_>>());
            // The message at its position: whether the stream has returned to an earlier state.
            publish.push(format!("$JS.API.DIRECT.GET.{stream}"));
            projected.push(stream);
        }
        streams.extend(projected.iter().map(String::as_str));
        streams.sort_unstable();
        streams.dedup();
        publish.extend(streams.iter().map(|stream| format!("$JS.API.STREAM.INFO.{stream}")));
        publish.extend(self.read_streams.iter().map(|stream| format!("$JS.API.DIRECT.GET.{stream}")));
        publish.extend(self.requests.iter().cloned());
        let mut listed = HashSet::new();
        publish.retain(|subject| listed.insert(subject.clone()));
        let mut subscribe = vec![format!("_INBOX_{service}.>")];
        subscribe.extend(self.subscribed.iter().cloned());
        subscribe.extend([format!("admin.{service}.>"), "$SRV.>".to_owned()]);
        Ok(NatsUser { name: service, publish, subscribe })
    }
}
