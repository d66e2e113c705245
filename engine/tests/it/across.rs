//! Work between cores, and between the control thread and cores.

use crate::{options, run};
use pigeon_engine::runtime::{self, CoreGone, CoreId, EngineOptions};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

fn other() -> CoreId {
    CoreId(runtime::core_count() - 1)
}

/// Lets the mains of all cores go, from any thread.
#[derive(Clone, Default)]
struct Released(Arc<(AtomicBool, Mutex<Vec<Waker>>)>);

impl Released {
    fn release(&self) {
        let mut wakers = self.0.1.lock().unwrap();
        self.0.0.store(true, Ordering::Release);
        wakers.drain(..).for_each(Waker::wake);
    }

    async fn wait(&self) {
        poll_fn(|context| {
            let mut wakers = self.0.1.lock().unwrap();
            if self.0.0.load(Ordering::Acquire) {
                return Poll::Ready(());
            }
            wakers.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

#[test]
fn work_runs_there_and_its_output_comes_back() {
    run(options(), || async {
        let home = runtime::current_core();
        let (there, text) = runtime::on_core(other(), move || async move {
            // Not `Send`, and made there.
            let local = Rc::new(runtime::current_core());
            let back = runtime::on_core(home, || async { runtime::current_core() })
                .await
                .unwrap();
            runtime::yield_now().await;
            (*local, format!("{back:?}"))
        })
        .await
        .unwrap();
        assert_eq!((there, text.as_str()), (other(), "CoreId(0)"));
        assert_eq!(runtime::on_core(home, || async { 1 }).await, Ok(1));
    });
}

#[test]
fn a_panic_there_is_an_error_here() {
    run(options(), || async {
        let home = runtime::current_core();
        for core in [home, other()] {
            let made = runtime::on_core(core, || async { panic!("as the test wants it") }).await;
            assert_eq!(made, Err::<(), _>(CoreGone));
        }
        fn fails() -> std::future::Ready<()> {
            panic!("before there is a future")
        }
        for core in [home, other()] {
            assert_eq!(runtime::on_core(core, fails).await, Err(CoreGone));
        }
    });
}

#[test]
fn storms_with_full_queues_both_ways_end() {
    let options = EngineOptions {
        core_queue_depth: 2,
        ..options()
    };
    let done = Arc::new(AtomicU64::new(0));
    let counted = done.clone();
    let released = Released::default();
    let waiting = released.clone();
    let main = move || {
        let done = counted.clone();
        let waiting = waiting.clone();
        async move {
            let mut tasks = Vec::new();
            for _ in 0..200 {
                let done = done.clone();
                tasks.push(runtime::spawn(async move {
                    for round in 0..50u64 {
                        let core = CoreId(u16::try_from(round).unwrap() % runtime::core_count());
                        let home = runtime::current_core();
                        let echoed = runtime::on_core(core, move || async move {
                            runtime::on_core(home, move || async move { round }).await.unwrap()
                        });
                        assert_eq!(echoed.await, Ok(round));
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                }));
            }
            for task in tasks {
                task.await.unwrap();
            }
            // A core that has ended would answer nobody.
            waiting.wait().await;
        }
    };
    runtime::run(options, main, move |handle| async move {
        // The control thread joins in.
        let mut answers = Vec::new();
        for round in 0..200u16 {
            let core = CoreId(round % handle.core_count());
            let answer = handle.call(core, move || async move { (round, runtime::current_core()) });
            answers.push((Ok((round, core)), answer.await));
        }
        released.release();
        answers
            .into_iter()
            .for_each(|(expected, answer)| assert_eq!(answer, expected));
    })
    .unwrap();
    let cores = pigeon_engine::placement::CpuSet::available().unwrap().cpus().len() as u64;
    assert_eq!(done.load(Ordering::Relaxed), cores * 200 * 50);
}

#[test]
fn dropped_requests_leave_nothing_behind() {
    let options = EngineOptions {
        core_queue_depth: 1,
        ..options()
    };
    run(options, || async {
        for _ in 0..50 {
            let mut tasks: Vec<_> = (0..20)
                .map(|_| {
                    runtime::spawn(async {
                        let _ = runtime::on_core(other(), || async { runtime::yield_now().await }).await;
                    })
                })
                .collect();
            runtime::yield_now().await;
            tasks.drain(..10).for_each(runtime::Task::cancel);
            for task in tasks {
                task.await.unwrap();
            }
        }
    });
}

#[test]
fn a_core_that_has_ended_says_so() {
    let (give, handle) = std::sync::mpsc::channel();
    runtime::run(
        options(),
        || async {},
        |handle| async move { give.send(handle).unwrap() },
    )
    .unwrap();
    let handle = handle.recv().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(handle.call(CoreId(0), || async { 1 })), Err(CoreGone));
}
