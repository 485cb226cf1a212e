//! How a command asks the running daemon to compact, and hears of it: two small files beside the database. HTTP only reads;
//! who may write into the folder may ask.
//!
//! The command makes `gadwall.compact` and holds an exclusive lock (flock(2)) on it for as long as it waits. So there is one
//! command at a time, the daemon sees when nobody waits any more, and a file that a killed command left means nothing. The
//! daemon answers in `gadwall.compact.answer`, which names the request that it is for.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::{At, Report};

/// The request.
const REQUEST: &str = "gadwall.compact";
/// The answer.
const ANSWER: &str = "gadwall.compact.answer";
/// Longest file that is read.
const MAX_FILE: u64 = 4_096;
/// How often the daemon looks for a request, and how often it tells how far it is.
const EVERY: Duration = Duration::from_secs(1);
/// The daemon's look at a request holds its lock for a moment: a command that meets it tries again for so long.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why no request was made.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Another command waits.
    #[error("another `gadwall compact` is at work on this database (process {0})")]
    Held(String),
    /// The file cannot be made or locked.
    #[error("cannot make {path}: {source}")]
    Io {
        /// The request's file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The daemon is at it.
    Working(Progress),
    /// The file was replaced.
    Done {
        /// Bytes of the file before and after.
        before: u64,
        /// See [`Report::after`].
        after: u64,
        /// Rows of all tables.
        rows: u64,
        /// Milliseconds from the request to the new file.
        took_ms: u64,
        /// Milliseconds that nothing was written meanwhile.
        paused_ms: u64,
    },
    /// It was not, for this reason.
    Failed(String),
}

/// How far the daemon is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// In a word.
    pub stage: String,
    /// Rows that were copied.
    pub done: u64,
    /// Rows in all.
    pub total: u64,
}

impl From<At> for Progress {
    fn from(at: At) -> Self {
        Self { stage: at.stage.to_string(), done: at.done, total: at.total }
    }
}

impl From<Report> for State {
    fn from(report: Report) -> Self {
        let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Self::Done {
            before: report.before,
            after: report.after,
            rows: report.rows,
            took_ms: ms(report.took),
            paused_ms: ms(report.paused),
        }
    }
}

/// What the daemon says about a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The request's name.
    pub request: String,
    /// Counts up, so that it shows that the daemon lives.
    pub beat: u64,
    /// What became of it.
    pub state: State,
}

/// The command's side: one at a time for each folder. Withdrawn when it is dropped.
#[derive(Debug)]
pub struct Request {
    file: File,
    path: PathBuf,
    answer: PathBuf,
    name: String,
}

impl Request {
    /// Takes the right to ask in the folder `dir`, without asking yet. Waits up to two seconds.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn make(dir: &Path) -> Result<Self, RequestError> {
        let path = dir.join(REQUEST);
        let io = |source| RequestError::Io { path: path.clone(), source };
        let end = Instant::now() + PATIENCE;
        let file = loop {
            let file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                // Whoever had it before may have removed it in between: then a lock on it means nothing.
                Ok(()) if is_at(&file, &path) => break file,
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => {
                    if Instant::now() >= end {
                        let mut text = String::new();
                        let _ = file.take(MAX_FILE).read_to_string(&mut text);
                        let holder = text.split_whitespace().next().unwrap_or("unknown").to_owned();
                        return Err(RequestError::Held(holder));
                    }
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(error) => return Err(io(error.into())),
            }
        };
        let name = format!("{}-{}", std::process::id(), crate::clock::boottime());
        let request = Self { file, answer: dir.join(ANSWER), name, path: path.clone() };
        // The pid is there from the beginning, for whoever finds the lock taken; the name that asks comes behind it.
        request.write(&format!("{} \n", std::process::id())).map_err(io)?;
        let _ = fs::remove_file(&request.answer);
        Ok(request)
    }

    /// Asks.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn send(&self) -> io::Result<()> {
        // The daemon may be another user.
        self.file.set_permissions(fs::Permissions::from_mode(0o644))?;
        self.write(&format!("{} {}\n", std::process::id(), self.name))
    }

    fn write(&self, text: &str) -> io::Result<()> {
        let mut file = &self.file;
        file.rewind()?;
        file.write_all(text.as_bytes())?;
        file.set_len(text.len() as u64)
    }

    /// What the daemon has answered so far.
    pub fn answer(&self) -> Option<Answer> {
        let text = read(&self.answer).ok()?;
        serde_json::from_str::<Answer>(&text).ok().filter(|answer| answer.request == self.name)
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        // Under the lock, so that nothing of the next command is removed.
        let _ = fs::remove_file(&self.answer);
        let _ = fs::remove_file(&self.path);
    }
}

