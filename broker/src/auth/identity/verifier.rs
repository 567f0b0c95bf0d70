//! Which identity a client has: a name with a password, a token, or a JWT becomes a [`ClientIdentity`] or an
//! [`AuthRefusal`].
//!
//! The asking thread waits: for a hash, and after wrong answers. Passwords are compared on a few
//! threads of the verifier, tokens at once. What is not here: what an identity may do, and how each wire tells
//! a refusal.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use jiff::Timestamp;

use super::client::{ClientIdentity, IdentityKind};
use super::document::UsersDocument;
use super::failures::FailureCounts;
use super::file::read_users;
use super::hashing::HashThreads;
use super::jwt::{JwtKeys, JwtRefusal, JwtSettings, JwtVerifier, Refused, ShownJwt};
use super::name::IdentityName;
use super::password::StoredPassword;
use super::remembered::RememberedPasswords;
use super::secret::Secret;
use super::token::SaidToken;
use super::users::{User, Users};
use super::watched::{Look, WatchedFile};
use crate::auth::address::AddressBlock;
use crate::auth::rate::Rate;
use crate::sync::Mutex;

/// What a client shows for its identity.
#[derive(Clone, Copy, Debug)]
pub struct Credential<'a> {
    /// The name; empty if there is none, as for a token alone.
    pub user: &'a str,
    /// A password, a token or a JWT.
    pub secret: &'a Secret,
}

/// Why a credential is refused. `Display` is the text for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthRefusal {
    /// Name, password or token is wrong; which of them is not told.
    Wrong,
    /// The JWT is wrong. The client is not told why; the operator may be.
    WrongJwt(JwtRefusal),
    /// The user is kept out for now. Told only with the right secret.
    Disabled,
    /// The token has ended. Told only with the right one.
    Expired,
    /// Too many passwords wait to be compared, or this one has waited too long.
    TooMany,
    /// The address has shown as many wrong credentials as it may.
    TooManyAttempts,
    /// The broker stops.
    Stopping,
}

/// What clients may show.
#[derive(Clone, Debug, Default)]
pub struct VerifierSettings {
    /// The users file; without one, there are no users.
    pub users: Option<PathBuf>,
    /// Which JWTs count; without these, none does.
    pub jwt: Option<JwtSettings>,
}

/// What the files of a [`Verifier`] say; none for those that it does not have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IdentityFiles {
    /// Users and tokens.
    pub users: Option<Arc<Users>>,
    /// The keys of JWTs.
    pub jwt_keys: Option<Arc<JwtKeys>>,
}

/// Says which identity a client has. Dropping it ends its threads.
pub struct Verifier {
    sources: Arc<Sources>,
    remembered: Arc<RememberedPasswords>,
    threads: HashThreads,
    failures: Mutex<FailureCounts>,
    of_no_user: StoredPassword,
    /// Taken to stop.
    running: Mutex<Option<Sender<()>>>,
    stopped: Receiver<()>,
    watching: Option<JoinHandle<()>>,
}

/// What credentials are compared with.
struct Sources {
    users: Option<WatchedFile<Users>>,
    jwt: Option<JwtVerifier>,
}

/// Interval at which the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Maximum wait of a client for the comparison of its password.
const MOST_WAIT: Duration = Duration::from_secs(30);

impl Verifier {
    /// Reads the files and starts the threads. `changed` is called after other users or keys are in force.
    ///
    /// # Errors
    ///
    /// Each mistake in the files, or why they cannot be read, or why there is no thread.
    pub fn start(
        settings: VerifierSettings,
        changed: impl Fn() + Send + 'static,
    ) -> Result<Self, Vec<String>> {
        let sources = Arc::new(Sources::read(settings)?);
        let no_random =
            |why: getrandom::Error| vec![format!("the system gives no random bytes: {why}")];
        let remembered = Arc::new(RememberedPasswords::new().map_err(no_random)?);
        let no_thread = |why: std::io::Error| vec![format!("there is no thread for users: {why}")];
        let threads = HashThreads::start(&remembered).map_err(no_thread)?;
        let (running, stopped) = bounded(0);
        let looking = (sources.clone(), stopped.clone());
        let watching = thread::Builder::new()
            .name("users".to_owned())
            .spawn(move || watch_loop(&looking.0, &looking.1, LOOK_INTERVAL, changed))
            .map_err(no_thread)?;
        Ok(Self {
            sources,
            remembered,
            threads,
            failures: Mutex::new(FailureCounts::new()),
            of_no_user: StoredPassword::of_no_user(),
            running: Mutex::new(Some(running)),
            stopped,
            watching: Some(watching),
        })
    }

