//! The text of an access file: groups, rules and includes, or all mistakes with their places.

use std::sync::Arc;

use super::effect::Effect;
use super::limit::LimitLine;
use super::pattern::{FilterPattern, NamePattern, Placeholder};
use super::right::{AccessRight, meant_right, right_follows};
use super::rule::{AccessRule, Who};
use crate::auth::identity::mistake::{lines, unknown};
use crate::auth::identity::words::{Word, unquote, words};
use crate::auth::identity::{BadIdentityName, IdentityName};

use protocol::{escape_spaces, is_harmless};

/// What a file says. Places are in bytes of its text.
#[derive(Debug, Default)]
pub(super) struct ParsedAccess {
    pub(super) rules: Vec<AccessRule>,
    pub(super) groups: Vec<ParsedGroup>,
    pub(super) limits: Vec<Arc<LimitLine>>,
    /// Files to include.
    pub(super) includes: Vec<(String, usize)>,
    /// Groups that rules name.
    pub(super) named_groups: Vec<(Box<str>, usize)>,
    pub(super) mistakes: Vec<(usize, String)>,
}

/// A line that says which names are a group.
#[derive(Debug)]
pub(super) struct ParsedGroup {
    pub(super) name: Box<str>,
    pub(super) members: Vec<Box<str>>,
    pub(super) at: usize,
}

const LINES: [&str; 5] = ["allow", "deny", "group", "limit", "include"];

/// How names begin that the broker gives by itself.
const GIVEN: [&str; 2] = ["unix:", "room:"];

const ANONYMOUS: &str = "anonymous";

/// Parses a text. `file` is what its rules are told by.
pub(super) fn parse_access(text: &str, file: &Arc<str>) -> ParsedAccess {
    let mut parser = AccessParser {
        file,
        parsed: ParsedAccess::default(),
    };
    for (number, (start, line)) in lines(text).enumerate() {
        parser.read_line(line, start, number + 1);
    }
    parser.parsed
}

pub(super) struct AccessParser<'f> {
    pub(super) file: &'f Arc<str>,
    pub(super) parsed: ParsedAccess,
}

/// A word as it is meant, and its place in the file.
#[derive(Clone, Debug)]
pub(super) struct PlacedWord {
    pub(super) text: String,
    pub(super) at: usize,
    /// Whether it is in quotes, and so no right.
    pub(super) is_quoted: bool,
}

