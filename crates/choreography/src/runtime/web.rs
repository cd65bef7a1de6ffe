//! The HTTP side of a service; nothing without the feature `http`.

/// The address and the routes of a service's HTTP server.
#[derive(Default)]
pub(crate) struct Web {
    /// Without an address the service serves no HTTP.
    #[cfg(feature = "http")]
    pub(crate) address: Option<std::net::SocketAddr>,
    /// The routes besides the probes and metrics.
    #[cfg(feature = "http")]
    pub(crate) routes: poem::Route,
}
