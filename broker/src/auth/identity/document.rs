//! A users file as text and as values. What is changed in it leaves all other bytes as they are.
//!
//! ```text
//! # comment
//! user ann groups=admin,family hash=$argon2id$v=19$...
//! user meter-7 disabled
//! token k3f9 owner=meter-7 sha256=... expires=2027-01-01T00:00:00Z note="attic"
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::str::FromStr;

use super::mistake::{BYTE_ORDER_MARK, FileMistake, decode, lines, placed, unknown};
use super::name::IdentityName;
use super::password::StoredPassword;
use super::token::{TokenId, TokenNote};
use super::users::{Token, User, Users};
use super::words::{Word, unquote, words};

/// A users file.
#[derive(Clone, Debug, Default)]
pub struct UsersDocument {
    text: String,
    users: Users,
    /// The places of the lines, without their line ends.
    user_lines: BTreeMap<IdentityName, Range<usize>>,
    token_lines: BTreeMap<TokenId, Range<usize>>,
}

/// Maximum bytes of a users file, more than a hundred thousand users have.
pub(in crate::auth) const MOST_FILE_BYTES: usize = 64 << 20;

impl UsersDocument {
    /// Parses a file.
    ///
    /// # Errors
    ///
    /// The mistakes in it, in the order of their places.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, Vec<FileMistake>> {
        let text = decode(bytes).map_err(|mistake| vec![mistake])?;
        let mut reader = DocumentReader {
            document: Self::default(),
            owners: Vec::new(),
            mistakes: Vec::new(),
        };
        for (start, line) in lines(&text) {
            reader.read_line(line, start);
        }
        reader.check_owners();
        let DocumentReader {
            mut document,
            mistakes,
            ..
        } = reader;
        if mistakes.is_empty() {
            document.text = text;
            return Ok(document);
        }
        Err(placed(&text, mistakes))
    }

    /// What it says.
    #[must_use]
    pub fn users(&self) -> &Users {
        &self.users
    }

    /// What it says, without the text.
    #[must_use]
    pub fn into_users(self) -> Users {
        self.users
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Adds a user at the end. Returns whether there was none of this name.
    pub fn add_user(&mut self, name: &IdentityName, user: &User) -> bool {
        let is_new = !self.users.users.contains_key(name);
        if is_new {
            self.append(&user.line(name));
        }
        is_new
    }

    /// Adds a token at the end. Returns whether there was none of this id and its owner is there.
    pub fn add_token(&mut self, id: &TokenId, token: &Token) -> bool {
        let is_possible =
            !self.users.tokens.contains_key(id) && self.users.users.contains_key(&token.owner);
        if is_possible {
            self.append(&token.line(id));
        }
        is_possible
    }

    /// Changes the password of a user. Returns whether the user is there.
    pub fn set_password(&mut self, name: &IdentityName, password: &StoredPassword) -> bool {
        let hash = format!("hash={}", password.as_str());
        self.set_word(name, |word| word.starts_with("hash="), Some(&hash))
    }

    /// Keeps a user out, or lets it in again. Returns whether the user is there.
    pub fn set_disabled(&mut self, name: &IdentityName, is_disabled: bool) -> bool {
        let word = is_disabled.then_some("disabled");
        self.set_word(name, |word| word == "disabled", word)
    }

    /// Removes a user with its tokens, because none is without an owner. Returns the ids of these, if the
    /// user is there.
    pub fn remove_user(&mut self, name: &IdentityName) -> Option<Vec<TokenId>> {
        let line = self.user_lines.get(name)?.clone();
        let tokens = self.users.tokens.iter();
        let tokens = tokens.filter(|(_, token)| token.owner == *name);
        let tokens: Vec<TokenId> = tokens.map(|(id, _)| id.clone()).collect();
        let mut lines: Vec<Range<usize>> = tokens
            .iter()
            .map(|id| self.token_lines[id].clone())
            .collect();
        lines.push(line);
        self.remove_lines(lines);
        Some(tokens)
    }

    /// Removes a token. Returns whether it was there.
    pub fn remove_token(&mut self, id: &TokenId) -> bool {
        let line = self.token_lines.get(id).cloned();
        let is_there = line.is_some();
        self.remove_lines(line.into_iter().collect());
        is_there
    }

    /// Replaces a word in the line of a user, adds it behind the last one, or takes it away.
    fn set_word(
        &mut self,
        name: &IdentityName,
        is_it: impl Fn(&str) -> bool,
        new: Option<&str>,
    ) -> bool {
        let Some(line) = self.user_lines.get(name).cloned() else {
            return false;
        };
        let text = &self.text[line.clone()];
        let words = words(text).expect("the line was parsed");
        let last = words.last().expect("a user has a name").span.end;
        // The name may be the same word.
        let old = words
            .iter()
            .skip(2)
            .position(|word| is_it(word.text))
            .map(|at| at + 2);
        let (span, new) = match (old, new) {
            (Some(at), Some(new)) => (words[at].span.clone(), new.to_owned()),
            // With the space before it.
            (Some(at), None) => (words[at - 1].span.end..words[at].span.end, String::new()),
            (None, Some(new)) => (last..last, format!(" {new}")),
            (None, None) => return true,
        };
        let span = line.start + span.start..line.start + span.end;
        self.text.replace_range(span, &new);
        self.parse_again();
        true
    }

    fn append(&mut self, line: &str) {
        let is_crlf = self
            .text
            .find('\n')
            .is_some_and(|at| self.text[..at].ends_with('\r'));
        let end = if is_crlf { "\r\n" } else { "\n" };
        let start = self.text.trim_start_matches(BYTE_ORDER_MARK);
        if !start.is_empty() && !start.ends_with('\n') {
            self.text.push_str(end);
        }
        self.text.push_str(line);
        self.text.push_str(end);
        self.parse_again();
    }

    fn remove_lines(&mut self, mut lines: Vec<Range<usize>>) {
        // From the end, so that the places of the others stay right.
        lines.sort_by_key(|line| std::cmp::Reverse(line.start));
        for line in lines {
            let end = self.text[line.end..]
                .find('\n')
                .map_or(self.text.len(), |at| line.end + at + 1);
            self.text.replace_range(line.start..end, "");
        }
        self.parse_again();
    }

    fn parse_again(&mut self) {
        let text = std::mem::take(&mut self.text);
        *self = Self::parse(text.into_bytes()).expect("a change keeps the file right");
    }
}

