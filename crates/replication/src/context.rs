//! What a role may touch during one step.

use klamm_types::{BrokerEpoch, NodeId};

use crate::effect::Effect;
use crate::event::Now;
use crate::log_state::LogState;
use crate::refused::RefusedBatches;
use crate::view::Limits;

pub(crate) struct Context<'a> {
    pub now: Now,
    pub me: NodeId,
    /// This broker's registration, as its image shows it.
    pub broker_epoch: BrokerEpoch,
    pub limits: &'a Limits,
    pub log: &'a mut LogState,
    pub refused: &'a mut RefusedBatches,
    /// The last AlterPartition attempt given out by this replica.
    pub attempts: &'a mut u64,
    /// The last subscription number given out by this replica.
    pub subscriptions: &'a mut u64,
    pub effects: &'a mut Vec<Effect>,
}
