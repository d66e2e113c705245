//! Figures of the engine on this machine: `cargo run --release -p pigeon-engine --example measure -- <what>`, where what is
//! one of `echo`, `wake`, `append`, `idle`, `across`. CPU time a unit is the figure to trust; the clock is noisy.
//!
//! `append` needs a directory on the file system to be measured as second argument.

#![allow(unsafe_code)] // The raw ring that `append` is compared with.

use io_uring::{IoUring, opcode, types};
use pigeon_engine::bytes::Bytes;
use pigeon_engine::file::{AlignedBuffer, DirectFile};
use pigeon_engine::net::{Connection, Listener};
use pigeon_engine::placement::CpuSet;
use pigeon_engine::runtime::{self, CoreId, EngineOptions};
use rustix::time::{ClockId, clock_gettime};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How long each figure is measured.
const MEASURED: Duration = Duration::from_secs(3);

const RECORD_BYTES: usize = 16 << 10;

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("echo") => echo(64),
        Some("wake") => echo(1),
        Some("append") => append(Path::new(arguments.get(1).map_or(".", |path| path))),
        Some("idle") => idle(5000),
        Some("across") => across(),
        _ => eprintln!("measure echo|wake|append <directory>|idle|across"),
    }
}

/// One core on the first CPU, the control thread on the last.
fn options() -> EngineOptions {
    let available = CpuSet::available().expect("the CPUs can be read");
    let cpu = |cpu: Option<&u16>| cpu.expect("there is a CPU").to_string().parse().ok();
    EngineOptions {
        cores: cpu(available.cpus().first()),
        control_cpus: cpu(available.cpus().last()),
        receive_buffers: setting("RECEIVE_BUFFERS", 1024),
        receive_buffer_bytes: setting("RECEIVE_BUFFER_BYTES", 16 << 10),
        pipes: 0,
        core_queue_depth: 1024,
        open_files: 4096,
        open_files_for: "a measurement".to_owned(),
    }
}

/// A number from the environment.
fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// CPU time of the calling thread.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).expect("below 10^9"),
    )
}

async fn serve(listener: Listener) {
    loop {
        let Ok(connection) = listener.accept().await else {
            return;
        };
        drop(runtime::spawn(async move {
            while let Ok(Some(received)) = connection.receive().await {
                let data = Bytes::copy_from_slice(&received);
                drop(received);
                if connection.send(data).await.is_err() {
                    return;
                }
            }
        }));
    }
}

/// Requests answered in `MEASURED`, over `connections`, and the longest time that one took.
async fn load(address: SocketAddr, connections: usize, length: usize) -> (u64, Duration) {
    let end = Instant::now() + MEASURED;
    let mut tasks = Vec::new();
    for _ in 0..connections {
        tasks.push(tokio::task::spawn_local(async move {
            let mut stream = TcpStream::connect(address).await.expect("connects");
            stream.set_nodelay(true).expect("an option of TCP");
            let request = vec![7; length];
            let mut reply = vec![0; length];
            let (mut count, mut longest) = (0, Duration::ZERO);
            let mut before = Instant::now();
            while before < end {
                stream.write_all(&request).await.expect("sends");
                stream.read_exact(&mut reply).await.expect("receives");
                count += 1;
                let now = Instant::now();
                longest = longest.max(now - before);
                before = now;
            }
            (count, longest)
        }));
    }
    let (mut count, mut longest) = (0, Duration::ZERO);
    for task in tasks {
        let (more, long) = task.await.expect("ends well");
        (count, longest) = (count + more, longest.max(long));
    }
    (count, longest)
}

fn report(what: &str, count: u64, cpu: Duration) {
    let rate = count as f64 / MEASURED.as_secs_f64();
    let each = cpu.as_secs_f64() * 1e6 / count as f64;
    println!("{what:<40} {rate:>9.0}/s  {each:>6.2} us CPU each");
}

