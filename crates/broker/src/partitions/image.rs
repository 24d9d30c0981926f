//! Taking up a metadata image: what has changed for this broker's partitions becomes commands to their workers.
//!
//! Nothing is taken up before the image contains this broker's own registration: an older image may not know
//! partitions that lie on the disk, or may name this broker's former self. Effects come from comparing images.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError};

use klamm_metadata::Image;
use klamm_metadata::image::{Delta, PartitionState, Resource, Topic};
use klamm_replication::{BrokerState, BrokerView, PartitionView};
use klamm_types::{NodeId, PartitionId, TopicId, TopicPartition};

use super::command::{Applying, Aside, Command, Host, HostOrigin, Release, ViewChange};
use super::directory::directory_name;
use super::settings::TopicSettings;
use super::shared::Shared;

/// How an image came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageSource {
    /// From the image before, by the records of the stream: a topic that is gone was deleted.
    Records,
    /// A snapshot took the place of the image before: a topic that is gone is put aside, not deleted.
    Snapshot,
}

/// What this broker has told its workers so far.
#[derive(Default)]
pub(crate) struct Taken {
    /// The image last taken up; `None` before the first one that contains this broker's registration.
    image: Option<Arc<Image>>,
    /// Every partition that is hosted, with the name of its directory.
    hosted: HashMap<TopicPartition, Hosting>,
    /// Partitions on the disk that could not be opened.
    broken: HashSet<TopicPartition>,
    /// Partitions in which recovery has found damage, until the first registration has told of it.
    damaged: Vec<TopicPartition>,
}

struct Hosting {
    name: Arc<str>,
    view: Option<PartitionView>,
    settings: Option<Arc<TopicSettings>>,
}

impl Taken {
    /// Recovery has found the partition.
    pub fn recovered(&mut self, partition: TopicPartition, name: Arc<str>) {
        self.hosted.insert(
            partition,
            Hosting {
                name,
                view: None,
                settings: None,
            },
        );
    }

    /// Recovery has found damage in it.
    pub fn damaged(&mut self, partition: TopicPartition) {
        self.damaged.push(partition);
    }

    pub fn take_damaged(&mut self) -> Vec<TopicPartition> {
        std::mem::take(&mut self.damaged)
    }

    /// Recovery could not open it.
    pub fn broken(&mut self, partition: TopicPartition) {
        self.broken.insert(partition);
    }

    /// Takes up `image`, if it contains this broker's registration.
    pub fn take_up(&mut self, shared: &Shared, image: &Arc<Image>, source: ImageSource, applying: &Applying) {
        let node = shared.config.node;
        let registered = shared.identity().map(|identity| identity.broker_epoch);
        let before = match &self.image {
            Some(before) => Arc::clone(before),
            None if registered.is_some_and(|epoch| image.broker(node).is_some_and(|me| me.epoch == epoch)) => {
                Arc::new(Image::new())
            }
            None => return,
        };
        let first = self.image.is_none();
        let delta = image.changes_since(&before);
        self.image = Some(Arc::clone(image));
        let defaults_changed = first || delta.configs.contains(&Resource::ClusterDefaults);
        refresh_settings(shared, image, &delta, defaults_changed);
        for broker in &delta.brokers {
            shared.links.forget_failures(broker.broker);
        }
        let mut pass = Pass {
            shared,
            image,
            applying,
            source,
            node,
        };
        self.release_gone(&mut pass, &delta, first);
        let brokers_changed = delta.brokers.iter().any(|broker| {
            let standing = |state: &Option<Arc<klamm_metadata::image::BrokerState>>| {
                state
                    .as_ref()
                    .map(|state| (state.epoch, state.fenced, state.in_controlled_shutdown))
            };
            standing(&broker.before) != standing(&broker.after)
        });
        // What the image itself changes comes first: among it are the leaders that a failover waits for.
        for change in &delta.partitions {
            if let Some(topic) = image.topic(change.topic) {
                self.look(&mut pass, topic, change.partition, &change.after);
            }
        }
        for topic in &delta.topics_created {
            self.look_at_topic(&mut pass, topic);
        }
        if brokers_changed || defaults_changed {
            for topic in image.topics().values() {
                self.look_at_topic(&mut pass, topic);
            }
        } else {
            let named = delta.configs.iter().filter_map(|resource| match resource {
                Resource::Topic(name) => image.topic_by_name(name),
                Resource::Broker(_) | Resource::ClusterDefaults => None,
            });
            for topic in named {
                self.look_at_topic(&mut pass, topic);
            }
        }
    }

    fn look_at_topic(&mut self, pass: &mut Pass<'_>, topic: &Topic) {
        for (state, number) in topic.partitions.iter().zip(0..) {
            self.look(pass, topic, PartitionId(number), state);
        }
    }