    /// Checks a credential, while this thread waits: for the delay that wrong answers have earned its address
    /// and its user there, at most 30 s, and for the hash of its password, at most 30 s.
    ///
    /// # Errors
    ///
    /// Why not. Only [`AuthRefusal::Wrong`] and [`AuthRefusal::WrongJwt`] count as failures.
    pub fn verify(
        &self,
        credential: Credential<'_>,
        address: IpAddr,
    ) -> Result<ClientIdentity, AuthRefusal> {
        self.verify_limited(credential, address, None)
    }

    /// The same, where an address may fail no more than `attempts` times in a minute.
    ///
    /// # Errors
    ///
    /// As there; and [`AuthRefusal::TooManyAttempts`], without a look at the credential.
    pub fn verify_limited(
        &self,
        credential: Credential<'_>,
        address: IpAddr,
        attempts: Option<u64>,
    ) -> Result<ClientIdentity, AuthRefusal> {
        let block = AddressBlock::of(address);
        let token = SaidToken::parse(credential.secret);
        let user = self.user_of(credential.user, token.as_ref());
        let attempts = attempts.map(Rate::in_a_minute);
        let is_exhausted = || {
            let is_so = |rate| {
                let failures = self.failures.lock();
                failures.is_exhausted(block, user.as_ref(), rate, Instant::now())
            };
            attempts.is_some_and(is_so)
        };
        if is_exhausted() {
            return Err(AuthRefusal::TooManyAttempts);
        }
        let delay = self
            .failures
            .lock()
            .delay(block, user.as_ref(), Instant::now());
        // Before the comparison, so that a guesser takes no place in the line meanwhile.
        if self.stopped.recv_timeout(delay) == Err(RecvTimeoutError::Disconnected) {
            return Err(AuthRefusal::Stopping);
        }
        // Others of this address may have failed meanwhile.
        if is_exhausted() {
            return Err(AuthRefusal::TooManyAttempts);
        }
        let jwt = self.sources.jwt.as_ref();
        let jwt = jwt.filter(|_| token.is_none() && credential.secret.is_jwt());
        let verified = match (&token, jwt) {
            (Some(token), _) => self.verify_token(credential.user, token),
            (None, Some(jwt)) => self.verify_jwt(jwt, credential),
            (None, None) => self.verify_password(user.as_ref(), credential.secret),
        };
        let mut failures = self.failures.lock();
        match &verified {
            Ok(identity) => failures.succeeded(block, &identity.name, Instant::now()),
            Err(AuthRefusal::Wrong | AuthRefusal::WrongJwt(_)) => {
                failures.failed(block, user.as_ref(), Instant::now());
                if let Some(rate) = attempts {
                    failures.note_attempt(block, rate, Instant::now());
                }
            }
            Err(_) => {}
        }
        verified
    }

    /// The identity as the files have it now, with the groups of today; none if the user, the token or the key of
    /// a JWT is gone, is disabled, or has ended.
    #[must_use]
    pub fn renewed(&self, identity: &ClientIdentity) -> Option<ClientIdentity> {
        if let IdentityKind::Jwt(grant) = &identity.kind {
            let is_over = grant.expires() <= Timestamp::now();
            let groups = self.groups_of(identity).filter(|_| !is_over)?;
            let kind = identity.kind.clone();
            return Some(ClientIdentity {
                name: identity.name.clone(),
                groups,
                kind,
            });
        }
        let users = self.users();
        // The holder of a certificate need be no user; one that is has the groups of the user, and may be disabled.
        // Those that it had as a user have gone with it.
        if identity.kind == IdentityKind::Certificate && !users.users.contains_key(&identity.name) {
            return Some(ClientIdentity::of_certificate(identity.name.clone()));
        }
        let user = users.users.get(&identity.name)?;
        let kind = match &identity.kind {
            IdentityKind::Certificate => IdentityKind::Certificate,
            IdentityKind::Password => IdentityKind::Password,
            IdentityKind::Token { id, .. } => {
                let token = users.tokens.get(id)?;
                if token.owner != identity.name || token.has_ended(Timestamp::now()) {
                    return None;
                }
                IdentityKind::Token {
                    id: id.clone(),
                    expires: token.expires,
                }
            }
            IdentityKind::Anonymous
            | IdentityKind::Peer
            | IdentityKind::Room
            | IdentityKind::Jwt(_) => return None,
        };
        identity_of(&identity.name, user, kind).ok()
    }