fn echo(connections: usize) {
    let lengths = std::env::var("LENGTH").map_or(vec![64, 16 << 10], |_| vec![setting("LENGTH", 64)]);
    for length in lengths {
        let what = format!("echo, {connections} connections, {length} bytes");
        runtime::run(
            options(),
            || async { std::future::pending().await },
            |handle| async move {
                let address = handle
                    .call(CoreId(0), || async {
                        let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("binds");
                        let address = listener.local_address();
                        drop(runtime::spawn(serve(listener)));
                        address
                    })
                    .await
                    .expect("core 0 runs");
                let state = || async { (thread_time(), pigeon_engine::counters()) };
                let before = handle.call(CoreId(0), state).await.expect("core 0 runs");
                let (count, longest) = load(address, connections, length).await;
                let after = handle.call(CoreId(0), state).await.expect("core 0 runs");
                report(&what, count, after.0.saturating_sub(before.0));
                println!(
                    "    enters {:.2}, sleeps {:.2} each; longest {longest:.1?}",
                    (after.1.enters - before.1.enters) as f64 / count as f64,
                    (after.1.sleeps - before.1.sleeps) as f64 / count as f64
                );
                // There is nothing to end in an orderly way.
                handle.stop();
            },
        )
        .expect("the engine starts");
        echo_tokio(connections, length);
    }
}

/// The same with a tokio server, pinned as the core was.
fn echo_tokio(connections: usize, length: usize) {
    let cpus = CpuSet::available().expect("the CPUs can be read");
    let pin = |cpu: u16| {
        let mut set = rustix::thread::CpuSet::new();
        set.set(usize::from(cpu));
        rustix::thread::sched_setaffinity(None, &set).expect("pins");
    };
    let (first, last) = (cpus.cpus()[0], *cpus.cpus().last().expect("there is a CPU"));
    let before = rustix::thread::sched_getaffinity(None).expect("reads its CPUs");
    let (tell, told) = std::sync::mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = std::thread::spawn(move || {
        pin(first);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("starts");
        tokio::task::LocalSet::new().block_on(&runtime, async move {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("binds");
            tell.send(listener.local_addr().expect("is bound")).expect("is awaited");
            tokio::task::spawn_local(async move {
                loop {
                    let (mut stream, _) = listener.accept().await.expect("accepts");
                    stream.set_nodelay(true).expect("an option of TCP");
                    tokio::task::spawn_local(async move {
                        let mut buffer = vec![0; 16 << 10];
                        while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                            if stream.write_all(&buffer[..length]).await.is_err() {
                                return;
                            }
                        }
                    });
                }
            });
            let _ = stopped.await;
            thread_time()
        })
    });
    pin(last);
    let address = told.recv().expect("the server starts");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("starts");
    let (count, longest) = tokio::task::LocalSet::new().block_on(&runtime, load(address, connections, length));
    drop(stop);
    report(
        &format!("    tokio, longest {longest:.1?}"),
        count,
        server.join().expect("ends well"),
    );
    rustix::thread::sched_setaffinity(None, &before).expect("unpins");
}

/// Durable appends of 16-KiB records to a preallocated file, one write for each batch, against a bare ring.
fn append(directory: &Path) {
    let length: u64 = 256 << 20;
    for batch in [1, 16, 64] {
        let path = directory.join(format!("measure-append-{batch}"));
        let _ = std::fs::remove_file(&path);
        let kept = path.clone();
        runtime::run(
            options(),
            move || {
                let path = kept.clone();
                async move {
                    let file = DirectFile::create_zeroed(&path, length).await.expect("makes the file");
                    let size = batch * RECORD_BYTES;
                    let mut buffer = AlignedBuffer::zeroed(size);
                    let (start, cpu) = (Instant::now(), thread_time());
                    let (mut records, mut position) = (0, 0);
                    while start.elapsed() < MEASURED {
                        let (result, back) = file.write_durable(position, buffer, size).await;
                        result.expect("writes");
                        buffer = back;
                        records += batch as u64;
                        position = (position + size as u64) % (length - size as u64 + 1) / size as u64 * size as u64;
                    }
                    report(&format!("append, {batch} a batch"), records, thread_time() - cpu);
                }
            },
            |_| async {},
        )
        .expect("the engine starts");
        append_bare(&path, length, batch);
        let _ = std::fs::remove_file(&path);
    }
}

