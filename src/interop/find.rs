//! Finds a network's weights and their averages among the tensors of a file, by name.
//!
//! A tensor's path joins the keys of the dictionaries and the numbers of the lists that lead to it:
//! `model.module.all_modules.0.weight`. Tensors whose paths end with names of the network and begin alike are
//! a set, and where they begin is the set's place: `model.module.`. So no format has to be known: neither the
//! depth nor the prefixes (`module.`, `_orig_mod.`, …) matter. Averages are the sets whose places say so
//! (`ema`, `shadow`, …), or there the list with one tensor for each parameter.

use super::InteropError;
use super::foreign;
use crate::nn::{ParameterSpec, Registry};
use std::collections::{HashMap, HashSet};

/// A tensor of a file, or another object that might be meant as one.
#[derive(Debug, Clone)]
pub(super) struct Leaf<T> {
    pub path: String,
    /// The dictionary or list that holds it.
    pub home: usize,
    /// `home` is a list.
    pub listed: bool,
    /// The tensor has axes. One without axes is a counter or the like, and no network's.
    pub array: bool,
    /// A tensor, not an object that only running code could make.
    pub tensor: bool,
    pub held: T,
}

/// The weights of a network in a file.
pub(super) struct Found<T> {
    /// The trained parameters, in the registry's order.
    pub raw: Vec<T>,
    /// Their averages; none if the file holds none.
    pub averages: Option<Vec<T>>,
    /// The file holds only averages, and `raw` are these.
    pub only_averages: bool,
    pub frozen: Vec<T>,
}

/// Words in a place's keys that say that its tensors are averages.
const AVERAGES: &[&str] =
    &["ema", "emas", "shadow", "average", "averages", "averaged", "avg", "swa", "polyak"];
/// Words that say that they are copies of the raw weights beside averages.
const COPIES: &[&str] = &["online", "collected", "backup", "stored"];
/// Words that say that they are an optimiser's.
const OPTIMISERS: &[&str] =
    &["optim", "opt", "optimizer", "optimizers", "optimiser", "adam", "grad", "grads"];
/// Words of averages that no optimiser uses for its moments: it may keep such averages.
const KEPT: &[&str] = &["ema", "emas", "shadow", "swa", "polyak"];

/// A set of tensors with the network's names.
struct Set<'a> {
    place: &'a str,
    /// Leaves by the parameter's number; frozen parameters come after the trained ones.
    leaves: HashMap<usize, usize>,
}

/// Tensors that are averages by their order.
struct List<'a> {
    place: &'a str,
    leaves: Vec<usize>,
}

/// Finds the weights of a network with these parameters. `states` says that the file is a list of states,
/// [weights, optimiser, epoch, step, averages], as NCSNv2 and DDIM write it.
///
/// # Errors
/// If weights or averages are missing, incomplete or ambiguous, or others are beside them.
pub(super) fn find<T: Clone + PartialEq>(
    leaves: &[Leaf<T>],
    registry: &Registry,
    states: bool,
) -> Result<Found<T>, InteropError> {
    Finder { leaves, registry, states, sets: sets(leaves, registry) }.find()
}

struct Finder<'a, T> {
    leaves: &'a [Leaf<T>],
    registry: &'a Registry,
    states: bool,
    sets: Vec<Set<'a>>,
}

/// The sets, in the order of the file.
fn sets<'a, T>(leaves: &'a [Leaf<T>], registry: &Registry) -> Vec<Set<'a>> {
    let specs = registry.trainable.iter().chain(&registry.frozen);
    let numbers: HashMap<&str, usize> = specs.enumerate().map(|(i, spec)| (&spec.name[..], i)).collect();
    let longest = numbers.keys().map(|name| name.len()).max().unwrap_or(0);
    let mut order: HashMap<&str, usize> = HashMap::new();
    let mut sets: Vec<Set<'_>> = Vec::new();
    for (leaf, Leaf { path, .. }) in leaves.iter().enumerate() {
        let begins = path.match_indices(['.', '/']).map(|(at, _)| at + 1);
        for at in std::iter::once(0).chain(begins).filter(|at| path.len() - at <= longest) {
            let Some(number) = numbers.get(&path[at..]) else { continue };
            let place = &path[..at];
            let set = *order.entry(place).or_insert_with(|| {
                sets.push(Set { place, leaves: HashMap::new() });
                sets.len() - 1
            });
            sets[set].leaves.insert(*number, leaf);
        }
    }
    sets
}