/// The daemon's side.
#[derive(Debug)]
pub struct Requests {
    dir: PathBuf,
    looked: Option<Instant>,
    /// The last request that was taken on.
    taken: String,
}

impl Requests {
    /// For the folder of the database `database`.
    pub fn beside(database: &Path) -> Self {
        let dir = database.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self { dir: dir.to_owned(), looked: None, taken: String::new() }
    }

    /// A request that was not taken on yet. Looks once a second at the most.
    pub fn look(&mut self) -> Option<Asked> {
        if self.looked.is_some_and(|looked| looked.elapsed() < EVERY) {
            return None;
        }
        self.looked = Some(Instant::now());
        let path = self.dir.join(REQUEST);
        // What is no file must not hold the writer up.
        let file = match File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&path) {
            Ok(file) => file,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::debug!(%error, path = %path.display(), "it cannot be read");
                }
                return None;
            }
        };
        if !file.metadata().is_ok_and(|m| m.is_file()) {
            return None;
        }
        if !is_held(&file) {
            tracing::debug!(path = %path.display(), "nobody waits for this request any more: it is removed");
            let _ = fs::remove_file(&path);
            return None;
        }
        let mut text = String::new();
        (&file).take(MAX_FILE).read_to_string(&mut text).ok()?;
        let name = name_in(&text).filter(|name| *name != self.taken)?;
        name.clone_into(&mut self.taken);
        let answer = Answer { request: name.to_owned(), beat: 0, state: State::Failed(String::new()) };
        Some(Asked { file, path: self.dir.join(ANSWER), answer, told: None })
    }
}

/// A request that was taken on.
#[derive(Debug)]
pub struct Asked {
    file: File,
    path: PathBuf,
    answer: Answer,
    told: Option<Instant>,
}

impl Asked {
    /// Whether nobody waits for it any more.
    pub fn is_withdrawn(&self) -> bool {
        !is_held(&self.file)
    }

    /// Tells how far it is, once a second at the most.
    pub fn tell(&mut self, at: At) {
        if self.told.is_none_or(|told| told.elapsed() >= EVERY) {
            self.told = Some(Instant::now());
            self.write(State::Working(at.into()));
        }
    }

    /// Tells what became of it.
    pub fn finish(mut self, state: State) {
        self.write(state);
    }

    fn write(&mut self, state: State) {
        self.answer.beat += 1;
        self.answer.state = state;
        let new = self.path.with_extension("answer.new");
        let text = serde_json::to_string(&self.answer).unwrap_or_default();
        if let Err(error) = fs::write(&new, text).and_then(|()| fs::rename(&new, &self.path)) {
            tracing::debug!(%error, path = %self.path.display(), "it cannot be written");
        }
    }
}

/// Removes an answer that nobody has read.
pub(super) fn remove_answer(database: &Path) {
    let _ = fs::remove_file(database.with_file_name(ANSWER));
}

/// The name of the request, behind the number of its process; `None` while it does not ask yet.
fn name_in(text: &str) -> Option<&str> {
    // Without its end it is still being written.
    let (_, name) = text.strip_suffix('\n')?.split_once(' ')?;
    (!name.is_empty() && name.len() <= 64).then_some(name)
}

