//! What a token shows, by the keys in force and the settings.

use std::collections::BTreeSet;
use std::path::PathBuf;

use jiff::Timestamp;

use super::grant::{ClaimedRights, JwtGrant};
use super::keys::{JwtKeys, read_jwt_keys};
use super::token::{JwtRefusal, Refused, check};
use crate::auth::identity::IdentityName;
use crate::auth::identity::watched::WatchedFile;

/// Which tokens count.
#[derive(Clone, Debug)]
pub struct JwtSettings {
    /// The file of the keys that sign them.
    pub keys: PathBuf,
    /// What `iss` has to be; anything without one.
    pub issuer: Option<String>,
    /// What has to be among `aud`; anything without one.
    pub audience: Option<String>,
    /// Says what is wrong with the rights of a token.
    pub check_rights: fn(&ClaimedRights) -> Result<(), String>,
}

/// What a token that is right shows.
#[derive(Debug)]
pub(in crate::auth::identity) struct ShownJwt {
    pub(in crate::auth::identity) name: IdentityName,
    pub(in crate::auth::identity) groups: BTreeSet<IdentityName>,
    pub(in crate::auth::identity) grant: JwtGrant,
}

/// Checks tokens.
pub(in crate::auth::identity) struct JwtVerifier {
    pub(in crate::auth::identity) keys: WatchedFile<JwtKeys>,
    settings: JwtSettings,
}

impl JwtVerifier {
    /// Reads the keys.
    ///
    /// # Errors
    ///
    /// Those of [`read_jwt_keys`].
    pub(in crate::auth::identity) fn start(settings: JwtSettings) -> Result<Self, Vec<String>> {
        Ok(Self {
            keys: WatchedFile::read(&settings.keys, read_jwt_keys)?,
            settings,
        })
    }

    /// What a token shows beside this name, which is empty or that of the token.
    pub(in crate::auth::identity) fn verify(
        &self,
        said: &str,
        token: &[u8],
        now: Timestamp,
    ) -> Result<ShownJwt, Refused> {
        let wrong = |why: String| Refused::Wrong(JwtRefusal::new(&why));
        let checked = check(token, &self.keys.in_force(), now).map_err(Refused::Wrong)?;
        let claims = checked.claims;
        if !said.is_empty() && said != claims.name.as_str() {
            return Err(wrong(format!(
                "the name beside it is not its sub, {}",
                claims.name
            )));
        }
        if let Some(rights) = &claims.rights {
            let checked = (self.settings.check_rights)(rights);
            checked.map_err(|why| wrong(format!("its claim dallal: {why}")))?;
        }
        let grant = JwtGrant {
            key: checked.key,
            issuer: claims.issuer,
            audiences: claims.audiences,
            expires: claims.expires,
            rights: claims.rights,
        };
        self.check_destination(&grant).map_err(wrong)?;
        if grant.expires <= now {
            return Err(Refused::Expired);
        }
        Ok(ShownJwt {
            name: claims.name,
            groups: claims.groups.into_iter().collect(),
            grant,
        })
    }

    /// Whether a token that was right before still is, but for its end.
    pub(in crate::auth::identity) fn honours(&self, grant: &JwtGrant) -> bool {
        self.keys.in_force().contain(&grant.key) && self.check_destination(grant).is_ok()
    }

