//! What a broker speaks.

use klamm_types::NodeId;

use super::{Admin, AdminError};

/// One API that a broker offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiVersions {
    /// Kafka's number for the API.
    pub key: i16,
    /// Its name, if this client knows it.
    pub name: Option<&'static str>,
    pub min: i16,
    pub max: i16,
    /// The version that this client uses with the broker; `None` if they have none in common.
    pub used: Option<i16>,
}

impl Admin {
    /// The APIs that a broker offers, by their numbers.
    ///
    /// ```
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// # let cluster = klamm_testkit::Cluster::start().await?;
    /// # let client = klamm_client::Client::connect(klamm_client::ClientConfig::new(cluster.bootstrap())).await?;
    /// let apis = client.admin().api_versions(klamm_client::NodeId(1)).await?;
    /// for api in &apis {
    ///     println!("{}: {} to {}", api.name.unwrap_or("unknown"), api.min, api.max);
    /// }
    /// # assert!(!apis.is_empty());
    /// # cluster.stop().await;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The broker is not known or cannot be reached.
    pub async fn api_versions(&self, node: NodeId) -> Result<Vec<ApiVersions>, AdminError> {
        let asked = self.client.connection(node).await;
        let connection = asked.map_err(|cause| AdminError::Request {
            api: klamm_wire::ApiKey::ApiVersions,
            cause,
        })?;
        let versions = connection.versions();
        let entry = |(key, range): (i16, klamm_wire::VersionRange)| {
            let known = klamm_wire::ApiKey::from_code(key);
            ApiVersions {
                key,
                name: known.map(klamm_wire::ApiKey::name),
                min: range.min,
                max: range.max,
                used: known.and_then(|known| versions.choose(known)),
            }
        };
        Ok(versions.ranges().map(entry).collect())
    }
}
