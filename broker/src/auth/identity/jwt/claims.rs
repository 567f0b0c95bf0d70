//! What a token says of its client. All that is not in the form that it should have is refused, never left out.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use super::grant::{ClaimedRights, Texts};
use crate::auth::identity::IdentityName;

/// Time by which the clock of the issuer may be ahead.
const LEEWAY: SignedDuration = SignedDuration::from_secs(30);

/// The claims that count here.
#[derive(Debug)]
pub(super) struct Claims {
    pub(super) issuer: Option<Box<str>>,
    pub(super) audiences: Texts,
    pub(super) name: IdentityName,
    pub(super) groups: Vec<IdentityName>,
    pub(super) expires: Timestamp,
    pub(super) rights: Option<ClaimedRights>,
}

impl Claims {
    /// Takes the claims of a token that is used at this time. That it has ended is not decided here.
    pub(super) fn parse(claims: &Map<String, Value>, now: Timestamp) -> Result<Self, String> {
        let text = |name: &str| match claims.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(format!("{name} is no text")),
        };
        let time = |name: &str| claims.get(name).map(|it| time(name, it)).transpose();
        for name in ["nbf", "iat"] {
            if let Some(begin) = time(name)?
                && begin.duration_since(now) > LEEWAY
            {
                return Err(format!("{name} is in the future: {begin}"));
            }
        }
        let name = text("sub")?.ok_or("it has no sub")?;
        Ok(Self {
            issuer: text("iss")?.map(Into::into),
            audiences: match claims.get("aud") {
                None => Box::default(),
                Some(Value::String(one)) => [one.as_str().into()].into(),
                Some(several) => texts("aud", several)?,
            },
            name: name
                .parse()
                .map_err(|why| format!("sub is no name of an identity: {why}"))?,
            // No rule can name a group that is no name, so leaving it out changes nothing.
            groups: match claims.get("groups") {
                None => Vec::new(),
                Some(groups) => {
                    let groups = texts("groups", groups)?;
                    groups.iter().filter_map(|it| it.parse().ok()).collect()
                }
            },
            expires: time("exp")?.ok_or("it has no exp")?,
            rights: claims.get("dallal").map(rights).transpose()?,
        })
    }
}

/// A NumericDate (RFC 7519 §2).
fn time(name: &str, value: &Value) -> Result<Timestamp, String> {
    let seconds = value.as_f64().filter(|_| value.is_number());
    let seconds = seconds.ok_or_else(|| format!("{name} is no number"))?;
    // Times beyond those of an i64 become its ends, which are no timestamps.
    let time = Timestamp::from_second(seconds.floor() as i64);
    time.map_err(|_| format!("{name} is no time"))
}

fn texts(name: &str, value: &Value) -> Result<Texts, String> {
    let list = value.as_array().and_then(|list| {
        let texts = list.iter().map(|it| it.as_str().map(Into::into));
        texts.collect()
    });
    list.ok_or_else(|| format!("{name} is no list of texts"))
}

fn rights(value: &Value) -> Result<ClaimedRights, String> {
    let members = value.as_object().ok_or("dallal is no object")?;
    let rights = members.iter().map(|(right, filters)| {
        let filters = texts("a right in dallal", filters)?;
        Ok((right.as_str().into(), filters))
    });
    rights.collect::<Result<_, String>>().map(ClaimedRights)
}
