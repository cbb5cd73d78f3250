//! The finished parts of a long command, in a file as they are finished: after a stop, the same command goes on with `--resume`.

mod record;

use super::report::{chain, say};
use super::stop::Stop;
use super::{count, note, paths};
use anyhow::{Context, bail, ensure};
use record::Record;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The identity of a command: the first line of its file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Command {
    arguments: Vec<String>,
    /// The checksum of the model and the images that it reads.
    contents: u32,
}

/// The particulars of a command.
pub struct Options<'a> {
    /// Go on after the finished parts.
    pub resume: bool,
    /// The first output. The file lies beside it; in the user's cache if there is none.
    pub output: Option<&'a Path>,
    /// The number of parts. Only several are kept in a file.
    pub parts: usize,
    /// The bytes that its result depends on: a model's checksum, images.
    pub contents: &'a [&'a [u8]],
}

/// The finished parts of a command.
pub struct Unfinished {
    stop: Stop,
    file: Option<(PathBuf, File)>,
    /// All parts.
    parts: usize,
    /// Parts that were kept when the command was stopped, and are not used yet.
    kept: VecDeque<Record>,
    /// Parts that are finished, the kept ones included.
    finished: usize,
}

impl Unfinished {
    /// Opens the file of this process's command, and watches for signals from now on.
    ///
    /// # Errors
    /// If the file has parts of this command and `resume` is not set, or of another; if it is another kind of file, cannot be
    /// written, or is being written by another process.
    pub fn open(options: Options<'_>) -> anyhow::Result<Unfinished> {
        let stop = Stop::on_signals()?;
        let (resume, parts) = (options.resume, options.parts);
        let command = Command::of_process(options.contents);
        let path = place(options.output, &command).filter(|_| parts > 1);
        let (mut file, mut kept) = (None, VecDeque::new());
        if let Some(path) = path {
            match locked(&path) {
                Ok(mut opened) => {
                    kept = begin(&mut opened, &path, &command, &options)?;
                    file = Some((path, opened));
                }
                // A result that is printed needs no file.
                Err(error) if options.output.is_none() => {
                    note(format!("finished batches are not kept: {}", chain(&error)));
                }
                Err(error) => return Err(error),
            }
        }
        let finished = kept.len();
        if resume {
            say(match finished {
                0 => "--resume: no batch of this command was finished and kept; all are computed".into(),
                _ => format!("going on after {finished} of {}", count(parts, "batch")),
            });
        }
        Ok(Unfinished { stop, file, parts, kept, finished })
    }

    /// The request to stop.
    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// The number of the next `parts` parts that are to be computed.
    pub fn left(&self, parts: usize) -> usize {
        parts.saturating_sub(self.kept.len())
    }

    /// The figures of the next part, which has no values (see [`part`](Self::part)).
    pub fn figures<T: Serialize + DeserializeOwned>(
        &mut self,
        compute: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let (_, figures) = self.part(0, false, || Ok((Vec::new(), compute()?)))?;
        Ok(figures)
    }

    /// The next part, of `size` values and figures about them: a kept one, or computed and then kept. With `again` it is computed
    /// in any case.
    ///
    /// # Errors
    /// If `compute` fails; at a signal, with the way to go on; if the file cannot be written, or holds no such part.
    pub fn part<T: Serialize + DeserializeOwned>(
        &mut self,
        size: usize,
        again: bool,
        compute: impl FnOnce() -> anyhow::Result<(Vec<f32>, T)>,
    ) -> anyhow::Result<(Vec<f32>, T)> {
        let kept = self.kept.pop_front();
        let known = kept.is_some();
        if let Some(Record { figures, values }) = kept.filter(|_| !again) {
            let figures = serde_json::from_str(&figures).ok().filter(|_| values.len() == size);
            return Ok((values, figures.with_context(|| self.foreign())?));
        }
        let computed = if self.stop.requested() { Err(self.stopped()) } else { compute() };
        // Whatever the error is: after a signal it is the end of a computation that was stopped.
        let (values, figures) = match computed {
            Err(_) if self.stop.requested() => return Err(self.stopped()),
            computed => computed?,
        };
        if known {
            return Ok((values, figures));
        }
        let record = Record { figures: serde_json::to_string(&figures)?, values };
        if let Some((path, file)) = &mut self.file {
            record
                .write(file)
                .and_then(|()| file.sync_data())
                .map_err(|error| paths::unwritable(path, error))?;
        }
        self.finished += 1;
        Ok((record.values, figures))
    }

    /// Ends the command, once its outputs are written.
    pub fn finish(mut self) {
        self.finished = 0;
    }

