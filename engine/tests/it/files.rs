//! Direct files and directory operations on a real file system.

use crate::{options, run};
use pigeon_engine::file::{self, AlignedBuffer, DirectFile};
use pigeon_engine::runtime;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// An empty directory for one test.
fn directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn filled(length: usize, byte: u8) -> AlignedBuffer {
    let mut buffer = AlignedBuffer::zeroed(length);
    buffer.fill(byte);
    buffer
}

#[test]
fn what_was_written_is_read_again() {
    run(options(), || async {
        let path = directory("direct").join("journal");
        let file = DirectFile::create_zeroed(&path, 1 << 20).await.unwrap();
        assert_eq!(file.length(), 1 << 20);
        let again = DirectFile::create_zeroed(&path, 1 << 20).await.err().unwrap();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert!(again.to_string().contains("create") && again.to_string().contains("journal"));
        let file = Rc::new(file);
        let mut tasks = Vec::new();
        for block in 0..64u8 {
            let file = file.clone();
            tasks.push(runtime::spawn(async move {
                let (result, buffer) = file
                    .write_durable(u64::from(block) * 8192, filled(16384, block), 8192)
                    .await;
                result.unwrap();
                assert_eq!(buffer.len(), 16384);
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        drop(file);
        let file = DirectFile::open(&path).await.unwrap();
        for block in 0..64u8 {
            let (read, buffer) = file
                .read(u64::from(block) * 8192, AlignedBuffer::zeroed(8192), 8192)
                .await;
            assert_eq!(read.unwrap(), 8192);
            assert!(buffer.iter().all(|byte| *byte == block));
        }
        let (read, buffer) = file.read((1 << 20) - 4096, filled(8192, 9), 8192).await;
        assert_eq!(read.unwrap(), 4096);
        assert!(buffer[..4096].iter().all(|byte| *byte == 0));
        assert_eq!(file.read(1 << 20, buffer, 4096).await.0.unwrap(), 0);
    });
}

#[test]
fn what_is_not_aligned_is_refused() {
    run(options(), || async {
        let path = directory("unaligned").join("journal");
        let file = DirectFile::create_zeroed(&path, 8192).await.unwrap();
        for (position, length) in [(1, 4096), (0, 100), (0, 8192), (u64::MAX - 4095, 4096)] {
            let (result, _) = file.write_durable(position, AlignedBuffer::zeroed(4096), length).await;
            let error = result.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{position} {length}");
            assert!(error.to_string().contains("journal"), "{error}");
        }
        assert!(
            DirectFile::create_zeroed(&path.with_extension("odd"), 100)
                .await
                .is_err()
        );
        assert!(!path.with_extension("odd").exists());
    });
}

#[test]
fn a_dropped_write_keeps_its_memory_until_the_kernel_is_done() {
    run(options(), || async {
        let path = directory("dropped").join("journal");
        let file = Rc::new(DirectFile::create_zeroed(&path, 4 << 20).await.unwrap());
        for _ in 0..50 {
            let file = file.clone();
            let task = runtime::spawn(async move { file.write_durable(0, filled(1 << 20, 1), 1 << 20).await.0 });
            runtime::yield_now().await;
            task.cancel();
        }
        drop(file);
        let file = DirectFile::open(&path).await.unwrap();
        assert!(file.write_durable(0, filled(4096, 2), 4096).await.0.is_ok());
    });
}

#[test]
fn directories_and_small_files() {
    run(options(), || async {
        let root = directory("small");
        let nested = root.join("a/b/c");
        file::create_directory(&nested).await.unwrap();
        file::create_directory(&nested).await.unwrap();
        let marker = nested.join("marker");
        file::write_small_atomically(&marker, b"one".to_vec()).await.unwrap();
        file::write_small_atomically(&marker, b"two".to_vec()).await.unwrap();
        assert_eq!(file::read_small(&marker, 3).await.unwrap(), b"two");
        assert_eq!(
            file::read_small(&marker, 2).await.unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
        assert_eq!(file::list_directory(&nested).await.unwrap(), ["marker"]);
        file::remove(&marker).await.unwrap();
        let error = file::read_small(&marker, 3).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(
            error.to_string().starts_with("read ") && error.to_string().contains("marker"),
            "{error}"
        );
        let (free, total) = file::free_space(&root).await.unwrap();
        assert!(free > 0 && free <= total);
    });
}

#[test]
fn more_operations_than_the_queue_takes_all_complete() {
    run(options(), || async {
        let path = directory("many").join("journal");
        let file = Rc::new(DirectFile::create_zeroed(&path, 2000 * 4096).await.unwrap());
        let tasks: Vec<_> = (0..2000u64)
            .map(|block| {
                let file = file.clone();
                runtime::spawn(async move { file.read(block * 4096, AlignedBuffer::zeroed(4096), 4096).await.0 })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.unwrap().unwrap(), 4096);
        }
    });
}
