//! Which file of a crate imports which.
//!
//! A path counts wherever it is written, in a `use` or on its own. It is followed from `crate`,
//! `self`, `super`, a child module or an imported name, and through re-exports, to the file that
//! defines the item. A `mod.rs` is a file like any other. Two things are no import: `mod child;`, and
//! `pub use child::Item`, which offers an item of the own folder to others. Where the file uses such an
//! item itself, that is an import.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::slice;

use super::{Source, Token, sources};

/// The module files of one crate.
#[derive(Debug)]
pub struct Modules {
    crate_name: String,
    files: BTreeMap<Vec<String>, File>,
}

/// An item of one file that another names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Import {
    /// The file that names it.
    pub from: PathBuf,
    /// The file that defines it.
    pub to: PathBuf,
    /// Its name; `*` is all.
    pub item: String,
}

impl fmt::Display for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (self.from.display(), self.to.display());
        write!(f, "{from} imports {} of {to}", self.item)
    }
}

#[derive(Debug)]
struct File {
    source: Source,
    uses: Vec<Use>,
    globs: Vec<Use>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Use {
    path: Vec<String>,
    /// What it is called here; `*` is all.
    name: String,
    is_public: bool,
}

/// Where a path ends: at an item of a module, or at the module itself.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    module: Vec<String>,
    item: Option<String>,
}

/// No path is re-exported more often.
const MAX_REEXPORTS: usize = 8;

/// The module of a `main.rs` beside a `lib.rs`, which names the library as another crate would.
const PROGRAM: &str = "main";

impl Modules {
    /// Reads the crate whose `lib.rs` or `main.rs` lies in a folder of the workspace.
    #[must_use]
    pub fn read(crate_name: &str, folder: &str) -> Self {
        Self::of(crate_name, folder, sources(folder))
    }

    /// Takes the sources of a crate that has its `lib.rs` or `main.rs` in this folder. A `main.rs`
    /// beside a `lib.rs` is a module of it that no other can name.
    #[must_use]
    pub fn of(crate_name: &str, folder: &str, sources: Vec<Source>) -> Self {
        let is_there = |name: &str| {
            sources
                .iter()
                .any(|file| file.path() == Path::new(folder).join(name))
        };
        let root = if is_there("lib.rs") { "lib" } else { PROGRAM };
        let mut files = BTreeMap::new();
        for source in sources {
            let path = source.path().with_extension("");
            let path = path.strip_prefix(folder).expect("a file in the folder");
            let mut module: Vec<String> = path
                .iter()
                .map(|part| part.to_string_lossy().into())
                .collect();
            if module == [root] || module.last().is_some_and(|last| last == "mod") {
                module.pop();
            }
            let (globs, uses) = uses(source.tokens()).partition(|import| import.name == "*");
            let file = File {
                source,
                uses,
                globs,
            };
            files.insert(module, file);
        }
        Self {
            crate_name: crate_name.to_owned(),
            files,
        }
    }

    /// All imports between files of the crate, each once.
    #[must_use]
    pub fn imports(&self) -> BTreeSet<Import> {
        let mut imports = BTreeSet::new();
        for (module, file) in &self.files {
            let named = file.uses.iter().filter_map(|import| {
                let found = self.resolve(module, &import.path, 0)?;
                let is_offered = import.is_public && found.module.starts_with(module);
                (!is_offered).then_some(found)
            });
            let globs = file.globs.iter().filter_map(|glob| {
                let mut found = self.resolve(module, &glob.path, 0)?;
                let is_offered = glob.is_public && found.module.starts_with(module);
                found.item.get_or_insert("*".to_owned());
                (!is_offered).then_some(found)
            });
            let paths = paths(file.source.tokens());
            let paths = paths
                .iter()
                .filter_map(|path| self.resolve(module, path, 0));
            for found in named.chain(globs).chain(paths) {
                // The name of a module alone is no import: what is named through it is.
                let Some(item) = found.item.filter(|_| found.module != *module) else {
                    continue;
                };
                imports.insert(Import {
                    from: file.source.path().to_owned(),
                    to: self.files[&found.module].source.path().to_owned(),
                    item,
                });
            }
        }
        imports
    }

