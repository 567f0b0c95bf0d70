//! `broker user ...`: users are added, changed, listed and removed.

use std::collections::BTreeMap;
use std::path::Path;

use broker::auth::identity::{IdentityName, StoredPassword, User, edit_users, read_users};
use broker::{SecretPlace, UserTool};

use super::failure::{Failures, one};
use super::secret::password;
use super::table::table;
use super::users_file::{suggestion, users_file};

/// Runs the tool; what it prints.
pub(super) fn run(tool: UserTool) -> Result<String, Failures> {
    match tool {
        UserTool::Add {
            name,
            groups,
            no_password,
            secret,
            file,
        } => {
            let path = users_file(file)?;
            let user = User {
                groups: groups.into_iter().collect(),
                ..User::default()
            };
            add(&path, &name, user, (!no_password).then_some(&secret))
        }
        UserTool::Passwd { name, secret, file } => {
            change_password(&users_file(file)?, &name, &secret)
        }
        UserTool::Rm { name, file } => remove(&users_file(file)?, &name),
        UserTool::List { file } => list(&users_file(file)?),
        UserTool::Disable { name, file } => set_disabled(&users_file(file)?, &name, true),
        UserTool::Enable { name, file } => set_disabled(&users_file(file)?, &name, false),
    }
}

fn add(
    path: &Path,
    name: &IdentityName,
    mut user: User,
    secret: Option<&SecretPlace>,
) -> Result<String, Failures> {
    let there = || {
        format!(
            "{name} is in {} already; to change the password: {}",
            path.display(),
            suggestion(&format!("user passwd {name}"), path)
        )
    };
    // Before the question, so that no answer is for nothing.
    if path.exists() && read_users(path)?.users().users.contains_key(name) {
        return Err(one(&there()));
    }
    user.password = secret.map(|secret| hashed(name, secret)).transpose()?;
    edit_users(path, true, |document| {
        match document.add_user(name, &user) {
            true => Ok(format!("{name} is a user now\n")),
            false => Err(there()),
        }
    })
}

fn change_password(
    path: &Path,
    name: &IdentityName,
    secret: &SecretPlace,
) -> Result<String, Failures> {
    if !read_users(path)?.users().users.contains_key(name) {
        return Err(one(&is_not_there(path, name)));
    }
    let password = hashed(name, secret)?;
    edit_users(path, false, |document| {
        match document.set_password(name, &password) {
            true => Ok(format!("{name} has a new password\n")),
            false => Err(is_not_there(path, name)),
        }
    })
}

fn remove(path: &Path, name: &IdentityName) -> Result<String, Failures> {
    edit_users(path, false, |document| {
        let tokens = document
            .remove_user(name)
            .ok_or_else(|| is_not_there(path, name))?;
        Ok(match tokens.len() {
            0 => format!("{name} is removed\n"),
            1 => format!("{name} is removed, and one token\n"),
            count => format!("{name} is removed, and {count} tokens\n"),
        })
    })
}

fn set_disabled(path: &Path, name: &IdentityName, is_disabled: bool) -> Result<String, Failures> {
    edit_users(path, false, |document| {
        match document.set_disabled(name, is_disabled) {
            true if is_disabled => Ok(format!("{name} is disabled\n")),
            true => Ok(format!("{name} is enabled\n")),
            false => Err(is_not_there(path, name)),
        }
    })
}

fn list(path: &Path) -> Result<String, Failures> {
    let document = read_users(path)?;
    let users = document.users();
    let mut tokens: BTreeMap<&IdentityName, usize> = BTreeMap::new();
    for token in users.tokens.values() {
        *tokens.entry(&token.owner).or_default() += 1;
    }
    let row = |(name, user): (&IdentityName, &User)| {
        let groups: Vec<&str> = user.groups.iter().map(IdentityName::as_str).collect();
        let tokens = tokens.get(name).copied().unwrap_or(0);
        let or_dash = |text: String| {
            if text.is_empty() {
                "-".to_owned()
            } else {
                text
            }
        };
        [
            name.to_string(),
            or_dash(groups.join(",")),
            if user.password.is_some() { "yes" } else { "no" }.to_owned(),
            tokens.to_string(),
            if user.is_disabled {
                "disabled"
            } else {
                "enabled"
            }
            .to_owned(),
        ]
    };
    let heading = ["NAME", "GROUPS", "PASSWORD", "TOKENS", "STATE"];
    Ok(table(heading, users.users.iter().map(row).collect()))
}

fn hashed(name: &IdentityName, place: &SecretPlace) -> Result<StoredPassword, Failures> {
    let secret = password(name, place)?;
    StoredPassword::of(&secret)
        .map_err(|why| one(&format!("the system gives no random bytes: {why}")))
}

fn is_not_there(path: &Path, name: &IdentityName) -> String {
    format!(
        "there is no user {name} in {}; to see all: {}",
        path.display(),
        suggestion("user list", path)
    )
}
