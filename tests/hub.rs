//! Models by name, from a test hub on the loopback address.

mod server;

use crate::interop::{checkpoint, folder, refuse, succeed};
use crate::support::tiny;
use server::{Files, Hub, Reply, Twist, program};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tweedie::interop::write_diffusers;
use tweedie::train::Checkpoint;

/// The files of a model's folder by their paths in it.
fn files(folder: &Path) -> Files {
    let names =
        ["unet/config.json", "unet/diffusion_pytorch_model.safetensors", "scheduler/scheduler_config.json"];
    names.iter().map(|name| (name.to_string(), std::fs::read(folder.join(name)).expect("a file"))).collect()
}

/// A model of one file, which has no weights.
fn one_file(bytes: &[u8]) -> Files {
    Files::from([("unet/config.json".to_string(), bytes.to_vec())])
}

/// Every file below a folder.
fn tree(folder: &Path) -> Vec<PathBuf> {
    let inside = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.expect("an entry").path());
    let below = |path: PathBuf| match path.is_dir() && !path.is_symlink() {
        true => tree(&path),
        false => vec![path],
    };
    inside.flat_map(below).collect()
}

#[test]
fn a_model_of_the_hub_is_downloaded_once_and_found_in_the_cache_without_a_network() {
    let (config, _, state) = tiny();
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    write_diffusers(&at("model"), &config, &state).expect("a model");
    let mut all = files(&at("model"));
    let hub = Hub::serve(all.clone());
    succeed(hub.program(&at("cache")).args(["convert", "hf:owner/tiny"]).arg(at("run")));
    let imported = Checkpoint::read(&checkpoint(&at("run"))).expect("a checkpoint").state().expect("a state");
    assert!(imported == state);
    assert!(hub.asked().len() >= 6);
    let kept = at("cache/hub/models--owner--tiny");
    assert_eq!(std::fs::read_to_string(kept.join("refs/main")).expect("a reference"), "0123abcd");
    let pointer = kept.join("snapshots/0123abcd/unet/config.json");
    assert_eq!(std::fs::read(&pointer).expect("a file"), all["unet/config.json"]);
    #[cfg(unix)]
    assert!(std::fs::read_link(&pointer).expect("a link").starts_with("../../../blobs"));

    // An unreachable hub: the cache suffices for downloaded models.
    let nobody = "http://127.0.0.1:1";
    succeed(program(nobody, &at("cache")).args(["convert", "hf:owner/tiny"]).arg(at("again")));
    assert!(checkpoint(&at("again")).exists());
    let message = refuse(program(nobody, &at("cache")).args(["convert", "hf:owner/tiny@v1"]).arg(at("none")));
    assert!(message.contains("cannot be reached"), "{message}");

    // The format of the first published models, without folders, by a revision's name.
    for (place, name) in [
        ("unet", "config.json"),
        ("unet", "diffusion_pytorch_model.safetensors"),
        ("scheduler", "scheduler_config.json"),
    ] {
        let bytes = all.remove(&format!("{place}/{name}")).expect("a file");
        all.insert(name.into(), bytes);
    }
    let flat = Hub::serve(all);
    let mut command = flat.program(&at("cache2"));
    command.env("HF_HUB_CACHE", at("elsewhere")).args(["convert", "hf:owner/tiny@v1"]).arg(at("flat"));
    succeed(&mut command);
    let imported =
        Checkpoint::read(&checkpoint(&at("flat"))).expect("a checkpoint").state().expect("a state");
    assert!(imported == state);
    assert!(at("elsewhere/models--owner--tiny/refs/v1").exists());
    assert!(!at("cache2").exists() && !at("none").exists());
}

#[test]
fn a_model_that_the_hub_does_not_have_is_refused_in_one_sentence() {
    let hub = Hub::serve(one_file(b"{}"));
    let folder = folder();
    for (name, expected) in [
        ("hf:owner/none", "the hub has no model owner/none"),
        ("hf:owner/tiny@nope", "no revision nope of owner/tiny"),
        ("hf:owner/tiny", "holds no unet/diffusion_pytorch_model.safetensors"),
        ("hf:owner/broken", "answers 503"),
        ("hf:tiny", "hf:OWNER/NAME"),
        ("hf:owner/../tiny", "hf:OWNER/NAME"),
    ] {
        let out = folder.path().join("out.npz");
        let mut command = hub.program(&folder.path().join("cache"));
        let message = refuse(command.args(["sample", name, "--out"]).arg(&out));
        assert!(message.contains(expected), "{message}");
        assert!(!out.exists());
    }
    for wrong in ["hub", "file:///etc", "http://[::bad", "https://me:secret@hub", "https://hub?x"] {
        let mut command = program(wrong, folder.path());
        let message = refuse(command.args(["sample", "hf:owner/tiny", "--out", "x.npz"]));
        assert!(message.contains("HF_ENDPOINT"), "{message}");
    }
}