impl AccessParser<'_> {
    pub(super) fn mistake(&mut self, at: usize, why: impl Into<String>) {
        self.parsed.mistakes.push((at, why.into()));
    }

    pub(super) fn mistake_count(&self) -> usize {
        self.parsed.mistakes.len()
    }

    fn read_line(&mut self, line: &str, start: usize, number: usize) {
        let Some((mut placed, end)) = self.placed_words(line, start) else {
            return;
        };
        if placed.is_empty() {
            return;
        }
        let first = placed.remove(0);
        match first.text.as_str() {
            "allow" => self.read_rule(Effect::Allow, &placed, line, start, number),
            "deny" => self.read_rule(Effect::Deny, &placed, line, start, number),
            "group" => self.read_group(&placed, end),
            "limit" => self.read_limit(&placed, told_text(line, end - start), number, end),
            "include" => self.read_include(&placed, end),
            other => self.mistake(first.at, unknown("line", other, &LINES)),
        }
    }

    /// The words of a line, and where they end. A bare `#` behind rights that need a filter is one.
    fn placed_words(&mut self, line: &str, start: usize) -> Option<(Vec<PlacedWord>, usize)> {
        let mut placed = self.words_from(line, start, 0)?;
        let end = |placed: &[PlacedWord]| placed.last().map_or(0, |word| word.end(line, start));
        let behind = end(&placed);
        let rest = line[behind..].trim_start_matches([' ', '\t']);
        let is_bare = rest == "#" || rest.starts_with("# ") || rest.starts_with("#\t");
        if is_bare && awaits_filter(&placed) {
            let at = line.len() - rest.len();
            placed.push(PlacedWord {
                text: "#".to_owned(),
                at: start + at,
                is_quoted: false,
            });
            for word in self.words_from(line, start, at + 1)? {
                if !word.text.starts_with('$') {
                    let why = "# has all topics but those that begin with $; a comment behind it begins with another #";
                    self.mistake(word.at, why);
                    return None;
                }
                placed.push(word);
            }
        }
        let end = start + end(&placed);
        Some((placed, end))
    }

    fn words_from(&mut self, line: &str, start: usize, from: usize) -> Option<Vec<PlacedWord>> {
        let found = match words(&line[from..]) {
            Ok(found) => found,
            Err(at) => {
                self.mistake(start + from + at, "this quote does not end in its line");
                return None;
            }
        };
        let mut placed = Vec::new();
        for Word { text, span } in found {
            let at = start + from + span.start;
            let Some(meant) = unquote(text) else {
                self.mistake(at, "a word is in quotes as a whole, with \\\" and \\\\ for a quote and a backslash");
                return None;
            };
            placed.push(PlacedWord {
                is_quoted: text.starts_with('"'),
                text: meant,
                at,
            });
        }
        Some(placed)
    }

    fn read_group(&mut self, placed: &[PlacedWord], end: usize) {
        let Some((first, members)) = placed.split_first() else {
            return self.mistake(end, "the name of the group follows here, then its members");
        };
        let mut group = ParsedGroup {
            name: Box::default(),
            members: Vec::new(),
            at: first.at,
        };
        for member in members {
            let name = match member.text.as_str() {
                text if text.starts_with('@') => {
                    Err("a group has names as members, and no groups".to_owned())
                }
                text => given_name(text).map_err(|why| why.to_string()),
            };
            match name {
                Ok(name) if group.members.contains(&name) => {
                    self.mistake(member.at, format!("{name} is in the group already"));
                }
                Ok(name) => group.members.push(name),
                Err(why) => self.mistake(member.at, why),
            }
        }
        match first.text.parse::<IdentityName>() {
            Ok(name) => {
                group.name = name.as_str().into();
                self.parsed.groups.push(group);
            }
            Err(why) => self.mistake(first.at, why.to_string()),
        }
    }

    fn read_include(&mut self, placed: &[PlacedWord], end: usize) {
        match placed {
            [] => self.mistake(
                end,
                "the files follow here, as in include access.d/*.access",
            ),
            [files] => self.parsed.includes.push((files.text.clone(), files.at)),
            [_, other, ..] => self.mistake(
                other.at,
                "an include names files once; write a line for each, or quotes around spaces",
            ),
        }
    }

    fn read_rule(
        &mut self,
        effect: Effect,
        placed: &[PlacedWord],
        line: &str,
        start: usize,
        number: usize,
    ) {
        let before = self.parsed.mistakes.len();
        let end = start + placed.last().map_or(0, |word| word.end(line, start));
        let is_right = |word: &PlacedWord| !word.is_quoted && AccessRight::is_meant(&word.text);
        let Some(first) = placed.iter().position(is_right) else {
            return self.no_right(placed, start + line.trim_end().len().max(1));
        };
        let (names, rest) = placed.split_at(first);
        let rights = rest.iter().take_while(|word| is_right(word)).count();
        let (rights, places) = rest.split_at(rights);
        let (who, except) = self.read_who(names, rights[0].at);
        let rights = self.read_rights(effect, rights);
        let (filters, names) = self.read_places(&rights, places, end);
        if self.parsed.mistakes.len() > before {
            return;
        }
        self.parsed.rules.push(AccessRule {
            effect,
            file: self.file.clone(),
            line: number,
            text: told_text(line, end - start),
            who: who.into(),
            except: except.into(),
            rights: rights.into(),
            filters: filters.into(),
            names: names.into(),
        });
    }

    /// Tells which word should be a right, if one is like it.
    fn no_right(&mut self, placed: &[PlacedWord], end: usize) {
        let bare = placed.iter().filter(|word| !word.is_quoted);
        let meant = bare.map(|word| (word.at, meant_right(&word.text)));
        match meant.into_iter().find_map(|(at, why)| Some((at, why?))) {
            Some((at, why)) => self.mistake(at, why),
            None => {
                let strange = placed.iter().find(|word| self::who(&word.text).is_err());
                self.mistake(strange.map_or(end, |word| word.at), right_follows());
            }
        }
    }

    pub(super) fn read_who(&mut self, words: &[PlacedWord], end: usize) -> (Vec<Who>, Vec<Who>) {
        let (mut who, mut except) = (Vec::new(), Vec::new());
        for word in words {
            let (text, list) = match word.text.strip_prefix('-') {
                Some(text) => (text, &mut except),
                None => (word.text.as_str(), &mut who),
            };
            match self::who(text) {
                Ok(one) if list.contains(&one) => {
                    self.parsed
                        .mistakes
                        .push((word.at, format!("{} is there twice; leave one", word.text)));
                }
                Ok(one) => {
                    if let Who::Group(name) = &one {
                        self.parsed.named_groups.push((name.clone(), word.at));
                    }
                    list.push(one);
                }
                Err(why) => self.parsed.mistakes.push((word.at, why)),
            }
        }
        if words.iter().all(|word| word.text.starts_with('-')) {
            let why = "a line begins with names, @groups, anonymous, known or everyone; those to leave out, as -ann, follow them";
            self.mistake(words.first().map_or(end, |word| word.at), why);
        }
        (who, except)
    }

    fn read_rights(&mut self, effect: Effect, words: &[PlacedWord]) -> Vec<AccessRight> {
        let mut rights = Vec::new();
        for word in words {
            match AccessRight::parse(&word.text) {
                Err((inside, why)) => self.mistake(word.at + inside, why),
                Ok(AccessRight::SubscribeNarrow) if effect == Effect::Deny => {
                    self.mistake(
                        word.at,
                        "subscribe:narrow only allows; a deny has subscribe",
                    );
                }
                Ok(right) if rights.contains(&right) => {
                    self.mistake(word.at, format!("{} is there twice; leave one", word.text));
                }
                Ok(right) => rights.push(right),
            }
        }
        rights
    }

    fn read_places(
        &mut self,
        rights: &[AccessRight],
        words: &[PlacedWord],
        end: usize,
    ) -> (Vec<FilterPattern>, Vec<NamePattern>) {
        let needs_filters = rights.iter().any(AccessRight::needs_filters);
        let takes_filters = rights.iter().any(AccessRight::takes_filters);
        let takes_names = rights.iter().any(AccessRight::takes_names);
        let (mut filters, mut names) = (Vec::new(), Vec::new());
        match words.first() {
            _ if takes_names && takes_filters => {
                self.mistake(
                    end,
                    "client and nick have names and the other rights have filters; write a line for each",
                );
            }
            None if takes_names => self.mistake(end, "names follow here, as in meter-%u*"),
            None if needs_filters => {
                self.mistake(end, "filters follow here, as in home/# or home/%u/+")
            }
            Some(word) if !takes_names && !takes_filters && !rights.is_empty() => {
                self.mistake(
                    word.at,
                    "this right has no topics; leave out what follows it",
                );
            }
            None | Some(_) if takes_names => {
                let is_client = rights.contains(&AccessRight::Client);
                names = self.read_each(words, |text| {
                    let name = NamePattern::parse(text)?;
                    match is_client && name.uses(Placeholder::Client) {
                        true => Err((
                            0,
                            "a client identifier is compared with %u or %g".to_owned(),
                        )),
                        false => Ok(name),
                    }
                });
            }
            None | Some(_) => {
                filters = self.read_each(words, |text| FilterPattern::parse(&escape_spaces(text)));
            }
        }
        // A right that is misspelt would be a filter of one level.
        if let Some(word) = words.first()
            && words.len() > 1
            && !word.is_quoted
            && let Some(why) = meant_right(&word.text)
        {
            self.mistake(word.at, format!("{why}; a topic of this name is in quotes"));
        }
        (filters, names)
    }

    fn read_each<T: PartialEq>(
        &mut self,
        words: &[PlacedWord],
        parse: impl Fn(&str) -> Result<T, (usize, String)>,
    ) -> Vec<T> {
        let mut parsed = Vec::new();
        for word in words {
            match parse(&word.text) {
                // Escapes in quotes move what follows them.
                Err((_, why)) if word.is_quoted => self.mistake(word.at, why),
                Err((inside, why)) => self.mistake(word.at + inside, why),
                Ok(one) if parsed.contains(&one) => {
                    self.mistake(word.at, "this is there twice; leave one");
                }
                Ok(one) => parsed.push(one),
            }
        }
        parsed
    }
}

