//! The house keeps its rules: a folder of `src/` uses only the folders below it, `docs/architecture.md` draws each of
//! these arrows, and no two files of a folder use each other.
//!
//! The imports are read from the source: every path that begins with `crate`, `self` or `super`, in declarations and in
//! expressions, outside comments, strings and code under `#[cfg(test)]`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The floors from the bottom up. A folder uses floors below its own, never its neighbours.
const FLOORS: &[&[&str]] = &[
    &["gpu"],
    &["tensor"],
    &["kernels"],
    &["autodiff"],
    &["nn"],
    &["train", "sample", "interop"],
    &["eval"],
    &["bench"],
    &["cli"],
];

/// The folders and files that use no floor and that every floor may use, each with the ones that it uses itself.
const FREE: &[(&str, &[&str])] = &[
    ("files", &[]),
    ("memory", &[]),
    ("random", &[]),
    ("sde", &[]),
    ("config", &["sde"]),
    ("data", &["config", "random", "memory"]),
];

/// Whether the rules let `from` use `to`.
fn allowed(from: &str, to: &str) -> bool {
    let floor = |room: &str| FLOORS.iter().position(|rooms| rooms.contains(&room));
    match FREE.iter().find(|(room, _)| *room == from) {
        Some((_, uses)) => uses.contains(&to),
        None => floor(from).is_some_and(|own| floor(to).is_none_or(|other| other < own)),
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A lexical token: an identifier or keyword, `::`, or a single character.
type Token = String;

/// The tokens of Rust source without comments, strings, characters and numbers.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let starts = |i: usize, what: &str| what.chars().enumerate().all(|(k, c)| at(i + k) == c);
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let (mut found, mut i) = (Vec::new(), 0);
    while i < chars.len() {
        let c = chars[i];
        if starts(i, "//") {
            i += chars[i..].iter().take_while(|c| **c != '\n').count();
        } else if starts(i, "/*") {
            let mut depth = 0;
            loop {
                depth += i32::from(starts(i, "/*")) - i32::from(starts(i, "*/"));
                i += if starts(i, "/*") || starts(i, "*/") { 2 } else { 1 };
                if depth == 0 || i >= chars.len() {
                    break;
                }
            }
        } else if let Some(hashes) = raw_string(&chars[i..]) {
            let open = chars[i..].iter().position(|c| *c == '"').unwrap_or(0) + 1;
            let close: Vec<char> = format!("\"{}", "#".repeat(hashes)).chars().collect();
            let len = chars[i + open..].windows(close.len()).position(|window| window == close);
            i += open + len.expect("a raw string ends") + close.len();
        } else if c == '"' || starts(i, "b\"") || starts(i, "c\"") {
            i += if c == '"' { 1 } else { 2 };
            while at(i) != '"' {
                i += if at(i) == '\\' { 2 } else { 1 };
                assert!(i < chars.len(), "a string ends");
            }
            i += 1;
        } else if c == '\'' && (at(i + 1) == '\\' || at(i + 2) == '\'') {
            // A character; otherwise it is a lifetime.
            i += if at(i + 1) == '\\' { 3 } else { 2 };
            while at(i) != '\'' {
                i += 1;
            }
            i += 1;
        } else if word(c) {
            let len = chars[i..].iter().take_while(|c| word(**c)).count();
            found.push(chars[i..i + len].iter().collect());
            i += len;
        } else if starts(i, "::") {
            found.push("::".into());
            i += 2;
        } else {
            if !c.is_whitespace() {
                found.push(c.into());
            }
            i += 1;
        }
    }
    found
}

/// The number of `#` of a raw string that begins here.
fn raw_string(chars: &[char]) -> Option<usize> {
    let prefix = ["br", "cr", "r"].into_iter().find(|p| p.chars().eq(chars.iter().copied().take(p.len())))?;
    let rest = &chars[prefix.len()..];
    let hashes = rest.iter().take_while(|c| **c == '#').count();
    (rest.get(hashes) == Some(&'"')).then_some(hashes)
}

/// The index behind an item that starts at `i`: behind its first `;` or block, attributes before it included.
fn behind_item(tokens: &[Token], mut i: usize) -> usize {
    let mut depth = 0;
    while i < tokens.len() {
        match &tokens[i][..] {
            "{" | "(" | "[" => depth += 1,
            ")" | "]" => depth -= 1,
            "}" => {
                depth -= 1;
                if depth == 0 {
                    return i + 1;
                }
            }
            ";" if depth == 0 => return i + 1,
            _ => {}
        }
        i += 1;
    }
    i
}

/// A file of `src/`: its module path and the paths that it uses and re-exports.
struct Module {
    /// `["sample", "heun"]` for `src/sample/heun.rs`, `["sample"]` for `src/sample/mod.rs`.
    path: Vec<String>,
    uses: Vec<Vec<String>>,
    /// The names that the file takes from its child modules, with their paths.
    exports: BTreeMap<String, Vec<String>>,
}

impl Module {
    fn read(file: &Path) -> Module {
        let source = fs::read_to_string(file).expect("a source file");
        let relative = file.strip_prefix(root().join("src")).expect("a file of src").with_extension("");
        let mut path: Vec<String> = relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if path.last().is_some_and(|last| last == "mod") {
            path.pop();
        }
        let mut module = Module { path, uses: Vec::new(), exports: BTreeMap::new() };
        module.scan(&tokens(&source));
        module
    }

    fn scan(&mut self, tokens: &[Token]) {
        // The inline modules around the present token, by the depth of their braces.
        let (mut inline, mut depth): (Vec<(String, usize)>, usize) = (Vec::new(), 0);
        let word = |i: usize| tokens.get(i).map_or("", |token| &token[..]);
        let mut i = 0;
        while i < tokens.len() {
            if tokens[i..].iter().take(7).eq(&["#", "[", "cfg", "(", "test", ")", "]"]) {
                i = behind_item(tokens, i + 7);
                continue;
            }
            match word(i) {
                "mod" if word(i + 2) == "{" => {
                    inline.push((word(i + 1).to_string(), depth));
                    depth += 1;
                    i += 3;
                    continue;
                }
                "{" => depth += 1,
                "}" => {
                    depth -= 1;
                    if inline.last().is_some_and(|(_, around)| *around == depth) {
                        inline.pop();
                    }
                }
                "use" => {
                    let mut leaves = Vec::new();
                    let end = tree(tokens, i + 1, &[], &mut leaves);
                    for (path, name) in leaves {
                        let path = self.absolute(&path, &inline);
                        self.record(path, Some(name));
                    }
                    i = end;
                    continue;
                }
                "crate" | "self" | "super" if word(i + 1) == "::" && word(i.wrapping_sub(1)) != "::" => {
                    let mut leaves = Vec::new();
                    let end = tree(tokens, i, &[], &mut leaves);
                    for (path, _) in leaves {
                        let path = self.absolute(&path, &inline);
                        self.record(path, None);
                    }
                    i = end;
                    continue;
                }
                _ => {}
            }
            i += 1;
        }
    }

    /// A path from the crate's root. One that names no root is taken as relative: another crate's then has no module
    /// here, and a child module's has.
    fn absolute(&self, path: &[String], inline: &[(String, usize)]) -> Vec<String> {
        let mut base: Vec<String> = self.path.clone();
        base.extend(inline.iter().map(|(name, _)| name.clone()));
        let mut rest = path;
        match path.first().map(|first| &first[..]) {
            Some("crate") => return path[1..].to_vec(),
            Some("self") => rest = &path[1..],
            Some("super") => {
                let ups = path.iter().take_while(|part| *part == "super").count();
                base.truncate(base.len().saturating_sub(ups));
                rest = &path[ups..];
            }
            _ => {}
        }
        base.extend_from_slice(rest);
        base
    }

    fn record(&mut self, path: Vec<String>, name: Option<String>) {
        if let Some(name) = name.filter(|_| path.starts_with(&self.path)) {
            self.exports.insert(name, path.clone());
        }
        self.uses.push(path);
    }
}

/// Reads a path, or in `use` declarations a tree of paths, from `i` on. Adds each path with the name that it gets and
/// returns the index behind the tree.
fn tree(tokens: &[Token], mut i: usize, before: &[String], leaves: &mut Vec<(Vec<String>, String)>) -> usize {
    let mut path = before.to_vec();
    let word = |i: usize| tokens.get(i).map_or("", |token| &token[..]);
    loop {
        match word(i) {
            "::" => i += 1,
            "{" => {
                i += 1;
                while word(i) != "}" {
                    i = tree(tokens, i, &path, leaves);
                    i += usize::from(word(i) == ",");
                }
                return i + 1;
            }
            "*" => {
                leaves.push((path, "*".into()));
                return i + 1;
            }
            part if part.starts_with(|c: char| c.is_alphabetic() || c == '_') => {
                // `use a::{self}` is `use a`.
                if part != "self" || path.is_empty() {
                    path.push(part.to_string());
                }
                i += 1;
                if word(i) != "::" {
                    let mut name = path.last().cloned().unwrap_or_default();
                    if word(i) == "as" {
                        name = word(i + 1).to_string();
                        i += 2;
                    }
                    leaves.push((path, name));
                    return i;
                }
            }
            // Generic arguments: the path has ended before them.
            _ => {
                leaves.push((path, String::new()));
                return i;
            }
        }
    }
}

/// All files of `src/` but the crate's two roots.
fn modules() -> Vec<Module> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder of src") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, files);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                files.push(path);
            }
        }
    }
    let src = root().join("src");
    let mut files = Vec::new();
    walk(&src, &mut files);
    files.sort();
    let inside = |path: &&PathBuf| !["lib.rs", "main.rs"].iter().any(|name| **path == src.join(name));
    files.iter().filter(inside).map(|file| Module::read(file)).collect()
}

