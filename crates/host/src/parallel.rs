//! The same work on many items, by several threads.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

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
            let _ = thread::Builder::new().spawn_scoped(scope, worker);
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
    let threads = thread::available_parallelism().map_or(1, usize::from);
    parallel(threads, &AtomicBool::new(false), items, work)
}

/// Locks a mutex, poisoned or not: the scope passes on the panic that poisoned it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

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