/// The contents of the one file.
const BYTES: &[u8] = br#"{"a": 1}"#;

/// A header of the answer's is another one, or none.
fn header(name: &'static str, value: Option<&str>) -> Twist {
    let value = value.map(String::from);
    Box::new(move |asked, reply| {
        if asked.path.ends_with("unet/config.json") {
            reply.set(name, value.as_deref());
        }
    })
}

/// The hub redirects.
fn redirect(location: Option<&str>) -> Twist {
    let location = location.map(String::from);
    Box::new(move |asked, reply| {
        if asked.path.ends_with("unet/config.json") {
            reply.redirect(location.as_deref());
        }
    })
}

fn twisted(change: fn(&mut Reply)) -> Twist {
    Box::new(move |asked, reply| {
        if asked.path.ends_with("unet/config.json") {
            change(reply);
        }
    })
}

/// Only an honest file is kept, and then the model turns out to have no weights.
const HONEST: &str = "owner/tiny holds no unet/diffusion_pytorch_model.safetensors";

/// A place for a hub to lie to: another hub, a cache, and a login.
pub struct Victim {
    folder: tempfile::TempDir,
    other: Hub,
}

/// The fault, the way to make it, and the words of the sentence.
pub type Lie = (&'static str, Twist, &'static str);

impl Victim {
    pub fn new() -> Victim {
        Victim { folder: folder(), other: Hub::serve(one_file(BYTES)) }
    }

    pub fn lies(&self) -> Vec<Lie> {
        let port = self.other.endpoint.rsplit(':').next().expect("a port");
        let climb = "../../../../../escaped";
        let absolute = self.folder.path().join("escaped");
        let absolute = absolute.to_str();
        let path = "/owner/tiny/resolve/main/unet/config.json";
        vec![
            ("plain", twisted(|_| {}), HONEST),
            ("a tag that climbs", header("ETag", Some(climb)), "ETag"),
            ("an absolute tag", header("ETag", absolute), "ETag"),
            ("an empty tag", header("ETag", Some("\"\"")), "ETag"),
            ("no tag", header("ETag", None), "ETag"),
            ("a linked tag that climbs", header("X-Linked-ETag", Some(climb)), "ETag"),
            ("a commit that climbs", header("X-Repo-Commit", Some(climb)), "X-Repo-Commit"),
            ("an absolute commit", header("X-Repo-Commit", absolute), "X-Repo-Commit"),
            ("no commit", header("X-Repo-Commit", None), "X-Repo-Commit"),
            ("no range", header("Content-Range", None), "Content-Range"),
            ("a range of words", header("Content-Range", Some("bytes 0-0/many")), "another part"),
            ("more announced", header("Content-Range", Some("bytes 0-7/1000000")), "another part"),
            ("much announced", header("Content-Range", Some("bytes 0-7/18446744073709551615")), "1844674407"),
            ("less announced", header("Content-Range", Some("bytes 0-7/2")), "another part"),
            ("a compressed file", header("Content-Encoding", Some("gzip")), "compressed"),
            ("a long head", header("X-Long", Some(&"x".repeat(100_000))), "no HTTP"),
            ("less sent", twisted(|reply| reply.body.truncate(3)), "3 of 8 bytes"),
            (
                "endless",
                twisted(|reply| (reply.length, reply.body) = (None, vec![b' '; 1 << 20])),
                "more than the 8 bytes",
            ),
            ("a redirect to nowhere", redirect(None), "without an address"),
            ("a bad redirect", redirect(Some("http://[::bad")), "no address"),
            ("an odd redirect", redirect(Some("//")), "no address"),
            ("a loop", redirect(Some(path)), "more than 5 times"),
            ("a redirect to a file", redirect(Some("file:///etc/passwd")), "other than http"),
            ("another host", redirect(Some(&format!("http://localhost:{port}{path}"))), HONEST),
            ("another port", redirect(Some(&format!("http://127.0.0.1:{port}{path}"))), HONEST),
            ("no HTTP", twisted(|reply| reply.status = "\u{1b}[31mred"), "no HTTP"),
            (
                "escape codes",
                twisted(|reply| {
                    reply.status = "418 I'm a teapot";
                    reply.set("X-Error-Code", Some("\u{1b}[31mred\u{1b}[0m"));
                }),
                "unet/config.json of owner/tiny",
            ),
        ]
    }

