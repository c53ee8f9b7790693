//! Work that several threads do at once. The host may allow no further thread (setrlimit(2), `RLIMIT_NPROC`,
//! `RLIMIT_AS`): that is no panic, but an error, or the work takes longer.

use std::io;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, Scope, ScopedJoinHandle};

/// How many processors there are for this process; one where the host does not say.
#[must_use]
pub fn processors() -> NonZero<usize> {
    thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN)
}

/// Works on `items`, in their order, with up to `threads` threads, and returns the results in the
/// same order. The first error sets `stop`, so that no further item is begun, and is returned. If
/// `stop` is set elsewhere and no work fails, the results of items that were not begun are missing.
///
/// # Errors
/// That of the first item that has one.
pub fn parallel<T: Sync, R: Send, E: Send>(
    threads: usize,
    stop: &AtomicBool,
    items: &[T],
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let next = AtomicUsize::new(0);
    let failure = Mutex::new(None);
    let done = Mutex::new(Vec::with_capacity(items.len()));
    let worker = || {
        while !stop.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(number) else { break };
            match work(item) {
                Ok(result) => lock(&done).push((number, result)),
                Err(error) => {
                    lock(&failure).get_or_insert(error);
                    stop.store(true, Ordering::Relaxed);
                }
            }
        }
    };
    thread::scope(|scope| {
        // One thread less, since this one works, too.
        for _ in 1..threads.clamp(1, items.len().max(1)) {
            // If the host allows no more threads, those that run do all the work.
            let _ = spawn(scope, worker);
        }
        worker();
    });
    if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(number, _)| *number);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

/// As [`parallel`], with a thread for each processor, for work that computes more than it waits.
///
/// # Errors
/// As there.
pub fn on_all_processors<T: Sync, R: Send, E: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    parallel(processors().get(), &AtomicBool::new(false), items, work)
}

/// Does both at once, `beside` in a thread of its own. If the host allows no further thread, `beside` comes first.
pub fn both<A, B: Send>(here: impl FnOnce() -> A, beside: impl FnOnce() -> B + Send) -> (A, B) {
    let waiting = Mutex::new(Some(beside));
    let run_beside = || {
        let beside = lock(&waiting).take().expect("it is run once");
        beside()
    };
    thread::scope(|scope| match spawn(scope, run_beside) {
        Ok(thread) => (here(), thread.join().unwrap_or_else(|panic| resume_unwind(panic))),
        Err(_) => {
            let done = run_beside();
            (here(), done)
        }
    })
}

/// Starts a thread of `scope`.
///
/// # Errors
/// When the host allows no further one.
pub fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, T>> {
    let started = thread::Builder::new().spawn_scoped(scope, work);
    started.map_err(|error| io::Error::new(error.kind(), format!("start a thread: {error}")))
}

/// Locks a mutex, poisoned or not: the scope passes on the panic that poisoned it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_done_at_once() {
        let (here, beside) = std::sync::mpsc::channel();
        let done = both(|| here.send(7).unwrap(), move || beside.recv().unwrap());
        assert_eq!(done, ((), 7));
        let panicked = std::panic::catch_unwind(|| both(|| (), || panic!("beside")));
        assert_eq!(panicked.unwrap_err().downcast_ref(), Some(&"beside"));
    }

    #[test]
    fn keeps_the_order_and_gives_the_first_error() {
        let items: Vec<u32> = (0..100).collect();
        let never = AtomicBool::new(false);
        assert_eq!(
            parallel(7, &never, &items, |item| Ok::<_, ()>(item * 2)).unwrap(),
            items.iter().map(|i| i * 2).collect::<Vec<_>>()
        );
        assert_eq!(parallel(7, &never, &[] as &[u32], |item| Ok::<_, ()>(*item)), Ok(vec![]));
        let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
        let result = parallel(2, &stop, &items, |item| {
            if *item == 3 {
                return Err("three");
            }
            while *item > 3 && !stop.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
            done.fetch_add(1, Ordering::Relaxed);
            Ok(())
        });
        assert_eq!(result, Err("three"));
        assert!(done.load(Ordering::Relaxed) < 10);
    }
}
