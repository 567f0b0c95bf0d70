//! `broker token ...`: tokens are made, listed and removed.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use broker::TokenTool;
use broker::auth::identity::{
    IdentityName, NewToken, Token, TokenId, TokenNote, edit_users, read_users,
};
use jiff::{SignedDuration, Timestamp};

use super::failure::{Failures, one};
use super::table::table;
use super::users_file::{suggestion, users_file};

/// Runs the tool; what it prints.
pub(super) fn run(tool: TokenTool) -> Result<String, Failures> {
    match tool {
        TokenTool::Add {
            owner,
            expires,
            note,
            file,
        } => add(&users_file(file)?, owner, expires, note),
        TokenTool::Rm { id, file } => remove(&users_file(file)?, &id),
        TokenTool::List { file } => list(&users_file(file)?),
    }
}

fn add(
    path: &Path,
    owner: IdentityName,
    expires: Option<Duration>,
    note: Option<TokenNote>,
) -> Result<String, Failures> {
    let expires = expires.map(end).transpose()?;
    let made = edit_users(path, false, |document| {
        let token = NewToken::make(|id| document.users().tokens.contains_key(id))?;
        let stored = Token {
            owner: owner.clone(),
            digest: token.digest,
            expires,
            note,
        };
        match document.add_token(&token.id, &stored) {
            true => Ok((token.id, token.text)),
            false => Err(format!(
                "there is no user {owner} in {}; add it first: {}",
                path.display(),
                suggestion(&format!("user add {owner} --no-password"), path)
            )),
        }
    });
    let (id, text) = made?;
    // Not with the token, so that a program can take that from standard output.
    let _ = writeln!(
        io::stderr(),
        "token {id} of {owner} is shown this once; keep it like a password:"
    );
    let mut out = io::stdout();
    let printed = out
        .write_all(text.expose())
        .and_then(|()| out.write_all(b"\n"));
    match printed {
        Ok(()) => Ok(String::new()),
        Err(why) => Err(one(&format!(
            "standard output takes nothing: {why}; the token is lost, remove it: {}",
            suggestion(&format!("token rm {id}"), path)
        ))),
    }
}

/// The end of a token that is made now, in whole seconds.
fn end(after: Duration) -> Result<Timestamp, Failures> {
    let end = SignedDuration::try_from(after)
        .ok()
        .and_then(|after| Timestamp::now().checked_add(after).ok());
    let end = end.and_then(|end| Timestamp::from_second(end.as_second()).ok());
    end.ok_or_else(|| one("--expires is too far away; leave it out for a token without an end"))
}

fn remove(path: &Path, id: &TokenId) -> Result<String, Failures> {
    edit_users(path, false, |document| match document.remove_token(id) {
        true => Ok(format!("token {id} is removed\n")),
        false => Err(format!(
            "there is no token {id} in {}; to see all: {}",
            path.display(),
            suggestion("token list", path)
        )),
    })
}

fn list(path: &Path) -> Result<String, Failures> {
    let document = read_users(path)?;
    let now = Timestamp::now();
    let row = |(id, token): (&TokenId, &Token)| {
        let expires = match token.expires {
            None => "never".to_owned(),
            Some(end) if end <= now => format!("{end} (over)"),
            Some(end) => end.to_string(),
        };
        let note = token.note.as_ref().map_or("-", TokenNote::as_str);
        [
            id.to_string(),
            token.owner.to_string(),
            expires,
            note.to_owned(),
        ]
    };
    let heading = ["ID", "OWNER", "EXPIRES", "NOTE"];
    Ok(table(
        heading,
        document.users().tokens.iter().map(row).collect(),
    ))
}