/// The room of a path: the folder or file directly under `src/`.
fn rooms(modules: &[Module]) -> BTreeSet<&str> {
    modules.iter().map(|module| &module.path[0][..]).collect()
}

/// Every arrow between two rooms, with a file that needs it.
fn arrows(modules: &[Module]) -> BTreeMap<(String, String), String> {
    let rooms = rooms(modules);
    let mut arrows = BTreeMap::new();
    for module in modules {
        for path in &module.uses {
            let (from, to) = (&module.path[0], path.first().map_or("", |room| &room[..]));
            if from != to && rooms.contains(to) {
                arrows.insert((from.clone(), to.to_string()), module.path.join("/"));
            }
        }
    }
    arrows
}

/// The arrows of `docs/architecture.md`: lines `room -> room room …` in a block of the language `arrows`.
fn drawn() -> BTreeSet<(String, String)> {
    let page = fs::read_to_string(root().join("docs/architecture.md")).expect("docs/architecture.md");
    let lines = page.lines().skip_while(|line| *line != "```arrows").skip(1).take_while(|line| *line != "```");
    let arrow = |line: &str| {
        let (from, uses) = line.split_once("->").expect("an arrow");
        let from = from.trim().to_string();
        uses.split_whitespace().map(|to| (from.clone(), to.to_string())).collect::<Vec<_>>()
    };
    lines.flat_map(arrow).collect()
}