    /// Compares one partition with what its worker was told.
    fn look(&mut self, pass: &mut Pass<'_>, topic: &Topic, number: PartitionId, state: &PartitionState) {
        let partition = TopicPartition {
            topic: topic.id,
            partition: number,
        };
        if !state.replicas.contains(&pass.node) {
            if self.hosted.contains_key(&partition) {
                self.release(pass, partition, pass.aside());
            }
            return;
        }
        let Some(settings) = pass.shared.topic_settings(topic.id) else {
            return;
        };
        if self.broken.contains(&partition) {
            return;
        }
        let view = view_of(pass.image, state, &settings);
        let change = |view: &PartitionView| ViewChange {
            partition,
            view: Box::new(view.clone()),
            log_config: settings.log.clone(),
            applying: Some(Arc::clone(pass.applying)),
        };
        let known = self.hosted.get(&partition).and_then(|hosting| hosting.view.as_ref());
        count_changes(pass, known, &view);
        match self.hosted.get_mut(&partition) {
            Some(hosting) => {
                let same = hosting.view.as_ref() == Some(&view) && hosting.settings.as_ref() == Some(&settings);
                if same {
                    return;
                }
                let change = Box::new(change(&view));
                if let Some(change) = pass.shared.names.update(&hosting.name, change) {
                    pass.shared.send(partition, Command::View(change));
                }
                hosting.view = Some(view);
                hosting.settings = Some(settings);
            }
            None => {
                let name: Arc<str> = directory_name(&topic.name, number).into();
                let host = Box::new(Host {
                    partition,
                    name: Arc::clone(&name),
                    origin: HostOrigin::New,
                    view: Some(change(&view)),
                    log_config: settings.log.clone(),
                    applying: Some(Arc::clone(pass.applying)),
                });
                if let Some(host) = pass.shared.names.claim(host) {
                    pass.shared.send(partition, Command::Host(host));
                }
                self.hosted.insert(
                    partition,
                    Hosting {
                        name,
                        view: Some(view),
                        settings: Some(settings),
                    },
                );
            }
        }
    }

    /// Lets go of partitions whose topic is gone; at first, of all that the metadata does not know.
    fn release_gone(&mut self, pass: &mut Pass<'_>, delta: &Delta, first: bool) {
        let deleted: HashSet<TopicId> = delta.topics_deleted.iter().map(|topic| topic.id).collect();
        let unknown = |partition: &TopicPartition| {
            pass.image.partition(partition.topic, partition.partition).is_none()
                && (first || deleted.contains(&partition.topic))
        };
        let gone: Vec<TopicPartition> = self
            .hosted
            .keys()
            .filter(|partition| unknown(partition))
            .copied()
            .collect();
        let aside = if first { Aside::Stray } else { pass.aside() };
        for partition in gone {
            self.release(pass, partition, aside);
        }
    }

    fn release(&mut self, pass: &mut Pass<'_>, partition: TopicPartition, aside: Aside) {
        let Some(hosting) = self.hosted.remove(&partition) else {
            return;
        };
        let release = Box::new(Release {
            partition,
            aside,
            applying: Some(Arc::clone(pass.applying)),
        });
        if let Some(release) = pass.shared.names.forget(&hosting.name, release) {
            pass.shared.send(partition, Command::Release(release));
        }
    }
}

/// What one pass over an image needs.
struct Pass<'a> {
    shared: &'a Shared,
    image: &'a Arc<Image>,
    applying: &'a Applying,
    source: ImageSource,
    node: NodeId,
}

impl Pass<'_> {
    fn aside(&self) -> Aside {
        match self.source {
            ImageSource::Records => Aside::Delete,
            ImageSource::Snapshot => Aside::Stray,
        }
    }
}

/// One partition as the replication core wants to see it.
/// Counts what has changed in a partition that this broker leads.
fn count_changes(pass: &Pass<'_>, known: Option<&PartitionView>, view: &PartitionView) {
    if view.leader != Some(pass.node) {
        return;
    }
    let metrics = &pass.shared.metrics;
    if known.is_none_or(|known| known.leader_epoch != view.leader_epoch) {
        metrics.leaderships.add(1);
    }
    if let Some(known) = known {
        metrics.isr_shrinks.add(u64::from(!known.isr.is_subset(&view.isr)));
        metrics.isr_expands.add(u64::from(!view.isr.is_subset(&known.isr)));
    }
}

fn view_of(image: &Image, state: &PartitionState, settings: &TopicSettings) -> PartitionView {
    let broker = |&node: &NodeId| {
        let broker = image.broker(node)?;
        let active = !broker.fenced && !broker.in_controlled_shutdown;
        let standing = if active {
            BrokerState::Active
        } else {
            BrokerState::Fenced
        };
        Some((
            node,
            BrokerView {
                epoch: broker.epoch,
                state: standing,
            },
        ))
    };
    PartitionView {
        replicas: state.replicas.clone(),
        isr: state.isr.iter().copied().collect(),
        elr: state.elr.iter().copied().collect(),
        leader: state.leader,
        leader_epoch: state.leader_epoch,
        partition_epoch: state.partition_epoch,
        brokers: state.replicas.iter().filter_map(broker).collect(),
        settings: settings.replication,
    }
}

/// Resolves the settings of the topics concerned anew.
fn refresh_settings(shared: &Shared, image: &Image, delta: &Delta, all: bool) {
    let tail = shared.config.tail_bytes_max;
    let resolve = |topic: &Topic| (topic.id, Arc::new(TopicSettings::of(image, &topic.name, tail)));
    let fresh: Vec<_> = if all {
        image.topics().values().map(|topic| resolve(topic)).collect()
    } else {
        let named = delta.configs.iter().filter_map(|resource| match resource {
            Resource::Topic(name) => image.topic_by_name(name),
            Resource::Broker(_) | Resource::ClusterDefaults => None,
        });
        delta
            .topics_created
            .iter()
            .chain(named)
            .map(|topic| resolve(topic))
            .collect()
    };
    let mut settings = shared.settings.write().unwrap_or_else(PoisonError::into_inner);
    for topic in &delta.topics_deleted {
        settings.remove(&topic.id);
    }
    settings.extend(fresh);
}
