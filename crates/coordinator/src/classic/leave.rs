//! LeaveGroup: one or more members go, by themselves or by an operator's hand, with one rebalance for all.

use klamm_types::ErrorCode;

use super::change::Transient;
use super::rebalance::{drop_member, rebalance_or_complete, remove};
use super::{classic, put};
use crate::call::{CallId, Leave, LeavingMember};
use crate::draft::Draft;
use crate::history::{Happened, Removal};
use crate::reply::{Left, LeftMember, Reply};

pub(super) fn leave(draft: &mut Draft<'_>, id: CallId, call: &Leave) {
    let mut gone = Vec::new();
    let mut members = Vec::new();
    for leaving in &call.members {
        let error = leave_one(draft, leaving).err().unwrap_or(ErrorCode::None);
        if error == ErrorCode::None {
            gone.push(leaving.instance.as_deref().unwrap_or(&leaving.member));
        }
        members.push(LeftMember {
            member: leaving.member.clone(),
            instance: leaving.instance.clone(),
            error,
        });
    }
    if !gone.is_empty() && classic(draft).is_some_and(|group| !group.is_empty()) {
        rebalance_or_complete(draft, &format!("left: {}", gone.join(", ")));
    }
    let error = ErrorCode::None;
    draft.reply(id, Reply::Leave(Left { error, members }));
}

fn leave_one(draft: &mut Draft<'_>, leaving: &LeavingMember) -> Result<(), ErrorCode> {
    let group = classic(draft).ok_or(ErrorCode::UnknownMemberId)?;
    if leaving.member.is_empty() {
        let instance = leaving.instance.as_deref().ok_or(ErrorCode::UnknownMemberId)?;
        let member = group
            .static_member(instance)
            .ok_or(ErrorCode::UnknownMemberId)?
            .to_owned();
        remove(draft, &member, Removal::Administered);
        return Ok(());
    }
    let member = leaving.member.clone();
    if group.pending.contains_key(&member) {
        put(draft, Transient::PendingRemoved { member });
        return Ok(());
    }
    group.check_member(&member, leaving.instance.as_deref())?;
    drop_member(draft, &member);
    draft.history(Happened::MemberLeft {
        member,
        reason: leaving.reason.clone(),
    });
    Ok(())
}
