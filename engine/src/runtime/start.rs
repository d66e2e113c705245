//! Starting and ending: threads, their CPUs, and the order in which things go.
//!
//! The end goes in steps: every `main` returns; then all tasks of all cores are cancelled and their futures dropped; then
//! the ring's operations complete; then the driver ends, and with it the executor and the thread. Until the `main`s have
//! all returned, every core serves the others.

use super::bell::Ringer;
use super::core::{Core, CoreId, set_current};
use super::driver::{self, Driver};
use super::inbox::{CoreShared, EngineShared};
use super::reply;
use super::task::TaskKey;
use crate::blocking::BlockingPool;
use crate::control::CoreHandle;
use crate::net::Network;
use crate::placement::{CpuSet, Placement, schedule_in_batches};
use crate::ring::{BufferRing, Ring};
use futures_util::future::select;
use glommio::{Latency, LocalExecutorBuilder, Shares};
use rustix::event::{EventfdFlags, eventfd};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread;

/// Locked memory for glommio's registered buffers, three times 64 KiB a core, and what it asks for at start (512 KiB).
const LOCKED_MEMORY_BASE_BYTES: u64 = 1 << 20;
const LOCKED_MEMORY_CORE_BYTES: u64 = 1 << 20;

/// The executor's own registered memory; the least it takes. Sockets and the journal do not use it.
const EXECUTOR_IO_MEMORY_BYTES: usize = 64 << 10;

/// Background work gets a tenth of a busy core (the foreground queue has 1000 shares).
const BACKGROUND_SHARES: usize = 100;

/// Threads and queue for directory operations. A file operation waits for a place in the queue.
const FILE_THREADS: usize = 4;
const FILE_QUEUE_DEPTH: usize = 1024;

/// How the cores are laid out and bounded.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// The CPUs to pin one core each to. `None`: all that the process may use.
    pub cores: Option<CpuSet>,
    /// CPUs of the control thread and the blocking pools. `None`: all that the process may use.
    pub control_cpus: Option<CpuSet>,
    /// Buffers in each core's receive ring; a power of two, at most 32768.
    pub receive_buffers: u16,
    /// Bytes of one receive buffer.
    pub receive_buffer_bytes: u32,
    /// Pipes of a core, for relays of much in the clear. With 0, everything is copied.
    pub pipes: u16,
    /// Jobs that may wait in the queue towards a core, from all other threads together.
    pub core_queue_depth: usize,
    /// Descriptors that everything the node may hold open at once takes; fewer are warned of.
    pub open_files: u64,
    /// What they are for, for that warning, as in `100 sessions on each of 2 cores`.
    pub open_files_for: String,
}

/// Why the engine did not start; each says what to do about it.
#[derive(Debug)]
pub struct StartError {
    /// One sentence for the operator.
    pub message: String,
}

