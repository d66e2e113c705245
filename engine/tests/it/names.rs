//! Names that are slow, and name servers that fail.

use crate::{options, run};
use pigeon_engine::blocking::BlockingPool;
use pigeon_engine::names::{LookUp, Names};
use pigeon_engine::now;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(120);
const FIRST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

#[test]
fn a_name_server_that_fails_or_hangs_takes_no_address_away() {
    run(options(), || async {
        let asked = Arc::new(AtomicUsize::new(0));
        let gate: Arc<(Mutex<bool>, Condvar)> = Arc::default();
        let (counted, shut) = (asked.clone(), gate.clone());
        let look_up: LookUp = Arc::new(move |_| match counted.fetch_add(1, Ordering::SeqCst) {
            0 => Ok(vec![FIRST]),
            1 => Err(io::Error::other("the name server has failed")),
            _ => {
                let open = shut.0.lock().unwrap();
                drop(shut.1.wait_while(open, |open| !*open).unwrap());
                Ok(vec![IpAddr::from([10, 0, 0, 2])])
            }
        });
        // Old at once.
        let names = Names::with(BlockingPool::new("names", 2, 8, None), look_up, Duration::ZERO);
        let find = async || names.find("n2.example.org", 143, now() + LONG).await.unwrap()[0];
        let first = SocketAddr::new(FIRST, 143);
        assert_eq!(find().await, first);
        assert_eq!((find().await, asked.load(Ordering::SeqCst)), (first, 2));
        // Until a look-up begins that hangs; what is known is given meanwhile.
        while asked.load(Ordering::SeqCst) < 3 {
            assert_eq!(find().await, first);
            pigeon_engine::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(find().await, first);
        *gate.0.lock().unwrap() = true;
        gate.1.notify_all();
        while find().await == first {
            pigeon_engine::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(find().await.ip(), IpAddr::from([10, 0, 0, 2]));
    });
}

#[test]
fn a_slow_name_holds_up_no_other_and_nobody_beyond_the_deadline() {
    run(options(), || async {
        let gate: Arc<(Mutex<bool>, Condvar)> = Arc::default();
        let shut = gate.clone();
        let look_up: LookUp = Arc::new(move |host| {
            if host == "slow" {
                let open = shut.0.lock().unwrap();
                drop(shut.1.wait_while(open, |open| !*open).unwrap());
            }
            Ok(vec![FIRST])
        });
        let names = Names::with(BlockingPool::new("names", 2, 8, None), look_up, LONG);
        let late = names.find("slow", 25, now() + Duration::from_millis(20)).await;
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(names.find("quick", 25, now() + LONG).await.unwrap()[0].ip(), FIRST);
        assert_eq!(
            names.find("::1", 25, now()).await.unwrap(),
            ["[::1]:25".parse().unwrap()]
        );
        *gate.0.lock().unwrap() = true;
        gate.1.notify_all();
        assert_eq!(names.find("slow", 25, now() + LONG).await.unwrap()[0].ip(), FIRST);
    });
}
