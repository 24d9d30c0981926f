//! What a case is: a name, an API, the versions it is for, and what it does in one version.
//!
//! A new API is a new file under `cases` and a line in its list; while a cluster does not list the API, its cases are
//! skipped and counted.

use std::ops::RangeInclusive;

use anyhow::Result;
use klamm_wire::ApiKey;

use crate::session::Session;

type Run = Box<dyn Fn(&mut Session<'_>, i16) -> Result<()>>;

pub struct Case {
    pub name: String,
    pub api: ApiKey,
    pub versions: RangeInclusive<i16>,
    pub run: Run,
}

/// Every version that both clusters and the codec have.
pub const ALL: RangeInclusive<i16> = 0..=i16::MAX;

/// From this version on.
pub fn from(version: i16) -> RangeInclusive<i16> {
    version..=i16::MAX
}

/// Up to this version.
pub fn until(version: i16) -> RangeInclusive<i16> {
    0..=version
}

/// The cases of one API.
pub struct Cases {
    api: ApiKey,
    pub list: Vec<Case>,
}

impl Cases {
    pub fn of(api: ApiKey) -> Cases {
        Cases { api, list: Vec::new() }
    }

    /// Adds a case. It runs once in each of the versions; what it creates is shared by them.
    pub fn add(
        &mut self,
        name: impl Into<String>,
        versions: RangeInclusive<i16>,
        run: impl Fn(&mut Session<'_>, i16) -> Result<()> + 'static,
    ) {
        let name = format!("{}: {}", self.api, name.into());
        self.list.push(Case {
            name,
            api: self.api,
            versions,
            run: Box::new(run),
        });
    }
}