impl<'a, T: Clone + PartialEq> Finder<'a, T> {
    fn find(&self) -> Result<Found<T>, InteropError> {
        let complete: Vec<&Set<'a>> = self.sets.iter().filter(|set| self.missing(set).is_none()).collect();
        let lists = self.lists();
        let places = complete.iter().map(|set| set.place).chain(lists.iter().map(|list| list.place));
        // The shared beginning of all places says nothing about one of them.
        let common = if complete.len() + lists.len() > 1 { common(places) } else { "" };
        let of = |set: &Set<'a>| after(common, set.place);
        let usable = complete.iter().copied().filter(|set| !is_optimisers(of(set)));
        let (averaged, plain): (Vec<_>, Vec<_>) = usable.partition(|set| self.is_average(of(set)));
        let (copies, averaged): (Vec<_>, Vec<_>) =
            averaged.into_iter().partition(|set| has_word(of(set), COPIES));
        let raw = if plain.is_empty() { &copies } else { &plain };
        let place_of = |sets: &[&'_ Set<'a>]| sets.iter().map(|set| (set.place, self.trained(set))).collect();

        let weights = only("weights", place_of(raw))?;
        let mut all_averages: Vec<(&str, Vec<T>)> = place_of(&averaged);
        if weights.is_some() {
            // Without weights, nothing says that a list is of this network.
            all_averages.extend(lists.iter().map(|list| (list.place, self.in_order(list))));
        }
        let averages = only("averages", all_averages)?.map(|(_, held)| held);
        let Some(set) = raw.first().or(averaged.first()) else { return Err(self.lost()) };
        self.refuse_partial(common, &complete, &lists, averages.is_some())?;
        for used in raw.iter().chain(&averaged) {
            self.refuse_others(used, &complete)?;
        }
        let only_averages = weights.is_none();
        Ok(Found { raw: self.trained(set), averages, only_averages, frozen: self.frozen(set)? })
    }

    /// The first trained parameter that a set lacks.
    fn missing(&self, set: &Set<'_>) -> Option<&ParameterSpec> {
        let mut numbered = self.registry.trainable.iter().enumerate();
        numbered.find(|(number, _)| !set.leaves.contains_key(number)).map(|(_, spec)| spec)
    }

    fn trained(&self, set: &Set<'_>) -> Vec<T> {
        let held = |number: usize| set.leaves.get(&number).map(|leaf| self.leaves[*leaf].held.clone());
        (0..self.registry.trainable.len()).filter_map(held).collect()
    }

    /// The parameters that are not trained, from the same place or from any other.
    fn frozen(&self, set: &Set<'_>) -> Result<Vec<T>, InteropError> {
        let first = self.registry.trainable.len();
        let one = |(i, spec): (usize, &ParameterSpec)| {
            let places = std::iter::once(set).chain(&self.sets);
            let leaf = places.filter_map(|set| set.leaves.get(&(first + i))).next();
            let leaf = leaf.ok_or_else(|| self.lacks("weights", set, spec))?;
            Ok(self.leaves[*leaf].held.clone())
        };
        self.registry.frozen.iter().enumerate().map(one).collect()
    }

    /// The number of all parameters.
    fn all(&self) -> usize {
        self.registry.trainable.len() + self.registry.frozen.len()
    }

    fn is_average(&self, place: &str) -> bool {
        let said = has_word(&place.replace("exp_avg", ""), AVERAGES) && !is_optimisers(place);
        said || (self.states && place.split('.').next() == Some("4"))
    }

