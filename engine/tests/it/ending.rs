//! Starting and ending of the whole engine, each in a process of its own.

use crate::{alone, options, run};
use pigeon_engine::bytes::Bytes;
use pigeon_engine::file::{AlignedBuffer, DirectFile};
use pigeon_engine::net::{Connection, Listener};
use pigeon_engine::runtime::{self, CoreId, EngineOptions};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

/// Descriptors of this process, as what they refer to. One event descriptor for each of `executors` is left out: the
/// executor never closes its own (glommio 0.9.0: the header of a task keeps a reference that is never dropped).
fn descriptors(executors: usize) -> Vec<String> {
    let mut open: Vec<_> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .map(|target| target.to_string_lossy().into_owned())
        .collect();
    open.sort();
    for _ in 0..executors {
        let index = open.iter().position(|target| target == "anon_inode:[eventfd]").unwrap();
        open.remove(index);
    }
    open
}

fn cores() -> usize {
    pigeon_engine::placement::CpuSet::available().unwrap().cpus().len()
}

/// Threads of this process, by name.
fn threads() -> BTreeSet<String> {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|entry| std::fs::read_to_string(entry.unwrap().path().join("comm")).ok())
        .filter(|name| name.starts_with("pigeon"))
        .collect()
}

/// Waits until the executor's own threads have ended; they do so in the background.
fn settle(start: Instant) {
    while !threads().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(60), "{:?}", threads());
        std::thread::yield_now();
    }
}

/// Leaves tasks behind that wait for everything there is to wait for.
async fn leave_tasks_behind(path: &Path) {
    let file = DirectFile::create_zeroed(path, 1 << 20).await.unwrap();
    drop(runtime::spawn(async move {
        loop {
            let _ = file.write_durable(0, AlignedBuffer::zeroed(1 << 20), 1 << 20).await;
        }
    }));
    let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = listener.local_address();
    for number in 0..50 {
        let client = Connection::connect(address, runtime::now() + Duration::from_secs(30))
            .await
            .unwrap();
        let server = listener.accept().await.unwrap();
        drop(runtime::spawn(async move {
            client.set_deadline(Some(runtime::now() + Duration::from_secs(900)));
            let _ = client.receive().await;
        }));
        drop(runtime::spawn(async move {
            match number % 4 {
                0 => server.send(vec![1; 32 << 20].into()).await.map(|()| None),
                1 => {
                    server.send(Bytes::from_static(b"x")).await.unwrap();
                    server.close().await;
                    Ok(None)
                }
                _ => server.receive().await,
            }
        }));
    }
    let backlog = std::net::TcpStream::connect(address).unwrap();
    drop(runtime::spawn(async move {
        let _ = listener.accept().await;
        let _backlog = backlog;
        let _ = listener.accept().await;
    }));
    for core in 0..runtime::core_count() {
        drop(runtime::spawn(async move {
            let _ = runtime::on_core(CoreId(core), std::future::pending::<()>).await;
        }));
    }
    drop(runtime::spawn(runtime::sleep(Duration::from_secs(900))));
    drop(runtime::spawn_background(async {
        loop {
            runtime::yield_now().await;
        }
    }));
    // Each has been polled by then, and what they submitted has gone to the kernel.
    for _ in 0..10 {
        runtime::yield_now().await;
    }
}

#[test]
fn nothing_is_left_behind() {
    alone("ending::nothing_is_left_behind", || {
        // What the executor makes once for a process is there after the first time.
        run(options(), || async {});
        let start = Instant::now();
        settle(start);
        let before = descriptors(cores());
        for round in 0..5 {
            run(options(), move || async move {
                let name = format!("left-behind-{round}");
                let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
                let _ = std::fs::remove_file(&path);
                leave_tasks_behind(&path).await;
                std::fs::remove_file(&path).unwrap();
            });
        }
        settle(start);
        assert_eq!(descriptors(6 * cores()), before);
    });
}

#[test]
fn one_cpu_is_enough() {
    alone("ending::one_cpu_is_enough", || {
        let before = rustix::thread::sched_getaffinity(None).unwrap();
        let first = (0..1024).find(|cpu| before.is_set(*cpu)).unwrap();
        let mut one = rustix::thread::CpuSet::new();
        one.set(first);
        rustix::thread::sched_setaffinity(None, &one).unwrap();
        let two = EngineOptions {
            cores: "0-1".parse().ok(),
            control_cpus: "0-1".parse().ok(),
            ..options()
        };
        for options in [options(), two] {
            let cores = run(options, || async {
                let echoed = runtime::on_core(CoreId(0), || async { 1 }).await;
                assert_eq!(echoed, Ok(1));
                runtime::core_count()
            });
            assert_eq!(cores, 1);
        }
    });
}

#[test]
fn what_cannot_start_says_why_and_leaves_nothing_behind() {
    alone("ending::what_cannot_start_says_why_and_leaves_nothing_behind", || {
        run(options(), || async {});
        let start = Instant::now();
        settle(start);
        let before = descriptors(cores());
        let bad = EngineOptions {
            receive_buffers: 100,
            ..options()
        };
        let error = runtime::run(
            bad,
            || async { panic!("never called") },
            |_| async { panic!("never called") },
        );
        assert!(error.unwrap_err().to_string().contains("power of two"));
        settle(start);
        assert_eq!(descriptors(2 * cores()), before);
    });
}

#[test]
fn control_stops_cores_that_do_not_end_by_themselves() {
    let main = || std::future::pending::<()>();
    runtime::run(options(), main, |handle| async move {
        let last = CoreId(handle.core_count() - 1);
        handle.call(last, runtime::yield_now).await.unwrap();
        assert_eq!(handle.counters().len(), usize::from(handle.core_count()));
        handle.stop();
    })
    .unwrap();
}
