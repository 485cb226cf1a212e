//! Secrets come from files, so that they are neither in the configuration nor on a command line.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Longest secret in bytes.
pub const MAX_SECRET: usize = 4096;

/// Why a secret could not be read. The text names the file, never its content.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be opened or read.
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Its first line is longer than [`MAX_SECRET`].
    #[error("{}: the first line is longer than {MAX_SECRET} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// Its first line is not UTF-8.
    #[error("{}: the first line is not UTF-8", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
    },
    /// Its first line is empty.
    #[error("{}: the first line is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// The first line of the file, without its line end: at least 1 and at most [`MAX_SECRET`] bytes. Blocks on the file.
///
/// # Errors
/// [`SecretError`], when the file cannot be read or its first line is no secret.
pub fn read(path: &Path) -> Result<String, SecretError> {
    let unreadable = |source| SecretError::Unreadable { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    // Two bytes more than the limit: the line end may be "\r\n".
    let most = MAX_SECRET as u64 + 2;
    File::open(path).map_err(unreadable)?.take(most).read_to_end(&mut bytes).map_err(unreadable)?;
    let line = bytes.split(|&b| b == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() > MAX_SECRET {
        return Err(SecretError::TooLong { path: path.to_owned() });
    }
    if line.is_empty() {
        return Err(SecretError::Empty { path: path.to_owned() });
    }
    match std::str::from_utf8(line) {
        Ok(secret) => Ok(secret.to_owned()),
        Err(_) => Err(SecretError::NotUtf8 { path: path.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_of(content: &[u8]) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, content).unwrap();
        read(&path).map_err(|e| e.to_string().replace(path.to_str().unwrap(), "FILE"))
    }

    #[test]
    fn the_first_line_counts_and_its_end_does_not() {
        for content in ["s3cret pass", "s3cret pass\n", "s3cret pass\r\n", "s3cret pass\nanother line\n"] {
            assert_eq!(read_of(content.as_bytes()), Ok("s3cret pass".into()), "{content:?}");
        }
        assert_eq!(read_of(b" spaces stay \n"), Ok(" spaces stay ".into()));
    }

    #[test]
    fn the_limit_is_exact() {
        let longest = "x".repeat(MAX_SECRET);
        for end in ["", "\n", "\r\n", "\r\nmore"] {
            assert_eq!(read_of(format!("{longest}{end}").as_bytes()), Ok(longest.clone()));
            let error = read_of(format!("{longest}x{end}").as_bytes());
            assert_eq!(error, Err("FILE: the first line is longer than 4096 bytes".into()));
        }
    }

    #[test]
    fn what_is_no_secret_is_refused_and_not_shown() {
        assert_eq!(read_of(b""), Err("FILE: the first line is empty".into()));
        assert_eq!(read_of(b"\nsecond"), Err("FILE: the first line is empty".into()));
        assert_eq!(read_of(b"abc\xff\n"), Err("FILE: the first line is not UTF-8".into()));
        let error = read(Path::new("/nonexistent/secret")).unwrap_err().to_string();
        assert_eq!(error, "/nonexistent/secret: cannot be read: No such file or directory (os error 2)");
    }
}
