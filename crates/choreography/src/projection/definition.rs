//! A projection as data.

use crate::broker::declaration::ProjectionSpec;
use crate::projection::Projection;

/// A projection without its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Definition {
    pub(crate) name: &'static str,
    pub(crate) version: u32,
    pub(crate) tables: &'static [&'static str],
    pub(crate) schema: &'static [&'static str],
}

impl Definition {
    pub(crate) const fn of<P: Projection>() -> Self {
        Self { name: P::NAME, version: P::VERSION, tables: P::TABLES, schema: P::SCHEMA }
    }

    /// Returns the name with the version: that of its consumer, such as `order-search-v1`.
    pub(crate) fn id(&self) -> String {
        id(self.name, self.version)
    }
}

/// Returns the name of a projection with its version, such as `order-search-v1`.
pub(crate) fn id(name: &str, version: u32) -> String {
    format!("{name}-v{version}")
}

/// Returns the declaration of a projection.
pub(crate) fn spec<P: Projection>() -> ProjectionSpec {
    ProjectionSpec::new::<P::Messages>(P::NAME, P::VERSION, P::EVENT_STORES)
}
