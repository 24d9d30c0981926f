//! Clients of the quorum: each asks one thing after another, the first only reads; an operator changes the voters.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use klamm_schema::requests::UnregisterBrokerRequest;
use klamm_schema::requests::controller_reply::Reply;
use klamm_schema::requests::controller_request::Request;
use klamm_types::{Incarnation, NodeId};
use tokio::time::sleep;

use super::history::{History, Kind};
use super::{below, number};
use crate::tests::harness::registration;
use crate::{ControllerClient, NodeIdentity, VoterAction, VoterChange};

/// No broker has this number.
const NOBODY: i32 = 2_000_000;

#[derive(Clone)]
pub struct Client {
    pub number: u32,
    pub controllers: BTreeMap<NodeId, String>,
    pub history: Rc<RefCell<History>>,
    pub stopping: Rc<Cell<bool>>,
}

impl Client {
    fn connect(&self) -> ControllerClient {
        let id = NodeId(1_000_000 + self.number as i32);
        let identity = NodeIdentity::new(id, Incarnation::from_u128(number()), None);
        ControllerClient::new(self.controllers.clone(), identity).expect("the addresses are well-formed")
    }

    pub async fn run(self) -> turmoil::Result {
        let client = self.connect();
        let mut broker = 1_000 * self.number as i32;
        while !self.stopping.get() {
            sleep(Duration::from_millis(below(100))).await;
            broker += 1;
            let (kind, request) = self.draw(broker);
            let asked = self.history.borrow_mut().ask(kind);
            let answer = client.submit(request, Duration::from_millis(500 + below(2_000))).await;
            let Ok(reply) = answer else { continue };
            let decided = match &reply.reply {
                Some(Reply::RegisterBroker(_) | Reply::UnregisterBroker(_)) => reply.error_code == 0,
                _ => false,
            };
            if decided {
                self.history.borrow_mut().hear(asked, reply.applied_index);
            }
        }
        Ok(())
    }

    fn draw(&self, broker: i32) -> (Kind, Request) {
        if self.number == 1 || below(4) == 0 {
            return (
                Kind::Read,
                Request::UnregisterBroker(UnregisterBrokerRequest { broker: NOBODY }),
            );
        }
        let incarnation: u128 = number();
        (
            Kind::Write(Incarnation::from_u128(incarnation)),
            registration(broker, incarnation, "nowhere:1"),
        )
    }

    /// Adds and removes voters at random, but never below three: a removal whose outcome is not known may come yet.
    pub async fn operate(self, nodes: Vec<NodeId>) -> turmoil::Result {
        let client = self.connect();
        let mut removed_perhaps = BTreeSet::new();
        while !self.stopping.get() {
            sleep(Duration::from_millis(300 + below(1_500))).await;
            let Ok(quorum) = client.describe_quorum(Duration::from_secs(1)).await else {
                continue;
            };
            let voters: Vec<NodeId> = quorum
                .members
                .iter()
                .filter(|member| member.is_voter)
                .map(|member| member.node_id)
                .collect();
            let staying = voters.iter().filter(|id| !removed_perhaps.contains(*id)).count();
            let node_id = nodes[below(nodes.len() as u64) as usize];
            let action = match voters.contains(&node_id) {
                false => VoterAction::Add,
                true if staying > 3 => VoterAction::Remove,
                true => continue,
            };
            let change = VoterChange {
                node_id,
                store_id: None,
                action,
            };
            let result = client.change_voters(change, Duration::from_secs(3)).await;
            match (action, result.is_ok()) {
                (VoterAction::Add, true) => removed_perhaps.remove(&node_id),
                (VoterAction::Remove, _) => removed_perhaps.insert(node_id),
                (VoterAction::Add, false) => false,
            };
            let mut history = self.history.borrow_mut();
            history.voter_changes += u64::from(result.is_ok());
            let outcome = result.map_or_else(|error| error.to_string(), |()| "done".into());
            history.timeline.say(format!("{action:?} voter {node_id}: {outcome}"));
        }
        Ok(())
    }
}