    /// Asks a hub that lies: it ends in a sentence, nothing is written outside the cache, and the login stays.
    pub fn hears(&self, (lie, twist, expected): Lie) {
        let home = self.folder.path().join("a/b/c/home");
        let _ = std::fs::remove_dir_all(&home);
        std::fs::create_dir_all(&home).expect("a folder");
        std::fs::write(home.join("token"), "hf_SECRET").expect("a token");
        let hub = Hub::twist(one_file(BYTES), twist);
        let out = self.folder.path().join("x.npz");
        let message = refuse(hub.program(&home).args(["sample", "hf:owner/tiny", "--out"]).arg(&out));
        assert!(message.contains(expected), "{lie}: {message}");
        assert!(!message.contains(char::is_control) && !message.contains("[31m"), "{lie}: {message}");
        assert!(tree(self.folder.path()).iter().all(|path| path.starts_with(&home)), "{lie}");
        let asked = [hub.asked(), self.other.asked()].concat();
        assert!(asked.iter().all(|asked| asked.token.is_none()), "{lie}");
        let blobs = tree(&home.join("hub"))
            .into_iter()
            .filter(|path| path.parent().expect("a folder").ends_with("blobs"));
        let whole = blobs.filter(|path| path.extension().is_none()).count();
        assert_eq!(whole > 0, expected == HONEST, "{lie}");
    }
}

#[test]
fn every_lie_of_a_hub_ends_in_a_sentence_and_touches_nothing_outside_the_cache() {
    let victim = Victim::new();
    victim.lies().into_iter().for_each(|lie| victim.hears(lie));
    assert!(victim.other.asked().len() >= 4);
}

/// The SHA-256 of `abcdefgh`.
const SUM: &str = "9c56cc51b374c3ba189210d5b6d4bf57790d351c96c47c02190ecf1e430635ab";

#[test]
fn an_interrupted_download_goes_on_where_it_ended() {
    let folder = folder();
    for (name, tag, ranges) in [("ranges", SUM, true), ("none", SUM, false), ("git", "abc", true)] {
        let cache = folder.path().join(name);
        let blobs = cache.join("hub/models--owner--tiny/blobs");
        std::fs::create_dir_all(&blobs).expect("a folder");
        std::fs::write(blobs.join(format!("{tag}.incomplete")), "abc").expect("a file");
        let whole = |reply: &mut Reply| {
            reply.status = "200 OK";
            reply.set("Content-Range", None);
            (reply.length, reply.body) = (Some(8), b"abcdefgh".to_vec());
        };
        let twist: Twist = Box::new(move |asked, reply| {
            if asked.path.ends_with("unet/config.json") {
                reply.set("ETag", Some(tag));
                if !ranges {
                    whole(reply);
                }
            }
        });
        let hub = Hub::twist(one_file(b"abcdefgh"), twist);
        let mut command = hub.program(&cache);
        let message = refuse(command.args(["sample", "hf:owner/tiny", "--out", "x.npz"]));
        assert!(message.contains("holds no unet/diffusion_pytorch_model.safetensors"), "{message}");
        assert_eq!(hub.asked()[1].from, 3);
        assert_eq!(std::fs::read(blobs.join(tag)).expect("a file"), b"abcdefgh");
        assert_eq!(tree(&blobs).len(), 1);
    }
}

#[test]
fn a_file_that_breaks_off_is_kept_and_one_of_another_sum_is_not() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name).join("hub/models--owner--tiny/blobs");
    let run = |hub: &Hub, name: &str| {
        let mut command = hub.program(&folder.path().join(name));
        refuse(command.args(["sample", "hf:owner/tiny", "--out", "x.npz"]))
    };
    let short = Hub::twist(
        one_file(b"abcdefgh"),
        twisted(|reply| {
            reply.set("ETag", Some(SUM));
            reply.body.truncate(3);
        }),
    );
    let message = run(&short, "short");
    assert!(message.contains("3 of 8 bytes"), "{message}");
    assert_eq!(std::fs::read(at("short").join(format!("{SUM}.incomplete"))).expect("a file"), b"abc");

    let other = Hub::twist(one_file(b"abcdefgX"), header("ETag", Some(SUM)));
    let message = run(&other, "other");
    assert!(message.contains("SHA-256"), "{message}");
    assert_eq!(tree(&at("other")), Vec::<PathBuf>::new());
}

