//! Access files on the disk: a file with those that it includes, read as one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use command_line::shell_word;

use super::limit::LimitLine;
use super::parser::{ParsedAccess, ParsedGroup, parse_access};
use super::rule::AccessRule;
use crate::auth::identity::IdentityName;
use crate::auth::identity::document::MOST_FILE_BYTES;
use crate::auth::identity::file::{open, read_bytes};
use crate::auth::identity::mistake::{decode, placed, unknown};

/// Rules and groups of all files together.
#[derive(Debug, Default)]
pub(super) struct AccessParts {
    pub(super) rules: Vec<AccessRule>,
    pub(super) limits: Vec<Arc<LimitLine>>,
    /// The groups of each name.
    pub(super) groups_of: BTreeMap<Box<str>, Vec<Box<str>>>,
    pub(super) warnings: Vec<String>,
}

/// A file that was read.
struct AccessSource {
    /// What the user calls it.
    shown: String,
    text: String,
    parsed: ParsedAccess,
}

/// Maximum files that are read as one.
const MOST_FILES: usize = 1000;

/// What a name in an include may be, besides the name of a file.
const ALL_FILES: &str = "*.access";

/// The group that is there without a line.
const ADMIN: &str = "admin";

/// The bit of a mode with which all users of the machine may write a file.
const WRITTEN_BY_OTHERS: u32 = 0o002;

/// Reads a file and those that it includes. `users_groups` are the groups of all users; without them a group that
/// no file has is no mistake, but a warning.
pub(super) fn read_files(
    path: &Path,
    users_groups: Option<&BTreeSet<IdentityName>>,
) -> Result<AccessParts, Vec<String>> {
    let mut sources = vec![read_source(path).map_err(|why| vec![why])?];
    let mut seen = BTreeSet::from([canonical(path)]);
    let mut room = MOST_FILE_BYTES - sources[0].text.len();
    let folder = path.parent().unwrap_or(Path::new(""));
    for (files, at) in std::mem::take(&mut sources[0].parsed.includes) {
        let listed = match included_files(folder, &files) {
            Ok(listed) => listed,
            Err(why) => {
                sources[0].parsed.mistakes.push((at, why));
                continue;
            }
        };
        for file in listed {
            if !seen.insert(canonical(&file)) {
                continue;
            }
            let source = match read_source(&file) {
                Ok(source) if source.text.len() <= room && seen.len() <= MOST_FILES => source,
                Ok(_) => {
                    let why = format!(
                        "access files are at most {MOST_FILES}, with {MOST_FILE_BYTES} bytes together"
                    );
                    sources[0].parsed.mistakes.push((at, why));
                    break;
                }
                Err(why) => {
                    sources[0].parsed.mistakes.push((at, why));
                    continue;
                }
            };
            room -= source.text.len();
            sources.push(source);
        }
    }
    for included in &mut sources[1..] {
        for (_, at) in std::mem::take(&mut included.parsed.includes) {
            let why =
                "an included file includes no other; move this line to the file that includes it";
            included.parsed.mistakes.push((at, why.to_owned()));
        }
    }
    merge(sources, users_groups)
}

/// Reads a text that is told by this name.
pub(super) fn read_text(name: &str, text: &str) -> Result<AccessParts, Vec<String>> {
    let mut parsed = parse_access(text, &name.into());
    for (_, at) in std::mem::take(&mut parsed.includes) {
        parsed
            .mistakes
            .push((at, "only a file includes others".to_owned()));
    }
    let source = AccessSource {
        shown: name.to_owned(),
        text: text.to_owned(),
        parsed,
    };
    merge(vec![source], None)
}

