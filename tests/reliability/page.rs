//! `docs/reliability.md`.

use super::record::{Record, folder};
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

pub fn write(records: &[Record]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reliability.md");
    std::fs::write(path, page(records)).expect("the page");
}

const INTRODUCTION: &str = "# Reliability

`make reliability` writes this page: it attacks the release build, counts what is lost, misread or ends in a panic,
and fails if the count is not 0. `make fuzz` adds the fuzz targets' figures. The attacks are Rust tests in
[`tests/reliability`](../tests/reliability); `TWEEDIE_KILLS` and `TWEEDIE_SOAK_STEPS` change the two longest.
";

const PARTS: &str = "
* **Kill storm**: a run with a checkpoint every 4 steps gets SIGKILL at a random moment, one in five while it starts,
  and is resumed. After each kill every checkpoint is there and whole. In the end all checkpoints equal those of an
  uninterrupted run to the bit, `metrics.csv` has every step once, and nothing half-written is left. SIGTERM, SIGINT
  and SIGHUP lose no step.
* **Faults**: full and read-only disks, limited file sizes, folders that are moved or removed; two processes on one
  folder, a suspended process, closed outputs; a damaged newest checkpoint (24 of the forms are single flipped bits),
  `latest`, `metrics.csv`, `config.toml` and `steps`.
* **GPU faults**: a Vulkan layer fails submissions, waits, allocations, mappings and pipelines of `train` and `sample`,
  from a call on or once.
* **Hub**: a hub on the loopback address that lies in headers, redirects, lengths and bodies. Nothing is written
  outside the cache, and the login is sent to nobody.
* **Hostile inputs**: files cut, continued, with a flipped bit or other changes, from a fixed seed. A *misreading* is a
  file with a checksum that is read as another one, or a cut or continued file that is accepted; only what follows the
  end of a picture is ignored.
* **Soak**: a long run; its resident memory, handles and threads from the first tenth to the end.

*Resumed* counts the runs that were resumed after a fault and compared with an uninterrupted run: to the same bits. The
kill storm is one such run, resumed after each kill.
";

fn page(records: &[Record]) -> String {
    let mut page = format!("{INTRODUCTION}\n{}\n\n", origin());
    page += "| part | cases | resumed | lost, misread, panics | seconds |\n| --- | --: | --: | --: | --: |\n";
    for Record { part, tried, resumed, findings, seconds, .. } in records {
        let _ = writeln!(page, "| {part} | {tried} | {resumed} | {} | {seconds} |", findings.len());
    }
    page += &fuzz_row();
    page += PARTS;
    page += &section("Figures", records, |record| &record.figures);
    page += &section("Not run on this machine", records, |record| &record.not_run);
    page += &section("Lost, misread, panics", records, |record| &record.findings);
    page + &fuzz_table()
}

/// When, on what, and with what the figures were made.
fn origin() -> String {
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
        output.map_or(String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_string())
    };
    let date = said("date", &["-u", "+%F"]);
    let commit = said("git", &["rev-parse", "--short", "HEAD"]);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let adapter = crate::support::gpu().adapter();
    format!("{date}, `{commit}`; {cores} processor cores, {}, driver {}.", adapter.name(), adapter.driver())
}

/// A section with a line for each part that has something to say.
fn section(title: &str, records: &[Record], lines: impl Fn(&Record) -> &Vec<String>) -> String {
    let mut text = String::new();
    for record in records.iter().filter(|record| !lines(record).is_empty()) {
        // One fault may have many findings.
        let lines: Vec<&str> = lines(record).iter().map(String::as_str).take(30).collect();
        let _ = writeln!(text, "* {}: {}", record.part, lines.join("; ").replace('\n', " "));
    }
    if text.is_empty() { text } else { format!("\n## {title}\n\n{text}") }
}

/// The lines of `make fuzz`: target, seconds, executions, findings.
fn fuzzed() -> Vec<[String; 4]> {
    let text = std::fs::read_to_string(folder().join("fuzz.tsv")).unwrap_or_default();
    let fields = |line: &str| line.split('\t').map(String::from).collect::<Vec<_>>().try_into().ok();
    text.lines().filter_map(fields).collect()
}

fn sum(lines: &[[String; 4]], column: usize) -> u64 {
    lines.iter().filter_map(|line| line[column].parse::<u64>().ok()).sum()
}

fn fuzz_row() -> String {
    let lines = fuzzed();
    match lines.is_empty() {
        true => "| fuzz (`make fuzz`) | not run | | | |\n".into(),
        false => format!(
            "| fuzz (`make fuzz`) | {} executions | | {} | {} |\n",
            sum(&lines, 2),
            sum(&lines, 3),
            sum(&lines, 1)
        ),
    }
}

fn fuzz_table() -> String {
    let mut table = String::new();
    for [target, seconds, executions, findings] in fuzzed() {
        let _ = writeln!(table, "| {target} | {executions} | {findings} | {seconds} |");
    }
    let head = "| target | executions | findings | seconds |\n| --- | --: | --: | --: |\n";
    if table.is_empty() { table } else { format!("\n## Fuzzing\n\n{head}{table}") }
}
