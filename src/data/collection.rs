//! Collections of pictures of any size: a folder, or an archive (zip).

use super::{DataError, Dataset, Wanted, picture};
use crate::files;
use image::DynamicImage;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// A picture of a collection.
struct Entry {
    /// Its path within the collection.
    name: String,
    /// Its class.
    label: Option<u32>,
}

/// The place of the pictures.
enum Place {
    Folder(PathBuf),
    Archive(PathBuf),
}

/// The pictures of a folder and the folders in it, in the order of their paths. If every picture is in a folder of its own, the
/// folders at the top are the classes.
///
/// # Errors
/// If a folder cannot be read, holds no picture, or one that cannot be read.
pub(super) fn read_folder(folder: &Path, wanted: &Wanted) -> Result<Dataset, DataError> {
    let shown = folder.display().to_string();
    let (mut names, mut others) = (Vec::new(), Vec::new());
    // Macs leave a `._1.png` beside `1.png`, and other programs folders of previews.
    let shown_in = |entry: &walkdir::DirEntry| {
        entry.depth() == 0 || !entry.file_name().to_string_lossy().starts_with('.')
    };
    let entries = walkdir::WalkDir::new(folder).follow_links(true).sort_by_file_name().into_iter();
    for entry in entries.filter_entry(shown_in) {
        let entry = entry.map_err(|e| DataError::Read { path: shown.clone(), reason: e.to_string() })?;
        if entry.file_type().is_dir() {
            continue;
        }
        let within = entry.path().strip_prefix(folder).unwrap_or(entry.path()).to_string_lossy().into_owned();
        if picture::is_picture(entry.path()) { names.push(within) } else { others.push(within) }
    }
    gather(&Place::Folder(folder.into()), classed(names), others, wanted)
}

/// The pictures of an archive, with the classes of `dataset.json` (EDM's `labels`), else of its folders.
///
/// # Errors
/// If the archive is damaged, holds no picture, or one that cannot be read.
pub(super) fn read_archive(path: &Path, wanted: &Wanted) -> Result<Dataset, DataError> {
    let wrong = |what: String| DataError::Format { path: path.display().to_string(), what };
    let mut archive = archive(path)?;
    let (mut names, others) = sorted(&archive);
    names.sort();
    let mut entries = classed(names);
    if let Ok(mut file) = archive.by_name("dataset.json") {
        #[derive(serde::Deserialize)]
        struct Labels {
            labels: Option<Vec<(String, u32)>>,
        }
        let mut text = String::new();
        file.read_to_string(&mut text)
            .map_err(|e| wrong(format!("its dataset.json cannot be read ({e})")))?;
        let read: Labels = serde_json::from_str(&text)
            .map_err(|e| wrong(format!("its dataset.json holds no labels ({e})")))?;
        let labels: Option<BTreeMap<String, u32>> = read.labels.map(|labels| labels.into_iter().collect());
        for entry in &mut entries {
            entry.label = labels.as_ref().and_then(|labels| labels.get(&entry.name).copied());
        }
        if let Some(entry) = entries.iter().find(|entry| labels.is_some() && entry.label.is_none()) {
            return Err(wrong(format!("its dataset.json has no label for {}", entry.name)));
        }
    }
    let others = others.into_iter().filter(|name| name != "dataset.json").collect();
    gather(&Place::Archive(path.into()), entries, others, wanted)
}

/// Returns true if an archive holds a picture.
pub(super) fn is_archive_of_pictures(path: &Path) -> Result<bool, DataError> {
    Ok(!sorted(&archive(path)?).0.is_empty())
}

/// The pictures and the other files of an archive.
fn sorted(archive: &Archive) -> (Vec<String>, Vec<String>) {
    let names = archive.file_names().filter_map(|name| Some(name.ok()?.into_owned()));
    let files = names.filter(|name| !name.ends_with('/'));
    files.partition(|name| picture::is_picture(Path::new(name)))
}

type Archive = zip::ZipArchive<BufReader<File>>;

fn archive(path: &Path) -> Result<Archive, DataError> {
    let name = path.display().to_string();
    let unreadable = |e: std::io::Error| DataError::Read { path: name.clone(), reason: e.to_string() };
    let mut file = files::open(path).map_err(unreadable)?;
    let wrong = |what: String| DataError::Format { path: name.clone(), what: format!("its archive {what}") };
    let damaged = |e: zip::result::ZipError| wrong(format!("is damaged ({e})"));
    let found = zip::ZipArchive::new(BufReader::new(&mut file)).map_err(damaged)?;
    let (begins, comment, entries) = (found.offset(), found.comment().len(), found.len());
    match files::archive_fault(&mut file, begins, comment, entries).map_err(unreadable)? {
        Some(fault) => Err(wrong(format!("is damaged ({fault})"))),
        None => zip::ZipArchive::new(BufReader::new(file)).map_err(damaged),
    }
}