impl StartError {
    fn new(what: &str, error: impl std::fmt::Display) -> Self {
        StartError {
            message: format!("{what}: {error}"),
        }
    }
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StartError {}

/// Runs the engine until `main` of every core has returned. `main` is called once on every core, on its own thread, and
/// is the root task of that core. The caller's thread becomes the control thread: `control` is run there inside a tokio
/// current_thread runtime (a `LocalSet`), and may use `control::CoreHandle` to reach the cores.
///
/// When `control` returns, `main` of every core has been or must be told to end by `control` itself (through
/// `CoreHandle::call`); `run` then waits for all cores, cancels and awaits what tasks are left, and returns. A core whose
/// `main` has returned goes on serving the others until all have. A panic of `control` stops the cores and is passed on.
pub fn run<M, MF, C, CF>(options: EngineOptions, main: M, control: C) -> Result<(), StartError>
where
    M: Fn() -> MF + Clone + Send + 'static,
    MF: Future<Output = ()> + 'static,
    C: FnOnce(CoreHandle) -> CF,
    CF: Future<Output = ()> + 'static,
{
    crate::probe::probe().map_err(|message| StartError { message })?;
    let available = CpuSet::available().map_err(|error| StartError::new("cannot read the CPUs to run on", error))?;
    let placement = Placement::new(options.cores.as_ref(), options.control_cpus.as_ref(), &available);
    let locked_memory = LOCKED_MEMORY_BASE_BYTES + LOCKED_MEMORY_CORE_BYTES * placement.cores.len() as u64;
    let limits = crate::limits::raise(options.open_files, &options.open_files_for, locked_memory)
        .map_err(|message| StartError { message })?;
    for warning in placement.warnings.iter().chain(&limits) {
        tracing::warn!("{warning}");
    }
    crate::memory::keep_freed_memory();
    let mut shared = Vec::new();
    for _ in &placement.cores {
        let event = eventfd(0, EventfdFlags::CLOEXEC)
            .map_err(|error| StartError::new("cannot make an event descriptor (raise RLIMIT_NOFILE)", error))?;
        shared.push(CoreShared::new(options.core_queue_depth, event));
    }
    let engine = EngineShared::new(shared);
    let control_cpus = cpu_set(&placement.control);
    let files = BlockingPool::new("pigeon-file", FILE_THREADS, FILE_QUEUE_DEPTH, control_cpus);
    let result = run_cores(&options, &placement, &engine, &files, main, control);
    files.stop();
    result
}

fn run_cores<M, MF, C, CF>(
    options: &EngineOptions,
    placement: &Placement,
    engine: &Arc<EngineShared>,
    files: &BlockingPool,
    main: M,
    control: C,
) -> Result<(), StartError>
where
    M: Fn() -> MF + Clone + Send + 'static,
    MF: Future<Output = ()> + 'static,
    C: FnOnce(CoreHandle) -> CF,
    CF: Future<Output = ()> + 'static,
{
    let (started, starts) = mpsc::channel();
    let mut threads = Vec::new();
    let mut failure = None;
    for (index, &cpu) in placement.cores.iter().enumerate() {
        let id = CoreId(u16::try_from(index).expect("CPU numbers are 16 bits"));
        let (go, gone) = reply::channel();
        let start = CoreStart {
            id,
            cpu,
            options: options.clone(),
            engine: engine.clone(),
            files: files.clone(),
            started: started.clone(),
            go: gone,
        };
        let main = main.clone();
        match thread::Builder::new()
            .name(format!("pigeon-core-{index}"))
            .spawn(move || core_thread(start, main))
        {
            Ok(thread) => threads.push((thread, go)),
            Err(error) => failure = Some(StartError::new("cannot start a thread for a core", error)),
        }
    }
    drop(started);
    for _ in &threads {
        // A thread that ends without a word has panicked; it is told by the join below.
        if let Ok(Err(error)) = starts.recv() {
            failure.get_or_insert(error);
        }
    }
    let ringer = match failure {
        None => Ringer::start(engine.clone(), placement.control.clone())
            .map_err(|error| failure = Some(StartError::new("cannot start the thread that wakes the cores", error)))
            .ok(),
        Some(_) => None,
    };
    let mut handles = Vec::new();
    for (thread, go) in threads {
        go.send(failure.is_none());
        handles.push(thread);
    }
    let controlled = match failure {
        None => catch_unwind(AssertUnwindSafe(|| run_control(placement, engine, control))),
        Some(failure) => Ok(Err(failure)),
    };
    if !matches!(controlled, Ok(Ok(()))) {
        engine.stop();
    }
    let mut broken = false;
    for handle in handles {
        broken |= handle.join().is_err();
    }
    drop(ringer);
    match controlled {
        Err(panic) => resume_unwind(panic),
        Ok(Ok(())) if broken => Err(StartError {
            message: "a core has ended in a panic of the engine".into(),
        }),
        Ok(result) => result,
    }
}

/// Runs `control` on this thread, which keeps to its CPUs meanwhile.
fn run_control<C, CF>(placement: &Placement, engine: &Arc<EngineShared>, control: C) -> Result<(), StartError>
where
    C: FnOnce(CoreHandle) -> CF,
    CF: Future<Output = ()> + 'static,
{
    let before = rustix::thread::sched_getaffinity(None).ok();
    if let Err(error) = pin(&placement.control) {
        tracing::warn!(%error, "cannot keep the control thread to its CPUs");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| StartError::new("cannot start the control thread's runtime", error))?;
    let local = tokio::task::LocalSet::new();
    let result = catch_unwind(AssertUnwindSafe(|| {
        local.block_on(&runtime, control(CoreHandle::new(engine.clone())));
    }));
    drop(local);
    drop(runtime);
    if let Some(before) = before {
        // The caller's thread as it was. Fails only if those CPUs went away, and then the pinning can stay.
        let _ = rustix::thread::sched_setaffinity(None, &before);
    }
    match result {
        Ok(()) => Ok(()),
        Err(panic) => resume_unwind(panic),
    }
}

/// What a core's thread needs to start.
struct CoreStart {
    id: CoreId,
    cpu: u16,
    options: EngineOptions,
    engine: Arc<EngineShared>,
    files: BlockingPool,
    started: mpsc::Sender<Result<(), StartError>>,
    go: reply::Receiver<bool>,
}

/// Tells the other cores when a core's thread ends before its time, in a panic of the engine itself.
struct EndGuard {
    engine: Arc<EngineShared>,
    id: CoreId,
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        if thread::panicking() {
            self.engine.stop();
        }
        self.engine.core(self.id).end();
    }
}

