//! Errors of downloads from the hub.

use std::path::PathBuf;

/// The reason why a model cannot be had from the hub.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// The name is none.
    #[error("hf:{0}: write it as hf:OWNER/NAME or hf:OWNER/NAME@REVISION")]
    Name(String),
    /// The feature `hub` is off.
    #[error(
        "this program was built without its feature `hub` and downloads nothing; download {repository} \
         ({revision}) yourself and name its folder"
    )]
    NotBuilt {
        /// `OWNER/NAME`.
        repository: String,
        /// A branch, a tag or a commit.
        revision: String,
    },
    /// `HF_ENDPOINT` is no address.
    #[error(
        "HF_ENDPOINT is {0:?}; write it as https://HOST or https://HOST:PORT, without a name or password"
    )]
    Endpoint(String),
    /// There is no home folder and hence no cache.
    #[error("there is no home folder to keep the hub's files in; name a folder in HF_HOME")]
    NoHome,
    /// The token cannot be part of a request.
    #[error(
        "the hub's token in {0} holds characters that no token has; log in again (huggingface-cli login)"
    )]
    Token(String),
    /// The hub has no such revision.
    #[error("the hub has no revision {revision} of {repository}")]
    NoRevision {
        /// `OWNER/NAME`.
        repository: String,
        /// A branch, a tag or a commit.
        revision: String,
    },
    /// The hub shows no such model. It also says so of private ones, to hide them.
    #[error("the hub has no model {repository}, or it is private and needs a login ({login})")]
    NoModel {
        /// `OWNER/NAME`.
        repository: String,
        /// The command that logs in.
        login: &'static str,
    },
    /// The model is there, but not for this login.
    #[error("the hub refuses {0} to this login; request access on the model's page")]
    NoAccess(String),
    /// Another status of HTTP.
    #[error("the hub answers {status} for {file} of {repository} (from {host}); try again later")]
    Status {
        /// `OWNER/NAME`.
        repository: String,
        /// The file in the model.
        file: String,
        /// The host that answered.
        host: String,
        /// The number of the answer.
        status: u16,
    },
    /// The model has no such file.
    #[error("{repository} holds no {file}")]
    NoFile {
        /// `OWNER/NAME`.
        repository: String,
        /// The file in the model.
        file: String,
    },
    /// The index of weights in several files cannot be followed.
    #[error("{file} of {repository} is no index of weights: {why}")]
    Index {
        /// `OWNER/NAME`.
        repository: String,
        /// The file in the model.
        file: String,
        /// The fault.
        why: &'static str,
    },
    /// The branch has advanced during the download.
    #[error("{0} changed while it was downloaded; try again")]
    Changed(String),
    /// Another process downloads the same file.
    #[error("{file} of {repository} is being downloaded by another program; try again when it has ended")]
    Busy {
        /// `OWNER/NAME`.
        repository: String,
        /// The file in the model.
        file: String,
    },
    /// The transfer of a file failed.
    #[error("{file} of {repository} cannot be downloaded from {host}: {fault}")]
    Transfer {
        /// `OWNER/NAME`.
        repository: String,
        /// The file in the model.
        file: String,
        /// The host of the request.
        host: String,
        /// The fault.
        fault: Fault,
    },
    /// The cache cannot be written.
    #[error("{} cannot be written ({error}); make room, or name another folder in HF_HOME", path.display())]
    Cache {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        error: std::io::Error,
    },
}

/// The reason why a transfer failed. Nothing of an answer's text is part of it: it may hold anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// No connection.
    #[error("it cannot be reached ({0}); check the network, the proxy and HF_ENDPOINT")]
    Unreachable(String),
    /// No encrypted connection; mostly the certificate is not trusted.
    #[error(
        "there is no encrypted connection ({0}); the system's authorities are trusted (package ca-certificates), \
         or those in the file that SSL_CERT_FILE names"
    )]
    Tls(String),
    /// No connection in time.
    #[error("it cannot be reached: no connection within {0} s; check the network, the proxy and HF_ENDPOINT")]
    Connection(u64),
    /// No answer in time.
    #[error("it has not answered for {0} s; try again later")]
    Silent(u64),
    /// The answer is not HTTP.
    #[error("its answer is no HTTP; check the proxy and HF_ENDPOINT")]
    Http,
    /// An answer lacks a header.
    #[error("its answer has no {0}; check that HF_ENDPOINT names a hub")]
    Missing(&'static str),
    /// The value of a header would lead out of the cache.
    #[error("its {0} is no plain name of 1 to 128 letters, digits, - and _, so nothing is written")]
    Unsafe(&'static str),
    /// The size or the part that is announced contradicts itself or the request.
    #[error("it announces another part of the file than was asked for, so nothing is taken")]
    Part,
    /// The announced size is beyond reason.
    #[error("it announces {0} bytes, and no file of a model has as many")]
    Huge(u64),
    /// The body is compressed, which the request did not accept.
    #[error("it sends the file in a compressed form, which was not asked for; check the proxy")]
    Compressed,
    /// A redirect leads nowhere.
    #[error("it redirects without an address to go to")]
    NoLocation,
    /// A redirect's address is none.
    #[error("it redirects to something that is no address")]
    BadLocation,
    /// A redirect leads to a file or another scheme.
    #[error("it redirects to something other than http and https")]
    Scheme,
    /// A redirect leads out of encryption.
    #[error("it redirects from https to http, where anybody could change the file")]
    Downgrade,
    /// Too many redirects.
    #[error("it redirects more than {0} times")]
    Redirects(usize),
    /// The body ended early.
    #[error("it sent {have} of {size} bytes; the same command goes on from there")]
    Short {
        /// Bytes on disk.
        have: u64,
        /// Bytes that were announced.
        size: u64,
    },
    /// The body went on.
    #[error("it sends more than the {0} bytes it announced, so none is kept")]
    Long(u64),
    /// The bytes are not those of the tag.
    #[error("the file is not the one that the hub names (SHA-256), so it was removed; try again")]
    Checksum,
}