#[test]
fn weights_in_several_files_are_all_downloaded_and_only_beside_their_index() {
    let (config, _, state) = tiny();
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    write_diffusers(&at("model"), &config, &state).expect("a model");
    let with = |index: &str| {
        let mut all = files(&at("model"));
        let weights = all.remove("unet/diffusion_pytorch_model.safetensors").expect("weights");
        all.insert("unet/diffusion_pytorch_model.safetensors.index.json".into(), index.into());
        all.insert("unet/part-1.safetensors".into(), b"one".to_vec());
        all.insert("unet/part-2.safetensors".into(), weights);
        all
    };
    let convert = |hub: &Hub, cache: &str| {
        let mut command = hub.program(&at(cache));
        command.args(["convert", "hf:owner/tiny"]).arg(at("run")).output().expect("the program starts")
    };
    let index = r#"{"weight_map": {"a": "part-1.safetensors", "b": "part-2.safetensors", "c": "part-1.safetensors"}}"#;
    let hub = Hub::serve(with(index));
    convert(&hub, "cache");
    let names = |hub: &Hub| -> BTreeSet<String> {
        hub.asked().iter().filter_map(|asked| Some(asked.path.rsplit_once("/main/")?.1.to_string())).collect()
    };
    let parts = at("cache/hub/models--owner--tiny/snapshots/0123abcd/unet");
    assert_eq!(std::fs::read(parts.join("part-1.safetensors")).expect("a part"), b"one");
    assert!(parts.join("part-2.safetensors").exists());

    // A part that is not there yet is downloaded later.
    std::fs::remove_file(parts.join("part-1.safetensors")).expect("a part");
    convert(&Hub::serve(with(index)), "cache");
    assert!(parts.join("part-1.safetensors").exists());

    for (n, wrong) in [
        r#"{"weight_map": {"a": "../../../../escaped.safetensors"}}"#,
        r#"{"weight_map": {"a": "/tmp/escaped.safetensors"}}"#,
        r#"{"weight_map": {"a": "x.py"}}"#,
        r#"{"weight_map": {"a": 1}}"#,
        r#"{"weight_map": {}}"#,
        "{",
    ]
    .iter()
    .enumerate()
    {
        let hub = Hub::serve(with(wrong));
        let output = convert(&hub, &format!("wrong-{n}"));
        let message = String::from_utf8(output.stderr).expect("text");
        assert!(message.contains("safetensors.index.json of owner/tiny"), "{wrong}: {message}");
        assert!(!message.contains("escaped"), "{message}");
        assert!(
            names(&hub).iter().all(|name| !name.contains("escaped") && !name.contains("x.py")),
            "{wrong}"
        );
    }
}

/// Elsewhere the system keeps its authorities where no variable leads.
#[cfg(target_os = "linux")]
#[test]
fn an_authority_of_the_system_is_trusted_and_the_token_stays_with_the_hub() {
    let folder = folder();
    let other = Hub::secret(one_file(b"{}"), twisted(|_| {}));
    let to = other.endpoint.clone();
    let moved: Twist = Box::new(move |asked, reply| {
        if asked.path.ends_with("unet/config.json") {
            reply.redirect(Some(&format!("{to}{}", asked.path)));
        }
    });
    let hub = Hub::secret(one_file(b"{}"), moved);
    let program = |authorities: &Path| {
        let mut command = hub.program(&folder.path().join("cache"));
        command.env("HF_TOKEN", "hf_SECRET").env("SSL_CERT_FILE", authorities).env_remove("SSL_CERT_DIR");
        refuse(command.args(["sample", "hf:owner/tiny", "--out", "x.npz"]))
    };
    let authorities = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hub");
    let message = program(&authorities.join("authority.pem"));
    assert!(message.contains("holds no unet/diffusion_pytorch_model.safetensors"), "{message}");
    assert!(hub.asked().len() >= 3);
    assert!(hub.asked().iter().all(|asked| asked.token.as_deref() == Some("Bearer hf_SECRET")));
    assert!(other.asked().len() == 2 && other.asked().iter().all(|asked| asked.token.is_none()));

    // A file without authorities, and one without this hub's.
    for wrong in ["key.pem", "certificate.pem"] {
        std::fs::remove_dir_all(folder.path().join("cache")).ok();
        let message = program(&authorities.join(wrong));
        assert!(message.contains("SSL_CERT_FILE"), "{message}");
        assert!(!message.contains("hf_SECRET"), "{message}");
    }
}