    /// What the files say now, not yet in force.
    ///
    /// # Errors
    ///
    /// Each mistake in them, or why they cannot be read.
    pub fn read_again(&self) -> Result<IdentityFiles, Vec<String>> {
        let Sources { users, jwt } = &*self.sources;
        let users = users.as_ref().map(WatchedFile::read_again).transpose();
        let keys = jwt.as_ref().map(|jwt| jwt.keys.read_again()).transpose();
        match (users, keys) {
            (Ok(users), Ok(keys)) => Ok(IdentityFiles {
                users: users.map(Arc::new),
                jwt_keys: keys.map(Arc::new),
            }),
            (users, keys) => {
                let mut mistakes = users.err().unwrap_or_default();
                mistakes.extend(keys.err().unwrap_or_default());
                Err(mistakes)
            }
        }
    }

    /// Puts what files say in force.
    pub fn replace(&self, files: IdentityFiles) {
        if let (Some(watched), Some(users)) = (&self.sources.users, files.users) {
            watched.replace(users);
        }
        if let (Some(jwt), Some(keys)) = (&self.sources.jwt, files.jwt_keys) {
            jwt.keys.replace(keys);
        }
    }

    /// What is in force.
    #[must_use]
    pub fn in_force(&self) -> IdentityFiles {
        let Sources { users, jwt } = &*self.sources;
        IdentityFiles {
            users: users.as_ref().map(WatchedFile::in_force),
            jwt_keys: jwt.as_ref().map(|jwt| jwt.keys.in_force()),
        }
    }

    /// How many hashes of passwords have been computed, also for users that are not there.
    #[must_use]
    pub fn hashes_computed(&self) -> u64 {
        self.threads.computed()
    }

    /// Whether JWTs count.
    #[must_use]
    pub fn takes_jwt(&self) -> bool {
        self.sources.jwt.is_some()
    }

    fn users(&self) -> Arc<Users> {
        let users = self.sources.users.as_ref();
        users.map_or_else(Arc::default, WatchedFile::in_force)
    }

    /// The hash of a user's password, which is another one after each change of it.
    #[must_use]
    pub fn stored_password(&self, name: &IdentityName) -> Option<StoredPassword> {
        self.users().users.get(name)?.password.clone()
    }

    /// Whether a client may come with this name: that of a user, disabled or not, or with JWTs any.
    #[must_use]
    pub fn may_come(&self, name: &IdentityName) -> bool {
        self.takes_jwt() || self.has_user(name)
    }

    /// Whether there is a user of this name, disabled or not.
    #[must_use]
    pub fn has_user(&self, name: &IdentityName) -> bool {
        self.users().users.contains_key(name)
    }

    /// The user that a client says it is, by a name or by the public part of a token, if there is such a user.
    #[must_use]
    pub fn user_shown(&self, said: &str, secret: Option<&Secret>) -> Option<IdentityName> {
        let token = secret.and_then(SaidToken::parse);
        let user = self.user_of(said, token.as_ref());
        user.filter(|user| self.has_user(user))
    }

    /// The groups of the holder of an identity, also of a token that is over; none if the user or the key of its
    /// JWT is gone, or the user is disabled.
    #[must_use]
    pub fn groups_of(&self, identity: &ClientIdentity) -> Option<BTreeSet<IdentityName>> {
        let users = self.users();
        let user = users.users.get(&identity.name);
        if user.is_some_and(|user| user.is_disabled) {
            return None;
        }
        match &identity.kind {
            IdentityKind::Jwt(grant) => {
                let jwt = self.sources.jwt.as_ref()?;
                jwt.honours(grant).then(|| identity.groups.clone())
            }
            // Its holder need be no user.
            IdentityKind::Certificate if user.is_none() => Some(BTreeSet::new()),
            _ => user.map(|user| user.groups.clone()),
        }
    }

    /// Makes all that wait in [`Verifier::verify`] for an end of their delay return soon, with
    /// [`AuthRefusal::Stopping`].
    pub fn stop(&self) {
        *self.running.lock() = None;
    }

    /// The user whose failures count: a name that could be one, or the owner of a token.
    fn user_of(&self, said: &str, token: Option<&SaidToken>) -> Option<IdentityName> {
        let users = self.users();
        let owner = token
            .and_then(|token| users.tokens.get(&token.id))
            .map(|token| token.owner.clone());
        owner.or_else(|| said.parse().ok())
    }

    fn verify_password(
        &self,
        name: Option<&IdentityName>,
        password: &Secret,
    ) -> Result<ClientIdentity, AuthRefusal> {
        // Without users no name is right, so there is none to hide.
        if self.sources.users.is_none() || password.expose().len() > Secret::MOST_BYTES {
            return Err(AuthRefusal::Wrong);
        }
        let users = self.users();
        let found = name.and_then(|name| users.users.get_key_value(name));
        let stored = found
            .and_then(|(name, user)| user.password.as_ref().map(|stored| (name, user, stored)));
        let fingerprint =
            stored.map(|(name, _, stored)| self.remembered.fingerprint(name, stored, password));
        if !fingerprint.is_some_and(|it| self.remembered.is_right(&it, Instant::now())) {
            let compared = stored.map_or(&self.of_no_user, |(_, _, stored)| stored);
            let deadline = Instant::now() + MOST_WAIT;
            let is_right = self
                .threads
                .compare(password, compared, fingerprint, deadline);
            if !is_right.map_err(|_| AuthRefusal::TooMany)? {
                return Err(AuthRefusal::Wrong);
            }
        }
        let (name, user, _) = stored.ok_or(AuthRefusal::Wrong)?;
        identity_of(name, user, IdentityKind::Password)
    }

