//! Replies about new partitions, held back until the leaders of those partitions have taken them up, so that a
//! client that was told "created" can produce at once. Bounded in time: a slow leader delays the reply, no more.

use std::collections::BTreeSet;

use klamm_schema::requests::ControllerReply;
use klamm_schema::requests::controller_reply::Reply;
use klamm_types::{Moment, NodeId, TopicId, Uuid};

use super::Step;
use super::effect::Effect;
use super::event::RequestId;
use super::sessions::Sessions;
use crate::image::{Image, Topic};

#[derive(Debug, Default)]
pub(super) struct TakeUp {
    parked: Vec<Parked>,
}

#[derive(Debug)]
struct Parked {
    id: RequestId,
    reply: ControllerReply,
    leaders: BTreeSet<NodeId>,
    deadline: Moment,
}

impl TakeUp {
    /// Sends the reply, or keeps it until the leaders of the partitions that it speaks of have taken them up.
    pub fn park(&mut self, step: &mut Step<'_>, sessions: &Sessions, id: RequestId, reply: ControllerReply) {
        let leaders = leaders_concerned(step.image, reply.reply.as_ref());
        let parked = Parked {
            id,
            reply,
            leaders,
            deadline: step.now.moment + step.settings.take_up_wait_max,
        };
        // Under a flood of creations the wait is given up, not the bound.
        if parked.is_due(step, sessions) || self.parked.len() >= step.settings.requests_max {
            let Parked { id, reply, .. } = parked;
            step.effects.push(Effect::Reply { id, reply });
        } else {
            self.parked.push(parked);
        }
    }

    /// Sends every reply whose wait is over.
    pub fn release(&mut self, step: &mut Step<'_>, sessions: &Sessions) {
        let due: Vec<Parked> = self
            .parked
            .extract_if(.., |parked| parked.is_due(step, sessions))
            .collect();
        for Parked { id, reply, .. } in due {
            step.effects.push(Effect::Reply { id, reply });
        }
    }

    /// What was decided and applied stays true when leadership is lost.
    pub fn release_all(&mut self, step: &mut Step<'_>) {
        for Parked { id, reply, .. } in self.parked.drain(..) {
            step.effects.push(Effect::Reply { id, reply });
        }
    }

    pub fn abandon(&mut self, id: RequestId) {
        self.parked.retain(|parked| parked.id != id);
    }
}

impl Parked {
    /// A leader that died meanwhile, or has no session here, is not waited for.
    fn is_due(&self, step: &Step<'_>, sessions: &Sessions) -> bool {
        let taken_up =
            |&leader: &NodeId| !step.image.is_alive(leader) || sessions.has_taken_up(leader, self.reply.applied_index);
        self.deadline <= step.now.moment || self.leaders.iter().all(taken_up)
    }
}

fn leaders_concerned(image: &Image, reply: Option<&Reply>) -> BTreeSet<NodeId> {
    let leaders = |topic: &Topic| {
        topic
            .partitions
            .iter()
            .filter_map(|state| state.leader)
            .collect::<Vec<_>>()
    };
    match reply {
        Some(Reply::CreateTopics(reply)) => {
            let created = reply.topics.iter().filter(|topic| topic.error_code == 0);
            let ids = created.filter_map(|topic| Uuid::from_slice(&topic.topic_id).map(TopicId));
            ids.filter_map(|id| image.topic(id))
                .flat_map(|topic| leaders(topic))
                .collect()
        }
        Some(Reply::CreatePartitions(reply)) => {
            let grown = reply.results.iter().filter(|topic| topic.error_code == 0);
            let topics = grown.filter_map(|topic| image.topic_by_name(&topic.name));
            topics.flat_map(|topic| leaders(topic)).collect()
        }
        _ => BTreeSet::new(),
    }
}