    fn resolve(&self, from: &[String], path: &[String], reexports: usize) -> Option<Found> {
        if reexports > MAX_REEXPORTS {
            return None;
        }
        let (first, mut rest) = path.split_first()?;
        let mut module = from.to_vec();
        match first.as_str() {
            "self" => {}
            "crate" => module.clear(),
            // A module may have this name as well.
            name if name == self.crate_name && from == [PROGRAM] => module.clear(),
            "super" => {
                module.pop()?;
                while let Some((_, behind)) =
                    rest.split_first().filter(|(next, _)| *next == "super")
                {
                    module.pop()?;
                    rest = behind;
                }
            }
            _ => rest = path,
        }
        let is_relative = rest.len() == path.len();
        for (at, name) in rest.iter().enumerate() {
            let mut child = module.clone();
            child.push(name.clone());
            if self.files.contains_key(&child) {
                module = child;
                continue;
            }
            let file = self.files.get(&module)?;
            if let Some(import) = file.uses.iter().find(|import| import.name == *name) {
                let path = [&import.path, &rest[at + 1..]].concat();
                return self.resolve(&module, &path, reexports + 1);
            }
            let by_glob = file.globs.iter().find_map(|glob| {
                let found = self.resolve(&module, &glob.path, reexports + 1)?;
                let defines = self.files[&found.module].source.defines(name);
                defines.then_some(found.module)
            });
            // A name that the file itself neither defines nor imports is one of the language or of another crate.
            let is_foreign = is_relative && at == 0 && by_glob.is_none();
            return (!is_foreign).then(|| Found {
                module: by_glob.unwrap_or(module),
                item: Some(name.clone()),
            });
        }
        Some(Found { module, item: None })
    }
}

impl Source {
    /// Whether an item of this name is defined here.
    fn defines(&self, name: &str) -> bool {
        const KINDS: [&str; 9] = [
            "struct", "enum", "trait", "union", "type", "fn", "const", "static", "mod",
        ];
        let mut pairs = self.tokens().windows(2);
        pairs.any(|pair| KINDS.contains(&pair[0].text()) && pair[1].is(name))
    }
}

/// The groups of files that need each other, also through others, each with the imports inside of it.
#[must_use]
pub fn circles(imports: &BTreeSet<Import>) -> Vec<BTreeSet<Import>> {
    let mut direct: BTreeMap<&Path, BTreeSet<&Path>> = BTreeMap::new();
    for import in imports {
        direct.entry(&import.from).or_default().insert(&import.to);
    }
    let below: BTreeMap<&Path, BTreeSet<&Path>> = direct
        .keys()
        .map(|from| (*from, reached(&direct, from)))
        .collect();
    let reaches = |from: &Path, to: &Path| below.get(from).is_some_and(|below| below.contains(to));
    let mut circles: BTreeMap<&Path, BTreeSet<Import>> = BTreeMap::new();
    for import in imports {
        if reaches(&import.to, &import.from) {
            let mut members = below[import.from.as_path()].iter();
            let first = members.find(|member| reaches(member, &import.from));
            let circle = circles.entry(first.expect("it reaches itself"));
            circle.or_default().insert(import.clone());
        }
    }
    circles.into_values().collect()
}

/// All that can be reached from one file.
fn reached<'a>(direct: &BTreeMap<&'a Path, BTreeSet<&'a Path>>, from: &Path) -> BTreeSet<&'a Path> {
    let mut reached = BTreeSet::new();
    let mut ways: Vec<&Path> = vec![from];
    while let Some(file) = ways.pop() {
        for next in direct.get(file).into_iter().flatten() {
            if reached.insert(*next) {
                ways.push(next);
            }
        }
    }
    reached
}

/// What a file takes from others with `use`.
fn uses(tokens: &[Token]) -> impl Iterator<Item = Use> {
    use_items(tokens).into_iter().flat_map(|(begin, end)| {
        // Behind `pub`, or behind the parenthesis that closes `pub(crate)`.
        let before = begin.checked_sub(1).map(|before| &tokens[before]);
        let is_public = before.is_some_and(|before| before.is("pub") || before.is(")"));
        let leaves = leaves(&mut tokens[begin + 1..end].iter(), &[]);
        leaves.into_iter().map(move |(path, name)| Use {
            path,
            name,
            is_public,
        })
    })
}