/// The pictures with these paths, each with the number of its folder at the top, if all have one.
fn classed(names: Vec<String>) -> Vec<Entry> {
    let top = |name: &str| name.split_once(['/', std::path::MAIN_SEPARATOR]).map(|(top, _)| top.to_string());
    let tops: Option<Vec<String>> = names.iter().map(|name| top(name)).collect();
    let numbers: Option<BTreeMap<String, u32>> = tops.as_ref().map(|tops| {
        let distinct: BTreeSet<&String> = tops.iter().collect();
        distinct.into_iter().cloned().zip(0..).collect()
    });
    let label = |name: &str| numbers.as_ref()?.get(&top(name)?).copied();
    names.into_iter().map(|name| Entry { label: label(&name), name }).collect()
}

/// The levels of an image, or the fault of its picture.
type Image = Result<Vec<u8>, String>;

/// The images of all pictures, with those left out that cannot be read if `wanted` says so. `others` are files of other kinds.
fn gather(
    place: &Place,
    entries: Vec<Entry>,
    others: Vec<String>,
    wanted: &Wanted,
) -> Result<Dataset, DataError> {
    let wrong = |what: String| DataError::Format { path: place.path().display().to_string(), what };
    let Some(first) = entries.first() else {
        return Err(wrong(format!("it holds no picture (.{})", picture::ENDINGS.join(", ."))));
    };
    let [h, w, c] = match wanted.shape {
        Some(shape) => shape,
        None => shape_of(place, first).map_err(|what| wrong(format!("{}: {what}", first.name)))?,
    };
    let image = |reader: &mut Reader, entry: &Entry| {
        let picture = picture::middle(reader.picture(entry)?, wanted.crop);
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        if wanted.shape.is_none() && (width, height) != (w, h) {
            return Err(format!("it is {width}x{height}, and {} is {w}x{h}", first.name));
        }
        Ok(picture::levels(picture, [h, w, c], wanted.fit))
    };
    let images = on_all_cores(place, &entries, image).map_err(&wrong)?;
    let (mut pixels, mut labels, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
    for (entry, image) in entries.iter().zip(images) {
        match image {
            Ok(image) => {
                pixels.extend(image);
                labels.push(entry.label);
            }
            Err(what) => skipped.push(format!("{} ({what})", entry.name)),
        }
    }
    if let Some(bad) = skipped.first().filter(|_| !wanted.skip_bad || labels.is_empty()) {
        let (count, all) = (skipped.len(), entries.len());
        return Err(wrong(format!("{count} of its {all} pictures cannot be used, the first is {bad}")));
    }
    let n = labels.len();
    let labels = labels.into_iter().collect();
    skipped.extend(others.iter().map(|name| format!("{name} (no picture)")));
    Ok(Dataset { skipped, ..Dataset::from_levels(pixels, [n, h, w, c], labels)? })
}

/// Height, width and channels of a picture.
fn shape_of(place: &Place, entry: &Entry) -> Result<[usize; 3], String> {
    let picture = place.reader().and_then(|mut reader| reader.picture(entry))?;
    let channels = if picture.color().has_color() { 3 } else { 1 };
    Ok([picture.height() as usize, picture.width() as usize, channels])
}

/// Calls `image` for every picture, in order; each core has a reader and a part of the pictures.
fn on_all_cores(
    place: &Place,
    entries: &[Entry],
    image: impl Fn(&mut Reader, &Entry) -> Image + Sync,
) -> Result<Vec<Image>, String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let work = |entries: &[Entry]| -> Result<Vec<Image>, String> {
        let mut reader = place.reader()?;
        Ok(entries.iter().map(|entry| image(&mut reader, entry)).collect())
    };
    let parts: Result<Vec<Vec<Image>>, String> = std::thread::scope(|scope| {
        let work = &work;
        let parts = entries.chunks(entries.len().div_ceil(cores));
        let begun: Vec<_> = parts.map(|part| scope.spawn(move || work(part))).collect();
        let ended = |worker: std::thread::ScopedJoinHandle<'_, _>| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        begun.into_iter().map(ended).collect()
    });
    Ok(parts?.concat())
}

impl Place {
    fn path(&self) -> &Path {
        let (Place::Folder(path) | Place::Archive(path)) = self;
        path
    }

    /// A reader for one thread.
    fn reader(&self) -> Result<Reader, String> {
        Ok(match self {
            Place::Folder(path) => Reader::Folder(path.clone()),
            Place::Archive(path) => Reader::Archive(Box::new(archive(path).map_err(|e| e.to_string())?)),
        })
    }
}

/// A reader of pictures.
enum Reader {
    Folder(PathBuf),
    Archive(Box<Archive>),
}

impl Reader {
    fn picture(&mut self, entry: &Entry) -> Result<DynamicImage, String> {
        let bytes = match self {
            Reader::Folder(folder) => files::read(&folder.join(&entry.name)).map_err(|e| e.to_string())?,
            Reader::Archive(archive) => {
                let file = archive.by_name(&entry.name).map_err(|e| e.to_string())?;
                files::whole(file).map_err(|e| e.to_string())?
            }
        };
        picture::decode(&bytes)
    }
}
