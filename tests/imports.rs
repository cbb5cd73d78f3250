//! The imports of each file of `src/`, read from its source: every path that begins with `crate`, `self` or
//! `super`, and every `use` declaration, outside comments, strings and items under `#[cfg(test)]`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The repository.
pub fn root() -> &'static Path {
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

/// The index behind an item that starts at `i`, possibly with attributes: behind its first `;` or block.
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
pub struct Module {
    /// `["sample", "heun"]` for `src/sample/heun.rs`, `["sample"]` for `src/sample/mod.rs`.
    pub path: Vec<String>,
    /// Paths from the crate's root.
    pub uses: Vec<Vec<String>>,
    /// The names that the file takes from its child modules, with their paths.
    pub exports: BTreeMap<String, Vec<String>>,
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

    /// A path from the crate's root. A path without `crate`, `self` or `super` is taken as relative: it leads
    /// to a child module, or, if it is another crate's, to no module.
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

/// Reads a path, or in `use` declarations a tree of paths, from `i` on. Adds each path with its local name
/// and returns the index behind the tree.
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

/// All files of `src/` but the roots of library and program, and the prelude, which re-exports only.
pub fn modules() -> Vec<Module> {
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
    let inside =
        |path: &&PathBuf| !["lib.rs", "main.rs", "prelude.rs"].iter().any(|name| **path == src.join(name));
    files.iter().filter(inside).map(|file| Module::read(file)).collect()
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