impl PlacedWord {
    /// Whether it is this word, and not in quotes.
    pub(super) fn is(&self, word: &str) -> bool {
        !self.is_quoted && self.text == word
    }

    /// Where it ends in its line.
    fn end(&self, line: &str, start: usize) -> usize {
        let from = self.at - start;
        if !self.is_quoted {
            return from + self.text.len();
        }
        let is_escaped = |at: usize| {
            line[..at]
                .chars()
                .rev()
                .take_while(|it| *it == '\\')
                .count()
                % 2
                == 1
        };
        let ends = line[from + 1..]
            .match_indices('"')
            .map(|(at, _)| from + 1 + at);
        let end = ends.into_iter().find(|at| !is_escaped(*at));
        end.map_or(line.len(), |at| at + 1)
    }
}

/// A line up to the end of its last word, as it is told: with one space between words, and harmless.
fn told_text(line: &str, end: usize) -> Box<str> {
    let words = line[..line.len().min(end)].split([' ', '\t']);
    let words: Vec<&str> = words.filter(|it| !it.is_empty()).collect();
    let harmless = |letter: char| if is_harmless(letter) { letter } else { '?' };
    words.join(" ").chars().map(harmless).collect()
}

/// Whether a filter has to follow these words.
fn awaits_filter(placed: &[PlacedWord]) -> bool {
    let is_rule =
        matches!(placed.first(), Some(word) if word.text == "allow" || word.text == "deny");
    let last = placed.last().filter(|word| !word.is_quoted);
    let is_right = last.is_some_and(|word| AccessRight::is_meant(&word.text));
    let rights = placed.iter().filter(|word| !word.is_quoted);
    let mut rights = rights.filter_map(|word| AccessRight::parse(&word.text).ok());
    is_rule && is_right && rights.any(|right| right.takes_filters())
}