    fn verify_jwt(
        &self,
        jwt: &JwtVerifier,
        credential: Credential<'_>,
    ) -> Result<ClientIdentity, AuthRefusal> {
        let token = credential.secret.expose();
        let shown = jwt.verify(credential.user, token, Timestamp::now());
        let ShownJwt {
            name,
            groups,
            grant,
        } = shown.map_err(|refused| match refused {
            Refused::Wrong(why) => AuthRefusal::WrongJwt(why),
            Refused::Expired => AuthRefusal::Expired,
        })?;
        match self.users().users.get(&name) {
            Some(user) if user.is_disabled => Err(AuthRefusal::Disabled),
            _ => Ok(ClientIdentity {
                name,
                groups,
                kind: IdentityKind::Jwt(Arc::new(grant)),
            }),
        }
    }

    fn verify_token(&self, said: &str, token: &SaidToken) -> Result<ClientIdentity, AuthRefusal> {
        let users = self.users();
        let found = users.tokens.get(&token.id);
        if !token.is_of(found.map(|found| &found.digest)) {
            return Err(AuthRefusal::Wrong);
        }
        let found = found.ok_or(AuthRefusal::Wrong)?;
        if !said.is_empty() && said != found.owner.as_str() {
            return Err(AuthRefusal::Wrong);
        }
        if found.has_ended(Timestamp::now()) {
            return Err(AuthRefusal::Expired);
        }
        let owner = users.users.get(&found.owner).ok_or(AuthRefusal::Wrong)?;
        identity_of(
            &found.owner,
            owner,
            IdentityKind::Token {
                id: token.id.clone(),
                expires: found.expires,
            },
        )
    }
}

impl Sources {
    fn read(settings: VerifierSettings) -> Result<Self, Vec<String>> {
        let users = settings.users.map(|path| {
            WatchedFile::read(&path, |path| {
                read_users(path).map(UsersDocument::into_users)
            })
        });
        let jwt = settings.jwt.map(JwtVerifier::start);
        let (users, jwt) = (users.transpose(), jwt.transpose());
        match (users, jwt) {
            (Ok(users), Ok(jwt)) => Ok(Self { users, jwt }),
            (users, jwt) => {
                let mut mistakes = users.err().unwrap_or_default();
                mistakes.extend(jwt.err().unwrap_or_default());
                Err(mistakes)
            }
        }
    }

    /// Looks at the files. Returns whether something else is in force.
    fn look(&self) -> bool {
        let users = self
            .users
            .as_ref()
            .is_some_and(|users| told(users, "users"));
        let keys = self
            .jwt
            .as_ref()
            .is_some_and(|jwt| told(&jwt.keys, "keys of JWT"));
        users || keys
    }
}

/// Looks at a file, and tells what came of it. Returns whether something else is in force.
fn told<T: PartialEq + fmt::Display>(watched: &WatchedFile<T>, what: &str) -> bool {
    match watched.look() {
        Look::Same => false,
        Look::Changed(next) => {
            log::info!("{}: {next} are in force", watched.path().display());
            true
        }
        Look::Wrong(mistakes) => {
            log::error!("the {what} stay as they were: {}", mistakes.join("; "));
            false
        }
    }
}

fn identity_of(
    name: &IdentityName,
    user: &User,
    kind: IdentityKind,
) -> Result<ClientIdentity, AuthRefusal> {
    if user.is_disabled {
        return Err(AuthRefusal::Disabled);
    }
    Ok(ClientIdentity {
        name: name.clone(),
        groups: user.groups.clone(),
        kind,
    })
}

impl Drop for Verifier {
    fn drop(&mut self) {
        self.stop();
        if let Some(watching) = self.watching.take() {
            // A panic has been told by its hook.
            let _ = watching.join();
        }
    }
}

fn watch_loop(sources: &Sources, stopped: &Receiver<()>, interval: Duration, changed: impl Fn()) {
    while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
        if sources.look() {
            changed();
        }
    }
}

