//! The files of TLS, looked at again while the broker runs.

use std::path::PathBuf;

use super::settings::TlsConfig;
use crate::auth::identity::FileState;

/// The files, as they were at the last look.
#[derive(Default)]
pub(crate) struct WatchedTls {
    files: Vec<WatchedPath>,
    mistakes: Vec<String>,
}

struct WatchedPath {
    path: PathBuf,
    state: FileState,
    /// Whether another change would have given another state.
    is_settled: bool,
}

impl WatchedTls {
    /// Looks at the files for the first time. Before they are read: a change in between is seen later.
    pub(crate) fn new(config: &TlsConfig) -> Self {
        let paths = match config.is_on() {
            true => config.files(),
            false => Vec::new(),
        };
        let files = paths.into_iter().map(|path| {
            let (state, is_settled) = FileState::see(&path);
            WatchedPath {
                path,
                state,
                is_settled,
            }
        });
        Self {
            files: files.collect(),
            mistakes: Vec::new(),
        }
    }

    /// Whether the files are to be read again.
    pub(crate) fn have_changed(&mut self) -> bool {
        let mut changed = false;
        for file in &mut self.files {
            let (state, is_settled) = FileState::see(&file.path);
            changed |= state != file.state || !file.is_settled;
            (file.state, file.is_settled) = (state, is_settled);
        }
        changed
    }

    /// Whether these mistakes have to be told: others were found at the last look, or none.
    pub(crate) fn note_mistakes(&mut self, mistakes: &[String]) -> bool {
        let is_new = self.mistakes != mistakes;
        self.mistakes = mistakes.to_vec();
        is_new && !mistakes.is_empty()
    }
}
