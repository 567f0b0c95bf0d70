//! Logins: a browser that has shown a credential once shows a random key afterwards, in a cookie.
//!
//! They are in memory only, each under the digest of its key: what the memory
//! holds is of no use as a cookie.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::engine::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use foldhash::fast::RandomState;
use http::header::{COOKIE, HeaderValue};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::request::{RequestHead, RequestRefusal};
use crate::auth::identity::{ClientIdentity, StoredPassword};
use crate::engine::client::Client;
use crate::sync::Mutex;

/// Where they begin and end.
pub(super) const LOGIN: &str = "/login";
pub(super) const LOGOUT: &str = "/logout";

/// Time without a request after which a login ends.
const QUIET: Duration = Duration::from_secs(12 * 60 * 60);

/// Maximum logins of a user; of those, the one that was used longest ago makes room for another.
const MOST_FOR_USER: usize = 16;

/// Maximum logins in all, some three megabytes; the same holds.
const MOST: usize = 10_000;

const KEY_BYTES: usize = 16;

/// The name of the cookie. A browser takes the first only over TLS and from the host itself (RFC 6265bis
/// §4.1.3.2), so that neither a page of plain HTTP nor one of a name below can set it.
const NAME_WITH_TLS: &str = "__Host-dallal";
const NAME: &str = "dallal";

/// The logins of a broker. Locked under no other lock.
#[derive(Default)]
pub(super) struct Logins(Mutex<LoginsByKey>);

type LoginsByKey = HashMap<KeyDigest, Login, RandomState>;
type KeyDigest = [u8; 32];

/// A login, as it was when it began.
#[derive(Clone)]
pub(super) struct Login {
    pub(super) identity: Arc<ClientIdentity>,
    /// With a password; another one ends the login.
    pub(super) password: Option<StoredPassword>,
    used: Instant,
}

/// What a cookie has: 128 random bits.
pub(super) struct LoginKey(Zeroizing<[u8; KEY_BYTES]>);

impl Logins {
    /// Begins a login.
    pub(super) fn begin(
        &self,
        identity: &Arc<ClientIdentity>,
        password: Option<StoredPassword>,
        now: Instant,
    ) -> Result<LoginKey, getrandom::Error> {
        let key = LoginKey::new()?;
        let mut logins = self.0.lock();
        logins.retain(|_, login| !login.has_ended(now));
        let is_of_user = |login: &Login| login.identity.name == identity.name;
        if logins.values().filter(|login| is_of_user(login)).count() >= MOST_FOR_USER {
            remove_stalest(&mut logins, is_of_user);
        }
        if logins.len() >= MOST {
            remove_stalest(&mut logins, |_| true);
        }
        let login = Login {
            identity: identity.clone(),
            password,
            used: now,
        };
        logins.insert(key.digest(), login);
        Ok(key)
    }

    /// The login with this key. Its time without a request begins anew.
    pub(super) fn used(&self, key: &LoginKey, now: Instant) -> Option<Login> {
        let mut logins = self.0.lock();
        let login = logins.get_mut(&key.digest())?;
        if login.has_ended(now) {
            return None;
        }
        login.used = now;
        Some(login.clone())
    }

    /// Ends a login, if it is one.
    pub(super) fn end(&self, key: &LoginKey) {
        self.0.lock().remove(&key.digest());
    }
}

impl Login {
    fn has_ended(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.used) >= QUIET
    }
}

impl LoginKey {
    fn new() -> Result<Self, getrandom::Error> {
        let mut bits = Zeroizing::new([0; KEY_BYTES]);
        getrandom::fill(&mut *bits)?;
        Ok(Self(bits))
    }

    /// The key in the cookie of a request; none if there is no cookie. The refusal takes a cookie back that
    /// has no key.
    pub(super) fn of(
        client: &Client<'_>,
        head: &RequestHead,
    ) -> Result<Option<Self>, RequestRefusal> {
        let name = cookie_name(client).as_bytes();
        let cookies = head.headers.get_all(COOKIE).into_iter();
        let cookies = cookies.flat_map(|list| list.as_bytes().split(|&byte| byte == b';'));
        let mut values = cookies.filter_map(|cookie| {
            let value = cookie.trim_ascii().strip_prefix(name)?;
            value.strip_prefix(b"=")
        });
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) if let Some(key) = Self::parse(value) => Ok(Some(key)),
            // Of two, one may be of a page below another name of this host.
            (Some(_), _) => Err(login_ended(client)),
        }
    }

    fn parse(value: &[u8]) -> Option<Self> {
        let mut bits = Zeroizing::new([0; KEY_BYTES]);
        let count = URL_SAFE_NO_PAD.decode_slice(value, &mut *bits).ok()?;
        (count == KEY_BYTES).then_some(Self(bits))
    }

    fn digest(&self) -> KeyDigest {
        Sha256::digest(self.0.as_slice()).into()
    }

    /// The value of `Set-Cookie` with this key.
    pub(super) fn cookie(&self, client: &Client<'_>) -> HeaderValue {
        let value = Zeroizing::new(URL_SAFE_NO_PAD.encode(*self.0));
        set_cookie(client, &value, "")
    }
}

/// The refusal of a cookie that stands for no login, which takes it back.
pub(super) fn login_ended(client: &Client<'_>) -> RequestRefusal {
    let text = "this login has ended; log in again";
    RequestRefusal {
        cookie: Some(no_cookie(client)),
        ..RequestRefusal::unauthorized(text)
    }
}

/// The value of `Set-Cookie` that takes the cookie back.
pub(super) fn no_cookie(client: &Client<'_>) -> HeaderValue {
    set_cookie(client, "", "; Max-Age=0")
}

