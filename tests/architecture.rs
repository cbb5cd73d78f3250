//! The house keeps its rules: a folder of `src/` uses only the folders below it, `docs/architecture.md` draws
//! each of these arrows, and the wings of a folder do not use each other in a circle.

use crate::imports::{Module, modules, root};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

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
    // The bodies of fuzz targets, which tests and cargo-fuzz build alone.
    &["fuzzing"],
];

/// The folders and files that every floor may use and that use no floor, each with those among them that it
/// uses.
const FREE: &[(&str, &[&str])] = &[
    ("files", &["memory"]),
    ("memory", &[]),
    ("random", &[]),
    ("choice", &[]),
    ("sde", &["choice"]),
    ("config", &["sde", "choice"]),
    ("data", &["config", "choice", "random", "files", "memory"]),
];

/// Returns true if the rules allow `from` to use `to`.
fn allowed(from: &str, to: &str) -> bool {
    let floor = |room: &str| FLOORS.iter().position(|rooms| rooms.contains(&room));
    match FREE.iter().find(|(room, _)| *room == from) {
        Some((_, uses)) => uses.contains(&to),
        None => floor(from).is_some_and(|own| floor(to).is_none_or(|other| other < own)),
    }
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
    let lines =
        page.lines().skip_while(|line| *line != "```arrows").skip(1).take_while(|line| *line != "```");
    let lines = lines.filter(|line| !line.is_empty());
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

#[test]
fn the_page_on_the_architecture_names_files_that_exist() {
    let page = fs::read_to_string(root().join("docs/architecture.md")).expect("docs/architecture.md");
    let quoted = page.split('`').skip(1).step_by(2);
    // `NAME` and `{a,b}` are patterns.
    let files = quoted.filter(|text| text.ends_with(".rs") && !text.contains("NAME") && !text.contains('{'));
    let missing: Vec<&str> =
        files.filter(|file| !["src", ""].iter().any(|base| root().join(base).join(file).exists())).collect();
    assert!(missing.is_empty(), "{missing:?}");
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

#[test]
fn the_wings_of_a_room_do_not_use_each_other_in_a_circle() {
    let modules = modules();
    let by_path: BTreeMap<&[String], &Module> = modules.iter().map(|m| (&m.path[..], m)).collect();
    // The wings are the folders directly in a room.
    let wings: BTreeSet<&[String]> =
        modules.iter().filter(|module| module.path.len() > 2).map(|module| &module.path[..2]).collect();
    let wing = |module: &Module| wings.iter().find(|wing| module.path.starts_with(wing)).copied();
    let mut uses: BTreeMap<&[String], BTreeSet<&[String]>> = BTreeMap::new();
    for module in &modules {
        let Some(own) = wing(module) else { continue };
        let targets = module.uses.iter().filter_map(|path| target(path, &by_path, 8));
        let inside = targets.filter(|other| other.path[0] == module.path[0]);
        uses.entry(own).or_default().extend(inside.filter_map(wing).filter(|other| *other != own));
    }
    // Remove wings that use no other and wings that no other uses, until only circles remain.
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