/// Reads line after line.
struct DocumentReader {
    document: UsersDocument,
    /// The owner of each token with the place where it is named.
    owners: Vec<(IdentityName, usize)>,
    /// By their place in bytes.
    mistakes: Vec<(usize, String)>,
}

/// What a line says behind its first two words.
struct Attributes<'a> {
    found: Vec<(&'a str, &'a str, usize)>,
}

impl<'a> Attributes<'a> {
    /// Takes a value with its place.
    fn get(&self, key: &str) -> Option<(&'a str, usize)> {
        let mut found = self.found.iter();
        found
            .find(|each| each.0 == key)
            .map(|each| (each.1, each.2))
    }
}

const LINES: [&str; 2] = ["user", "token"];
/// Words with an equals sign have a value.
const OF_USERS: [&str; 3] = ["groups=", "hash=", "disabled"];
const OF_TOKENS: [&str; 4] = ["owner=", "sha256=", "expires=", "note="];

impl DocumentReader {
    fn read_line(&mut self, line: &str, start: usize) {
        let words = match words(line) {
            Ok(words) => words,
            Err(at) => {
                return self.mistake(
                    start + at,
                    "this quote does not end in its line; write \\\" for one in a note",
                );
            }
        };
        let Some(first) = words.first() else {
            return;
        };
        let place = start..start + line.len();
        match first.text {
            "user" => self.read_user(&words, place),
            "token" => self.read_token(&words, place),
            other => self.mistake(start + first.span.start, &unknown("line", other, &LINES)),
        }
    }