fn core_thread<M, MF>(start: CoreStart, main: M)
where
    M: Fn() -> MF + 'static,
    MF: Future<Output = ()> + 'static,
{
    let _guard = EndGuard {
        engine: start.engine.clone(),
        id: start.id,
    };
    // By hand rather than by glommio's placement, which overlooks the CPUs that taskset or a cgroup left.
    if let Err(error) = pin(&[start.cpu]) {
        let error = StartError::new(&format!("cannot pin core {} to CPU {}", start.id.0, start.cpu), error);
        // The receiver waits for one word from every thread.
        let _ = start.started.send(Err(error));
        return;
    }
    if let Err(error) = schedule_in_batches() {
        // A sandbox may forbid it; it is a matter of cost alone.
        tracing::warn!(core = start.id.0, %error, "cannot schedule the core in batches");
    }
    let executor = LocalExecutorBuilder::new(glommio::Placement::Unbound)
        .io_memory(EXECUTOR_IO_MEMORY_BYTES)
        .make();
    match executor {
        Ok(executor) => executor.run(run_core(start, main)),
        Err(error) => {
            let error = StartError::new(
                "cannot start an executor (RLIMIT_MEMLOCK must be at least 512 KiB)",
                error,
            );
            let _ = start.started.send(Err(error));
        }
    }
}

/// The root of a core.
async fn run_core<M, MF>(start: CoreStart, main: M)
where
    M: Fn() -> MF + 'static,
    MF: Future<Output = ()> + 'static,
{
    let CoreStart {
        id,
        options,
        engine,
        files,
        started,
        go,
        ..
    } = start;
    let core = match make_core(id, &options, engine, files) {
        Ok(made) => made,
        Err(error) => {
            let _ = started.send(Err(StartError::new("cannot set up the ring of a core", error)));
            return;
        }
    };
    set_current(Some(core.clone()));
    core.watch_event();
    let watchmen = driver::start_watchmen(&core);
    let own = Rc::new(Cell::new(None));
    let life = super::spawn(live(core.clone(), own.clone(), started, go, main));
    own.set(life.key());
    driver::drive(core.clone()).await;
    drop(life);
    driver::end_watchmen(&core, watchmen).await;
    set_current(None);
    if core.ring.borrow().in_flight() > 0 {
        // The kernel may still write the memory of these operations: they are never freed.
        tracing::error!(
            core = id.0,
            "operations did not end in time: their memory is left to the kernel"
        );
        std::mem::forget(core);
    }
}

/// A core's life, from the word that all cores are there to the end of its last task but this one, whose name is `own`.
async fn live<M, MF>(
    core: Rc<Core>,
    own: Rc<Cell<Option<TaskKey>>>,
    started: mpsc::Sender<Result<(), StartError>>,
    go: reply::Receiver<bool>,
    main: M,
) where
    M: Fn() -> MF + 'static,
    MF: Future<Output = ()> + 'static,
{
    // Nobody listens any more only if `run` itself has panicked; then `go` never comes either.
    let _ = started.send(Ok(()));
    if go.await == Some(true) {
        crate::net::start_deadlines();
        let main = super::spawn(main());
        let root = pin!(async {
            main.await;
            core.engine.main_returned();
            core.driver.stopped().await;
        });
        // Stopped before its `main` has returned: by `CoreHandle::stop`, or a thread of the engine has panicked.
        select(root, pin!(core.driver.stopped())).await;
    }
    core.tasks.cancel_others(&own).await;
    core.shared().end();
    core.network.end();
    core.driver.end();
    if let Some(watch) = core.event_watch.take() {
        core.ring.borrow_mut().cancel(watch);
    }
}

fn make_core(
    id: CoreId,
    options: &EngineOptions,
    engine: Arc<EngineShared>,
    files: BlockingPool,
) -> io::Result<Rc<Core>> {
    let buffers = BufferRing::new(options.receive_buffers, options.receive_buffer_bytes)?;
    let ring = Ring::new(&buffers)?;
    let executor = glommio::executor();
    let background = executor.create_task_queue(Shares::Static(BACKGROUND_SHARES), Latency::NotImportant, "background");
    let core = Core {
        ring: RefCell::new(ring),
        buffers,
        id,
        engine,
        driver: Driver::new(),
        tasks: Default::default(),
        timers: Default::default(),
        event_watch: Cell::new(None),
        network: Network::default(),
        pipes_max: options.pipes,
        background,
        files,
    };
    Ok(Rc::new(core))
}

/// Keeps the calling thread to `cpus`.
pub(crate) fn pin(cpus: &[u16]) -> io::Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    for &cpu in cpus {
        if usize::from(cpu) >= rustix::thread::CpuSet::MAX_CPU {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "CPU number beyond what the kernel interface takes",
            ));
        }
        set.set(usize::from(cpu));
    }
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

fn cpu_set(cpus: &[u16]) -> Option<CpuSet> {
    let text: Vec<_> = cpus.iter().map(u16::to_string).collect();
    text.join(",").parse().ok()
}