#[test]
fn every_room_has_a_floor_or_is_free() {
    let modules = modules();
    let known: BTreeSet<&str> =
        FLOORS.iter().copied().flatten().copied().chain(FREE.iter().map(|(room, _)| *room)).collect();
    assert_eq!(rooms(&modules), known);
}

#[test]
fn a_folder_uses_only_folders_below_it() {
    let modules = modules();
    let upward: Vec<String> = arrows(&modules)
        .into_iter()
        .filter(|((from, to), _)| !allowed(from, to))
        .map(|((from, to), file)| format!("src/{file}.rs: {from} uses {to}"))
        .collect();
    assert!(upward.is_empty(), "{}", upward.join("\n"));
}

#[test]
fn the_page_on_the_architecture_draws_exactly_the_arrows_of_the_code() {
    let modules = modules();
    let found: BTreeSet<(String, String)> = arrows(&modules).into_keys().collect();
    let drawn = drawn();
    let missing: Vec<_> = found.difference(&drawn).collect();
    let stale: Vec<_> = drawn.difference(&found).collect();
    assert!(missing.is_empty() && stale.is_empty(), "to draw: {missing:?}\nno longer in the code: {stale:?}");
}

/// The file that a path leads to, through re-exports of parent modules.
fn target<'a>(path: &[String], by_path: &BTreeMap<&[String], &'a Module>, hops: usize) -> Option<&'a Module> {
    let file = (1..=path.len()).rev().find_map(|len| by_path.get(&path[..len]).map(|file| (len, *file)));
    let (len, file) = file?;
    match path.get(len).and_then(|name| file.exports.get(name)) {
        Some(inner) if hops > 0 && inner[..] != path[..] => target(inner, by_path, hops - 1).or(Some(file)),
        _ => Some(file),
    }
}

