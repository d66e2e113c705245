//! Tasks: their outputs, their panics, their end.

use crate::{alone, options, run};
use pigeon_engine::blocking::{BlockingError, BlockingPool};
use pigeon_engine::runtime::{self, CoreId};
use pigeon_engine::sync::{Notify, oneshot};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

#[test]
fn spawned_tasks_give_their_output() {
    let sum = run(options(), || async {
        let tasks: Vec<_> = (0..1000u64).map(|n| runtime::spawn(async move { n })).collect();
        let mut sum = 0;
        for task in tasks {
            sum += task.await.unwrap();
        }
        sum + runtime::spawn_background(async { 1 }).await.unwrap()
    });
    assert_eq!(sum, 499_501);
}

#[test]
fn a_panic_ends_one_task_and_is_counted() {
    let (output, panics, next) = run(options(), || async {
        let output = runtime::spawn(async { panic!("as the test wants it") }).await;
        struct PanicsWhenDropped;
        impl Drop for PanicsWhenDropped {
            fn drop(&mut self) {
                panic!("so is this");
            }
        }
        let task = runtime::spawn(async {
            let _kept = PanicsWhenDropped;
            std::future::pending::<()>().await;
        });
        runtime::yield_now().await;
        task.cancel();
        runtime::yield_now().await;
        (
            output,
            pigeon_engine::counters().panics,
            runtime::spawn(async { 7 }).await,
        )
    });
    assert_eq!((output, panics, next), (None::<()>, 2, Some(7)));
}

#[test]
fn a_cancelled_task_drops_its_future() {
    run(options(), || async {
        let dropped = Rc::new(Notify::new());
        struct Tells(Rc<Notify>, Rc<Cell<bool>>);
        impl Drop for Tells {
            fn drop(&mut self) {
                self.1.set(true);
                self.0.notify_all();
            }
        }
        for _ in 0..100 {
            let gone = Rc::new(Cell::new(false));
            let tells = Tells(dropped.clone(), gone.clone());
            let task = runtime::spawn(async move {
                let _tells = tells;
                std::future::pending::<()>().await;
            });
            let told = dropped.notified();
            task.cancel();
            told.await;
            assert!(gone.get());
        }
    });
}

#[test]
fn a_task_may_cancel_itself() {
    run(options(), || async {
        let (give, handle) = oneshot::channel::<runtime::Task<()>>();
        let task = runtime::spawn(async move {
            handle.await.unwrap().cancel();
            std::future::pending::<()>().await;
        });
        give.send(task);
        for _ in 0..3 {
            runtime::yield_now().await;
        }
    });
}

#[test]
fn sleep_and_timeout_keep_time() {
    run(options(), || async {
        let start = runtime::now();
        runtime::sleep(Duration::from_millis(20)).await;
        assert!(runtime::now() - start >= Duration::from_millis(20));
        assert_eq!(runtime::timeout(Duration::from_secs(60), async { 5 }).await, Ok(5));
        let never = std::future::pending::<()>();
        assert!(runtime::timeout(Duration::from_millis(5), never).await.is_err());
        assert!(runtime::unix_time() > Duration::from_secs(1_700_000_000));
    });
}