impl fmt::Display for AuthRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wrong => "the name or the password is wrong",
            Self::WrongJwt(_) => "this JWT is not taken; the operator finds the reason in the log",
            Self::Disabled => "this user is disabled; ask the operator",
            Self::Expired => "this token has ended; ask for a new one",
            Self::TooManyAttempts => {
                "too many credentials from this address were wrong; try again in some minutes"
            }
            Self::TooMany => "too many passwords wait to be checked; try again in a few seconds",
            Self::Stopping => "the broker stops",
        })
    }
}

impl std::error::Error for AuthRefusal {}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::net::Ipv4Addr;
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::super::file::edit_users;
    use super::super::jwt::examples;
    use super::super::token::NewToken;
    use super::super::users::Token;
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.into()).expect("a secret")
    }

    fn name(text: &str) -> IdentityName {
        text.parse().expect("a name")
    }

    /// A file with ann and her password, meter-7 with tokens alone, and bob, who is disabled.
    struct Household {
        folder: TempDir,
        verifier: Verifier,
        lasting: Secret,
        ended: Secret,
    }

    impl Household {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("users");
            let hash = StoredPassword::of(&secret("right")).expect("random bytes");
            let hash = hash.as_str();
            let text = format!(
                "user ann groups=admin hash={hash}\nuser meter-7\nuser bob hash={hash} disabled\n"
            );
            fs::write(&path, text).expect("room");
            fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("it is ours");
            let token = |expires| {
                edit_users(&path, false, |document| {
                    let made = NewToken::make(|_| false)?;
                    let stored = Token {
                        owner: name("meter-7"),
                        digest: made.digest,
                        expires,
                        note: None,
                    };
                    assert!(document.add_token(&made.id, &stored));
                    Ok(made.text)
                })
                .expect("it is added")
            };
            let (lasting, ended) = (token(None), token(Some(Timestamp::UNIX_EPOCH)));
            let settings = VerifierSettings {
                users: Some(path),
                jwt: None,
            };
            let verifier = Verifier::start(settings, || {}).expect("it starts");
            Self {
                folder,
                verifier,
                lasting,
                ended,
            }
        }

        fn verify(
            &self,
            user: &str,
            secret: &Secret,
            address: u8,
        ) -> Result<ClientIdentity, AuthRefusal> {
            let address = Ipv4Addr::new(10, 0, 0, address);
            self.verifier
                .verify(Credential { user, secret }, address.into())
        }
    }

    #[test]
    fn a_password_makes_an_identity_and_all_that_is_wrong_gets_one_answer() {
        let household = Household::new();
        let verify = |user, text, address| household.verify(user, &secret(text), address);
        let ann = verify("ann", "right", 1).expect("it is right");
        assert_eq!((ann.name, ann.kind), (name("ann"), IdentityKind::Password));
        assert_eq!(ann.groups, BTreeSet::from([name("admin")]));
        for (at, (user, text)) in [
            ("ann", "wrong"),
            ("eve", "right"),
            ("", "right"),
            ("a b", "right"),
            ("meter-7", "right"),
        ]
        .into_iter()
        .enumerate()
        {
            let address = 2 + u8::try_from(at).expect("few");
            assert_eq!(
                verify(user, text, address),
                Err(AuthRefusal::Wrong),
                "{user}"
            );
        }
        assert_eq!(verify("bob", "right", 1), Err(AuthRefusal::Disabled));
        assert_eq!(verify("bob", "wrong", 1), Err(AuthRefusal::Wrong));
        assert!(verify("ann", "right", 1).is_ok());
    }

    #[test]
    fn a_wrong_password_costs_the_same_hash_and_the_same_wait_whether_the_user_is_there_or_not() {
        let household = Household::new();
        let verifier = &household.verifier;
        let users = ["ann", "bob", "meter-7", "eve", "a b", ""];
        let told = users.into_iter().zip(1..).map(|(user, address)| {
            let block = AddressBlock::of(Ipv4Addr::new(10, 0, 0, address).into());
            let steps = (0..3).map(|_| {
                let before = verifier.hashes_computed();
                let answer = household.verify(user, &secret("wrong"), address);
                let (named, now) = (user.parse().ok(), Instant::now());
                let delay = verifier.failures.lock().delay(block, named.as_ref(), now);
                let hashes = verifier.hashes_computed() - before;
                (answer.map(|_| ()), hashes, delay.as_secs())
            });
            steps.collect::<Vec<_>>()
        });
        let wrong = |delay| (Err(AuthRefusal::Wrong), 1, delay);
        for (user, told) in users.into_iter().zip(told) {
            assert_eq!(told, [wrong(0), wrong(0), wrong(1)], "{user:?}");
        }
        // What is remembered costs none.
        let hashes = [1, 0].map(|_| {
            let before = verifier.hashes_computed();
            assert!(household.verify("ann", &secret("right"), 9).is_ok());
            verifier.hashes_computed() - before
        });
        assert_eq!(hashes, [1, 0]);
    }

    #[test]
    fn a_token_stands_for_its_owner_until_it_ends() {
        let household = Household::new();
        for user in ["", "meter-7"] {
            let meter = household
                .verify(user, &household.lasting, 1)
                .expect("it is right");
            assert_eq!(
                (
                    meter.name,
                    matches!(meter.kind, IdentityKind::Token { expires: None, .. })
                ),
                (name("meter-7"), true)
            );
        }
        assert_eq!(
            household.verify("ann", &household.lasting, 2),
            Err(AuthRefusal::Wrong)
        );
        assert_eq!(
            household.verify("", &household.ended, 3),
            Err(AuthRefusal::Expired)
        );
        let text = str::from_utf8(household.lasting.expose()).expect("text");
        let (start, _) = text.rsplit_once('_').expect("parts");
        let other = secret(&format!("{start}_{}", "A".repeat(43)));
        assert_eq!(household.verify("", &other, 4), Err(AuthRefusal::Wrong));
    }

    #[test]
    fn a_password_that_was_right_costs_no_hash_until_the_line_of_its_user_changes() {
        let household = Household::new();
        let right = secret("right");
        assert!(household.verify("ann", &right, 1).is_ok());
        let begin = Instant::now();
        for _ in 0..100 {
            assert!(household.verify("ann", &right, 1).is_ok());
        }
        assert!(
            begin.elapsed() < Duration::from_secs(1),
            "{:?}",
            begin.elapsed()
        );
        let path = household.folder.path().join("users");
        let other = StoredPassword::of(&secret("other")).expect("random bytes");
        edit_users(&path, false, |document| {
            Ok(document.set_password(&name("ann"), &other))
        })
        .expect("it is changed");
        assert!(household.verifier.sources.look());
        assert_eq!(household.verify("ann", &right, 1), Err(AuthRefusal::Wrong));
        assert!(household.verify("ann", &secret("other"), 1).is_ok());
        edit_users(&path, false, |document| {
            Ok(document.set_disabled(&name("ann"), true))
        })
        .expect("it is changed");
        assert!(household.verifier.sources.look());
        assert_eq!(
            household.verify("ann", &secret("other"), 1),
            Err(AuthRefusal::Disabled)
        );
    }

    #[test]
    fn answers_after_three_failures_wait_and_a_stop_wakes_those_that_wait() {
        let household = Household::new();
        let wrong = household.lasting.copy();
        for _ in 0..3 {
            assert_eq!(household.verify("ann", &wrong, 1), Err(AuthRefusal::Wrong));
        }
        let begin = Instant::now();
        assert_eq!(household.verify("ann", &wrong, 1), Err(AuthRefusal::Wrong));
        assert!(
            begin.elapsed() >= Duration::from_secs(1),
            "{:?}",
            begin.elapsed()
        );
        thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                for _ in 0..8 {
                    let refused = household.verify("ann", &wrong, 1).expect_err("it is wrong");
                    if refused == AuthRefusal::Stopping {
                        return true;
                    }
                }
                false
            });
            household.verifier.stop();
            assert!(waiting.join().expect("no panic"), "it was not woken");
        });
    }

    #[test]
    fn the_holder_of_a_certificate_has_the_groups_of_its_user_as_long_as_there_is_one() {
        let household = Household::new();
        let verifier = &household.verifier;
        let alone = ClientIdentity::of_certificate(name("ann"));
        let ann = verifier.renewed(&alone).expect("it is a user");
        assert_eq!(ann.groups, BTreeSet::from([name("admin")]));
        assert_eq!(verifier.groups_of(&ann).as_ref(), Some(&ann.groups));
        let of_bob = ClientIdentity::of_certificate(name("bob"));
        assert_eq!(verifier.renewed(&of_bob), None);
        let path = household.folder.path().join("users");
        edit_users(&path, false, |document| {
            Ok(document.remove_user(&name("ann")))
        })
        .expect("it is changed");
        assert!(verifier.sources.look());
        assert_eq!(verifier.groups_of(&ann), Some(BTreeSet::new()));
        assert_eq!(verifier.renewed(&ann), Some(alone));
    }

    /// A verifier with a users file and the secret key of tokens.
    fn with_keys(household: &Household) -> Verifier {
        let path = household.folder.path().join("keys");
        fs::write(&path, examples::set(&[&examples::secret_key()])).expect("room");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("it is ours");
        let settings = VerifierSettings {
            users: Some(household.folder.path().join("users")),
            jwt: Some(JwtSettings {
                keys: path,
                issuer: None,
                audience: None,
                check_rights: |_| Ok(()),
            }),
        };
        Verifier::start(settings, || {}).expect("it starts")
    }

    #[test]
    fn a_broker_with_users_and_keys_takes_passwords_tokens_and_jwts_each_by_its_form() {
        let household = Household::new();
        let both = with_keys(&household);
        let verify = |verifier: &Verifier, user, secret: &Secret, address| {
            let address = Ipv4Addr::new(10, 0, 0, address);
            verifier.verify(Credential { user, secret }, address.into())
        };
        let jwt = |claims: &str| secret(&examples::signed(claims));
        let of_ann = jwt(r#"{"sub":"ann","exp":4102444800}"#);
        assert!(verify(&both, "ann", &secret("right"), 1).is_ok());
        assert!(verify(&both, "", &household.lasting, 1).is_ok());
        let ann = verify(&both, "", &of_ann, 1).expect("it is right");
        // The groups are those of the token, not those of the users file.
        assert_eq!((ann.kind(), ann.groups.len()), ("jwt", 0));
        assert_eq!(both.renewed(&ann), Some(ann.clone()));
        assert!(both.may_come(&name("eve")) && !household.verifier.may_come(&name("eve")));
        assert!(matches!(
            verify(&both, "bob", &of_ann, 2),
            Err(AuthRefusal::WrongJwt(_))
        ));
        let of_bob = jwt(r#"{"sub":"bob","exp":4102444800}"#);
        assert_eq!(verify(&both, "", &of_bob, 3), Err(AuthRefusal::Disabled));
        let over = jwt(r#"{"sub":"ann","exp":1}"#);
        assert_eq!(verify(&both, "", &over, 4), Err(AuthRefusal::Expired));
        // Without keys it is a password, and none that counts.
        assert_eq!(
            verify(&household.verifier, "ann", &of_ann, 5),
            Err(AuthRefusal::Wrong)
        );
        assert_eq!(household.verifier.renewed(&ann), None);
        let bob = ClientIdentity {
            name: name("bob"),
            ..ann
        };
        assert_eq!(both.renewed(&bob), None);
    }

    #[test]
    fn a_jwt_lives_as_long_as_its_key_is_in_the_file() {
        let household = Household::new();
        let both = with_keys(&household);
        let jwt = secret(&examples::signed(
            r#"{"sub":"eve","exp":4102444800,"groups":["a"]}"#,
        ));
        let shown = Credential {
            user: "",
            secret: &jwt,
        };
        let eve = both
            .verify(shown, Ipv4Addr::LOCALHOST.into())
            .expect("it is right");
        assert_eq!(both.groups_of(&eve), Some(BTreeSet::from([name("a")])));
        let path = household.folder.path().join("keys");
        fs::write(&path, "{").expect("room");
        assert!(!both.sources.look() && both.read_again().is_err());
        assert_eq!(
            both.renewed(&eve),
            Some(eve.clone()),
            "a mistake leaves the old keys"
        );
        fs::write(&path, examples::set(&[])).expect("room");
        assert!(both.sources.look());
        assert_eq!((both.renewed(&eve), both.groups_of(&eve)), (None, None));
        let before = IdentityFiles {
            users: None,
            ..both.in_force()
        };
        fs::write(&path, examples::set(&[&examples::secret_key()])).expect("room");
        let read = both.read_again().expect("it is right");
        assert_ne!(read.jwt_keys, before.jwt_keys);
        both.replace(read);
        assert_eq!(both.renewed(&eve), Some(eve));
    }

    impl Household {
        fn change<T>(&self, change: impl FnOnce(&mut UsersDocument) -> T) -> T {
            let path = self.folder.path().join("users");
            let changed = edit_users(&path, false, |document| Ok(change(document)));
            assert!(self.verifier.sources.look());
            changed.expect("it is changed")
        }
    }

    #[test]
    fn an_identity_is_renewed_while_its_user_and_its_token_are_as_they_were() {
        let household = Household::new();
        let verifier = &household.verifier;
        let ann = household.verify("ann", &secret("right"), 1).expect("right");
        let meter = household.verify("", &household.lasting, 1).expect("right");
        for identity in [&ann, &meter] {
            assert_eq!(verifier.renewed(identity).as_ref(), Some(identity));
        }
        let IdentityKind::Token { id, .. } = &meter.kind else {
            panic!("it is a token");
        };
        let of_ann = ClientIdentity {
            name: name("ann"),
            ..meter.clone()
        };
        assert_eq!(verifier.renewed(&of_ann), None, "the token is not ann's");
        household.change(|document| {
            let ended = Token {
                expires: Some(Timestamp::UNIX_EPOCH),
                ..document.users().tokens[id].clone()
            };
            assert!(document.remove_token(id) && document.add_token(id, &ended));
            assert!(document.remove_user(&name("ann")).is_some());
        });
        assert_eq!(
            (verifier.renewed(&ann), verifier.renewed(&meter)),
            (None, None)
        );
        for given in [ClientIdentity::anonymous(), ClientIdentity::of_room(1)] {
            assert_eq!(verifier.renewed(&given), None, "{given:?}");
        }
    }

    #[test]
    fn what_a_client_says_is_a_user_only_if_there_is_one() {
        let household = Household::new();
        let verifier = &household.verifier;
        let shown = |said, secret| verifier.user_shown(said, secret);
        assert_eq!(shown("bob", None), Some(name("bob")));
        assert_eq!((shown("eve", None), shown("", None)), (None, None));
        let token = Some(&household.lasting);
        assert_eq!(shown("", token), Some(name("meter-7")));
        assert!(verifier.has_user(&name("bob")) && !verifier.has_user(&name("eve")));
        let stored = |user| verifier.stored_password(&name(user));
        assert!(stored("meter-7").is_none() && stored("eve").is_none());
        let before = stored("ann").expect("she has one");
        let other = StoredPassword::of(&secret("other")).expect("random bytes");
        assert!(household.change(|document| document.set_password(&name("ann"), &other)));
        assert!(before != other && stored("ann") == Some(other));
    }

    #[test]
    fn what_is_longer_than_a_password_is_none_and_costs_no_hash() {
        let household = Household::new();
        let padded = |length| Secret::shown(format!("{:x<length$}", "eyJ.").into()).expect("a JWT");
        let longest = padded(Secret::MOST_BYTES);
        let stored = StoredPassword::of(&longest).expect("random bytes");
        assert!(household.change(|document| document.set_password(&name("ann"), &stored)));
        assert!(household.verify("ann", &longest, 1).is_ok());
        let before = household.verifier.hashes_computed();
        let longer = padded(Secret::MOST_BYTES + 1);
        assert_eq!(household.verify("ann", &longer, 2), Err(AuthRefusal::Wrong));
        assert_eq!(household.verifier.hashes_computed(), before);
    }

    #[test]
    fn changed_files_are_seen_until_the_broker_stops() {
        let household = Household::new();
        let sources = &household.verifier.sources;
        let path = household.folder.path().join("users");
        let changed = edit_users(&path, false, |document| {
            Ok(document.remove_user(&name("ann")))
        });
        assert!(changed.is_ok());
        let (running, stopped) = bounded(0);
        let (changed, is_changed) = bounded(1);
        let seen = thread::scope(|scope| {
            scope.spawn(|| {
                watch_loop(sources, &stopped, Duration::from_millis(1), || {
                    let _ = changed.try_send(());
                });
            });
            let seen = is_changed.recv_timeout(Duration::from_secs(10));
            drop(running);
            seen
        });
        assert!(seen.is_ok() && !household.verifier.has_user(&name("ann")));
    }

    #[test]
    fn the_thread_that_looks_at_files_ends_before_the_verifier_does() {
        /// Takes its time to end.
        struct Slow(Sender<()>);
        impl Drop for Slow {
            fn drop(&mut self) {
                thread::sleep(Duration::from_millis(50));
                let _ = self.0.try_send(());
            }
        }
        let (ended, is_ended) = bounded(1);
        let slow = Slow(ended);
        let changed = move || {
            let _ = &slow;
        };
        let verifier = Verifier::start(VerifierSettings::default(), changed).expect("it starts");
        assert!(is_ended.try_recv().is_err());
        drop(verifier);
        assert!(is_ended.try_recv().is_ok());
    }

    #[test]
    fn a_jwt_says_when_its_identity_ends_and_what_it_leaves_of_its_rights() {
        let household = Household::new();
        let both = with_keys(&household);
        let shown = |claims: &str| {
            let jwt = secret(&examples::signed(claims));
            let shown = Credential {
                user: "",
                secret: &jwt,
            };
            let identity = both.verify(shown, Ipv4Addr::LOCALHOST.into());
            identity.expect("it is right")
        };
        let whole = shown(r#"{"sub":"ann","exp":4102444800}"#);
        let less = shown(r#"{"sub":"ann","exp":4102444801,"dallal":{"publish":["a/#"]}}"#);
        let rights = less.claimed_rights().map(|rights| rights.iter().collect());
        assert_eq!(rights, Some(vec![("publish", vec!["a/#"])]));
        assert!(whole.claimed_rights().is_none() && !whole.has_rights_of(&less));
        let ends = [&whole, &less].map(|it| it.expires().map(Timestamp::as_second));
        assert_eq!(ends, [Some(4_102_444_800), Some(4_102_444_801)]);
    }
}
