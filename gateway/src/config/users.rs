//! `[users]`: the user file, asked when there is no RADIUS server.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    file: Option<PathBuf>,
}

/// Where users are, when RADIUS does not know them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Users {
    /// Nowhere: RADIUS alone.
    None,
    /// The shown ones of `serve --dev`.
    Shown,
    /// In this file.
    File(PathBuf),
}

pub(super) fn check(file: File) -> Users {
    let File { file } = file;
    file.map_or(Users::None, Users::File)
}
