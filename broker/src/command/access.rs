//! `broker access ...`: access files are checked, and asked what a client may do.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use broker::auth::access::{AccessTable, AskedRight, Subject};
use broker::auth::identity::{ClientIdentity, IdentityName, Users, read_users};
use broker::{AccessTool, UsersPlace};

use super::failure::{Failures, one};
use super::users_file::users_file;

/// What is asked about a client.
struct AccessQuestion {
    who: IdentityName,
    right: String,
    object: String,
    client_id: Option<String>,
}

/// Exit code of a question that cannot be answered, which is no answer.
const UNANSWERED: u8 = 2;

/// The name of the root user behind a Unix socket, who gives orders.
const ROOT: &str = "unix:root";

/// The exit code if the tool fails.
pub(super) fn exit_of_failure(tool: &AccessTool) -> ExitCode {
    match tool {
        AccessTool::Check { .. } | AccessTool::Limits { .. } => ExitCode::FAILURE,
        AccessTool::May { .. } => ExitCode::from(UNANSWERED),
    }
}

/// Runs the tool; what it prints, and its exit code.
pub(super) fn run(tool: AccessTool) -> Result<(String, ExitCode), Failures> {
    match tool {
        AccessTool::Check { access_file, file } => {
            let users = users(file)?;
            let table = read(&access_file, users.as_ref())?;
            let limits = match table.limit_count() {
                0 => String::new(),
                lines => format!("; lines with limits: {lines}"),
            };
            let text = format!(
                "{}: it is right; rules: {}{limits}\n",
                access_file.display(),
                table.rule_count()
            );
            Ok((text, ExitCode::SUCCESS))
        }
        AccessTool::Limits { who, access, file } => {
            let who = IdentityName::try_from(who.into_boxed_str());
            let who = who.map_err(|why| one(&why.to_string()))?;
            let users = users(file)?;
            let table = read(&access, users.as_ref())?;
            let identity = identity(&who, users.as_ref())?;
            Ok((limits(&table, &identity), ExitCode::SUCCESS))
        }
        AccessTool::May {
            who,
            right,
            topic,
            access,
            client,
            file,
        } => {
            let who = IdentityName::try_from(who.into_boxed_str());
            let question = AccessQuestion {
                who: who.map_err(|why| one(&why.to_string()))?,
                right,
                object: topic.unwrap_or_default(),
                client_id: client,
            };
            may(&question, access, users(file)?)
        }
    }
}

/// The limits of a client, and those of each address, a line each.
fn limits(table: &AccessTable, identity: &ClientIdentity) -> String {
    let of_identity = table.limits_of(identity);
    let of_identity = of_identity.iter().flat_map(|limits| limits.iter());
    let of_addresses = table.address_limits();
    let of_addresses = [&of_addresses.connections, &of_addresses.attempts];
    let of_identity = of_identity.map(|limit| format!("{} by {}\n", limit.words(), limit.line()));
    let of_addresses = of_addresses.into_iter().flatten();
    let of_addresses =
        of_addresses.map(|limit| format!("address: {} by {}\n", limit.words(), limit.line()));
    let told: String = of_identity.chain(of_addresses).collect();
    match &*told {
        "" => format!("no line limits {}\n", identity.name),
        _ => told,
    }
}

fn may(
    question: &AccessQuestion,
    access: Option<PathBuf>,
    users: Option<Users>,
) -> Result<(String, ExitCode), Failures> {
    let table = match access {
        Some(path) => read(&path, users.as_ref())?,
        None if users.is_some() => AccessTable::known(),
        None => AccessTable::open(),
    };
    let identity = identity(&question.who, users.as_ref())?;
    let permissions = Arc::new(table).permissions(Subject {
        identity: &Arc::new(identity),
        client_id: question.client_id.as_deref(),
    });
    let right = AskedRight::parse(&question.right).map_err(|why| one(&why))?;
    let told = permissions.explain(right, &question.object);
    let told = told.map_err(|why| one(&why))?;
    let code = match told.is_allowed {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    };
    Ok((format!("{}\n", told.text), code))
}

/// The groups of a user are in the users file, if there is one.
fn identity(who: &IdentityName, users: Option<&Users>) -> Result<ClientIdentity, Failures> {
    if who.as_str() == ROOT {
        return Ok(ClientIdentity::of_unix_peer("root", 0, true));
    }
    let user = users.map(|users| users.users.get(who));
    if user == Some(None) && !who.is_given() {
        return Err(one(&format!(
            "there is no user {who}; to see all: broker user list"
        )));
    }
    let groups = user.flatten().map(|user| user.groups.clone());
    Ok(ClientIdentity {
        groups: groups.unwrap_or_default(),
        ..ClientIdentity::restored(who.clone())
    })
}

/// The users of the file that is named, or of the usual one if it is there.
fn users(place: UsersPlace) -> Result<Option<Users>, Failures> {
    let is_named = place.users.is_some();
    match users_file(place) {
        Ok(path) => Ok(Some(read_users(&path)?.into_users())),
        Err(why) if is_named => Err(why),
        Err(_) => Ok(None),
    }
}

fn read(path: &Path, users: Option<&Users>) -> Result<AccessTable, Failures> {
    let groups = users.map(Users::groups);
    let (table, warnings) = AccessTable::read(path, groups.as_ref())?;
    for warning in warnings {
        // The answer is right without it.
        let _ = writeln!(io::stderr(), "warning: {warning}");
    }
    Ok(table)
}