/// Where each `use` begins and where its semicolon is.
fn use_items(tokens: &[Token]) -> Vec<(usize, usize)> {
    let begins = (0..tokens.len()).filter(|at| {
        // `impl Trait + use<'a>` is no import.
        tokens[*at].is("use") && tokens.get(at + 1).is_some_and(|next| !next.is("<"))
    });
    let with_end = begins.map(|begin| {
        let mut rest = tokens[begin..].iter();
        let length = rest.position(|token| token.is(";"));
        (begin, begin + length.unwrap_or(tokens.len() - 1 - begin))
    });
    with_end.collect()
}

/// The paths that follow a `use`, or a brace in it, each with the name that it gets.
fn leaves(tokens: &mut slice::Iter<'_, Token>, prefix: &[String]) -> Vec<(Vec<String>, String)> {
    let mut found = Vec::new();
    let mut path = prefix.to_vec();
    let mut name = None;
    loop {
        match tokens.next().map_or("}", Token::text) {
            "::" => {}
            "{" => {
                found.extend(leaves(tokens, &path));
                // The path to the braces is none of its own.
                path = prefix.to_vec();
            }
            "as" => name = tokens.next().map(|name| name.text().to_owned()),
            end @ ("," | "}") => {
                if path.len() > prefix.len() {
                    found.push(leaf(path, name.take()));
                }
                if end == "}" {
                    return found;
                }
                path = prefix.to_vec();
            }
            part => path.push(part.to_owned()),
        }
    }
}

/// `a::*` takes all from `a`, and `a::{self}` is `a`.
fn leaf(mut path: Vec<String>, name: Option<String>) -> (Vec<String>, String) {
    let last = path.last().cloned().unwrap_or_default();
    if last == "*" {
        path.pop();
        return (path, last);
    }
    if last == "self" && path.len() > 1 {
        path.pop();
    }
    let last = path.last().cloned().unwrap_or_default();
    (path, name.unwrap_or(last))
}