fn merge(
    mut sources: Vec<AccessSource>,
    users_groups: Option<&BTreeSet<IdentityName>>,
) -> Result<AccessParts, Vec<String>> {
    let mut parts = AccessParts::default();
    let mut groups: BTreeSet<Box<str>> = BTreeSet::from([ADMIN.into()]);
    for source in &mut sources {
        for ParsedGroup { name, members, at } in std::mem::take(&mut source.parsed.groups) {
            // The group of administrators is there before its line.
            if !groups.insert(name.clone()) && (&*name != ADMIN || parts.has_group(ADMIN)) {
                let why = format!("{name} is a group already; put all of its members in one line");
                source.parsed.mistakes.push((at, why));
            }
            for member in members {
                parts
                    .groups_of
                    .entry(member)
                    .or_default()
                    .push(name.clone());
            }
        }
    }
    let of_users = users_groups.into_iter().flatten();
    groups.extend(of_users.map(|group| group.as_str().into()));
    let known: Vec<&str> = groups.iter().map(AsRef::as_ref).collect();
    let mut mistakes = Vec::new();
    for source in sources {
        let mut parsed = source.parsed;
        let mut warned = Vec::new();
        for (group, at) in parsed.named_groups {
            if groups.contains(&group) {
                continue;
            }
            let near = unknown("group", &group, &known);
            let near = if near.ends_with(" is one") {
                near
            } else {
                format!("there is no group {group}")
            };
            let why = format!(
                "{near}; a line `group {group}` makes one, also if tokens bring its members"
            );
            match users_groups {
                Some(_) => parsed.mistakes.push((at, why)),
                None => warned.push((at, format!("no file here says who is in the group {group}"))),
            }
        }
        let shown = |mistakes| {
            let placed = placed(&source.text, mistakes).into_iter();
            placed.map(|mistake| format!("{}:{mistake}", source.shown))
        };
        mistakes.extend(shown(parsed.mistakes));
        parts.warnings.extend(shown(warned));
        parts.rules.extend(parsed.rules);
        parts.limits.extend(parsed.limits);
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    Ok(parts)
}

impl AccessParts {
    fn has_group(&self, name: &str) -> bool {
        self.groups_of
            .values()
            .flatten()
            .any(|group| **group == *name)
    }
}

/// The files that an include means, in the order of their names.
fn included_files(folder: &Path, files: &str) -> Result<Vec<PathBuf>, String> {
    let path = folder.join(files);
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    if name != ALL_FILES {
        return match files.contains('*') {
            true => Err(format!(
                "an include names a file, or all of a folder as in access.d/{ALL_FILES}"
            )),
            false => Ok(vec![path]),
        };
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let cannot = |why: io::Error| format!("{} cannot be read: {why}", folder.display());
    let listed = fs::read_dir(if folder == Path::new("") {
        Path::new(".")
    } else {
        folder
    });
    let mut found = Vec::new();
    for entry in listed.map_err(cannot)? {
        let name = entry.map_err(cannot)?.file_name();
        let bytes = name.as_encoded_bytes();
        // Editors keep their own files beside, with a dot before the name.
        if bytes.ends_with(b".access") && !bytes.starts_with(b".") {
            found.push(folder.join(name));
        }
    }
    found.sort();
    Ok(found)
}

fn canonical(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

fn read_source(path: &Path) -> Result<AccessSource, String> {
    let shown = path.display().to_string();
    let file = open(path).map_err(|why| format!("{shown} cannot be read: {why}"))?;
    check_mode(&file, path)?;
    let bytes = read_bytes(&file, path, "an access file", MOST_FILE_BYTES)?;
    let text = decode(bytes).map_err(|mistake| format!("{shown}:{mistake}"))?;
    let name = path.file_name().map_or(path.as_os_str(), |name| name);
    let parsed = parse_access(&text, &Arc::from(&*name.to_string_lossy()));
    Ok(AccessSource {
        shown,
        text,
        parsed,
    })
}

/// Checks that not all users of the machine may write a file.
fn check_mode(file: &File, path: &Path) -> Result<(), String> {
    let shown = path.display();
    let metadata = file
        .metadata()
        .map_err(|why| format!("{shown} cannot be read: {why}"))?;
    if metadata.is_file() && metadata.mode() & WRITTEN_BY_OTHERS != 0 {
        return Err(format!(
            "{shown} may be written by all users of this machine; type: chmod o-w {}",
            shell_word(path),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions as FileMode;
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::super::examples::{any_name, client, publishes, topic};
    use super::super::table::AccessTable;
    use super::*;

    /// A folder with files.
    struct Folder(TempDir);

    impl Folder {
        fn new(files: &[(&str, &str)]) -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            for (name, text) in files {
                let path = folder.path().join(name);
                fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
                fs::write(path, text).expect("room");
            }
            Self(folder)
        }

        fn read(
            &self,
            name: &str,
            groups: Option<&[&str]>,
        ) -> Result<(AccessTable, Vec<String>), Vec<String>> {
            let groups: Option<BTreeSet<IdentityName>> =
                groups.map(|groups| groups.iter().map(|group| any_name(group)).collect());
            let read = AccessTable::read(&self.0.path().join(name), groups.as_ref());
            let here = format!("{}/", self.0.path().display());
            let short = |texts: Vec<String>| {
                texts
                    .into_iter()
                    .map(|text| text.replace(&here, ""))
                    .collect()
            };
            read.map(|(table, warnings)| (table, short(warnings)))
                .map_err(short)
        }

        fn mistakes(&self, name: &str, groups: Option<&[&str]>) -> Vec<String> {
            self.read(name, groups).expect_err("there is a mistake")
        }
    }

    #[test]
    fn a_file_includes_all_of_a_folder_and_mistakes_name_their_files() {
        let folder = Folder::new(&[
            (
                "main.access",
                "include access.d/*.access\r\ninclude one.txt\nallow @h publish m\n",
            ),
            ("one.txt", "allow ann publish one"),
            (
                "access.d/b.access",
                "\u{feff}group g ann\r\nallow @g publish b\r\n",
            ),
            ("access.d/a.access", "group h ann\nallow @g publish a\n"),
            ("access.d/.a.access", "wrong"),
            ("access.d/a.access~", "wrong"),
            ("self.access", "include *.access\n"),
        ]);
        let (table, warnings) = folder.read("main.access", None).expect("it is right");
        assert!(warnings.is_empty(), "{warnings:?}");
        let ann = client(&Arc::new(table), "ann", &[]);
        for text in ["a", "b", "m", "one"] {
            publishes(&ann, text, true);
        }
        let rule = ann.may_publish(topic("x")).expect_err("denied");
        assert!(rule.rule().is_none());
        assert!(
            folder.mistakes("self.access", None)[0]
                .contains("main.access:1:9: an included file includes no other")
        );
        let folder = Folder::new(&[
            (
                "main.access",
                "include access.d/*.access\ninclude none.access\ninclude a*b\ninclude empty/*.access\nallw x\n",
            ),
            ("access.d/a.access", "allow ann\ngroup g a\n"),
            ("access.d/b.access", "group g b\nallow @strangers publish x"),
            ("access.d/c.access", "\u{feff}é\u{0}\n"),
        ]);
        fs::write(folder.0.path().join("access.d/d.access"), b"a\n\xff").expect("room");
        let told = folder.mistakes("main.access", Some(&["family"]));
        let expected = [
            "main.access:1:9: access.d/d.access:2:1: the file is not UTF-8 from here on",
            "main.access:2:9: none.access cannot be read: No such file or directory (os error 2)",
            "main.access:3:9: an include names a file, or all of a folder as in access.d/*.access",
            "main.access:4:9: empty cannot be read: No such file or directory (os error 2)",
            "main.access:5:1: there is no line \"allw\"; `allow` is one",
            "access.d/a.access:1:10: a right follows here: publish, retain, subscribe, share, will, history, block, inquire, admin, client, nick, all",
            "access.d/b.access:1:7: g is a group already; put all of its members in one line",
            "access.d/b.access:2:7: there is no group strangers; a line `group strangers` makes one, also if tokens bring its members",
            "access.d/c.access:1:1: a line is one of: allow, deny, group, limit, include",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_group_is_in_a_file_or_of_a_user_and_an_empty_file_denies_everything() {
        let folder = Folder::new(&[
            (
                "a.access",
                "allow @famly publish x\nallow @admin admin\ngroup admin root\n",
            ),
            ("empty.access", "# none\n"),
        ]);
        let told = folder.mistakes("a.access", Some(&["family"]));
        assert_eq!(
            told,
            [
                "a.access:1:7: there is no group \"famly\"; `family` is one; a line `group famly` makes one, also if tokens bring its members"
            ]
        );
        assert!(folder.read("a.access", Some(&["famly"])).is_ok());
        let (table, warnings) = folder.read("a.access", None).expect("it is right");
        assert_eq!(
            warnings,
            ["a.access:1:7: no file here says who is in the group famly"]
        );
        let table = Arc::new(table);
        publishes(&client(&table, "x", &["famly"]), "x", true);
        assert!(client(&table, "root", &[]).is_admin());
        let (table, warnings) = folder.read("empty.access", None).expect("it is right");
        assert_eq!(warnings, ["empty.access has no rule: everything is denied"]);
        publishes(&client(&Arc::new(table), "root", &["admin"]), "x", false);
    }

    #[test]
    fn a_file_that_all_may_write_is_refused() {
        let folder = Folder::new(&[("a.access", "")]);
        let path = folder.0.path().join("a.access");
        fs::set_permissions(&path, FileMode::from_mode(0o666)).expect("it is ours");
        assert!(folder.mistakes("a.access", None)[0].contains("type: chmod o-w "));
        assert!(folder.mistakes("", None)[0].contains("is no file; name an access file"));
        assert!(folder.mistakes("other", None)[0].contains("cannot be read"));
    }

    #[test]
    fn a_folder_that_all_may_write_is_told_to_be_no_file() {
        let folder = Folder::new(&[]);
        fs::set_permissions(folder.0.path(), FileMode::from_mode(0o777)).expect("it is ours");
        assert!(folder.mistakes("", None)[0].contains("is no file; name an access file"));
    }

    #[test]
    fn files_that_are_read_as_one_are_at_most_a_thousand() {
        let folder = Folder::new(&[("main.access", "include d/*.access\n")]);
        fs::create_dir(folder.0.path().join("d")).expect("a folder");
        let path = |number: usize| folder.0.path().join(format!("d/{number}.access"));
        // With that which includes them they are one too many.
        for number in 0..MOST_FILES {
            fs::write(path(number), "").expect("room");
        }
        let told = folder.mistakes("main.access", None);
        assert!(told[0].starts_with("main.access:1:9: access files are at most 1000,"));
        fs::remove_file(path(0)).expect("it is there");
        assert!(folder.read("main.access", None).is_ok());
    }

    #[test]
    fn a_group_is_in_one_line_and_the_administrators_are_as_well() {
        for text in ["group g a\ngroup g b\n", "group admin a\ngroup admin b\n"] {
            let told = AccessTable::parse("f", text).expect_err("it is there twice");
            assert!(
                told[0].starts_with("f:2:7: ") && told.len() == 1,
                "{told:?}"
            );
        }
    }
}
