//! What a run shows: rows, pictures, TensorBoard's events, and the page of `tweedie watch`.

use crate::cli::{folder, refuse, stderr, succeed, train, trained, tweedie};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tweedie::train::Metrics;

/// A run of 30 steps in two sessions, with a held-out loss every 5 steps and samples every 10.
fn watched() -> &'static Path {
    static RUN: std::sync::OnceLock<(tempfile::TempDir, PathBuf)> = std::sync::OnceLock::new();
    let (_, run) = RUN.get_or_init(|| {
        let folder = folder();
        let run = folder.path().join("run");
        let set = ["training.eval_freq=5", "training.snapshot_sampling=true", "training.snapshot_steps=8"];
        let said = stderr(train(&run, &set).args(["--steps", "20"]));
        assert!(said.contains("on 1437 images, 360 held out"), "{said}");
        assert_eq!(
            said.matches("16 samples with every checkpoint: dpmpp_2m, 8 score evaluations").count(),
            1,
            "{said}"
        );
        succeed(tweedie().args(["train", "--resume", "--steps", "30", "--out"]).arg(&run));
        (folder, run)
    });
    run
}

#[test]
fn a_run_has_rows_with_held_out_losses_and_pictures_of_every_checkpoint() {
    let run = watched();
    let rows = Metrics::read(&run.join("metrics.csv")).expect("rows");
    assert_eq!(rows.iter().map(|row| row.step).collect::<Vec<_>>(), [5, 10, 15, 20, 25, 30]);
    for row in rows {
        let (loss, levels) = (row.held_out_loss.expect("a loss"), row.held_out_levels.map(Option::unwrap));
        // As many images in every part of the noise levels.
        assert!((loss - levels.iter().sum::<f64>() / 4.0).abs() < 1e-9 * loss, "{loss} {levels:?}");
    }
    for step in [10, 20, 30] {
        let picture = |name: &str| {
            let path = run.join(format!("samples/{name}-{step:08}.png"));
            image::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        };
        let (samples, process) = (picture("step"), picture("process"));
        // Four rows of four samples; four rows of nine states.
        assert_eq!(samples.width(), samples.height());
        assert_eq!((process.width() - 2) * 4, (process.height() - 2) * 9);
    }
}

/// The events as TensorBoard's own reader reads them.
#[test]
fn tensorboard_reads_every_row_and_picture_once() {
    let run = watched();
    let python = |script: &str| Command::new("python3").args(["-c", script]).arg(run).output();
    if !python("import tensorboard").is_ok_and(|output| output.status.success()) {
        println!("skipped: python3 has no package `tensorboard`");
        return;
    }
    let output = python(include_str!("read_events.py")).expect("python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let rows = Metrics::read(&run.join("metrics.csv")).expect("rows");
    let scalar = |tag: &str, of: &dyn Fn(&Metrics) -> f64| {
        let expected: Vec<Value> =
            rows.iter().map(|row| serde_json::json!([row.step, f64::from(of(row) as f32)])).collect();
        assert_eq!(read["scalars"][tag], Value::from(expected), "{tag}");
    };
    scalar("loss/training", &|row| row.loss);
    scalar("loss/held_out", &|row| row.held_out_loss.unwrap_or_default());
    scalar("loss_by_noise_level/4", &|row| row.held_out_levels[3].unwrap_or_default());
    scalar("optimiser/gradient_norm", &|row| row.grad_norm);
    scalar("optimiser/learning_rate", &|row| row.learning_rate);
    scalar("speed/images_per_second", &|row| row.images_per_second);
    for (tag, name) in [("samples", "step"), ("process", "process")] {
        let expected: Vec<Value> = [10, 20, 30]
            .map(|step| {
                let bytes =
                    std::fs::read(run.join(format!("samples/{name}-{step:08}.png"))).expect("a picture");
                serde_json::json!([step, crc32fast::hash(&bytes)])
            })
            .into();
        assert_eq!(read["images"][tag], Value::from(expected), "{tag}");
    }
    let histograms = read["histograms"]["held_out_loss_by_log10_sigma"].as_array().expect("histograms");
    assert_eq!(histograms.len(), rows.len());
    for (found, row) in histograms.iter().zip(&rows) {
        let levels: Vec<f64> = row.held_out_levels.into_iter().flatten().collect();
        assert_eq!((&found[0], &found[2]), (&row.step.into(), &levels.into()));
        // From σ = 0.01 to 6, at equal distances of log σ.
        let limits: Vec<f64> =
            found[1].as_array().expect("limits").iter().filter_map(Value::as_f64).collect();
        let expected = [1, 2, 3, 4].map(|i| -2.0 + 600f64.log10() * f64::from(i) / 4.0);
        assert!(limits.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-3), "{limits:?}");
    }
}

