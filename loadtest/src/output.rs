//! What a run writes: lines on the terminal, and files at its end, opened before it begins: what cannot be written is told before
//! an hour was spent.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// All of `text` on standard output. Who reads no more of it (`| head -1`) wants no more: that is no error.
pub(crate) fn say(text: &str) -> Result<(), String> {
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(format!("standard output: {error}")),
        _ => Ok(()),
    }
}

/// A line on standard error, as long as somebody reads it.
pub(crate) fn mention(line: impl Display) {
    // Nobody could be told of it.
    let _ = writeln!(io::stderr(), "{line}");
}

/// One of the files. What it had in it stays until the end of the run.
#[derive(Debug)]
pub(crate) struct Output {
    path: PathBuf,
    file: File,
}

impl Output {
    pub(crate) fn open(path: &Path) -> Result<Output, String> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        Ok(Output {
            file: file.map_err(|error| format!("{}: {error}", path.display()))?,
            path: path.to_owned(),
        })
    }

    /// Whether what is written to one is lost when the other is written.
    pub(crate) fn is_same(&self, other: &Output) -> Result<bool, String> {
        let metadata = |output: &Output| {
            let metadata = output.file.metadata();
            metadata.map_err(|error| format!("{}: {error}", output.path.display()))
        };
        let (own, its) = (metadata(self)?, metadata(other)?);
        Ok(own.is_file() && (own.dev(), own.ino()) == (its.dev(), its.ino()))
    }

    /// `text` and nothing else.
    pub(crate) fn write(mut self, text: &str) -> Result<(), String> {
        let emptied = match self.file.metadata() {
            // A pipe or a terminal has no length.
            Ok(metadata) if !metadata.is_file() => Ok(()),
            _ => self.file.set_len(0),
        };
        emptied
            .and_then(|()| self.file.write_all(text.as_bytes()))
            .map_err(|error| format!("{}: {error}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_goes_when_there_is_something_new() {
        let path = std::env::temp_dir().join(format!("pigeon-load-output-{}", std::process::id()));
        std::fs::write(&path, "longer than what comes").expect("it can be written");
        let output = Output::open(&path).expect("it can be opened");
        let before = std::fs::read_to_string(&path).expect("it is there");
        let written = output.write("short");
        let after = std::fs::read_to_string(&path).expect("it is there");
        std::fs::remove_file(&path).expect("it is there");
        assert_eq!(
            (before.as_str(), written, after.as_str()),
            ("longer than what comes", Ok(()), "short")
        );
        let refused = Output::open(&path.join("below a file that is none")).expect_err("no such directory");
        assert!(refused.starts_with(&format!("{}", path.display())), "{refused}");
    }

    #[test]
    fn what_has_no_length_is_written_too() {
        let output = Output::open(Path::new("/dev/null")).expect("it is everywhere");
        assert_eq!(output.write("text"), Ok(()));
    }
}
