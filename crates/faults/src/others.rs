//! What runs beside the load in processes of its own, for the faults that hit clients.

use std::collections::BTreeMap;

use anyhow::Context;
use klamm_verify::{Run, Verdict};

use crate::catch_up;
use crate::client_process::ClientProcess;
use crate::fault::{Fault, Step};
use crate::members::Members;

/// Whatever of it a fault wants.
pub struct Others {
    client: Option<ClientProcess>,
    members: Option<Members>,
}

impl Others {
    pub async fn start(fault: &Fault, run: &Run) -> anyhow::Result<Others> {
        let (bootstrap, topic) = (&run.load().bootstrap, &run.load().topic);
        let admin = run.client().admin();
        if fault.steps.contains(&Step::FallBehind) {
            catch_up::create(&admin, topic).await?;
        }
        Ok(Others {
            client: match fault.with_client {
                true => Some(ClientProcess::start(bootstrap, &format!("{topic}-client")).await?),
                false => None,
            },
            members: match fault.members {
                Some(protocol) => Some(Members::start(bootstrap, topic, protocol, admin).await?),
                None => None,
            },
        })
    }

    pub fn client(&mut self) -> anyhow::Result<&mut ClientProcess> {
        let client = self.client.as_mut();
        client.context("there is no client that is a process of its own")
    }

    pub fn members(&mut self) -> anyhow::Result<&mut Members> {
        let members = self.members.as_mut();
        members.context("there are no members that are processes of their own")
    }

    /// Ends it all; what it has measured. Nothing is written to the load's topic any more.
    ///
    /// # Errors
    /// What one of them has seen is wrong.
    pub async fn finish(&mut self, verdict: &mut Verdict) -> anyhow::Result<BTreeMap<String, Vec<f64>>> {
        let mut figures = BTreeMap::new();
        if let Some(members) = self.members.take() {
            let (finding, stable_after) = members.finish().await?;
            figures.insert("stable after s".to_owned(), stable_after);
            figures.insert("came again".to_owned(), vec![finding.redelivered as f64]);
            figures.insert("read while stale".to_owned(), vec![finding.stale_reads as f64]);
        }
        if let Some(client) = self.client.take() {
            let told = client.finish().await;
            told.context("the client that is a process of its own")?
                .add_to(verdict)?;
        }
        Ok(figures)
    }
}