    /// The lists whose places say that they hold averages.
    fn lists(&self) -> Vec<List<'a>> {
        let named: HashSet<usize> = self.sets.iter().flat_map(|set| set.leaves.values().copied()).collect();
        let mut lists: Vec<List<'a>> = Vec::new();
        // A list's items are neighbours.
        for (number, leaf) in self.leaves.iter().enumerate() {
            if !leaf.listed || named.contains(&number) {
                continue;
            }
            let place = leaf.path.rsplit_once('.').map_or("", |(place, _)| place);
            match lists.last_mut().filter(|list| list.place == place) {
                Some(list) => list.leaves.push(number),
                None if self.is_average(place) && !has_word(place, COPIES) => {
                    lists.push(List { place, leaves: vec![number] });
                }
                None => {}
            }
        }
        let counts = |leaf: &Leaf<T>| leaf.array || !leaf.tensor;
        lists.retain(|list| list.leaves.iter().any(|leaf| counts(&self.leaves[*leaf])));
        lists
    }

    /// The averages of the trained parameters in a list. Some programs list all parameters, the frozen ones
    /// first.
    fn in_order(&self, list: &List<'_>) -> Vec<T> {
        let skip = if list.leaves.len() == self.all() { self.registry.frozen.len() } else { 0 };
        list.leaves.iter().skip(skip).map(|leaf| self.leaves[*leaf].held.clone()).collect()
    }

    /// Refuses averages, and weights beside them, that are there, but not for every parameter, or in no form that
    /// is known.
    fn refuse_partial(
        &self,
        common: &str,
        complete: &[&Set<'_>],
        lists: &[List<'_>],
        found: bool,
    ) -> Result<(), InteropError> {
        let trained = self.registry.trainable.len();
        let mut odd = lists.iter().filter(|list| ![trained, self.all()].contains(&list.leaves.len()));
        if let Some(list) = odd.next() {
            let (at, count) = (shown(list.place), list.leaves.len());
            let text = format!("the averages at {at} are {count} tensors, the network trains {trained}");
            return Err(InteropError::Mismatch(text));
        }
        let named = complete.iter().flat_map(|set| set.leaves.values());
        let known: HashSet<usize> =
            named.chain(lists.iter().flat_map(|list| &list.leaves)).copied().collect();
        for set in &self.sets {
            let place = after(common, set.place);
            let average = self.is_average(place);
            let new = set.leaves.iter().any(|(number, leaf)| *number < trained && !known.contains(leaf));
            // A few names in common with another network are chance, most of them are not.
            let meant = average || 2 * set.leaves.len() >= trained;
            let other = is_optimisers(place) || (average && has_word(place, COPIES));
            if let Some(spec) = self.missing(set).filter(|_| new && meant && !other) {
                return Err(self.lacks(if average { "averages" } else { "weights" }, set, spec));
            }
        }
        let unread = self.leaves.iter().enumerate().find(|(number, leaf)| {
            let counts = !known.contains(number) && (leaf.array || !leaf.tensor);
            counts && self.is_average(after(common, &leaf.path))
        });
        match unread.filter(|_| !found) {
            None => Ok(()),
            Some((_, leaf)) => Err(InteropError::Mismatch(format!(
                "it holds averages in a form that is not known, {} for example; save them under the network's names",
                shown(&leaf.path)
            ))),
        }
    }

    /// Refuses tensors beside a set that the network does not have, so that none is dropped silently.
    fn refuse_others(&self, set: &Set<'_>, complete: &[&Set<'_>]) -> Result<(), InteropError> {
        let trained = self.registry.trainable.len();
        let frozen = self.sets.iter().filter(|set| set.leaves.keys().all(|number| *number >= trained));
        let known: HashSet<usize> =
            frozen.chain(complete.iter().copied()).flat_map(|set| set.leaves.values()).copied().collect();
        let homes: HashSet<usize> = set.leaves.values().map(|leaf| self.leaves[*leaf].home).collect();
        for (number, leaf) in self.leaves.iter().enumerate() {
            let here = homes.contains(&leaf.home) && leaf.tensor && leaf.array && !known.contains(&number);
            let name = leaf.path.strip_prefix(set.place).filter(|name| here && *name != "sigmas");
            if let Some(name) = name {
                let name = shown(name);
                let text = format!("it holds {name}, which the configuration's network does not have");
                return Err(InteropError::Mismatch(text));
            }
        }
        Ok(())
    }

    fn lacks(&self, what: &str, set: &Set<'_>, spec: &ParameterSpec) -> InteropError {
        let (at, name, count, all) = (shown(set.place), &spec.name, set.leaves.len(), self.all());
        InteropError::Mismatch(format!(
            "the {what} at {at} lack {name} ({count} of {all} are there); does the configuration match the training?"
        ))
    }

    /// Why no weights are found.
    fn lost(&self) -> InteropError {
        let most = self.sets.iter().max_by_key(|set| (set.leaves.len(), !self.is_average(set.place)));
        let count = most.map_or(0, |set| set.leaves.len());
        let foreign = foreign::network(self.leaves.iter().map(|leaf| &leaf.path[..]));
        if let Some(foreign) = foreign.filter(|_| 2 * count < self.all()) {
            return InteropError::Foreign(foreign);
        }
        if let Some((set, spec)) = most.and_then(|set| Some((set, self.missing(set)?))) {
            return self.lacks("weights", set, spec);
        }
        let first = self.registry.trainable.first().map_or("", |spec| &spec.name);
        if let Some(object) = self.leaves.iter().find(|leaf| !leaf.tensor) {
            let at = shown(&object.path);
            return InteropError::Mismatch(format!(
                "it holds no tensor {first}, and at {at} a Python object that only running code could make; save the \
                 network's state_dict()"
            ));
        }
        let is = match self.leaves.iter().find(|leaf| leaf.array) {
            Some(leaf) => format!("its first is {}", shown(&leaf.path)),
            None => "it holds no tensors".into(),
        };
        InteropError::Mismatch(format!(
            "it holds no tensor {first} anywhere ({is}); does the configuration match the training?"
        ))
    }
}

