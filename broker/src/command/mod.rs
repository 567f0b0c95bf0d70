//! What the program does instead of serving: `broker user ...`, `broker token ...`, `broker access ...`, `broker cert ...`
//! and `broker store ...`.
//!
//! A tool reads or changes a file or a store, or makes a certificate, and ends. It starts no broker and none of its
//! threads.

mod access;
mod cert;
mod failure;
mod secret;
mod store;
mod table;
mod token;
mod user;
mod users_file;

use std::io::{self, Write};
use std::process::ExitCode;

use broker::Tool;

use failure::{Failures, one};
use store::StoreFailure;

/// Runs a tool and tells what came of it.
pub(crate) fn run(tool: Tool) -> ExitCode {
    let done = |text| (text, ExitCode::SUCCESS);
    match tool {
        Tool::User(tool) => tell(user::run(tool).map(done), ExitCode::FAILURE),
        Tool::Token(tool) => tell(token::run(tool).map(done), ExitCode::FAILURE),
        Tool::Cert(tool) => tell(cert::run(&tool).map(done), ExitCode::FAILURE),
        Tool::Access(tool) => {
            let failed = access::exit_of_failure(&tool);
            tell(access::run(tool), failed)
        }
        Tool::Store(tool) => match store::run(&tool) {
            Ok(done) => tell(Ok(done), ExitCode::FAILURE),
            Err(StoreFailure { why, code }) => tell(Err(one(&why)), code),
        },
    }
}

/// Prints the text of what is done, which ends with its code, or the failures, which end with the other.
fn tell(done: Result<(String, ExitCode), Failures>, failed: ExitCode) -> ExitCode {
    let printed = done.and_then(|(text, code)| {
        let printed = io::stdout().write_all(text.as_bytes());
        printed.map_err(|why| one(&format!("standard output takes nothing: {why}")))?;
        Ok(code)
    });
    printed.unwrap_or_else(|failures| {
        for failure in failures {
            // Without standard error, the exit code tells.
            let _ = writeln!(io::stderr(), "{failure}");
        }
        failed
    })
}