fn append_bare(path: &PathBuf, length: u64, batch: usize) {
    let direct = i32::try_from(rustix::fs::OFlags::DIRECT.bits()).expect("an int");
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(direct)
        .open(path)
        .expect("opens");
    let mut ring: IoUring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .build(8)
        .expect("makes a ring");
    let size = batch * RECORD_BYTES;
    let mut buffer = AlignedBuffer::zeroed(size);
    let vector = [IoSlice {
        base: buffer.as_mut_ptr(),
        length: size,
    }];
    // SAFETY: `IoSlice` is laid out as `struct iovec`, and there is one.
    let vectors = unsafe { std::slice::from_raw_parts(vector.as_ptr().cast(), 1) };
    // SAFETY: the memory outlives the ring's use of it: every write is awaited below.
    unsafe { ring.submitter().register_buffers(vectors) }.expect("registers");
    let (start, cpu) = (Instant::now(), thread_time());
    let (mut records, mut position) = (0, 0);
    while start.elapsed() < MEASURED {
        let entry = opcode::WriteFixed::new(types::Fd(file.as_raw_fd()), buffer.as_ptr(), size as u32, 0)
            .offset(position)
            .rw_flags(2)
            .build();
        // SAFETY: as above.
        unsafe { ring.submission().push(&entry) }.expect("an empty queue has room");
        ring.submit_and_wait(1).expect("submits");
        let completion = ring.completion().next().expect("waited for");
        assert_eq!(completion.result(), size as i32);
        records += batch as u64;
        position = (position + size as u64) % (length - size as u64 + 1) / size as u64 * size as u64;
    }
    report("    bare ring, WriteFixed", records, thread_time() - cpu);
}

/// `struct iovec`.
#[repr(C)]
struct IoSlice {
    base: *mut u8,
    length: usize,
}

/// Resident memory of this process, bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").expect("proc is mounted");
    let pages: u64 = status
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .expect("statm has it");
    pages * rustix::param::page_size() as u64
}

/// Memory of connections that wait in `receive`, both ends in this process; each end counts.
fn idle(connections: usize) {
    runtime::run(
        options(),
        move || async move {
            let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("binds");
            let address = listener.local_address();
            let mut tasks = Vec::new();
            let mut before = 0;
            for index in 0..=connections {
                if index == connections / 10 {
                    // The first tenth warms up tables and allocator.
                    runtime::sleep(Duration::from_millis(200)).await;
                    before = resident();
                }
                let client = Connection::connect(address, runtime::now() + Duration::from_secs(9))
                    .await
                    .expect("connects");
                let server = listener.accept().await.expect("accepts");
                for connection in [client, server] {
                    connection.set_deadline(Some(runtime::now() + Duration::from_secs(1800)));
                    tasks.push(runtime::spawn(async move {
                        let _ = connection.receive().await;
                    }));
                }
            }
            runtime::sleep(Duration::from_millis(200)).await;
            let count = (connections - connections / 10) * 2;
            let each = resident().saturating_sub(before) / count as u64;
            println!("idle: {count} connections, {each} bytes each, task and deadline included");
            let cpu = thread_time();
            runtime::sleep(MEASURED).await;
            println!(
                "    {:?} CPU a second while idle",
                (thread_time() - cpu).div_f64(MEASURED.as_secs_f64())
            );
            drop(tasks);
        },
        |_| async {},
    )
    .expect("the engine starts");
}

/// Calls to another core, one at a time and many at once.
fn across() {
    let options = EngineOptions {
        cores: None,
        control_cpus: None,
        ..options()
    };
    let main = || async {
        if runtime::current_core() != CoreId(0) {
            return;
        }
        let other = CoreId(runtime::core_count() - 1);
        for width in [1, 64] {
            let (start, cpu) = (Instant::now(), thread_time());
            let mut tasks = Vec::new();
            for _ in 0..width {
                tasks.push(runtime::spawn(async move {
                    let mut count = 0;
                    while start.elapsed() < MEASURED {
                        runtime::on_core(other, || async {}).await.expect("the other core runs");
                        count += 1;
                    }
                    count
                }));
            }
            let mut count = 0;
            for task in tasks {
                count += task.await.unwrap_or(0);
            }
            report(&format!("calls across, {width} at once"), count, thread_time() - cpu);
        }
    };
    runtime::run(options, main, |_| async {}).expect("the engine starts");
}
