//! Collections of pictures of any size: a folder, or an archive (zip).

use super::{DataError, Dataset, Pixels, Source, Wanted, picture};
use crate::files;
use image::DynamicImage;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The pictures of a folder or an archive: their names and classes. They are decoded on demand.
pub(super) struct Collection {
    place: Place,
    entries: Vec<Entry>,
    /// The names of the classes, if folders give them.
    class_names: Vec<String>,
    /// Files of other kinds.
    others: Vec<String>,
}

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

/// The facts of a picture that its header gives.
pub(super) struct Header {
    /// Its path within the collection.
    pub(super) name: String,
    /// Its class.
    pub(super) label: Option<u32>,
    /// Height, width and channels, or the fault.
    pub(super) shape: Result<[usize; 3], String>,
}

/// The pictures of a path, which is a folder or an archive.
///
/// # Errors
/// If it cannot be read, is damaged, or holds no picture.
pub(super) fn open(path: &Path) -> Result<Collection, DataError> {
    let collection = if path.is_dir() { folder(path) } else { archived(path) }?;
    match collection.entries.is_empty() {
        true => Err(collection.wrong(format!("it holds no picture (.{})", picture::ENDINGS.join(", .")))),
        false => Ok(collection),
    }
}

/// The pictures of a folder and the folders in it, in the order of their paths. If every picture is in a folder of its own, the
/// folders at the top are the classes.
fn folder(folder: &Path) -> Result<Collection, DataError> {
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
    let (entries, class_names) = classed(names);
    Ok(Collection { place: Place::Folder(folder.into()), entries, class_names, others })
}

/// The pictures of an archive, with the classes of `dataset.json` (EDM's `labels`), else of its folders.
fn archived(path: &Path) -> Result<Collection, DataError> {
    let wrong = |what: String| DataError::Format { path: path.display().to_string(), what };
    let mut archive = archive(path)?;
    let (mut names, others) = sorted(&archive);
    names.sort();
    let (mut entries, mut class_names) = classed(names);
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
        class_names.clear();
    }
    let others = others.into_iter().filter(|name| name != "dataset.json").collect();
    Ok(Collection { place: Place::Archive(path.into()), entries, class_names, others })
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

/// The pictures with these paths, each with the number of its folder at the top, if all have one; and the names of these folders.
fn classed(names: Vec<String>) -> (Vec<Entry>, Vec<String>) {
    let top = |name: &str| name.split_once(['/', std::path::MAIN_SEPARATOR]).map(|(top, _)| top.to_string());
    let tops: Option<BTreeSet<String>> = names.iter().map(|name| top(name)).collect();
    let class_names: Vec<String> = tops.into_iter().flatten().collect();
    let label = |name: &str| class_names.binary_search(&top(name)?).ok().map(|label| label as u32);
    let entries = names.into_iter().map(|name| Entry { label: label(&name), name }).collect();
    (entries, class_names)
}

impl Collection {
    /// Number of pictures.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The names of the classes, if folders give them.
    pub(super) fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// Files of other kinds, with the reason why they are left out.
    pub(super) fn others(&self) -> impl Iterator<Item = String> {
        self.others.iter().map(|name| format!("{name} (no picture)"))
    }

    /// Keeps at most `most` of the pictures, spread over all.
    pub(super) fn spread(&mut self, most: usize) {
        let (all, kept) = (self.entries.len(), most.min(self.entries.len()));
        let mut at = 0;
        self.entries.retain(|_| {
            // Picture number i is kept if it is the first in its share.
            let keep = at * kept / all != (at + 1) * kept / all;
            at += 1;
            keep
        });
    }

    /// An error of the contents.
    pub(super) fn wrong(&self, what: String) -> DataError {
        DataError::Format { path: self.place.path().display().to_string(), what }
    }

    /// The headers of all pictures.
    ///
    /// # Errors
    /// If the collection has become unreadable.
    pub(super) fn headers(&self) -> Result<Vec<Header>, DataError> {
        let header = |reader: &mut Reader, entry: &Entry| Header {
            name: entry.name.clone(),
            label: entry.label,
            shape: reader.bytes(entry).and_then(|bytes| picture::header(&bytes)),
        };
        self.on_all_cores(header)
    }