fn who(text: &str) -> Result<Who, String> {
    match text {
        "everyone" => Ok(Who::Everyone),
        "known" => Ok(Who::Known),
        ANONYMOUS => Ok(Who::Anonymous),
        _ => match text.strip_prefix('@') {
            Some(group) => match group.parse::<IdentityName>() {
                Ok(group) => Ok(Who::Group(group.as_str().into())),
                Err(why) => Err(why.to_string()),
            },
            None => given_name(text)
                .map(Who::Name)
                .map_err(|why| why.to_string()),
        },
    }
}

/// A name of a user, or one that the broker gives.
fn given_name(text: &str) -> Result<Box<str>, BadIdentityName> {
    let inner = GIVEN.iter().find_map(|start| text.strip_prefix(start));
    inner.unwrap_or(text).parse::<IdentityName>()?;
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::super::examples::{client, subscribed};
    use super::super::table::AccessTable;
    use super::*;

    fn mistakes(text: &str) -> Vec<String> {
        AccessTable::parse("f", text).expect_err("there is a mistake")
    }

    #[test]
    fn mistakes_have_their_places_and_what_would_be_right() {
        for (text, told) in [
            (
                "alow ann publish a",
                "f:1:1: there is no line \"alow\"; `allow` is one",
            ),
            (
                "\u{feff}allow ann pubish a\r\n",
                "f:1:11: there is no right \"pubish\"; `publish` is one",
            ),
            (
                "allow ann publish",
                "f:1:18: filters follow here, as in home/# or home/%u/+",
            ),
            (
                "allow ann",
                "f:1:10: a right follows here: publish, retain, subscribe, share, will, history, block, inquire, admin, client, nick, all",
            ),
            (
                "allow publish a",
                "f:1:7: a line begins with names, @groups, anonymous, known or everyone; those to leave out, as -ann, follow them",
            ),
            (
                "allow a/b publish c",
                "f:1:7: a name has letters of ASCII, digits and -_.@: only, not '/'",
            ),
            (
                "allow %u publish c",
                "f:1:7: a name has letters of ASCII, digits and -_.@: only, not '%'",
            ),
            (
                "allow ann ann publish c",
                "f:1:11: ann is there twice; leave one",
            ),
            (
                "allow ann publish publish c",
                "f:1:19: publish is there twice; leave one",
            ),
            (
                "allow ann publish a/# b a/#",
                "f:1:25: this is there twice; leave one",
            ),
            (
                "allow ann publish é a#",
                "f:1:21: + and # must stand alone in their level, as in a/+/b or a/#",
            ),
            (
                "allow ann publish subscrbe home/#",
                "f:1:19: there is no right \"subscrbe\"; `subscribe` is one; a topic of this name is in quotes",
            ),
            (
                "allow ann publish a/%x",
                "f:1:21: a placeholder is %u, %c or %g; write %% for a %",
            ),
            (
                "allow ann publish \"a/%x\"",
                "f:1:19: a placeholder is %u, %c or %g; write %% for a %",
            ),
            (
                "allow ann publish a/%u%c",
                "f:1:23: a level has one placeholder",
            ),
            (
                "allow ann subscribe $share/g/a",
                "f:1:21: the group of a shared subscription is a right: share:<group>, and here the filter alone",
            ),
            (
                "allow ann share:a/b x",
                "f:1:17: the group of a shared subscription is one level without + and #",
            ),
            (
                "allow ann inquire:whoo",
                "f:1:19: there is no inquiry \"whoo\"; `who` is one",
            ),
            (
                "allow ann inquire:who a",
                "f:1:23: this right has no topics; leave out what follows it",
            ),
            (
                "allow ann subscribe:narow a",
                "f:1:21: there is no way to subscribe \"narow\"; `narrow` is one",
            ),
            (
                "deny ann subscribe:narrow a",
                "f:1:10: subscribe:narrow only allows; a deny has subscribe",
            ),
            (
                "allow ann publish:x a",
                "f:1:18: nothing follows publish; leave out the colon and what is behind",
            ),
            (
                "allow ann publish nick a",
                "f:1:25: client and nick have names and the other rights have filters; write a line for each",
            ),
            (
                "allow ann client",
                "f:1:17: names follow here, as in meter-%u*",
            ),
            (
                "allow ann client %c",
                "f:1:18: a client identifier is compared with %u or %g",
            ),
            (
                "allow ann nick a*b",
                "f:1:17: a * is the last letter, for any end",
            ),
            (
                "allow ann publish \"a",
                "f:1:19: this quote does not end in its line",
            ),
            (
                "allow ann subscribe # all of it",
                "f:1:23: # has all topics but those that begin with $; a comment behind it begins with another #",
            ),
            (
                "group",
                "f:1:6: the name of the group follows here, then its members",
            ),
            ("group g a a", "f:1:11: a is in the group already"),
            (
                "group g @h",
                "f:1:9: a group has names as members, and no groups",
            ),
            (
                "group g anonymous",
                "f:1:9: anonymous is no name, because it means others than one user",
            ),
            (
                "group g a\ngroup g b",
                "f:2:7: g is a group already; put all of its members in one line",
            ),
            ("include x", "f:1:9: only a file includes others"),
            (
                "allow ann publish a\u{202e}",
                "f:1:20: no filter of a rule has the character \\u{202e}",
            ),
        ] {
            assert_eq!(mistakes(text), [told], "{text}");
        }
        assert_eq!(mistakes("x\n".repeat(200).as_str()).len(), 100);
    }

    #[test]
    fn a_bare_hash_behind_a_right_is_a_filter_and_else_a_comment() {
        for (rule, filter, decided) in [
            ("allow ann subscribe #", "a", "granted"),
            ("allow ann subscribe \"#\" # all", "a", "granted"),
            ("allow ann subscribe # $x/# # all", "$x/y", "granted"),
            ("allow ann subscribe a # b", "b", "denied"),
            ("allow ann all # all topics", "a", "mistake"),
            ("allow ann all #", "$x", "denied"),
            ("allow ann all #all", "$x", "granted"),
            ("allow ann subscribe \"a b\"", r"a\sb", "granted"),
            ("allow ann subscribe nik", "nik", "granted"),
            (
                "allow \"publish\" ann subscribe \"subscribe\" a",
                "subscribe",
                "granted",
            ),
        ] {
            let Ok(table) = AccessTable::parse("f", rule) else {
                assert_eq!(decided, "mistake", "{rule}");
                continue;
            };
            let ann = client(&Arc::new(table), "ann", &[]);
            assert_eq!(
                subscribed(&ann, filter) == "granted",
                decided == "granted",
                "{rule}"
            );
        }
    }

    #[test]
    fn a_rule_is_told_up_to_its_last_word() {
        for (line, told) in [
            ("  deny ann\tpublish   a # c", "deny ann publish a"),
            (
                r#"deny ann publish "a" b # "c""#,
                r#"deny ann publish "a" b"#,
            ),
            (
                r#"deny ann publish "a\"b" "a" # "c""#,
                r#"deny ann publish "a\"b" "a""#,
            ),
            (
                r#"deny ann publish a "b\"c" # d"#,
                r#"deny ann publish a "b\"c""#,
            ),
        ] {
            let table = AccessTable::parse("f", line).unwrap_or_else(|why| panic!("{why:?}"));
            let ann = client(&Arc::new(table), "ann", &[]);
            let topic = super::super::examples::topic("a");
            let denial = ann.may_publish(topic).expect_err("it is denied");
            assert_eq!(denial.rule().map(AccessRule::text), Some(told));
        }
    }

    #[test]
    fn a_rule_is_about_all_about_those_with_a_name_or_about_those_without() {
        for (who, names) in [
            ("everyone", &["ann", "anonymous"][..]),
            ("known", &["ann"]),
            ("anonymous", &["anonymous"]),
        ] {
            let table = AccessTable::parse("f", &format!("allow {who} publish a"));
            let table = Arc::new(table.unwrap_or_else(|why| panic!("{why:?}")));
            for name in ["ann", "anonymous"] {
                let is_allowed = client(&table, name, &[]).may_anything();
                assert_eq!(is_allowed, names.contains(&name), "{who} {name}");
            }
        }
    }
}