    fn read_user(&mut self, words: &[Word<'_>], place: Range<usize>) {
        let name = self.subject::<IdentityName>(words, &place, "the name of the user");
        let attributes = self.attributes(words, &place, &OF_USERS);
        let groups = match attributes.get("groups=") {
            None => BTreeSet::new(),
            Some((value, at)) => self.groups(value, at),
        };
        let password = attributes
            .get("hash=")
            .and_then(|(value, at)| self.value(value, at));
        let user = User {
            groups,
            password,
            is_disabled: attributes.get("disabled").is_some(),
        };
        let Some((name, at)) = name else {
            return;
        };
        if self.document.users.users.contains_key(&name) {
            return self.mistake(
                at,
                &format!("{name} is a user already; leave one of the lines"),
            );
        }
        // Also with a mistake, so that its tokens are not told as well.
        self.document.user_lines.insert(name.clone(), place);
        self.document.users.users.insert(name, user);
    }

    fn groups(&mut self, list: &str, at: usize) -> BTreeSet<IdentityName> {
        let mut groups = BTreeSet::new();
        let mut start = at;
        for group in list.split(',') {
            if let Some(group) = self.value::<IdentityName>(group, start) {
                if groups.contains(&group) {
                    self.mistake(start, &format!("{group} is in the list already"));
                }
                groups.insert(group);
            }
            start += group.len() + 1;
        }
        groups
    }

    fn read_token(&mut self, words: &[Word<'_>], place: Range<usize>) {
        let id = self.subject::<TokenId>(words, &place, "the id of the token");
        let attributes = self.attributes(words, &place, &OF_TOKENS);
        let end = words
            .last()
            .map_or(place.start, |word| place.start + word.span.end);
        let owner = self.needed::<IdentityName>(&attributes, "owner=", end);
        if let Some((owner, at)) = &owner {
            self.owners.push((owner.clone(), *at));
        }
        let digest = self.needed(&attributes, "sha256=", end);
        let expires = attributes.get("expires=").and_then(|(value, at)| {
            let expires = value.parse().ok();
            if expires.is_none() {
                self.mistake(at, "expires is a time as in 2027-01-01T00:00:00Z");
            }
            expires
        });
        let note = attributes
            .get("note=")
            .and_then(|(value, at)| self.note(value, at));
        let Some((id, at)) = id else {
            return;
        };
        if self
            .document
            .token_lines
            .insert(id.clone(), place)
            .is_some()
        {
            return self.mistake(
                at,
                &format!("{id} is a token already; leave one of the lines"),
            );
        }
        if let (Some((owner, _)), Some((digest, _))) = (owner, digest) {
            let token = Token {
                owner,
                digest,
                expires,
                note,
            };
            self.document.users.tokens.insert(id, token);
        }
    }

    fn note(&mut self, value: &str, at: usize) -> Option<TokenNote> {
        let note = unquote(value);
        let why = match &note {
            None => {
                "a note is in quotes, with \\\" and \\\\ for a quote and a backslash".to_owned()
            }
            Some(note) => match note.parse() {
                Ok(note) => return Some(note),
                Err(why) => why,
            },
        };
        self.mistake(at, &why);
        None
    }

    /// The second word of a line.
    fn subject<T: FromStr<Err: ToString>>(
        &mut self,
        words: &[Word<'_>],
        place: &Range<usize>,
        wanted: &str,
    ) -> Option<(T, usize)> {
        let Some(word) = words.get(1) else {
            self.mistake(
                place.start + words[0].span.end,
                &format!("{wanted} follows here"),
            );
            return None;
        };
        let at = place.start + word.span.start;
        self.value(word.text, at).map(|subject| (subject, at))
    }

    fn needed<T: FromStr<Err: ToString>>(
        &mut self,
        attributes: &Attributes<'_>,
        key: &str,
        end: usize,
    ) -> Option<(T, usize)> {
        let Some((value, at)) = attributes.get(key) else {
            self.mistake(end, &format!("a token has {key}..."));
            return None;
        };
        self.value(value, at).map(|value| (value, at))
    }

    fn value<T: FromStr<Err: ToString>>(&mut self, text: &str, at: usize) -> Option<T> {
        match text.parse() {
            Ok(value) => Some(value),
            Err(why) => {
                self.mistake(at, &why.to_string());
                None
            }
        }
    }

    fn attributes<'a>(
        &mut self,
        words: &[Word<'a>],
        place: &Range<usize>,
        known: &[&str],
    ) -> Attributes<'a> {
        let mut found: Vec<(&str, &str, usize)> = Vec::new();
        for word in words.iter().skip(2) {
            let at = place.start + word.span.start;
            let split = word.text.find('=').map_or(word.text.len(), |at| at + 1);
            let (key, value) = word.text.split_at(split);
            if !known.contains(&key) {
                self.mistake(at, &unknown("word", key, known));
            } else if found.iter().any(|each| each.0 == key) {
                self.mistake(at, &format!("{key} stands twice in this line; leave one"));
            } else {
                found.push((key, value, at + split));
            }
        }
        Attributes { found }
    }

    fn check_owners(&mut self) {
        for (owner, at) in std::mem::take(&mut self.owners) {
            if !self.document.users.users.contains_key(&owner) {
                let why = format!(
                    "there is no user {owner}; add a line `user {owner}`, or remove the token"
                );
                self.mistake(at, &why);
            }
        }
    }

    fn mistake(&mut self, at: usize, why: &str) {
        self.mistakes.push((at, why.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use protocol::is_harmless;

    use super::super::mistake::MOST_MISTAKES;
    use super::*;

    pub(super) const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$YWJjZGVmZ2hpamtsbW5vcA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    pub(super) const OTHER: &str = "$argon2id$v=19$m=19456,t=2,p=1$YWJjZGVmZ2hpamtsbW5vcA$BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    pub(super) fn document(text: &str) -> UsersDocument {
        UsersDocument::parse(text.as_bytes().to_vec())
            .unwrap_or_else(|why| panic!("{text}: {why:?}"))
    }

    fn mistakes(text: impl AsRef<[u8]>) -> Vec<String> {
        let parsed = UsersDocument::parse(text.as_ref().to_vec());
        let mistakes = parsed.expect_err("there is a mistake");
        mistakes.iter().map(ToString::to_string).collect()
    }

    fn name(text: &str) -> IdentityName {
        text.parse().expect("a name")
    }

    fn digest() -> String {
        "ab".repeat(32)
    }

    #[test]
    fn a_file_says_which_users_and_tokens_there_are() {
        let text = format!(
            "\u{feff}# who\r\nuser ann hash={HASH} groups=admin,family\r\n\r\n\tuser meter-7 disabled # attic\r\n\
             token k3f9 owner=meter-7 sha256={} expires=2027-01-01T01:00:00+01:00 note=\"at \\\"home\\\" # 7\"",
            digest()
        );
        let document = document(&text);
        assert_eq!(document.text(), text);
        let users = document.users();
        let ann = &users.users[&name("ann")];
        assert_eq!(ann.groups, BTreeSet::from([name("admin"), name("family")]));
        assert_eq!(
            ann.password.as_ref().map(StoredPassword::as_str),
            Some(HASH)
        );
        let meter = &users.users[&name("meter-7")];
        assert!(meter.is_disabled && meter.password.is_none() && !ann.is_disabled);
        let token = users.tokens.values().next().expect("a token");
        assert_eq!(
            (&token.owner, token.digest.to_string()),
            (&name("meter-7"), digest())
        );
        assert_eq!(
            token.expires.map(|end| end.to_string()).as_deref(),
            Some("2027-01-01T00:00:00Z")
        );
        assert_eq!(
            token.note.as_ref().map(TokenNote::as_str),
            Some("at \"home\" # 7")
        );
        for empty in ["", "\n", "\u{feff}", "# none", " \t\r\n"] {
            assert_eq!(
                *UsersDocument::parse(empty.into())
                    .expect("an empty file")
                    .users(),
                Users::default()
            );
        }
    }

    #[test]
    fn all_mistakes_are_told_at_once_with_their_places() {
        let digest = digest();
        let lines = [
            "\u{feff}usr ann".to_owned(),
            "user".to_owned(),
            "é".to_owned(),
            "user ann groups=a,b/c,a hsh=x disabled disabled".to_owned(),
            "  user ann".to_owned(),
            "user bob hash=secret".to_owned(),
            "user %u".to_owned(),
            format!("token k3f9 owner=bob sha256={digest} expires=tomorrow"),
            format!("token k3f9 owner=carl sha256={digest}"),
            "token K owner=bob".to_owned(),
            "token a sha256=12 note=\"\u{1b}[2J\"".to_owned(),
            "token b owner=bob note=\"x".to_owned(),
            "token".to_owned(),
        ];
        let told = mistakes(lines.join("\r\n"));
        let expected = [
            "1:1: there is no line \"usr\"; `user` is one",
            "2:5: the name of the user follows here",
            "3:1: a line is one of: user, token",
            "4:19: a name has letters of ASCII, digits and -_.@: only, not '/'",
            "4:23: a is in the list already",
            "4:25: there is no word \"hsh=\"; `hash=` is one",
            "4:40: disabled stands twice in this line; leave one",
            "5:8: ann is a user already; leave one of the lines",
            "6:15: a hash is $argon2id$",
            "7:6: a name has letters",
            "8:102: expires is a time as in 2027-01-01T00:00:00Z",
            "9:7: k3f9 is a token already; leave one of the lines",
            "9:18: there is no user carl; add a line `user carl`, or remove the token",
            "10:7: the id of a token has 1 to 16 letters",
            "10:18: a token has sha256=...",
            "11:16: sha256 is 64 hexadecimal digits",
            "11:24: a note has no '\\u{1b}'",
            "11:30: a token has owner=...",
            "12:24: this quote does not end in its line",
            "13:6: the id of the token follows here",
            "13:6: a token has owner=...",
            "13:6: a token has sha256=...",
        ];
        assert_eq!(told.len(), expected.len(), "{told:#?}");
        for (told, expected) in told.iter().zip(expected) {
            assert!(told.starts_with(expected), "{told}\n{expected}");
            assert!(told.chars().all(is_harmless), "{told:?}");
        }
        assert!(!told.concat().contains("secret"));
    }

    #[test]
    fn bytes_that_are_no_text_have_their_place_and_of_many_mistakes_some_are_told() {
        let told = mistakes(b"# \xc3\xa9\nuser \xc3\xa9\xff");
        assert_eq!(told, ["2:7: the file is not UTF-8 from here on"]);
        let told = mistakes("x\n".repeat(MOST_MISTAKES + 5));
        assert_eq!(told.len(), MOST_MISTAKES);
        assert!(
            told[MOST_MISTAKES - 1].ends_with("(and 5 more mistakes)"),
            "{told:?}"
        );
    }

    #[test]
    fn the_first_line_of_a_file_has_none_before_it() {
        for start in ["", "\u{feff}"] {
            let mut document = document(start);
            assert!(document.add_user(&name("ann"), &User::default()));
            assert_eq!(document.text(), format!("{start}user ann\n"));
        }
    }

    #[test]
    fn a_change_touches_one_line_alone() {
        let start = format!("# a\r\nuser disabled  hash={HASH}  groups=x # end\r\nuser bob");
        let mut document = document(&start);
        assert!(document.set_disabled(&name("disabled"), true));
        assert!(document.set_disabled(&name("disabled"), true));
        assert!(document.set_password(&name("disabled"), &OTHER.parse().expect("a hash")));
        assert!(document.set_password(&name("bob"), &HASH.parse().expect("a hash")));
        let line = format!("user disabled  hash={OTHER}  groups=x disabled # end");
        assert_eq!(
            document.text(),
            format!("# a\r\n{line}\r\nuser bob hash={HASH}")
        );
        assert!(document.set_disabled(&name("disabled"), false));
        assert!(document.set_disabled(&name("disabled"), false));
        let user = User {
            groups: BTreeSet::from([name("g")]),
            ..User::default()
        };
        assert!(
            document.add_user(&name("carl"), &user) && !document.add_user(&name("carl"), &user)
        );
        let token = Token {
            owner: name("carl"),
            digest: digest().parse().expect("hex"),
            expires: None,
            note: None,
        };
        let other = Token {
            owner: name("none"),
            ..token.clone()
        };
        let (one, two) = ("1".parse().expect("an id"), "2".parse().expect("an id"));
        assert!(document.add_token(&one, &token) && document.add_token(&two, &token));
        assert!(
            !document.add_token(&two, &token)
                && !document.add_token(&"3".parse().expect("an id"), &other)
        );
        let rest = format!(
            "# a\r\nuser disabled  hash={OTHER}  groups=x # end\r\nuser bob hash={HASH}\r\n"
        );
        let tokens = format!("token 2 owner=carl sha256={}\r\n", digest());
        assert!(document.remove_token(&one) && !document.remove_token(&one));
        assert_eq!(
            document.text(),
            format!("{rest}user carl groups=g\r\n{tokens}")
        );
        assert_eq!(document.remove_user(&name("carl")), Some(vec![two]));
        assert_eq!(document.remove_user(&name("carl")), None);
        assert_eq!(document.text(), rest);
        assert!(!document.set_disabled(&name("carl"), true));
    }
}

#[cfg(test)]
mod properties {
    //! Random users files: what is written is read again, and a change is one of its own lines alone.

    use jiff::Timestamp;
    use proptest::collection::{btree_map, btree_set, vec};
    use proptest::prelude::*;

    use super::super::token::TokenDigest;
    use super::tests::{HASH, OTHER, document};
    use super::*;

    fn any_name() -> impl Strategy<Value = IdentityName> {
        "[a-zA-Z0-9][a-zA-Z0-9_.@:-]{0,8}".prop_filter_map("reserved", |text| text.parse().ok())
    }

    fn any_user() -> impl Strategy<Value = User> {
        let password = prop::option::of(prop::sample::select(vec![HASH, OTHER]));
        (btree_set(any_name(), 0..3), password, any::<bool>()).prop_map(
            |(groups, password, is_disabled)| User {
                groups,
                password: password.map(|hash| hash.parse().expect("a hash")),
                is_disabled,
            },
        )
    }

    prop_compose! {
        fn any_token(owner: IdentityName)(
            digest in any::<[u8; 32]>(),
            expires in prop::option::of(0_i64..4_000_000_000),
            note in prop::option::of("[^\\p{C}\\p{Zl}\\p{Zp}]{0,20}"),
        ) -> Token {
            Token {
                owner: owner.clone(),
                digest: TokenDigest::from_bytes(digest),
                expires: expires.map(|at| Timestamp::from_second(at).expect("in range")),
                note: note.and_then(|note| note.parse().ok()),
            }
        }
    }

    fn any_users() -> impl Strategy<Value = Users> {
        btree_map(any_name(), any_user(), 1..6).prop_flat_map(|users| {
            let owners: Vec<IdentityName> = users.keys().cloned().collect();
            let token = prop::sample::select(owners).prop_flat_map(any_token);
            let id = "[a-z0-9]{1,16}".prop_map(|text| text.parse::<TokenId>().expect("an id"));
            btree_map(id, token, 0..6).prop_map(move |tokens| Users {
                users: users.clone(),
                tokens,
            })
        })
    }

    fn written(users: &Users) -> UsersDocument {
        let mut document = UsersDocument::default();
        for (name, user) in &users.users {
            assert!(document.add_user(name, user));
        }
        for (id, token) in &users.tokens {
            assert!(document.add_token(id, token));
        }
        document
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(users in any_users()) {
            let document = written(&users);
            prop_assert_eq!(document.users(), &users);
            let again = super::tests::document(document.text());
            prop_assert_eq!(again.users(), &users);
        }

        #[test]
        fn a_change_leaves_all_other_lines_as_they_are(
            users in any_users(),
            between in vec("( |\t)*#[^\n]{0,10}|[ \t]{0,3}", 0..8),
            end in prop::sample::select(vec!["\n", "\r\n"]),
            which in any::<prop::sample::Index>(),
            kind in 0..3,
        ) {
            // Comments and empty lines among the others.
            let mut lines: Vec<String> = written(&users).text().lines().map(str::to_owned).collect();
            for (at, line) in between.iter().enumerate() {
                lines.insert((at * 2).min(lines.len()), line.trim_end_matches('\r').to_owned());
            }
            let text = lines.join(end);
            let mut document = document(&text);
            let name = users.users.keys().nth(which.index(users.users.len())).expect("one").clone();
            match kind {
                0 => prop_assert!(document.set_disabled(&name, !users.users[&name].is_disabled)),
                1 => prop_assert!(document.set_password(&name, &OTHER.parse().expect("a hash"))),
                _ => prop_assert!(document.remove_user(&name).is_some()),
            }
            let owner = format!("owner={name}");
            let is_other = |line: &&str| {
                let words: Vec<&str> = line.split_whitespace().collect();
                let is_removed = kind == 2 && words.first() == Some(&"token") && words.contains(&&*owner);
                !(words.get(..2) == Some(&["user", name.as_str()]) || is_removed)
            };
            // Behind the last line there is a line end or none, as before.
            let before: Vec<&str> = text.split('\n').filter(is_other).collect();
            let after: Vec<&str> = document.text().split('\n').filter(is_other).collect();
            let common = before.len().min(after.len());
            prop_assert_eq!(&before[..common], &after[..common]);
            prop_assert!(before[common..].concat().is_empty() && after[common..].concat().is_empty());
        }

        #[test]
        fn no_bytes_are_too_strange(bytes in vec(any::<u8>(), 0..200)) {
            let _ = UsersDocument::parse(bytes);
        }
    }
}
