//! The table of settings. The struct, the reference and the example file all come from it.

use std::net::IpAddr;
use std::path::PathBuf;

use super::address::{ControllerAddress, Listener, NamedAddress, Role, split_host_port};
use super::value::{Ratio, Value};

/// One setting, as the reference shows it.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub key: &'static str,
    pub kind: fn() -> &'static str,
    pub unit: &'static str,
    pub default: fn() -> String,
    pub bounds: &'static str,
    pub text: &'static str,
}

macro_rules! settings {
    ($($(#[doc = $text:literal])* $key:ident: $type:ty = $default:expr, $unit:literal, $bounds:literal,
       $check:expr;)*) => {
        /// Everything a node is told at its start. Read-only afterwards.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct NodeConfig {
            $($(#[doc = $text])* pub $key: $type,)*
        }

        impl Default for NodeConfig {
            fn default() -> Self {
                Self { $($key: $default,)* }
            }
        }

        /// Every setting, in the order of the reference.
        pub const SETTINGS: &[Setting] = &[$(Setting {
            key: stringify!($key),
            kind: || <$type as Value>::TYPE,
            unit: $unit,
            default: || { let value: $type = $default; Value::show(&value) },
            bounds: $bounds,
            text: concat!($($text),*),
        },)*];

        impl NodeConfig {
            /// Sets one key from text. `Ok(false)`: there is no such key.
            pub(super) fn set(&mut self, key: &str, text: &str) -> Result<bool, String> {
                $(if key == stringify!($key) {
                    let value: $type = Value::parse(text)?;
                    let check: fn(&$type) -> bool = $check;
                    if !check(&value) {
                        return Err(format!("expected {}", $bounds));
                    }
                    self.$key = value;
                    return Ok(true);
                })*
                Ok(false)
            }

            /// The value of every key as text, in the order of the table.
            pub fn values(&self) -> Vec<(&'static str, String)> {
                vec![$((stringify!($key), Value::show(&self.$key)),)*]
            }
        }
    };
}

settings! {
    /// This node's number, unique in the cluster, the same for ever.
    node_id: i32 = 0, "", "0 or more", |&id| id >= 0;
    /// What this process does: broker, controller or both.
    roles: Vec<Role> = vec![Role::Broker, Role::Controller], "", "at least one of broker, controller",
        |roles| !roles.is_empty();
    /// The cluster to belong to. Empty: agreed at the first start, kept in the data directory.
    cluster_id: String = String::new(), "", "empty or 22 characters of URL-safe base64",
        |id| id.is_empty() || id.parse::<klamm_types::ClusterId>().is_ok();
    /// Where this node keeps everything it must not forget.
    data_dir: PathBuf = PathBuf::from("klamm-data"), "", "a path", |_| true;
    /// The voters of the controller quorum at the first start, as ID@HOST:PORT of their gRPC addresses.
    controllers: Vec<ControllerAddress> = Vec::new(), "", "at least one", |list| !list.is_empty();
    /// Where Kafka clients connect: NAME://HOST:PORT, one or more.
    listeners: Vec<NamedAddress> = vec![NamedAddress { name: "HOST".to_owned(), host: "0.0.0.0".to_owned(), port: 9092 }],
        "", "at least one, each name once", |list| distinct(list) && !list.is_empty();
    /// What clients of a listener are told, by listener name. Unset: the address at which the connection arrived; other
    /// brokers tell the address bound to, or the host of this node's gRPC address.
    advertised_listeners: Vec<NamedAddress> = Vec::new(), "", "each name once", |list| distinct(list);
    /// Where other nodes reach this one by gRPC: HOST:PORT to bind.
    grpc_bind: String = "0.0.0.0:9190".to_owned(), "", "HOST:PORT", |text| is_host_port(text);
    /// What other nodes are told to dial for gRPC. Empty: the entry of this node in controllers, else grpc_bind.
    grpc_advertised: String = String::new(), "", "empty or HOST:PORT", |text| text.is_empty() || is_host_port(text);
    /// Where metrics, health and explanations are served by HTTP: HOST:PORT to bind.
    http_bind: String = "0.0.0.0:7080".to_owned(), "", "HOST:PORT", |text| is_host_port(text);
    /// The rack of this node; replicas of a partition are spread over racks.
    rack: Option<String> = None, "", "text", |_| true;
    /// Free space on the data directory's disk below which a warning is given; at most a fifth of the disk.
    disk_low_bytes: u64 = 5 << 30, "bytes", "0 or more", |_| true;
    /// Free space below which producers are refused until there is room; at most a tenth of the disk.
    disk_full_bytes: u64 = 1 << 30, "bytes", "at most disk_low_bytes", |_| true;
    /// Free space below which nothing is appended at all; at most a twentieth of the disk.
    disk_read_only_bytes: u64 = 512 << 20, "bytes", "at most disk_full_bytes", |_| true;
    /// Space that is kept free by a file, for what is under way when the disk runs full; at most a fiftieth of the disk.
    disk_reserve_bytes: u64 = 32 << 20, "bytes", "0 or more", |_| true;
    /// Threads that own partitions: appends and decisions. 0: one per core, at most four.
    partition_threads: usize = 0, "threads", "0 to 64", |&count| count <= 64;
    /// Threads that flush logs to the disk.
    flush_threads: usize = 4, "threads", "1 to 64", |&count| (1..=64).contains(&count);
    /// What leaders may send this node to catch up with after it was away, over all partitions. 0: as fast as it goes.
    /// A replica that would so fall further behind is not held back.
    catch_up_bytes_per_second_max: u64 = 100 << 20, "bytes/s", "0, or 1048576 or more", |&rate| rate == 0 || rate >= 1 << 20;
    /// The share of the time in which this node's disk flushes what it catches up; others have the rest. 100: no pause.
    catch_up_disk_percent: u32 = 50, "%", "1 to 100", |&percent| (1..=100).contains(&percent);
    /// Threads for cold reads, recovery and retention.
    background_threads: usize = 2, "threads", "1 to 64", |&count| (1..=64).contains(&count);
    /// Produced batches that may wait in front of one partition thread; further ones wait in their connections.
    partition_queue_bytes_max: usize = 64 << 20, "bytes", "1048576 or more", |&bytes| bytes >= 1 << 20;
    /// Replicated batches that may wait in front of one partition thread, over all leaders.
    replica_queue_bytes_max: usize = 64 << 20, "bytes", "1048576 or more", |&bytes| bytes >= 1 << 20;
    /// Memory for recent batches of one partition, so that followers and tail readers need no file.
    tail_bytes_per_partition: usize = 1 << 20, "bytes", "65536 or more", |&bytes| bytes >= 65_536;
    /// The largest request a client may send.
    socket_request_bytes_max: usize = 104_857_600, "bytes", "1024 to 1073741824",
        |&bytes| (1024..=1_073_741_824).contains(&bytes);
    /// Memory for requests being read or answered, over all connections.
    request_memory_bytes_max: usize = 512 << 20, "bytes", "1048576 or more", |&bytes| bytes >= 1 << 20;
    /// Client connections over all listeners; further ones are closed at once.
    connections_max: usize = 20_000, "connections", "1 or more", |&count| count > 0;
    /// A connection without a request for so long is closed.
    connections_idle_ms_max: u64 = 600_000, "ms", "1000 or more", |&ms| ms >= 1000;
    /// How often logs are looked at for segments past their retention.
    retention_check_interval_ms: u64 = 300_000, "ms", "100 or more", |&ms| ms >= 100;
    /// How often the recovery point and the other checkpoints are written.
    checkpoint_interval_ms: u64 = 3_000, "ms", "50 or more", |&ms| ms >= 50;
    /// Partitions of the topic that keeps groups and their offsets; counts when the topic is created.
    offsets_topic_num_partitions: i32 = 50, "partitions", "1 to 10000", |&count| (1..=10_000).contains(&count);
    /// Replicas of that topic; never more than there are brokers when it is created.
    offsets_topic_replication_factor: i32 = 3, "replicas", "1 to 32767", |&count| (1..=32_767).contains(&count);
    /// How long a commit may take before its caller is told that the outcome is not known; as in Kafka, of groups too.
    offsets_commit_timeout_ms: u64 = 5_000, "ms", "1 or more", |&ms| ms > 0;
    /// How long committed offsets are kept after their group has become empty, or after the commit of a client without a group.
    offsets_retention_minutes: u64 = 10_080, "minutes", "1 to 2147483647", |&minutes| (1..=2_147_483_647).contains(&minutes);
    /// How often offsets past their retention are looked for.
    offsets_retention_check_interval_ms: u64 = 600_000, "ms", "1 or more", |&ms| ms > 0;
    /// The longest text that a client may store with an offset.
    offset_metadata_max_bytes: usize = 4096, "bytes", "0 or more", |_| true;
    /// The shortest session that a member of a classic group may ask for.
    group_min_session_timeout_ms: u64 = 6_000, "ms", "1 or more", |&ms| ms > 0;
    /// The longest session that a member of a classic group may ask for.
    group_max_session_timeout_ms: u64 = 1_800_000, "ms", "1 or more", |&ms| ms > 0;
    /// The members of a classic group; further ones are refused.
    group_max_size: usize = i32::MAX as usize, "members", "1 or more", |&count| count > 0;
    /// How long a member of a KIP-848 group may be silent.
    group_consumer_session_timeout_ms: u64 = 45_000, "ms", "1 or more", |&ms| ms > 0;
    /// How often members of a KIP-848 group are asked to report at least.
    group_consumer_heartbeat_interval_ms: u64 = 5_000, "ms", "1 or more", |&ms| ms > 0;
    /// How often they are asked to report while the group is reconciling.
    group_consumer_reconcile_interval_ms: u64 = 100, "ms", "1 or more", |&ms| ms > 0;
    /// How often members of a KIP-848 group of 200 members or fewer are asked to report at least.
    group_consumer_resting_interval_ms: u64 = 1_000, "ms", "1 or more", |&ms| ms > 0;
    /// The members of a KIP-848 group; further ones are refused.
    group_consumer_max_size: usize = i32::MAX as usize, "members", "1 or more", |&count| count > 0;
    /// A KIP-848 group is assigned at most once in so long. 0: as soon as something changes.
    group_consumer_assignment_interval_ms: u64 = 0, "ms", "0 to 15000", |&ms| ms <= 15_000;
    /// What the history of a group keeps: its last joins, leaves, removals and rebalances.
    group_history_entries: u32 = 200, "entries", "1 to 100000", |&count| (1..=100_000).contains(&count);
    /// How long they are kept.
    group_history_retention_minutes: u64 = 43_200, "minutes", "1 to 2147483647", |&minutes| (1..=2_147_483_647).contains(&minutes);
    /// How long a partition with committed offsets may be without an owner in a group with members before a warning.
    group_unowned_warning_ms: u64 = 60_000, "ms", "1000 or more", |&ms| ms >= 1000;
    /// A collector that takes traces by OTLP over gRPC, usually at port 4317. Empty: no traces are made.
    otlp_endpoint: String = String::new(), "", "empty or http://HOST:PORT",
        |text| text.is_empty() || text.strip_prefix("http://").is_some_and(is_host_port);
    /// The part of Kafka requests that is traced, if there is a collector.
    otlp_sampling_ratio: Ratio = Ratio::WHOLE, "", "0 to 1", |_| true;
    /// What is logged: error, warn, info, debug, trace, or a filter by module.
    log_level: String = "info".to_owned(), "", "a filter", |_| true;
    /// How it is logged: text or json.
    log_format: String = "text".to_owned(), "", "text or json", |format| format == "text" || format == "json";
}

impl NodeConfig {
    pub fn has_role(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Each listener with what its clients are told.
    pub fn resolved_listeners(&self) -> Vec<Listener> {
        let resolve = |bind: &NamedAddress| {
            let advertised = self
                .advertised_listeners
                .iter()
                .find(|address| address.name == bind.name);
            Listener {
                name: bind.name.clone(),
                bind_host: bind.host.clone(),
                bind_port: bind.port,
                advertised_host: advertised.map(|address| address.host.clone()),
                advertised_port: advertised.map_or(bind.port, |address| address.port),
            }
        };
        self.listeners.iter().map(resolve).collect()
    }

    /// What other brokers tell their clients of a listener of this one that is bound to `bound` and advertises nothing:
    /// the address it is bound to, or else where the other nodes reach this one. `host_name` is this machine's.
    ///
    /// Empty where the nodes reach each other by loopback. Then they share a machine, and whichever address a client
    /// came by is right for all of them.
    pub fn registered_host(&self, bound: IpAddr, host_name: &str) -> String {
        if !bound.is_unspecified() {
            return bound.to_canonical().to_string();
        }
        let grpc = split_host_port(&self.grpc_address()).map(|(host, _)| host);
        let ip = |host: &str| host.parse::<IpAddr>().map(|ip| ip.to_canonical());
        match grpc {
            Some(host) if host == "localhost" || ip(&host).is_ok_and(|ip| ip.is_loopback()) => String::new(),
            Some(host) if !ip(&host).is_ok_and(|ip| ip.is_unspecified()) => host,
            _ => host_name.to_owned(),
        }
    }

    /// The gRPC address that other nodes are told.
    pub fn grpc_address(&self) -> String {
        if !self.grpc_advertised.is_empty() {
            return self.grpc_advertised.clone();
        }
        let own = self.controllers.iter().find(|address| address.node.0 == self.node_id);
        own.map_or_else(|| self.grpc_bind.clone(), ControllerAddress::authority)
    }
}

fn distinct(list: &[NamedAddress]) -> bool {
    list.iter()
        .enumerate()
        .all(|(index, one)| list[..index].iter().all(|other| other.name != one.name))
}

fn is_host_port(text: &str) -> bool {
    split_host_port(text).is_some()
}