/// No page of another site makes a browser send the cookie, and no script can read it (RFC 6265bis §4.1.2).
fn set_cookie(client: &Client<'_>, value: &str, age: &str) -> HeaderValue {
    let (name, secure) = (
        cookie_name(client),
        if is_tls(client) { "; Secure" } else { "" },
    );
    let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{age}");
    let mut value = HeaderValue::try_from(Zeroizing::new(text).as_str()).expect("it is ASCII");
    value.set_sensitive(true);
    value
}

fn cookie_name(client: &Client<'_>) -> &'static str {
    match is_tls(client) {
        true => NAME_WITH_TLS,
        false => NAME,
    }
}

/// Whether the connection is encrypted.
fn is_tls(client: &Client<'_>) -> bool {
    client.record().security().is_some()
}

fn remove_stalest(logins: &mut LoginsByKey, is_meant: impl Fn(&Login) -> bool) {
    let meant = logins.iter().filter(|(_, login)| is_meant(login));
    let stalest = meant.min_by_key(|(_, login)| login.used);
    if let Some(key) = stalest.map(|(key, _)| *key) {
        logins.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::identity::IdentityKind;

    fn identity(name: &str) -> Arc<ClientIdentity> {
        Arc::new(ClientIdentity {
            name: name.parse().expect("a name"),
            groups: std::collections::BTreeSet::new(),
            kind: IdentityKind::Password,
        })
    }

    fn seconds(seconds: usize) -> Duration {
        Duration::from_secs(seconds as u64)
    }

    #[test]
    fn a_login_lasts_until_it_was_quiet_for_twelve_hours() {
        let (logins, start) = (Logins::default(), Instant::now());
        let key = logins
            .begin(&identity("ann"), None, start)
            .expect("random bits");
        let another = logins
            .begin(&identity("ann"), None, start)
            .expect("random bits");
        let nearly = QUIET - seconds(1);
        for n in 1..=3 {
            let used = logins.used(&key, start + n * nearly).expect("a login");
            assert_eq!(used.identity.name.as_str(), "ann");
        }
        assert!(logins.used(&another, start + QUIET).is_none());
        assert!(logins.used(&key, start + 3 * nearly + QUIET).is_none());
    }

    #[test]
    fn a_login_ends_when_it_is_ended_and_others_stay() {
        let (logins, now) = (Logins::default(), Instant::now());
        let begin = || {
            logins
                .begin(&identity("ann"), None, now)
                .expect("random bits")
        };
        let (one, other) = (begin(), begin());
        logins.end(&one);
        assert!(logins.used(&one, now).is_none() && logins.used(&other, now).is_some());
    }

    #[test]
    fn the_memory_has_no_key() {
        let logins = Logins::default();
        let key = logins
            .begin(&identity("ann"), None, Instant::now())
            .expect("random bits");
        let kept = logins.0.lock();
        let (digest, _) = kept.iter().next().expect("a login");
        assert_eq!(*digest, <[u8; 32]>::from(Sha256::digest(key.0.as_slice())));
        assert!(
            !digest
                .windows(KEY_BYTES)
                .any(|part| part == key.0.as_slice())
        );
    }

    #[test]
    fn a_user_has_a_number_of_logins_and_the_stalest_makes_room() {
        let (logins, start) = (Logins::default(), Instant::now());
        let begin = |name, at: usize| {
            logins
                .begin(&identity(name), None, start + seconds(at))
                .expect("random bits")
        };
        let bob = begin("bob", 0);
        let keys: Vec<LoginKey> = (0..MOST_FOR_USER).map(|at| begin("ann", at)).collect();
        let now = start + seconds(100);
        assert!(logins.used(&keys[0], now).is_some());
        let newest = begin("ann", 101);
        let is_in = |key: &LoginKey| logins.used(key, now).is_some();
        assert!(!is_in(&keys[1]), "it was used longest ago");
        assert!(keys.iter().filter(|key| is_in(key)).count() == MOST_FOR_USER - 1);
        assert!(is_in(&newest) && is_in(&bob));
    }

    #[test]
    fn all_users_together_have_a_number_of_logins_and_the_stalest_makes_room() {
        let (logins, start) = (Logins::default(), Instant::now());
        let begin = |name: &str, at: usize| {
            let login = logins.begin(&identity(name), None, start + seconds(at));
            login.expect("random bits")
        };
        let (first, second) = (begin("ann", 0), begin("bob", 1));
        // To begin each would take seconds.
        logins.0.lock().extend((2..MOST).map(|n| {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&n.to_be_bytes());
            let login = Login {
                identity: identity(&format!("user-{n}")),
                password: None,
                used: start + seconds(n),
            };
            (digest, login)
        }));
        begin("eve", MOST);
        assert_eq!(logins.0.lock().len(), MOST);
        let now = start + seconds(MOST);
        assert!(logins.used(&first, now).is_none() && logins.used(&second, now).is_some());
        // What has ended makes room by itself.
        logins
            .begin(&identity("ann"), None, now + QUIET)
            .expect("random bits");
        assert_eq!(logins.0.lock().len(), 1);
    }

    #[test]
    fn a_key_is_sixteen_bytes_in_base64url() {
        let key = LoginKey::new().expect("random bits");
        let text = URL_SAFE_NO_PAD.encode(*key.0);
        assert_eq!(text.len(), 22);
        let read = LoginKey::parse(text.as_bytes()).expect("a key");
        assert_eq!(*read.0, *key.0);
        for wrong in [
            "",
            "x",
            &text[1..],
            &format!("{text}A"),
            &format!("{text}="),
            "\"\"",
        ] {
            assert!(LoginKey::parse(wrong.as_bytes()).is_none(), "{wrong}");
        }
    }
}
