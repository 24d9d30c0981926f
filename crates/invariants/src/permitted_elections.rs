//! I15: an election that may lose records happens only where it is allowed.

use crate::{Broken, Invariant, broken};

/// Whether a topic may be given a leader that lacks committed records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// `unclean.leader.election.enable`, or an operator's word.
    Given,
    Refused,
}

/// An unclean election has been decided; `which` says which.
///
/// # Errors
/// The topic does not allow it.
pub fn permitted_elections(permission: Permission, which: &str) -> Result<(), Broken> {
    match permission {
        Permission::Given => Ok(()),
        Permission::Refused => {
            let what = format!("an election that the topic does not allow: {which}");
            broken(Invariant::PermittedElections, what)
        }
    }
}