    /// The sentence of a record that this program did not write.
    fn foreign(&self) -> String {
        let shown = self.file.as_ref().map_or(String::new(), |(path, _)| path.display().to_string());
        format!("{shown} holds a batch that does not belong to this command; remove the file to begin again")
    }

    fn stopped(&self) -> anyhow::Error {
        let parts = count(self.parts, "batch");
        self.stop.stopped(match &self.file {
            Some((path, _)) if self.finished > 0 => format!(
                "after {} of {parts}, kept in {}; the same command goes on with --resume",
                self.finished,
                path.display()
            ),
            None if self.parts > 1 => format!("before the end; none of {parts} is kept"),
            _ if self.parts > 1 => format!("before the first of {parts} was finished"),
            _ => "before the end; nothing is kept".into(),
        })
    }
}

impl Drop for Unfinished {
    /// Removes a file without use.
    fn drop(&mut self) {
        if let Some((path, _)) = self.file.as_ref().filter(|_| self.finished == 0) {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Command {
    fn of_process(contents: &[&[u8]]) -> Command {
        let mut sum = crc32fast::Hasher::new();
        contents.iter().for_each(|bytes| sum.update(bytes));
        let arguments = std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
        let arguments = arguments.filter(|argument| argument != "--resume" && argument != "--json");
        Command { arguments: arguments.collect(), contents: sum.finalize() }
    }
}

/// The file of a command: beside its first output, else in the user's cache, if there is one.
fn place(output: Option<&Path>, command: &Command) -> Option<PathBuf> {
    // The current folder has no name.
    if let Some((output, name)) = output.and_then(|output| Some((output, output.file_name()?))) {
        let mut name = name.to_os_string();
        name.push(".unfinished");
        return Some(output.with_file_name(name));
    }
    let key = crc32fast::hash(serde_json::to_string(command).ok()?.as_bytes());
    Some(dirs::cache_dir()?.join("tweedie").join(format!("{key:08x}.unfinished")))
}

/// Opens a file that no other process writes.
fn locked(path: &Path) -> anyhow::Result<File> {
    let shown = path.display();
    if let Ok(found) = path.symlink_metadata() {
        ensure!(found.is_file(), "{shown} is no plain file; move it away, or choose another output");
    }
    paths::with_folder(path)?;
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    let file = file.map_err(|error| paths::unwritable(path, error))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => bail!("{shown} is being written by another process"),
        // Some file systems have no locks.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}

/// The records of a command of this many parts in a file, which is then at their end; an empty file begins with the command.
fn begin(
    file: &mut File,
    path: &Path,
    command: &Command,
    options: &Options<'_>,
) -> anyhow::Result<VecDeque<Record>> {
    let shown = path.display();
    let (mut line, mut reader) = (Vec::new(), BufReader::new(&*file));
    reader
        .by_ref()
        .take(LONGEST)
        .read_until(b'\n', &mut line)
        .with_context(|| format!("{shown} cannot be read"))?;
    let found: Option<Command> = serde_json::from_slice(&line).ok();
    let empty = line.is_empty();
    ensure!(
        found.is_some() || empty,
        "{shown} does not begin as a file of finished batches does; move it away, or choose another output"
    );
    let (mut records, mut end) = (VecDeque::new(), line.len() as u64);
    while let Some(record) = Record::read(&mut reader).filter(|_| records.len() < options.parts) {
        records.push_back(record);
        end = reader.stream_position()?;
    }
    let left = file.metadata()?.len() - end;
    let (kept, remove) = (count(records.len(), "finished batch"), "remove the file to begin again");
    match found {
        Some(found) if found == *command && options.resume => {
            if left > 0 {
                note(format!(
                    "{shown}: {left} bytes after {kept} are cut short or damaged; they are computed again"
                ));
            }
            file.set_len(end)?;
            file.seek(SeekFrom::Start(end))?;
            Ok(records)
        }
        Some(found) if !records.is_empty() || left > 0 => {
            let theirs = found.arguments.join(" ");
            match found == *command {
                true => bail!("{shown} holds {kept} of this command; go on with --resume, or {remove}"),
                false if found.arguments == command.arguments => {
                    bail!("{shown} holds {kept} of another model, other images or another problem; {remove}")
                }
                false => bail!(
                    "{shown} holds {kept} of `tweedie {theirs}`; go on with that and --resume, choose another output, or {remove}"
                ),
            }
        }
        _ => {
            file.set_len(0)?;
            file.rewind()?;
            let line = serde_json::to_string(command)?;
            file.write_all(format!("{line}\n").as_bytes()).map_err(|error| paths::unwritable(path, error))?;
            Ok(VecDeque::new())
        }
    }
}

/// The longest first line of a file.
const LONGEST: u64 = 1 << 20;
