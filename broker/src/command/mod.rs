//! What the program does instead of serving: `broker user ...` and `broker token ...`.
//!
//! A tool reads or changes a users file and ends. It starts no broker and none of its threads.

mod failure;
mod secret;
mod table;
mod token;
mod user;
mod users_file;

use std::io::{self, Write};
use std::process::ExitCode;

use broker::Tool;

use failure::one;

/// Runs a tool and tells what came of it.
pub(crate) fn run(tool: Tool) -> ExitCode {
    let done = match tool {
        Tool::User(tool) => user::run(tool),
        Tool::Token(tool) => token::run(tool),
    };
    let printed = done.and_then(|text| {
        let printed = io::stdout().write_all(text.as_bytes());
        printed.map_err(|why| one(&format!("standard output takes nothing: {why}")))
    });
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(failures) => {
            for failure in failures {
                // Without standard error, the exit code tells.
                let _ = writeln!(io::stderr(), "{failure}");
            }
            ExitCode::FAILURE
        }
    }
}
