//! A network's state from a file's tensors, with notes for the user.

use super::InteropError;
use super::find::{Found, Leaf, find};
use super::foreign::{self, Foreign};
use super::pickle::{Node, Object, Strided};
use super::torch::TorchFile;
use crate::nn::{ParameterSpec, Registry, State};
use std::collections::HashMap;
use std::fmt;
use std::path::Path;

/// Weights from a foreign file.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// The network's state.
    pub state: State,
    /// The differences from a checkpoint of the reference.
    pub notes: Vec<Note>,
}

/// A note on a foreign file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// The file holds no averages: the raw weights serve as both.
    NoAverages,
    /// The file holds only averages: they serve as both.
    OnlyAverages,
    /// The file's optimiser is not Adam, or not this network's alone: Adam's moments begin at 0.
    OtherOptimiser,
    /// It names no scheduler: the usual one of its network is taken.
    NoScheduler,
    /// Its scheduler is none of the samplers: another draws samples.
    OtherSampler {
        /// The scheduler's class.
        scheduler: String,
        /// The sampler.
        sampler: String,
    },
    /// Settings of its scheduler that its sampler does not follow, as `key = value`.
    NotFollowed(Vec<String>),
    /// Settings of a file that nothing reads, as `key = value`.
    Unread {
        /// The file's name.
        file: &'static str,
        /// The settings.
        settings: Vec<String>,
    },
    /// Of several files of weights this one was taken.
    Taken {
        /// The file that was read.
        taken: String,
        /// The files that were not.
        others: Vec<String>,
    },
    /// A file of raw weights and one of their averages.
    RawAndAverages {
        /// The file of raw weights.
        raw: String,
        /// The file of averages.
        averages: String,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::NoAverages => {
                f.write_str("it holds no moving averages: the raw weights serve as averages, too")
            }
            Note::OnlyAverages => {
                f.write_str("it holds one set of weights, moving averages: they serve as raw weights, too")
            }
            Note::OtherOptimiser => {
                f.write_str("its optimiser's state is not Adam's of this network: the moments begin at 0")
            }
            Note::NoScheduler => {
                f.write_str("it names no scheduler: the usual one of such a network is assumed")
            }
            Note::OtherSampler { scheduler, sampler } => {
                write!(f, "its scheduler {scheduler} is none of the samplers here: {sampler} draws samples")
            }
            Note::NotFollowed(settings) => {
                write!(f, "settings of its scheduler that are not followed: {}", settings.join(", "))
            }
            Note::Unread { file, settings } => {
                write!(f, "settings in {file} that are not read: {}", settings.join(", "))
            }
            Note::Taken { taken, others } => {
                write!(f, "of several files of weights {taken} was read, not {}", others.join(", "))
            }
            Note::RawAndAverages { raw, averages } => {
                write!(f, "raw weights are from {raw}, their averages from {averages}")
            }
        }
    }
}