fn is_held(file: &File) -> bool {
    match flock(file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => {
            let _ = flock(file, FlockOperation::Unlock);
            false
        }
        Err(error) => error == Errno::WOULDBLOCK,
    }
}

/// Whether `file` is what `path` leads to.
fn is_at(file: &File, path: &Path) -> bool {
    let id = |m: &fs::Metadata| (m.dev(), m.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(there)) => id(&open) == id(&there),
        _ => false,
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::super::Stage;
    use super::*;

    fn requests(dir: &Path) -> Requests {
        Requests::beside(&dir.join("g.duckdb"))
    }

    fn look(requests: &mut Requests) -> Option<Asked> {
        requests.looked = None;
        requests.look()
    }

    #[test]
    fn a_request_is_taken_on_once_and_answered() {
        let dir = tempfile::tempdir().unwrap();
        let mut requests = requests(dir.path());
        assert!(look(&mut requests).is_none());
        let request = Request::make(dir.path()).unwrap();
        assert!(look(&mut requests).is_none(), "it does not ask yet");
        request.send().unwrap();
        let mut asked = look(&mut requests).unwrap();
        assert!(look(&mut requests).is_none(), "once");
        assert!(!asked.is_withdrawn());
        assert_eq!(request.answer(), None);
        let at = |done| At { stage: Stage::Copying, done, total: 9 };
        asked.tell(at(3));
        asked.tell(at(4));
        let Some(Answer { state: State::Working(progress), beat: 1, .. }) = request.answer() else { panic!() };
        assert_eq!(progress, Progress { stage: "copying".to_owned(), done: 3, total: 9 }, "once a second");
        asked.finish(State::Failed("why".to_owned()));
        assert_eq!(request.answer().map(|a| a.state), Some(State::Failed("why".to_owned())));
        drop(request);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left");
    }

    #[test]
    fn what_a_killed_command_left_asks_for_nothing_and_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(REQUEST), "77 77-1\n").unwrap();
        assert!(look(&mut requests(dir.path())).is_none());
        assert!(!dir.path().join(REQUEST).exists());
        // The end of the command while the daemon is at it.
        let mut requests = requests(dir.path());
        let request = Request::make(dir.path()).unwrap();
        request.send().unwrap();
        let asked = look(&mut requests).unwrap();
        drop(request);
        assert!(asked.is_withdrawn());
    }

    #[test]
    fn what_is_no_file_is_no_request() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join(REQUEST);
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
        assert!(look(&mut requests(dir.path())).is_none(), "and it does not wait for somebody to write into it");
        assert!(fifo.exists(), "it is somebody else's");
    }

    #[test]
    fn one_command_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = Request::make(dir.path()).unwrap();
        let error = Request::make(dir.path()).unwrap_err().to_string();
        let expected =
            format!("another `gadwall compact` is at work on this database (process {})", std::process::id());
        assert_eq!(error, expected);
        drop(first);
        assert!(Request::make(dir.path()).is_ok());
    }

    #[test]
    fn an_answer_to_another_request_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let request = Request::make(dir.path()).unwrap();
        let other = Answer { request: "1-1".to_owned(), beat: 1, state: State::Failed("no".to_owned()) };
        fs::write(dir.path().join(ANSWER), serde_json::to_string(&other).unwrap()).unwrap();
        assert_eq!(request.answer(), None);
        fs::write(dir.path().join(ANSWER), "{").unwrap();
        assert_eq!(request.answer(), None);
    }

    #[test]
    fn a_name_counts_when_it_is_whole() {
        assert_eq!(name_in("12 12-345\n"), Some("12-345"));
        for text in ["", "12", "12 \n", "12 12-345", "\n"] {
            assert_eq!(name_in(text), None, "{text:?}");
        }
        assert_eq!(name_in(&format!("1 {}\n", "x".repeat(65))), None);
    }
}
