//! What an identity may do by the rules in force, and which rule decides.

use std::sync::Arc;

use protocol::escape_spaces;
use serde::Serialize;

use super::bad_argument::BadArgument;
use crate::auth::access::{AskedRight, Explanation, Permissions};
use crate::auth::identity::{ClientIdentity, IdentityName};
use crate::engine::client::Client;

/// The name of the root user behind a Unix socket, who gives orders.
const ROOT: &str = "unix:root";

const WANTED: &str = "may has the arguments WHO RIGHT [OBJECT], as in: ann publish home/door";

/// The answer to `may`.
#[derive(Debug, Serialize)]
pub(crate) struct MayAnswer {
    pub(super) allowed: bool,
    /// The rule that decides, without characters that could harm a terminal.
    text: String,
}

impl MayAnswer {
    /// Answers `WHO RIGHT [OBJECT]`. About others only with the right to ask `why`.
    pub(super) fn of(client: &Client<'_>, argument: &[u8]) -> Result<Self, BadArgument> {
        let strange = |why: &dyn ToString| BadArgument::Question(why.to_string());
        let argument = str::from_utf8(argument).map_err(|why| strange(&why))?;
        let mut words = argument.splitn(3, ' ');
        let who = words.next().unwrap_or_default();
        let right = words.next().filter(|right| !right.is_empty());
        let right = right.ok_or(BadArgument::Missing(WANTED))?;
        let permissions = permissions_of(client, who)?;
        let right = AskedRight::parse(right).map_err(|why| strange(&why))?;
        Self::explained(&permissions, right, words.next().unwrap_or_default())
    }

    /// What these permissions say of a right.
    pub(super) fn explained(
        permissions: &Permissions,
        right: AskedRight<'_>,
        object: &str,
    ) -> Result<Self, BadArgument> {
        let explained = match right.has_topics() {
            true => permissions.explain(right, &escape_spaces(object)),
            false => permissions.explain(right, object),
        };
        let Explanation { is_allowed, text } = explained.map_err(BadArgument::Question)?;
        Ok(Self {
            allowed: is_allowed,
            text,
        })
    }
}

/// What an identity may do: that of the client as it is, another one with the groups that it has now.
pub(super) fn permissions_of(client: &Client<'_>, who: &str) -> Result<Permissions, BadArgument> {
    let name = IdentityName::try_from(Box::<str>::from(who));
    let name = name.map_err(|why| BadArgument::Question(why.to_string()))?;
    if client.identity().name == name
        && let Some(permissions) = client.permissions()
    {
        return Ok(permissions.clone());
    }
    client.check_inquiry("why").map_err(BadArgument::Denied)?;
    let identity = identity_of(client, name)?;
    let access = &client.engine().access;
    Ok(access.permissions(&identity, None))
}

fn identity_of(
    client: &Client<'_>,
    name: IdentityName,
) -> Result<Arc<ClientIdentity>, BadArgument> {
    let engine = client.engine();
    let of_one_present = || {
        let present = engine.clients.present().into_iter();
        let mut identities = present.map(|record| record.identity());
        identities.find(|it| it.name == name)
    };
    if name.is_given() {
        // Only its socket says in which groups it is.
        return Ok(match of_one_present() {
            Some(identity) => identity,
            None if name.as_str() == ROOT => {
                Arc::new(ClientIdentity::of_unix_peer("root", 0, true))
            }
            None => Arc::new(ClientIdentity::restored(name)),
        });
    }
    let restored = ClientIdentity::restored(name.clone());
    let verifier = engine.verifier.read().clone();
    let Some(verifier) = verifier else {
        return Ok(Arc::new(restored));
    };
    let Some(groups) = verifier.groups_of(&restored) else {
        if verifier.has_user(&name) {
            let why = format!("{name} is disabled, so it is not let in");
            return Err(BadArgument::Question(why));
        }
        // Only its JWT or its certificate says what it may do.
        return of_one_present().ok_or_else(|| {
            let why = format!(
                "there is no user {name}, and no client is connected under this name; to see all users: \
                 broker user list"
            );
            BadArgument::Question(why)
        });
    };
    Ok(Arc::new(ClientIdentity { groups, ..restored }))
}