#[test]
fn what_is_left_at_the_end_is_dropped_on_its_core() {
    struct Counts(Arc<AtomicUsize>, CoreId);
    impl Drop for Counts {
        fn drop(&mut self) {
            assert_eq!(runtime::current_core(), self.1);
            // Spawning at the end is harmless, and goes nowhere.
            drop(runtime::spawn(async {}));
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    let counted = dropped.clone();
    let main = move || {
        let counted = counted.clone();
        async move {
            for _ in 0..100 {
                let counts = Counts(counted.clone(), runtime::current_core());
                drop(runtime::spawn(async move {
                    let _counts = counts;
                    std::future::pending::<()>().await;
                }));
            }
        }
    };
    runtime::run(options(), main, |_| async {}).unwrap();
    let cores = pigeon_engine::placement::CpuSet::available().unwrap().cpus().len();
    assert_eq!(dropped.load(Ordering::Relaxed), 100 * cores);
}

#[test]
fn a_panic_of_main_ends_the_engine_all_the_same() {
    runtime::run(options(), || async { panic!("as the test wants it") }, |_| async {}).unwrap();
}

#[test]
fn a_panic_of_control_stops_the_cores_and_is_passed_on() {
    let result = std::panic::catch_unwind(|| {
        let main = || async { std::future::pending::<()>().await };
        runtime::run(options(), main, |_| async { panic!("as the test wants it") })
    });
    assert!(result.is_err());
}

#[test]
fn the_blocking_pool_is_bounded_and_survives_panics() {
    run(options(), || async {
        let pool = BlockingPool::new("test", 1, 1, None);
        assert_eq!(pool.run(|| 3).await, Ok(3));
        assert_eq!(
            pool.run(|| panic!("as the test wants it")).await,
            Err::<(), _>(BlockingError::Panicked)
        );
        let (release, held) = std::sync::mpsc::channel::<()>();
        let (tell, running) = oneshot::channel();
        let first = pool.clone();
        let first = runtime::spawn(async move {
            tell.send(());
            first.run(move || held.recv()).await
        });
        running.await;
        // One job is at the thread or on its way to it, one may wait; the others find no place.
        let mut waiting = Vec::new();
        let mut refused = 0;
        for _ in 0..3 {
            let pool = pool.clone();
            waiting.push(runtime::spawn(async move { pool.run(|| ()).await }));
        }
        // They are polled before this task is again, so each has its place or its refusal.
        runtime::yield_now().await;
        release.send(()).unwrap();
        for task in waiting {
            match task.await.unwrap() {
                Ok(()) => {}
                Err(error) => {
                    assert_eq!(error, BlockingError::Full);
                    refused += 1;
                }
            }
        }
        assert!(refused >= 2, "{refused}");
        assert_eq!(first.await, Some(Ok(Ok(()))));
    });
}

#[test]
fn background_work_and_foreground_both_get_on() {
    run(options(), || async {
        let stop = Rc::new(Cell::new(false));
        let rounds = Rc::new(Cell::new(0u64));
        let busy: Vec<_> = (0..3)
            .map(|_| {
                let (stop, rounds) = (stop.clone(), rounds.clone());
                runtime::spawn_background(async move {
                    while !stop.get() {
                        rounds.set(rounds.get() + 1);
                        runtime::yield_now().await;
                    }
                })
            })
            .collect();
        for round in 0..100u64 {
            runtime::sleep(Duration::from_micros(50)).await;
            runtime::yield_now().await;
            let other = CoreId(runtime::core_count() - 1);
            assert_eq!(runtime::on_core(other, move || async move { round }).await, Ok(round));
        }
        // And the background gets on while the foreground never rests.
        let seen = rounds.get();
        while rounds.get() < seen + 100 {
            runtime::yield_now().await;
        }
        stop.set(true);
        for task in busy {
            task.await.unwrap();
        }
    });
}

#[test]
fn wakers_work_from_other_threads() {
    run(options(), || async {
        let (to, mut from) = tokio::sync::mpsc::channel::<u32>(2);
        let (back, mut returned) = tokio::sync::mpsc::channel::<u32>(2);
        let thread = std::thread::spawn(move || {
            while let Some(number) = from.blocking_recv() {
                back.blocking_send(number).unwrap();
            }
        });
        let sender = runtime::spawn(async move {
            for number in 0..5000 {
                to.send(number).await.unwrap();
            }
        });
        for number in 0..5000 {
            assert_eq!(returned.recv().await, Some(number));
        }
        sender.await.unwrap();
        thread.join().unwrap();
    });
}

/// Resident memory of this process, pages.
fn resident_pages() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn ended_tasks_are_freed() {
    alone("tasks::ended_tasks_are_freed", || {
        run(options(), || async {
            let mut before = 0;
            for round in 0..6_000 {
                if round == 1_000 {
                    before = resident_pages();
                }
                let tasks: Vec<_> = (0..20).map(|_| runtime::spawn(std::future::pending::<()>())).collect();
                runtime::yield_now().await;
                tasks.into_iter().for_each(runtime::Task::cancel);
                runtime::yield_now().await;
                let task = runtime::spawn(runtime::yield_now());
                task.await.unwrap();
            }
            // A leak of the smallest piece of memory for each of 100,000 tasks would be 3 MiB.
            assert!(resident_pages() < before + 512, "{before} {}", resident_pages());
        });
    });
}
