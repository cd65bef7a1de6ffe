//! On whose behalf a flow runs: the CloudEvents Auth Context extension.
//!
//! The gateway that has verified a caller puts both attributes into the command; the library copies them from the cause
//! to everything that a handler emits. They are a record, not a permission: a consumer must not decide by them.

use std::sync::Arc;

/// The maximum length of an id, in bytes: it is in the headers of every message of the flow.
pub const MAX_ID: usize = 128;

/// The kind of a principal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuthType {
    /// A person.
    User,
    /// A program with an account of its own.
    ServiceAccount,
    /// The system itself, without a request from outside.
    System,
    /// A caller who did not sign in.
    Unauthenticated,
}

impl AuthType {
    const ALL: [Self; 4] = [Self::User, Self::ServiceAccount, Self::System, Self::Unauthenticated];

    /// Returns its name in headers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::ServiceAccount => "service_account",
            Self::System => "system",
            Self::Unauthenticated => "unauthenticated",
        }
    }
}

/// A principal. A clone allocates nothing: all messages of a batch share the id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Auth {
    /// Its kind.
    pub kind: AuthType,
    /// Its id, if it has one.
    pub id: Option<Arc<str>>,
}

impl Auth {
    /// Creates a principal; an id that no header can carry is left out.
    #[must_use]
    pub fn new(kind: AuthType, id: Option<&str>) -> Self {
        Self { kind, id: id.filter(|id| is_id(id)).map(Arc::from) }
    }

    /// Reads the two attributes of a message; `None` if the kind is unknown or the id is not one: everything caused by the
    /// message would inherit it.
    #[must_use]
    pub fn parse(kind: &str, id: Option<&str>) -> Option<Self> {
        let kind = AuthType::ALL.into_iter().find(|known| known.as_str() == kind)?;
        id.is_none_or(is_id).then(|| Self { kind, id: id.map(Arc::from) })
    }

    /// Returns it as one text, `<kind>` or `<kind>:<id>`, to be stored with a task that continues the flow later.
    #[must_use]
    pub fn to_text(&self) -> String {
        match &self.id {
            Some(id) => format!("{}:{id}", self.kind.as_str()),
            None => self.kind.as_str().to_owned(),
        }
    }

    /// Reads what [`Auth::to_text`] returned.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        match text.split_once(':') {
            Some((kind, id)) => Self::parse(kind, Some(id)),
            None => Self::parse(text, None),
        }
    }
}

fn is_id(id: &str) -> bool {
    (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_survives_its_text() {
        for kind in AuthType::ALL {
            for id in [None, Some("018f-user"), Some("a:b")] {
                let auth = Auth::new(kind, id);
                assert_eq!(Auth::from_text(&auth.to_text()), Some(auth));
            }
        }
    }

    #[test]
    fn an_unknown_kind_and_an_id_that_no_header_can_carry_are_dropped() {
        for (kind, id) in
            [("root", None), ("", None), ("user", Some("")), ("user", Some("a b")), ("user", Some("ü"))]
        {
            assert_eq!(Auth::parse(kind, id), None, "{kind} {id:?}");
        }
        assert_eq!(Auth::parse("user", Some(&"x".repeat(MAX_ID + 1))), None);
    }
}
