//! Small files and directories, on the threads for files.

use super::{blocking, described};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// A small file whole (a marker, a checkpoint of bounded size). Longer than `length_max` bytes is `FileTooLarge`.
pub async fn read_small(path: &Path, length_max: usize) -> io::Result<Vec<u8>> {
    run(path, "read", move |path| {
        let mut content = Vec::new();
        let bound = (length_max as u64).saturating_add(1);
        File::open(path)?.take(bound).read_to_end(&mut content)?;
        if content.len() > length_max {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it is longer than the {length_max} bytes that it may have"),
            ));
        }
        Ok(content)
    })
    .await
}

/// Replaces a small file atomically and durably: temporary file, write, fsync, rename, fsync of the directory. The
/// temporary file is the path with `.new` behind it; one that was left by a crash is overwritten.
pub async fn write_small_atomically(path: &Path, content: Vec<u8>) -> io::Result<()> {
    run(path, "write", move |path| {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".new");
        let temporary = PathBuf::from(temporary);
        let mut file = File::create(&temporary)?;
        file.write_all(&content)?;
        file.sync_all()?;
        drop(file);
        fs::rename(&temporary, path)?;
        sync_directory_of(path)
    })
    .await
}

/// Names in a directory, in no order, `.` and `..` left out. A name that is not UTF-8 is not ours and is left out too.
pub async fn list_directory(path: &Path) -> io::Result<Vec<String>> {
    run(path, "list", |path| {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    })
    .await
}

/// Removes a file and syncs its directory.
pub async fn remove(path: &Path) -> io::Result<()> {
    run(path, "remove", |path| {
        fs::remove_file(path)?;
        sync_directory_of(path)
    })
    .await
}

/// Makes a directory (and its parents), and syncs the parent of each that it made. One that is there is fine.
pub async fn create_directory(path: &Path) -> io::Result<()> {
    run(path, "create directory", |path| {
        let missing: Vec<_> = path.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
        fs::create_dir_all(path)?;
        missing
            .into_iter()
            .rev()
            .filter(|made| !made.as_os_str().is_empty())
            .try_for_each(sync_directory_of)
    })
    .await
}

/// Bytes free for this process, and bytes in total, of the file system that holds `path`.
pub async fn free_space(path: &Path) -> io::Result<(u64, u64)> {
    run(path, "ask for the free space of", |path| {
        let status = rustix::fs::statvfs(path)?;
        Ok((
            status.f_bavail.saturating_mul(status.f_frsize),
            status.f_blocks.saturating_mul(status.f_frsize),
        ))
    })
    .await
}

async fn run<T: Send + 'static>(
    path: &Path,
    operation: &'static str,
    job: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let path = path.to_owned();
    blocking(move || job(&path).map_err(|error| described(&error, operation, &path))).await
}

/// Makes the entry of `path` in its directory durable.
pub(super) fn sync_directory_of(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent)?.sync_all()
}
