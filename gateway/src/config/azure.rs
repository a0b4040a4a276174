//! `[azure]`: read and checked for type; not in this version.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    metadata: Metadata,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Metadata {
    Auto,
    Off,
}

impl Default for File {
    fn default() -> Self {
        Self {
            metadata: Metadata::Auto,
        }
    }
}