/// The one of several that hold the same.
fn only<'p, T: PartialEq>(
    what: &str,
    sets: Vec<(&'p str, Vec<T>)>,
) -> Result<Option<(&'p str, Vec<T>)>, InteropError> {
    let mut sets = sets.into_iter();
    let Some((place, held)) = sets.next() else { return Ok(None) };
    match sets.find(|(_, other)| *other != held) {
        None => Ok(Some((place, held))),
        Some((other, _)) => Err(InteropError::Mismatch(format!(
            "it holds {what} in two places, {} and {}; save the ones to be used alone",
            shown(place),
            shown(other)
        ))),
    }
}

/// A place, for a message.
fn shown(place: &str) -> String {
    match place.trim_end_matches(['.', '/']) {
        "" => "its top".into(),
        place => super::pickle::readable(place),
    }
}

/// The beginning that all paths share, in whole keys.
fn common<'p>(mut paths: impl Iterator<Item = &'p str>) -> &'p str {
    let first = paths.next().unwrap_or_default();
    let len = paths.fold(first.len(), |len, path| {
        first.bytes().zip(path.bytes()).take(len).take_while(|(a, b)| a == b).count()
    });
    let end = first.as_bytes()[..len].iter().rposition(|byte| matches!(byte, b'.' | b'/'));
    end.map_or("", |end| &first[..=end])
}

/// A path without what all places begin with.
fn after<'p>(common: &str, path: &'p str) -> &'p str {
    path.strip_prefix(common).unwrap_or(path)
}

/// Returns true if a place is an optimiser's, other than its averages.
fn is_optimisers(place: &str) -> bool {
    has_word(place, OPTIMISERS) && !has_word(place, KEPT)
}

/// Returns true if one of the words of a path is among these. Words end at every character that is no letter, and
/// before a capital after a small letter.
fn has_word(path: &str, among: &[&str]) -> bool {
    let mut word = String::new();
    let mut small = false;
    for c in path.chars().chain(['.']) {
        if !c.is_ascii_alphabetic() || (small && c.is_ascii_uppercase()) {
            if among.contains(&&word[..]) {
                return true;
            }
            word.clear();
        }
        if c.is_ascii_alphabetic() {
            word.push(c.to_ascii_lowercase());
        }
        small = c.is_ascii_lowercase();
    }
    false
}