    /// The images of all pictures, with those left out that cannot be read if `wanted` says so.
    ///
    /// # Errors
    /// If a picture cannot be read, or is of another size than the first where `wanted` leaves it open.
    pub(super) fn load(self, wanted: &Wanted) -> Result<Dataset, DataError> {
        let [h, w, c] = self.shape(wanted)?;
        let first = &self.entries[0].name;
        let image = |reader: &mut Reader, entry: &Entry| {
            let picture = picture::middle(reader.picture(entry)?, wanted.crop);
            let (width, height) = (picture.width() as usize, picture.height() as usize);
            if wanted.shape.is_none() && (width, height) != (w, h) {
                return Err(format!("it is {width}x{height}, and {first} is {w}x{h}"));
            }
            Ok(picture::levels(picture, [h, w, c], wanted.fit))
        };
        let images = self.on_all_cores(image)?;
        let (mut pixels, mut labels, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
        for (entry, image) in self.entries.iter().zip(images) {
            match image {
                Ok(image) => {
                    pixels.extend(image);
                    labels.push(entry.label);
                }
                Err(what) => skipped.push(format!("{} ({what})", entry.name)),
            }
        }
        if let Some(bad) = skipped.first().filter(|_| !wanted.skip_bad || labels.is_empty()) {
            let (count, all) = (skipped.len(), self.entries.len());
            return Err(
                self.wrong(format!("{count} of its {all} pictures cannot be used, the first is {bad}"))
            );
        }
        let n = labels.len();
        let set = Dataset::from_levels(pixels, [n, h, w, c], labels.into_iter().collect())?;
        skipped.extend(self.others());
        Ok(Dataset { skipped, class_names: self.class_names, ..set })
    }

    /// The pictures as a source that decodes each when it is used.
    ///
    /// # Errors
    /// If a picture's header cannot be read and `wanted` does not leave such pictures out.
    pub(super) fn stream(mut self, wanted: Wanted) -> Result<Stream, DataError> {
        let shape = self.shape(&wanted)?;
        let headers = self.headers()?;
        let faults = headers.iter().filter_map(|header| Some((&header.name, header.shape.as_ref().err()?)));
        let mut skipped: Vec<String> = faults.map(|(name, what)| format!("{name} ({what})")).collect();
        if let Some(bad) = skipped.first().filter(|_| !wanted.skip_bad || skipped.len() == self.len()) {
            let (count, all) = (skipped.len(), self.len());
            return Err(
                self.wrong(format!("{count} of its {all} pictures cannot be used, the first is {bad}"))
            );
        }
        let mut whole = headers.iter().map(|header| header.shape.is_ok());
        self.entries.retain(|_| whole.next().unwrap_or(true));
        skipped.extend(self.others());
        Ok(Stream {
            collection: self,
            wanted,
            shape,
            readers: Mutex::new(Vec::new()),
            skipped: Mutex::new(skipped),
        })
    }

    /// The shape of its images: the wanted one, else that of the first picture.
    fn shape(&self, wanted: &Wanted) -> Result<[usize; 3], DataError> {
        let of_first = || {
            let first = &self.entries[0];
            let picture = self.place.reader().and_then(|mut reader| reader.picture(first));
            let picture = picture.map_err(|what| self.wrong(format!("{}: {what}", first.name)))?;
            let channels = if picture.color().has_color() { 3 } else { 1 };
            let picture = picture::middle(picture, wanted.crop);
            Ok([picture.height() as usize, picture.width() as usize, channels])
        };
        wanted.shape.map_or_else(of_first, Ok)
    }

    /// Calls `each` for every picture, in order; each core has a reader and a part of the pictures.
    fn on_all_cores<T: Send>(
        &self,
        each: impl Fn(&mut Reader, &Entry) -> T + Sync,
    ) -> Result<Vec<T>, DataError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let work = |entries: &[Entry]| -> Result<Vec<T>, String> {
            let mut reader = self.place.reader()?;
            Ok(entries.iter().map(|entry| each(&mut reader, entry)).collect())
        };
        let parts: Result<Vec<Vec<T>>, String> = std::thread::scope(|scope| {
            let work = &work;
            let parts = self.entries.chunks(self.entries.len().div_ceil(cores));
            let begun: Vec<_> = parts.map(|part| scope.spawn(move || work(part))).collect();
            let ended = |worker: std::thread::ScopedJoinHandle<'_, _>| {
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            begun.into_iter().map(ended).collect()
        });
        Ok(parts.map_err(|what| self.wrong(what))?.into_iter().flatten().collect())
    }
}

/// Pictures that are decoded whenever they are used: a collection that memory does not hold.
pub(super) struct Stream {
    collection: Collection,
    wanted: Wanted,
    shape: [usize; 3],
    /// Readers that no thread uses.
    readers: Mutex<Vec<Reader>>,
    /// Files that are left out, as `name (reason)`.
    skipped: Mutex<Vec<String>>,
}

impl Stream {
    fn levels(&self, reader: &mut Reader, entry: &Entry) -> Result<Vec<u8>, String> {
        let picture = picture::middle(reader.picture(entry)?, self.wanted.crop);
        Ok(picture::levels(picture, self.shape, self.wanted.fit))
    }
}

impl Source for Stream {
    fn len(&self) -> usize {
        self.collection.len()
    }

    fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// The image; with `skip_bad`, that of the next picture that can be read in place of one that cannot.
    fn image(&self, index: usize) -> Result<Pixels<'_>, DataError> {
        let free = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let wrong = |what| self.collection.wrong(what);
        let mut reader = free.map_or_else(|| self.collection.place.reader(), Ok).map_err(wrong)?;
        let entries = &self.collection.entries;
        let tried = if self.wanted.skip_bad { entries.len() } else { 1 };
        let mut fault = String::new();
        for entry in entries.iter().cycle().skip(index).take(tried) {
            match self.levels(&mut reader, entry) {
                Ok(levels) => {
                    self.readers.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
                    return Ok(Pixels::Levels(Cow::Owned(levels)));
                }
                Err(what) => fault = format!("{} ({what})", entry.name),
            }
            let mut skipped = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
            if self.wanted.skip_bad && !skipped.contains(&fault) {
                skipped.push(fault.clone());
            }
        }
        Err(wrong(format!("a picture cannot be used: {fault}")))
    }

    fn label(&self, index: usize) -> Option<usize> {
        self.collection.entries[index].label.map(|label| label as usize)
    }

    fn skipped(&self) -> Vec<String> {
        self.skipped.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
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
    fn bytes(&mut self, entry: &Entry) -> Result<Vec<u8>, String> {
        match self {
            Reader::Folder(folder) => files::read(&folder.join(&entry.name)).map_err(|e| e.to_string()),
            Reader::Archive(archive) => {
                let file = archive.by_name(&entry.name).map_err(|e| e.to_string())?;
                files::whole(file).map_err(|e| e.to_string())
            }
        }
    }

    fn picture(&mut self, entry: &Entry) -> Result<DynamicImage, String> {
        picture::decode(&self.bytes(entry)?)
    }
}