/// Whether one of two modules contains the other.
fn related(a: &Module, b: &Module) -> bool {
    a.path.starts_with(&b.path) || b.path.starts_with(&a.path)
}

#[test]
fn files_do_not_use_each_other_in_a_circle() {
    let modules = modules();
    let by_path: BTreeMap<&[String], &Module> = modules.iter().map(|m| (&m.path[..], m)).collect();
    // A parent and its child may name each other: the parent declares the child and re-exports its items.
    let mut uses: BTreeMap<&[String], BTreeSet<&[String]>> = BTreeMap::new();
    for module in &modules {
        let targets = module.uses.iter().filter_map(|path| target(path, &by_path, 8));
        let others = targets.filter(|other| !related(module, other)).map(|other| &other.path[..]);
        uses.insert(&module.path, others.collect());
    }
    // Take away files that use no remaining file and files that no remaining file uses, until only circles remain.
    loop {
        let before = uses.len();
        let left: BTreeSet<&[String]> = uses.keys().copied().collect();
        let used: BTreeSet<&[String]> = uses.values().flatten().copied().collect();
        uses.retain(|file, others| {
            others.retain(|other| left.contains(other));
            !others.is_empty() && used.contains(file)
        });
        if uses.len() == before {
            break;
        }
    }
    let line = |(file, others): (&&[String], &BTreeSet<&[String]>)| {
        let others: Vec<String> = others.iter().map(|other| other.join("/")).collect();
        format!("{} uses {}", file.join("/"), others.join(", "))
    };
    let lines: Vec<String> = uses.iter().map(line).collect();
    assert!(lines.is_empty(), "circles:\n{}", lines.join("\n"));
}

#[test]
fn paths_are_read_from_code_and_not_from_comments_strings_or_tests() {
    let source = r##"
        // crate::comment::A
        /* crate::comment /* nested */ ::B */
        use crate::{gpu::Gpu, tensor::{self, Shape as S}};
        use super::near::{self};
        fn f<'a>(x: &'a str) -> char { let _ = ("crate::text::C", r#"crate::raw::"D"#, '"', '\''); crate::sde::g::<u8>() }
        mod inner { use super::super::far::E; fn h() { self::i() } }
        #[cfg(test)]
        mod tests { use crate::test::F; }
        pub use child::Name;
    "##;
    let mut module =
        Module { path: vec!["room".into(), "file".into()], uses: Vec::new(), exports: BTreeMap::new() };
    module.scan(&tokens(source));
    let uses: Vec<String> = module.uses.iter().map(|path| path.join("::")).collect();
    let expected = [
        "gpu::Gpu",
        "tensor",
        "tensor::Shape",
        "room::near",
        "sde::g",
        "room::far::E",
        "room::file::inner::i",
        "room::file::child::Name",
    ];
    assert_eq!(uses, expected);
    assert_eq!(module.exports["Name"].join("::"), "room::file::child::Name");
}