    fn check_destination(&self, grant: &JwtGrant) -> Result<(), String> {
        if let Some(issuer) = &self.settings.issuer
            && grant.issuer.as_deref() != Some(issuer)
        {
            return Err(match &grant.issuer {
                Some(other) => format!("its iss is {other:?}, not that of --jwt-issuer"),
                None => "it has no iss, and --jwt-issuer names one".to_owned(),
            });
        }
        match &self.settings.audience {
            Some(audience) if !grant.audiences.iter().any(|it| **it == **audience) => {
                Err("the audience of --jwt-audience is not in its aud".to_owned())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use tempfile::TempDir;

    use super::super::examples::{
        EC, EC_TOKEN, ED, ED_TOKEN, RSA, RSA_TOKEN, SECRET, secret_key, set, signed, signed_by,
    };
    use super::super::json;
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn now() -> Timestamp {
        Timestamp::from_second(NOW).expect("a time")
    }

    fn settings(folder: &TempDir) -> JwtSettings {
        JwtSettings {
            keys: folder.path().join("keys"),
            issuer: None,
            audience: None,
            check_rights: |rights| match rights.iter().any(|(right, _)| right == "fly") {
                true => Err("fly is no right".to_owned()),
                false => Ok(()),
            },
        }
    }

    /// With the four keys of the examples.
    fn verifier(change: impl FnOnce(&mut JwtSettings)) -> (TempDir, JwtVerifier) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = settings(&folder);
        change(&mut settings);
        fs::write(&settings.keys, set(&[RSA, EC, ED, &secret_key()])).expect("room");
        fs::set_permissions(&settings.keys, Permissions::from_mode(0o600)).expect("it is ours");
        let verifier = JwtVerifier::start(settings).expect("it is right");
        (folder, verifier)
    }

    /// The name that a token shows, or why it shows none.
    fn shown(verifier: &JwtVerifier, said: &str, token: &str) -> Result<String, String> {
        match verifier.verify(said, token.as_bytes(), now()) {
            Ok(identity) => Ok(identity.name.to_string()),
            Err(Refused::Wrong(why)) => Err(why.to_string()),
            Err(Refused::Expired) => Err("expired".to_owned()),
        }
    }

    #[track_caller]
    fn assert_refused(verifier: &JwtVerifier, token: &str, expected: &str) {
        let why = shown(verifier, "", token).expect_err(token);
        assert!(why.contains(expected), "{why}\nnot: {expected}");
    }

    #[test]
    fn a_token_of_each_algorithm_shows_its_sub() {
        let (_folder, verifier) = verifier(|_| {});
        let ours = signed(r#"{"sub":"ann","exp":4102444800,"groups":["family","/a b"]}"#);
        for token in [RSA_TOKEN, EC_TOKEN, ED_TOKEN, &ours] {
            for said in ["", "ann"] {
                assert_eq!(shown(&verifier, said, token), Ok("ann".to_owned()));
            }
            let why = shown(&verifier, "bob", token).expect_err("another name");
            assert!(why.contains("not its sub"), "{why}");
            // Another letter in the middle of each part.
            for (at, _) in token.match_indices('.').chain([(token.len(), "")]) {
                let mut changed = token.as_bytes().to_vec();
                let middle = &mut changed[at - 10];
                *middle = if *middle == b'A' { b'B' } else { b'A' };
                let changed = String::from_utf8(changed).expect("text");
                assert!(shown(&verifier, "", &changed).is_err(), "{changed}");
            }
        }
        let identity = verifier
            .verify("", ours.as_bytes(), now())
            .expect("it is right");
        let groups: Vec<_> = identity.groups.iter().map(|group| group.as_str()).collect();
        // No rule can name the other one.
        assert_eq!(groups, ["family"]);
        assert_eq!(identity.grant.expires().as_second(), 4_102_444_800);
    }

    #[test]
    fn the_key_decides_the_algorithm() {
        let (_folder, verifier) = verifier(|_| {});
        let claims = r#"{"sub":"ann","exp":4102444800}"#;
        let public = json::object(RSA.as_bytes()).expect("a key");
        let modulus = public["n"].as_str().expect("text");
        let modulus = URL_SAFE_NO_PAD.decode(modulus).expect("base64url");
        for (secret, header, why) in [
            // The bytes of a public key are no secret, whatever the token says.
            (
                &modulus[..],
                r#"{"alg":"HS256","kid":"rsa"}"#,
                "no such key is for that",
            ),
            (&modulus, r#"{"alg":"HS256"}"#, "signature"),
            (
                SECRET,
                r#"{"alg":"RS256","kid":"k1"}"#,
                "no such key is for that",
            ),
            (
                SECRET,
                r#"{"alg":"HS512","kid":"k1"}"#,
                "no such key is for that",
            ),
            (SECRET, r#"{"alg":"none"}"#, "no such key is for that"),
            (
                SECRET,
                r#"{"alg":"None","kid":"k1"}"#,
                "no such key is for that",
            ),
            (
                SECRET,
                r#"{"alg":"hs256","kid":"k1"}"#,
                "no such key is for that",
            ),
            (SECRET, r#"{"kid":"k1"}"#, "no alg"),
            (SECRET, r#"{"alg":7,"kid":"k1"}"#, "alg is no text"),
            (
                SECRET,
                r#"{"alg":"HS256","kid":"../../etc/passwd"}"#,
                "no key has the kid",
            ),
            (
                SECRET,
                r#"{"alg":"HS256","kid":"k2"}"#,
                "no key has the kid",
            ),
            (SECRET, r#"{"alg":"HS256","kid":["k1"]}"#, "kid is no text"),
            (
                SECRET,
                r#"{"alg":"HS256","kid":"k1","crit":["exp"],"exp":1}"#,
                "crit",
            ),
            (SECRET, r#"{"alg":"HS256","kid":"k1","crit":[]}"#, "crit"),
            (
                SECRET,
                r#"{"alg":"HS256","alg":"HS256","kid":"k1"}"#,
                "twice",
            ),
            (
                SECRET,
                r#"{"alg":"HS256","kid":"k1","typ":"logout+jwt"}"#,
                "another purpose",
            ),
            (
                SECRET,
                r#"{"alg":"HS256","kid":"k1","typ":null}"#,
                "typ is no text",
            ),
            (SECRET, r#"["HS256"]"#, "no object"),
        ] {
            assert_refused(&verifier, &signed_by(secret, header, claims), why);
        }
        for header in [
            r#"{"alg":"HS256"}"#,
            r#"{"alg":"HS256","kid":"k1","typ":"JWT"}"#,
            r#"{"alg":"HS256","kid":"k1","typ":"application/at+JWT","jku":"https://evil.example/"}"#,
        ] {
            let token = signed_by(SECRET, header, claims);
            assert_eq!(
                shown(&verifier, "", &token),
                Ok("ann".to_owned()),
                "{header}"
            );
        }
        let unsigned = signed_by(SECRET, r#"{"alg":"none"}"#, claims);
        let (unsigned, _) = unsigned.rsplit_once('.').expect("a signature");
        assert_refused(&verifier, &format!("{unsigned}."), "no such key");
    }

    #[test]
    fn a_token_has_three_parts_in_base64url_without_padding() {
        let (_folder, verifier) = verifier(|_| {});
        let token = signed(r#"{"sub":"ann","exp":4102444800}"#);
        let parts: Vec<&str> = token.split('.').collect();
        let [header, claims, signature] = parts[..] else {
            panic!("{token}");
        };
        for (text, why) in [
            (format!("{header}.{claims}"), "2 parts"),
            (format!("{token}.x.y"), "5 parts"),
            (format!("{token}.."), "5 parts"),
            (format!("{header}=.{claims}.{signature}"), "base64url"),
            (format!("{header}.{claims}.{signature}="), "signature"),
            (format!("{header}.{claims}."), "signature"),
            (format!("{token} "), "signature"),
            (format!(" {token}"), "base64url"),
            (format!("{header}.{claims}.{signature}\n"), "signature"),
            (String::new(), "1 parts"),
        ] {
            assert_refused(&verifier, &text, why);
        }
        let broken = [token.as_bytes(), b"\xff"].concat();
        assert!(verifier.verify("", &broken, now()).is_err());
    }

    #[test]
    fn claims_that_are_missing_or_in_another_form_are_refused() {
        let (_folder, verifier) = verifier(|_| {});
        let end = NOW + 10;
        for (claims, why) in [
            (r#"{"sub":"ann"}"#.to_owned(), "no exp"),
            (
                format!(r#"{{"sub":"ann","exp":"{end}"}}"#),
                "exp is no number",
            ),
            (r#"{"sub":"ann","exp":null}"#.to_owned(), "exp is no number"),
            (r#"{"sub":"ann","exp":1e300}"#.to_owned(), "exp is no time"),
            (format!(r#"{{"sub":"ann","exp":{NOW}}}"#), "expired"),
            (r#"{"sub":"ann","exp":-1}"#.to_owned(), "expired"),
            (
                format!(r#"{{"sub":"ann","exp":{end},"exp":{end}}}"#),
                "twice",
            ),
            (
                format!(r#"{{"sub":"ann","exp":{end},"a":[{{"b":1,"b":2}}]}}"#),
                "twice",
            ),
            (
                format!(r#"{{"sub":"ann","exp":{end},"nbf":{}}}"#, NOW + 31),
                "nbf is in the future",
            ),
            (
                format!(r#"{{"sub":"ann","exp":{end},"iat":{}}}"#, NOW + 31),
                "iat is in the future",
            ),
            (
                format!(r#"{{"sub":"ann","exp":{end},"nbf":"0"}}"#),
                "nbf is no number",
            ),
            (format!(r#"{{"exp":{end}}}"#), "no sub"),
            (format!(r#"{{"sub":7,"exp":{end}}}"#), "sub is no text"),
            (format!(r#"{{"sub":"a/#","exp":{end}}}"#), "sub is no name"),
            (
                format!(r#"{{"sub":"unix:root","exp":{end}}}"#),
                "sub is no name",
            ),
            (
                format!(r#"{{"sub":"room:1","exp":{end}}}"#),
                "sub is no name",
            ),
            (
                format!(r#"{{"sub":"anonymous","exp":{end}}}"#),
                "sub is no name",
            ),
            (
                format!(r#"{{"sub":"everyone","exp":{end}}}"#),
                "sub is no name",
            ),
            (
                format!(r#"{{"sub":"\u202eann","exp":{end}}}"#),
                "sub is no name",
            ),
            (
                format!(r#"{{"sub":"ann","exp":{end},"groups":"admin"}}"#),
                "groups is no list",
            ),
            (
                format!(r#"{{"sub":"ann","exp":{end},"groups":null}}"#),
                "groups is no list",
            ),
            (
                format!(r#"{{"sub":"ann","exp":{end},"groups":[7]}}"#),
                "groups is no list",
            ),
            (
                format!(r#"{{"sub":"ann","exp":{end},"dallal":null}}"#),
                "dallal is no object",
            ),
            (
                format!(r#"{{"sub":"ann","exp":{end},"dallal":["a"]}}"#),
                "dallal is no object",
            ),
            (
                format!(r#"{{"sub":"ann","exp":{end},"dallal":{{"publish":"a"}}}}"#),
                "no list",
            ),
            (
                format!(r#"{{"sub":"ann","exp":{end},"dallal":{{"fly":[]}}}}"#),
                "fly is no right",
            ),
            (
                format!(r#"{{"sub":"ann","exp":{end},"aud":7}}"#),
                "aud is no list",
            ),
            (
                format!(r#"{{"sub":"ann","exp":{end},"iss":7}}"#),
                "iss is no text",
            ),
            (r#""eyJ""#.to_owned(), "no object"),
        ] {
            assert_refused(&verifier, &signed(&claims), why);
        }
        for claims in [
            format!(r#"{{"sub":"ann","exp":{}.5}}"#, NOW + 1),
            format!(
                r#"{{"sub":"ann","exp":{end},"nbf":{0},"iat":{0}}}"#,
                NOW + 30
            ),
            format!(r#"{{"sub":"ann","exp":{end},"dallal":{{"publish":["a/#"]}}}}"#),
        ] {
            assert_eq!(
                shown(&verifier, "", &signed(&claims)),
                Ok("ann".to_owned()),
                "{claims}"
            );
        }
    }

    #[test]
    fn a_token_for_another_service_or_of_another_issuer_is_refused() {
        let (_folder, verifier) = verifier(|settings| {
            settings.issuer = Some("https://id.example".to_owned());
            settings.audience = Some("dallal".to_owned());
        });
        for (claims, why) in [
            (r#""iss":"https://id.example","aud":"dallal""#, None),
            (r#""iss":"https://id.example","aud":["x","dallal"]"#, None),
            (
                r#""iss":"https://id.example/","aud":"dallal""#,
                Some("its iss is"),
            ),
            (r#""aud":"dallal""#, Some("no iss")),
            (
                r#""iss":"https://id.example","aud":"dallal2""#,
                Some("audience"),
            ),
            (r#""iss":"https://id.example","aud":[]"#, Some("audience")),
            (r#""iss":"https://id.example""#, Some("audience")),
        ] {
            let token = signed(&format!(r#"{{"sub":"ann","exp":4102444800,{claims}}}"#));
            match why {
                None => assert_eq!(shown(&verifier, "", &token), Ok("ann".to_owned())),
                Some(why) => assert_refused(&verifier, &token, why),
            }
        }
        // That it has ended is told of one that would be right otherwise.
        let over = signed(r#"{"sub":"ann","exp":1,"aud":"x"}"#);
        assert_refused(&verifier, &over, "no iss");
    }

    #[test]
    fn a_grant_counts_as_long_as_its_key_its_issuer_and_its_audience_do() {
        let (folder, before) = verifier(|_| {});
        let token = signed(r#"{"sub":"ann","exp":4102444800,"iss":"a","aud":"b"}"#);
        let identity = before
            .verify("", token.as_bytes(), now())
            .expect("it is right");
        let grant = identity.grant;
        assert!(before.honours(&grant));
        let honours = |issuer: Option<&str>, audience: Option<&str>| {
            let settings = JwtSettings {
                issuer: issuer.map(str::to_owned),
                audience: audience.map(str::to_owned),
                ..settings(&folder)
            };
            JwtVerifier::start(settings)
                .expect("it is right")
                .honours(&grant)
        };
        assert!(honours(Some("a"), Some("b")));
        assert!(!honours(Some("b"), Some("b")) && !honours(None, Some("a")));
        fs::write(folder.path().join("keys"), set(&[RSA, EC, ED])).expect("room");
        assert!(!honours(None, None));
    }
}
