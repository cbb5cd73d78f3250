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
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The identity of a command: the first line of its file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Command {
    arguments: Vec<String>,
    /// The checksum of the model and the images that it reads.
    contents: u32,
}

/// What is particular to a command.
pub struct Options<'a> {
    /// Go on after the finished parts.
    pub resume: bool,
    /// The first output. The file lies beside it; in the user's cache if there is none.
    pub output: Option<&'a Path>,
    /// The number of parts. Only several are kept in a file.
    pub parts: usize,
    /// The checksum of the model and the images that it reads.
    pub contents: crc32fast::Hasher,
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
    /// If the file has parts of this command and `resume` is not set, or of another and it is; if it cannot be written, or another
    /// process is writing it.
    pub fn open(options: Options<'_>) -> anyhow::Result<Unfinished> {
        let stop = Stop::on_signals()?;
        let Options { resume, parts, .. } = options;
        let command = Command::of_process(options.contents.finalize());
        let path = place(options.output, &command).filter(|path| parts > 1 || path.exists());
        let (mut file, mut kept) = (None, VecDeque::new());
        if let Some(path) = path {
            match locked(&path) {
                Ok(mut opened) => {
                    kept = begin(&mut opened, &path, &command, resume)?;
                    file = Some((path, opened));
                }
                // A result that is printed needs no file.
                Err(error) if options.output.is_none() => {
                    note(format!("finished parts are not kept: {}", chain(&error)));
                }
                Err(error) => return Err(error),
            }
        }
        let finished = kept.len();
        if resume {
            say(match finished {
                0 => "nothing is finished yet; the command begins".into(),
                _ => format!("going on after {finished} of {}", count(parts, "part")),
            });
        }
        Ok(Unfinished { stop, file, parts, kept, finished })
    }

    /// The request to stop.
    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// How many of the next `parts` parts are to be computed.
    pub fn left(&self, parts: usize) -> usize {
        parts.saturating_sub(self.kept.len())
    }

    /// The next part: a kept one, or computed and then kept. With `again` it is computed in any case.
    ///
    /// # Errors
    /// Those of `compute`; at a signal, how to go on; or if the file cannot be written.
    pub fn part<T: Serialize + DeserializeOwned>(
        &mut self,
        again: bool,
        compute: impl FnOnce() -> anyhow::Result<(Vec<f32>, T)>,
    ) -> anyhow::Result<(Vec<f32>, T)> {
        let kept = self.kept.pop_front();
        let known = kept.is_some();
        if let Some(Record { figures, values }) = kept.filter(|_| !again) {
            return Ok((values, serde_json::from_str(&figures)?));
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
            record.write(file).and_then(|()| file.sync_data()).with_context(|| paths::unwritable(path))?;
        }
        self.finished += 1;
        Ok((record.values, figures))
    }

    /// Ends the command, once its outputs are written.
    pub fn finish(mut self) {
        self.finished = 0;
    }

    fn stopped(&self) -> anyhow::Error {
        let parts = count(self.parts, "part");
        self.stop.stopped(match &self.file {
            Some((path, _)) if self.finished > 0 => format!(
                "after {} of {parts}, kept in {}; the same command goes on with --resume",
                self.finished,
                path.display()
            ),
            None if self.parts > 1 => format!("before the end; none of {parts} is kept"),
            _ => format!("before the first of {parts} was finished; a smaller --batch makes smaller parts"),
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
    fn of_process(contents: u32) -> Command {
        let arguments = std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
        let arguments = arguments.filter(|argument| argument != "--resume" && argument != "--json");
        Command { arguments: arguments.collect(), contents }
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
    paths::with_folder(path)?;
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    let file = file.with_context(|| paths::unwritable(path))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => bail!("{} is being written by another process", path.display()),
        // Some file systems have no locks.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}

/// The records of this command in a file, which is then at their end; without `resume`, or if there are none, the file begins
/// again.
fn begin(file: &mut File, path: &Path, command: &Command, resume: bool) -> anyhow::Result<VecDeque<Record>> {
    let shown = path.display();
    let (mut line, mut reader) = (Vec::new(), BufReader::new(&*file));
    reader.read_until(b'\n', &mut line).with_context(|| format!("{shown} cannot be read"))?;
    if let Ok(found) = serde_json::from_slice::<Command>(&line) {
        let (mut records, mut end) = (VecDeque::new(), line.len() as u64);
        while let Some(record) = Record::read(&mut reader) {
            records.push_back(record);
            end = reader.stream_position()?;
        }
        let (kept, theirs) = (count(records.len(), "finished part"), found.arguments.join(" "));
        match (found == *command, resume) {
            _ if records.is_empty() => {}
            (true, true) => {
                // What follows was cut short.
                file.set_len(end)?;
                file.seek(SeekFrom::Start(end))?;
                return Ok(records);
            }
            (true, false) => {
                bail!(
                    "{shown} holds {kept} of this command; go on with --resume, or remove the file to begin again"
                )
            }
            (false, true) => {
                ensure!(
                    found.arguments == command.arguments,
                    "--resume: {shown} is of another command, `tweedie {theirs}`; repeat that one, or leave --resume out"
                );
                bail!(
                    "--resume: the model or the images have changed since {shown} was written; leave --resume out"
                )
            }
            (false, false) => note(format!("{shown} is replaced: it held {kept} of `tweedie {theirs}`")),
        }
    }
    file.set_len(0)?;
    file.rewind()?;
    let line = serde_json::to_string(command)?;
    file.write_all(format!("{line}\n").as_bytes()).with_context(|| paths::unwritable(path))?;
    Ok(VecDeque::new())
}
