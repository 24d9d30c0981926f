//! The finalized features: what a new cluster starts with, and how levels are raised.

use klamm_schema::id_bytes;
use klamm_schema::metadata::metadata_record::Record;
use klamm_schema::metadata::{ClusterIdentity, FeatureLevel};
use klamm_schema::requests::{FeatureUpdate, UpdateFeaturesReply, UpdateFeaturesRequest, UpgradeType};
use klamm_types::{ClusterId, ErrorCode};

use super::overlay::{Overlay, Refusal, error_fields};
use crate::feature::{FEATURES, METADATA_LEVEL, METADATA_LEVEL_MAX};

/// Writes what an empty quorum lacks: the cluster id (drawn at random if none is given) and the metadata level.
/// Says whether records were written.
pub fn bootstrap(overlay: &mut Overlay, given: Option<ClusterId>) -> bool {
    let mut wrote = false;
    if overlay.image().cluster_id().is_none() {
        let id = given.unwrap_or_else(|| ClusterId::from_u128(overlay.random_u128()));
        let cluster_id = id_bytes(id.as_bytes());
        overlay.write(Record::ClusterIdentity(ClusterIdentity { cluster_id }));
        wrote = true;
    }
    if overlay.image().metadata_level() == 0 {
        overlay.write(Record::FeatureLevel(FeatureLevel {
            name: METADATA_LEVEL.to_string(),
            level: METADATA_LEVEL_MAX,
        }));
        wrote = true;
    }
    wrote
}

pub(super) fn update_features(overlay: &mut Overlay, request: &UpdateFeaturesRequest) -> UpdateFeaturesReply {
    let checked: Result<Vec<()>, Refusal> = request.updates.iter().map(|update| check(overlay, update)).collect();
    if checked.is_ok() && !request.validate_only {
        for update in &request.updates {
            if overlay.image().features().get(&update.name).copied().unwrap_or(0) != update.max_level {
                overlay.write(Record::FeatureLevel(FeatureLevel {
                    name: update.name.clone(),
                    level: update.max_level,
                }));
            }
        }
    }
    let (error_code, error_message) = error_fields(&checked);
    UpdateFeaturesReply {
        error_code,
        error_message,
    }
}

fn check(overlay: &Overlay, update: &FeatureUpdate) -> Result<(), Refusal> {
    let refuse = |code, text: String| Err(Refusal::new(code, text));
    let name = &update.name;
    let level = update.max_level;
    let Some(feature) = FEATURES.iter().find(|feature| feature.name == *name) else {
        return refuse(ErrorCode::InvalidUpdateVersion, format!("there is no feature {name}"));
    };
    if !(feature.min_level..=feature.max_level).contains(&level) {
        let text = format!(
            "{name} has levels {} to {}, not {level}",
            feature.min_level, feature.max_level
        );
        return refuse(ErrorCode::InvalidUpdateVersion, text);
    }
    let current = overlay.image().features().get(name).copied().unwrap_or(0);
    let downgrade = matches!(
        update.upgrade_type(),
        UpgradeType::SafeDowngrade | UpgradeType::UnsafeDowngrade
    );
    if level < current && !downgrade {
        let text = format!("{name} is at level {current}; going down to {level} needs a downgrade request");
        return refuse(ErrorCode::InvalidUpdateVersion, text);
    }
    if level > current && downgrade {
        let text = format!("{name} is at level {current}; {level} is no downgrade");
        return refuse(ErrorCode::InvalidUpdateVersion, text);
    }
    for (id, broker) in overlay.image().brokers() {
        let range = broker.features.iter().find(|range| range.name == *name);
        if !range.is_some_and(|range| (range.min_level..=range.max_level).contains(&level)) {
            let text = format!("broker {id} does not know level {level} of {name}");
            return refuse(ErrorCode::FeatureUpdateFailed, text);
        }
    }
    Ok(())
}