/// All paths in a file but those of `use`. A name on its own is one as well.
fn paths(tokens: &[Token]) -> BTreeSet<Vec<String>> {
    let mut paths = BTreeSet::new();
    let mut uses = use_items(tokens).into_iter().peekable();
    let mut at = 0;
    while at < tokens.len() {
        if let Some((_, end)) = uses.next_if(|(begin, _)| *begin == at) {
            at = end + 1;
            continue;
        }
        let follows = at > 0 && [".", "::"].contains(&tokens[at - 1].text());
        let mut path = Vec::new();
        while let Some(token) = tokens.get(at).filter(|token| token.is_word()) {
            path.push(token.text().to_owned());
            at += 1;
            let goes_on = tokens.get(at).is_some_and(|token| token.is("::"))
                && tokens.get(at + 1).is_some_and(Token::is_word);
            if !goes_on {
                break;
            }
            at += 1;
        }
        if path.is_empty() {
            at += 1;
        } else if !follows {
            paths.insert(path);
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> Modules {
        let sources = files
            .iter()
            .map(|(path, text)| Source::new(format!("src/{path}"), text));
        Modules::of("house", "src", sources.collect())
    }

    /// The imports as `from to item`.
    #[track_caller]
    fn check(files: &[(&str, &str)], expected: &[&str]) {
        let imports = read(files).imports();
        let short = |path: &Path| {
            path.strip_prefix("src")
                .expect("in src")
                .display()
                .to_string()
        };
        let found = imports.iter().map(|import| {
            format!(
                "{} {} {}",
                short(&import.from),
                short(&import.to),
                import.item
            )
        });
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn paths_lead_to_the_file_that_defines_an_item() {
        let others = [
            ("lib.rs", "mod a; mod b; struct Top;"),
            ("a/mod.rs", "mod one; mod two;"),
            ("a/two.rs", ""),
            ("b.rs", ""),
        ];
        for (code, imports) in [
            ("use crate::b::B;", &["a/one.rs b.rs B"] as &[_]),
            (
                "use super::two::{self, Two}; fn f() { two::g() }",
                &["a/one.rs a/two.rs Two", "a/one.rs a/two.rs g"],
            ),
            ("fn f() { super::two::g() }", &["a/one.rs a/two.rs g"]),
            (
                "use crate::{a::two::X, b::{Y, Z as W}};",
                &["a/one.rs a/two.rs X", "a/one.rs b.rs Y", "a/one.rs b.rs Z"],
            ),
            ("use super::super::Top;", &["a/one.rs lib.rs Top"]),
            ("use super::two::*;", &["a/one.rs a/two.rs *"]),
            (
                "use crate::b as other; fn f() { other::g() }",
                &["a/one.rs b.rs g"],
            ),
            (
                "use crate::b; use std::io; fn f(b: u8) { io::b(b.b::<u8>()) }",
                &[],
            ),
            ("use house::b::B;", &[]),
            ("pub(in crate::a) fn f() {}", &[]),
            ("#[cfg(test)] mod tests { use crate::b::B; }", &[]),
        ] {
            let mut files = others.to_vec();
            files.push(("a/one.rs", code));
            check(&files, imports);
        }
    }

    #[test]
    fn a_reexport_leads_on_and_is_no_import_of_its_own() {
        let lib = ("lib.rs", "mod a; mod b;");
        let one = ("a/one.rs", "pub struct One;");
        let b = ("b.rs", "use crate::a::One;");
        check(
            &[
                lib,
                one,
                b,
                ("a/mod.rs", "mod one; pub(crate) use one::One;"),
            ],
            &["b.rs a/one.rs One"],
        );
        check(
            &[lib, one, b, ("a/mod.rs", "mod one; pub use one::*;")],
            &["b.rs a/one.rs One"],
        );
        check(
            &[
                lib,
                one,
                ("b.rs", ""),
                ("a/mod.rs", "mod one; pub use one::One; fn f(one: One) {}"),
            ],
            &["a/mod.rs a/one.rs One"],
        );
        check(
            &[
                lib,
                one,
                ("a/mod.rs", "mod one;"),
                ("b.rs", "pub use crate::a::one::One;"),
            ],
            &["b.rs a/one.rs One"],
        );
    }

    #[test]
    fn a_program_beside_a_library_imports_it_by_its_name() {
        let files = [
            ("lib.rs", "mod a; pub use a::A; pub struct Top;"),
            ("a.rs", "pub struct A;"),
            ("main.rs", "use house::{A, Top};"),
        ];
        check(&files, &["main.rs a.rs A", "main.rs lib.rs Top"]);
    }

    #[test]
    fn a_module_may_have_the_name_of_its_crate() {
        let files = [
            ("lib.rs", "mod house; mod b; use house::House;"),
            ("house.rs", "pub struct House;"),
            ("b.rs", "use crate::house::House as Home;"),
        ];
        check(&files, &["b.rs house.rs House", "lib.rs house.rs House"]);
    }

    #[test]
    fn files_that_need_each_other_are_a_circle_also_through_others() {
        let modules = read(&[
            ("lib.rs", "mod a; mod b; mod c; mod d; use d::D;"),
            ("a.rs", "use crate::b::B;"),
            ("b.rs", "use crate::c::C; use crate::d::D;"),
            ("c.rs", "use crate::a::A; use crate::d::D;"),
            ("d.rs", ""),
        ]);
        let circles = circles(&modules.imports());
        assert_eq!(circles.len(), 1);
        let items = circles[0].iter().map(|import| import.item.as_str());
        assert_eq!(items.collect::<Vec<_>>(), ["B", "C", "A"]);
    }

    #[test]
    fn a_parent_that_uses_its_child_and_is_used_by_it_is_a_circle() {
        let child = ("a/child.rs", "use super::Parent; pub struct Child;");
        let lib = ("lib.rs", "mod a;");
        for (parent, expected) in [
            ("mod child; pub struct Parent;", 0),
            ("mod child; pub use child::Child; pub struct Parent;", 0),
            ("mod child; use child::Child; pub struct Parent(Child);", 1),
            ("mod child; pub struct Parent(child::Child);", 1),
        ] {
            assert_eq!(
                circles(&read(&[lib, child, ("a/mod.rs", parent)]).imports()).len(),
                expected,
                "{parent}"
            );
        }
    }
}
