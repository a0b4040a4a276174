//! `[filters.*]`: read and checked for type; not in this version.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    allow: Vec<String>,
    deny: Vec<String>,
}