/// The object under a name: a tensor, or an object that a function of this name would make.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Held<'a> {
    Tensor(&'a Strided),
    Opaque(&'a str),
}

/// The most tensors and the most visited objects of a file, beyond any checkpoint's; the deepest nesting and
/// the longest path.
const TENSORS: usize = 1 << 16;
const VISITS: usize = 1 << 20;
const DEPTH: usize = 32;
const PATH: usize = 512;

/// The program whose network a PyTorch checkpoint holds, if it is a known one and not this program.
///
/// # Errors
/// If the file is damaged, or no checkpoint of PyTorch's.
pub fn foreign_network(path: &Path) -> Result<Option<Foreign>, InteropError> {
    let file = TorchFile::open(path)?;
    let walk = Walk::through(file.root())?;
    Ok(foreign::network(walk.leaves.iter().map(|leaf| &leaf.path[..])))
}

/// The state of a network with these parameters from a checkpoint of PyTorch's.
pub(super) fn state(file: &TorchFile, registry: &Registry) -> Result<Imported, InteropError> {
    let root = file.root();
    let walk = Walk::through(root)?;
    let states = matches!(root.object(), Object::List(_) | Object::Tuple(_));
    let found = find(&walk.leaves, registry, states)?;
    let read = |held: &[Held<'_>], specs: &[ParameterSpec], what: &str| {
        let one = |(spec, held): (&ParameterSpec, &Held<'_>)| {
            values(file, &spec.name, &spec.layout.file_shape(), *held, what)
        };
        specs.iter().zip(held).map(one).collect::<Result<Vec<_>, InteropError>>()
    };
    let raw = read(&found.raw, &registry.trainable, "weight")?;
    let frozen = read(&found.frozen, &registry.frozen, "weight")?;
    let mut notes = Vec::new();
    let ema = match &found.averages {
        Some(averages) => read(averages, &registry.trainable, "average")?,
        None => raw.clone(),
    };
    if found.only_averages {
        notes.push(Note::OnlyAverages);
    } else if found.averages.is_none() {
        notes.push(Note::NoAverages);
    }
    let step = step(root).map_or(Ok(0), |node| steps(file, node))?;
    let adam = match &walk.optimisers[..] {
        [one] => moments(file, *one, registry, step)?,
        _ => None,
    };
    if adam.is_none() && !walk.optimisers.is_empty() {
        notes.push(Note::OtherOptimiser);
    }
    let (moments, updates) = adam.map_or((None, 0), |(moments, updates)| (Some(moments), updates));
    Ok(Imported { state: State { step, raw, ema, frozen, moments, updates }, notes })
}

/// The weights of a network with these parameters from files of PyTorch's that use other names: `renamed` changes a
/// tensor's path so that it ends with a parameter's name, `shape` is a parameter's shape there.
pub(super) fn torch_sets(
    files: &[TorchFile],
    registry: &Registry,
    renamed: &dyn Fn(&str) -> String,
    shape: &dyn Fn(&ParameterSpec) -> Vec<usize>,
) -> Result<Found<Vec<f32>>, InteropError> {
    let mut leaves = Vec::new();
    for (number, file) in files.iter().enumerate() {
        leaves.extend(Walk::through(file.root())?.leaves.into_iter().map(|leaf| Leaf {
            path: renamed(&leaf.path),
            home: leaf.home.wrapping_mul(files.len()).wrapping_add(number),
            // The order of another program's parameters is not this one's.
            listed: false,
            array: leaf.array,
            tensor: leaf.tensor,
            held: (number, leaf.held),
        }));
    }
    let found = find(&leaves, registry, false)?;
    let read = |held: &[(usize, Held<'_>)], specs: &[ParameterSpec], what: &str| {
        let one = |(spec, (number, held)): (&ParameterSpec, &(usize, Held<'_>))| {
            values(&files[*number], &spec.name, &shape(spec), *held, what)
        };
        specs.iter().zip(held).map(one).collect::<Result<Vec<_>, InteropError>>()
    };
    let averages = found.averages.as_ref();
    Ok(Found {
        raw: read(&found.raw, &registry.trainable, "weight")?,
        averages: averages.map(|held| read(held, &registry.trainable, "average")).transpose()?,
        only_averages: found.only_averages,
        frozen: read(&found.frozen, &registry.frozen, "weight")?,
    })
}

/// The tensors of a file by name.
pub(super) struct Named<'a> {
    file: &'a TorchFile,
    leaves: Vec<Leaf<Held<'a>>>,
}

impl<'a> Named<'a> {
    /// All tensors of a file.
    pub fn of(file: &'a TorchFile) -> Result<Named<'a>, InteropError> {
        Ok(Named { file, leaves: Walk::through(file.root())?.leaves })
    }

    /// The values of the tensor whose path is `name` or ends with it after a dot; `network` is the network that it belongs to,
    /// for messages.
    pub fn values(&self, name: &str, expected: &[usize], network: &str) -> Result<Vec<f32>, InteropError> {
        let mismatch = |what: String| InteropError::Mismatch(format!("it is not {network}: {what}"));
        let ends =
            |path: &str| path.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        let found = self.leaves.iter().find(|leaf| ends(&leaf.path));
        let leaf = found.ok_or_else(|| mismatch(format!("there is no tensor {name}")))?;
        match leaf.held {
            Held::Tensor(tensor) if tensor.shape != expected => {
                Err(mismatch(format!("{name} has shape {:?}, not {expected:?}", tensor.shape)))
            }
            held => values(self.file, name, expected, held, "weight"),
        }
    }
}

/// A walk through all objects of a file.
struct Walk<'a> {
    path: String,
    leaves: Vec<Leaf<Held<'a>>>,
    /// Dictionaries of optimisers that have made a step.
    optimisers: Vec<Node<'a>>,
    visits: usize,
}

impl<'a> Walk<'a> {
    fn through(root: Node<'a>) -> Result<Walk<'a>, InteropError> {
        if let Object::Opaque(name) = root.object() {
            return Err(InteropError::Foreign(match foreign::pickle(name.as_bytes()) {
                Foreign::Pickle => Foreign::Module,
                edm => edm,
            }));
        }
        let mut walk = Walk { path: String::new(), leaves: Vec::new(), optimisers: Vec::new(), visits: 0 };
        walk.visit(root, (root, false), 0)?;
        Ok(walk)
    }

    fn visit(&mut self, node: Node<'a>, home: (Node<'a>, bool), depth: usize) -> Result<(), InteropError> {
        self.count()?;
        let (array, held) = match node.object() {
            Object::Tensor(tensor) => (!tensor.shape.is_empty(), Held::Tensor(tensor)),
            Object::Opaque(name) if &**name != "torch.device" => (false, Held::Opaque(name)),
            Object::Dict(_) if depth < DEPTH => {
                // More than two are as many as two.
                let new = self.optimisers.len() < 2 && optimiser(node);
                if new && self.optimisers.iter().all(|other| other.id() != node.id()) {
                    self.optimisers.push(node);
                }
                for (key, value) in node.pairs() {
                    self.count()?;
                    match key.object() {
                        Object::Text(key) => self.enter(key, value, (node, false), depth)?,
                        Object::Int(key) => self.enter(&key.to_string(), value, (node, false), depth)?,
                        _ => {}
                    }
                }
                return Ok(());
            }
            Object::List(_) | Object::Tuple(_) if depth < DEPTH => {
                for (number, item) in node.items().enumerate() {
                    self.enter(&number.to_string(), item, (node, true), depth)?;
                }
                return Ok(());
            }
            _ => return Ok(()),
        };
        let (home, listed) = (home.0.id(), home.1);
        let tensor = matches!(held, Held::Tensor(_));
        self.leaves.push(Leaf { path: self.path.clone(), home, listed, array, tensor, held });
        Ok(())
    }

    /// Counts a visit: a small file can nest a list in itself without an end.
    fn count(&mut self) -> Result<(), InteropError> {
        self.visits += 1;
        match self.visits > VISITS || self.leaves.len() > TENSORS {
            true => Err(InteropError::Unknown("it holds more tensors and lists than any checkpoint".into())),
            false => Ok(()),
        }
    }

    fn enter(
        &mut self,
        key: &str,
        node: Node<'a>,
        home: (Node<'a>, bool),
        depth: usize,
    ) -> Result<(), InteropError> {
        let len = self.path.len();
        if len + key.len() >= PATH {
            return Ok(());
        }
        if len > 0 {
            self.path.push('.');
        }
        self.path.push_str(key);
        let visited = self.visit(node, home, depth + 1);
        self.path.truncate(len);
        visited
    }
}

/// Returns true if a dictionary is the state of an optimiser that has made a step.
fn optimiser(node: Node<'_>) -> bool {
    let entry = node.get("state").and_then(|state| state.pairs().next());
    entry.is_some_and(|(number, entry)| number.int().is_some() && matches!(entry.object(), Object::Dict(_)))
}

/// A parameter's values, checked against its shape and type.
fn values(
    file: &TorchFile,
    name: &str,
    expected: &[usize],
    held: Held<'_>,
    what: &str,
) -> Result<Vec<f32>, InteropError> {
    let tensor = match held {
        Held::Tensor(tensor) => tensor,
        Held::Opaque(function) => {
            return Err(InteropError::Code(format!("{function} for {what} {name}")));
        }
    };
    let dtype = tensor.storage.dtype;
    if !dtype.is_float() {
        let text = format!("{what} {name} holds {dtype:?}; only floating-point numbers are read");
        return Err(InteropError::Unknown(text));
    }
    let Some(values) = file.values(tensor, expected)? else {
        let text = format!("{what} {name} has shape {:?}, the configuration says {expected:?}", tensor.shape);
        return Err(InteropError::Mismatch(text));
    };
    match values.iter().all(|v| v.is_finite()) {
        true => Ok(values),
        false => Err(InteropError::Damaged(format!("{what} {name} has values that are not finite"))),
    }
}

/// The keys that the number of steps has.
const STEP: [&str; 5] = ["step", "global_step", "steps", "iteration", "iter"];

/// The number of steps: of the reference, of Lightning, …, or the fourth of a list of states.
fn step(root: Node<'_>) -> Option<Node<'_>> {
    match root.object() {
        Object::List(_) | Object::Tuple(_) => root.items().nth(3).filter(|node| node.int().is_some()),
        _ => STEP.iter().find_map(|key| root.get(key)),
    }
}

/// A number of steps, the checkpoint's or Adam's. Later releases of PyTorch store the latter as a tensor.
fn steps(file: &TorchFile, node: Node<'_>) -> Result<u64, InteropError> {
    let number = match node.object() {
        Object::Int(value) => u32::try_from(*value).ok().map(f64::from),
        Object::Float(value) => Some(*value),
        Object::Tensor(tensor) => file.number(tensor)?,
        _ => None,
    };
    let whole = number.filter(|n| n.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(n));
    let why = "`step` must be a whole number from 0 to 2³² − 1";
    whole.map(|n| n as u64).ok_or_else(|| InteropError::Mismatch(why.into()))
}

/// The most keys of a parameter in an optimiser's state.
const ENTRY: usize = 64;

/// Adam's moments by parameter number.
type Moments = [Vec<Vec<f32>>; 2];

/// Adam's moments and the number of its steps; none if the optimiser is another. The frozen parameters come
/// first and have no moments, but may have numbers.
fn moments(
    file: &TorchFile,
    optimiser: Node<'_>,
    registry: &Registry,
    step: u64,
) -> Result<Option<(Moments, u64)>, InteropError> {
    let Some(state) = optimiser.get("state") else { return Ok(None) };
    // An entry has a few keys; a larger one would be searched again and again.
    let entries = state.pairs().filter(|(_, entry)| entry.pairs().take(ENTRY + 1).count() <= ENTRY);
    let entries: HashMap<i128, Node<'_>> =
        entries.filter_map(|(number, entry)| Some((number.int()?, entry))).collect();
    if !entries.values().any(|entry| entry.get("exp_avg").is_some()) {
        return Ok(None);
    }
    let groups = optimiser.get("param_groups").into_iter().flat_map(|groups| groups.items());
    let numbered: usize = groups.filter_map(|group| Some(group.get("params")?.items().count())).sum();
    let first = if numbered == registry.trainable.len() { 0 } else { registry.frozen.len() };
    let read = |name: &str| {
        let one = |(index, spec): (usize, &ParameterSpec)| {
            let tensor = entries.get(&((first + index) as i128)).and_then(|entry| entry.get(name)?.tensor());
            let text = || {
                format!(
                    "its optimiser holds no {name} of {}; does the configuration match the training?",
                    spec.name
                )
            };
            let tensor = tensor.ok_or_else(|| InteropError::Mismatch(text()))?;
            values(file, &spec.name, &spec.layout.file_shape(), Held::Tensor(tensor), name)
        };
        registry.trainable.iter().enumerate().map(one).collect::<Result<Vec<_>, InteropError>>()
    };
    let moments = [read("exp_avg")?, read("exp_avg_sq")?];
    let own = entries.get(&(first as i128)).and_then(|entry| entry.get("step"));
    Ok(Some((moments, own.map_or(Ok(step), |node| steps(file, node))?)))
}