/// A server of a page.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn of(runs: &[&Path], more: &[&str]) -> Server {
        let mut command = tweedie();
        command.arg("watch").args(runs).args(["--port", "0", "--json"]).args(more).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("a line");
        let said: Value = serde_json::from_str(&line).expect("JSON");
        let address = said["address"].as_str().expect("an address");
        let address = address.trim_start_matches("http://").trim_end_matches('/').to_string();
        Server { child, address }
    }

    /// The status and the contents of the answer to a request with these lines after the first.
    fn ask(&self, first: &str, headers: &str) -> (u16, String, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        write!(stream, "{first} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n").expect("a request");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("an answer");
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("headers");
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, head, bytes[end + 4..].to_vec())
    }

    fn get(&self, path: &str) -> (u16, Vec<u8>) {
        let (status, _, body) = self.ask(&format!("GET {path}"), &format!("Host: {}\r\n", self.address));
        (status, body)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_page_has_the_rows_and_pictures_of_its_runs() {
    let (run, other) = (watched(), trained());
    let server = Server::of(&[run, other], &[]);
    let (status, page) = server.get("/");
    assert!(status == 200 && String::from_utf8_lossy(&page).contains("<!doctype html>"));
    let states: Value = serde_json::from_slice(&server.get("/runs").1).expect("JSON");
    assert_eq!((&states[0]["step"], &states[0]["steps"]), (&30.into(), &30.into()));
    assert_eq!(states[0]["snapshots"], serde_json::json!([10, 20, 30]));
    assert_eq!(states.as_array().expect("runs").len(), 2);
    let rows: Value = serde_json::from_slice(&server.get("/runs/0/rows").1).expect("JSON");
    let last = Metrics::read(&run.join("metrics.csv")).expect("rows")[5];
    assert_eq!((&rows[5]["step"], &rows[5]["loss"]), (&30.into(), &last.loss.into()));
    assert_eq!(rows[5]["level_4"], serde_json::json!(last.held_out_levels[3]));
    for name in ["samples", "process"] {
        let file = if name == "samples" { "step" } else { name };
        let picture = std::fs::read(run.join(format!("samples/{file}-00000020.png"))).expect("a picture");
        assert!(server.get(&format!("/runs/0/{name}/20")) == (200, picture));
    }
}

#[test]
fn the_page_serves_this_machine_and_the_files_of_its_runs_only() {
    let run = trained();
    let server = Server::of(&[run], &["--allow-origin", "https://example.org"]);
    let own = format!("Host: {}\r\n", server.address);
    let asked = |first: &str, headers: &str| server.ask(first, headers).0;
    for path in [
        "/../config.toml",
        "/runs/0/../../config.toml",
        "/runs/0/samples/../../config.toml",
        "/runs/0/samples/..%2f..%2fconfig.toml",
        "/runs/0/samples/%2e%2e/%2e%2e/config.toml",
        "/runs/0/samples//etc/passwd",
        "/runs/0/samples/00000010.png",
        "/runs/0/samples/11",
        "/runs/1/rows",
        "/runs/-1/rows",
        "/metrics.csv",
        "http://example.org/",
    ] {
        assert_eq!(asked(&format!("GET {path}"), &own), 404, "{path}");
    }
    let port = server.address.rsplit(':').next().expect("a port");
    for host in [format!("localhost:{port}"), format!("[::1]:{port}")] {
        assert_eq!(asked("GET /runs", &format!("Host: {host}\r\n")), 200, "{host}");
    }
    for host in ["example.org".to_string(), format!("example.org:{port}"), "localhost:1".into()] {
        assert_eq!(asked("GET /runs", &format!("Host: {host}\r\n")), 403, "{host}");
    }
    assert_eq!(asked("GET /runs", &format!("{own}Origin: https://example.com\r\n")), 403);
    let (status, head, _) = server.ask("GET /runs", &format!("{own}Origin: https://example.org\r\n"));
    assert!(status == 200 && head.contains("Access-Control-Allow-Origin: https://example.org"), "{head}");
    assert_eq!(asked("POST /runs", &own), 405);
}

#[test]
#[cfg(unix)]
fn a_link_among_the_samples_is_not_served() {
    let folder = folder();
    let run = folder.path().join("run");
    std::fs::create_dir_all(run.join("samples")).expect("a folder");
    std::fs::copy(trained().join("metrics.csv"), run.join("metrics.csv")).expect("rows");
    std::fs::write(folder.path().join("secret"), "secret").expect("a file");
    std::os::unix::fs::symlink(folder.path().join("secret"), run.join("samples/step-00000010.png"))
        .expect("a link");
    assert_eq!(Server::of(&[&run], &[]).get("/runs/0/samples/10").0, 404);
}

#[test]
fn a_port_in_use_and_a_folder_without_a_run_are_refused() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let message = refuse(tweedie().arg("watch").arg(trained()).args(["--port", &port]));
    assert!(message.contains(&format!("port {port} is in use; choose another with --port")), "{message}");
    let message = refuse(tweedie().args(["watch", "src", "--port", "0"]));
    assert!(message.contains("src holds no run"), "{message}");
}

/// The page in a browser: it draws the rows and the pictures of two runs.
#[test]
fn a_browser_shows_the_page() {
    let browsers = ["chromium", "chromium-browser", "google-chrome"];
    let runs = |name: &&&str| {
        Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success())
    };
    let Some(browser) = browsers.iter().find(runs) else {
        println!("skipped: none of {browsers:?} is here");
        return;
    };
    let server = Server::of(&[watched(), trained()], &[]);
    let folder = folder();
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--window-size=1400,1500",
            "--virtual-time-budget=6000",
        ])
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .arg("--dump-dom")
        .arg(format!("http://{}/", server.address))
        .output()
        .expect("the browser starts");
    let page = String::from_utf8_lossy(&output.stdout);
    for shown in
        ["data-runs=\"2\"", "data-rows=\"10\"", "data-snapshots=\"3\"", "data-frames=\"9\"", "30 of 30 steps"]
    {
        assert!(page.contains(shown), "{shown}: {page}\n{}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(page.contains("id=\"trouble\"></span>"), "{page}");
}
