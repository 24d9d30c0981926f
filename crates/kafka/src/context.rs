//! What a request is answered with besides itself: the broker, the settings, and through which listener it came.

use std::net::SocketAddr;
use std::sync::Arc;

use klamm_broker::backend::Backend;
use klamm_broker::metadata::Image;
use klamm_trace::Tracer;

use crate::auto_create::AutoCreate;
use crate::metrics::Metrics;
use crate::net::Budget;
use crate::settings::Settings;

/// Shared by all connections.
pub(crate) struct Shared {
    pub backend: Arc<dyn Backend>,
    pub settings: Settings,
    pub budget: Budget,
    pub auto_create: AutoCreate,
    pub metrics: Arc<Metrics>,
    pub tracer: Tracer,
}

impl Shared {
    pub fn new(backend: Arc<dyn Backend>, settings: Settings, metrics: Arc<Metrics>) -> Self {
        // One request of the largest size must fit, or it would wait for ever.
        let memory = settings
            .request_memory_bytes_max
            .max(settings.request_bytes_max.saturating_add(8192));
        let budget = Budget::new(memory, settings.request_memory_wait_max);
        Self {
            tracer: backend.tracer(),
            backend,
            settings,
            budget,
            auto_create: AutoCreate::default(),
            metrics,
        }
    }
}

/// A listener, as its clients are to see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listener {
    pub name: String,
    pub advertised_host: Option<String>,
    pub advertised_port: u16,
}

/// One connected client.
pub(crate) struct Client {
    pub shared: Arc<Shared>,
    pub listener: Arc<Listener>,
    /// The address at which the connection arrived.
    pub local: SocketAddr,
    /// The address that it came from.
    pub peer: SocketAddr,
}

impl Client {
    pub fn backend(&self) -> &dyn Backend {
        self.shared.backend.as_ref()
    }

    pub fn image(&self) -> Arc<Image> {
        self.shared.backend.image()
    }
}
